// One turn on the page: the figure, what it consists of, and the waterfall against the line.

import { byId, make, setText, wholeMs } from "./page.js";
import { waterfallOf } from "./stages.js";
import { LINE_MS, voiceToVoiceMs } from "./turns.js";

const VOICE_TO_VOICE = "from your last sound to the first of the answer";

export class Waterfall {
  #rows = byId("stages");
  #axis = byId("axis");

  clear() {
    this.show(null);
  }

  /** Show a turn, or that there is none. */
  show(turn) {
    const falls = turn === null ? null : waterfallOf(turn);
    byId("turn").dataset.shown = falls ? "stages" : turn ? "text" : "none";
    setText(byId("turn-title"), turn === null ? "Last turn" : `Turn ${turn.number ?? "?"}`);
    this.#head(turn);
    setText(byId("account"), turn === null ? "" : accountOf(turn, falls));
    this.#rows.replaceChildren(...(falls ? falls.rows.map((one) => rowOf(one, falls)) : []));
    this.#axis.replaceChildren(...(falls ? ticksOf(falls.axis) : []));
    if (falls) placeLine(falls);
  }

  #head(turn) {
    const ms = turn === null ? null : voiceToVoiceMs(turn);
    const shownMs = ms ?? turn?.answeredMs ?? null;
    setText(byId("figure"), shownMs === null ? "–" : wholeMs(shownMs));
    setText(byId("meaning"), ms === null && shownMs !== null ? "from Send to the first of the answer" : VOICE_TO_VOICE);
    byId("verdict").replaceChildren(...(turn === null ? [] : verdictsOf(turn, ms)));
    byId("turn").classList.toggle("within", ms !== null && ms <= LINE_MS && !turn.failed);
  }
}

function verdictsOf(turn, ms) {
  const verdicts = [];
  if (turn.failed) verdicts.push(make("span", "failed", `failed: ${turn.failed}`));
  else if (ms !== null && ms <= LINE_MS) verdicts.push(make("span", "within", `${wholeMs(LINE_MS - ms)} ms under the line`));
  else if (ms !== null) verdicts.push(make("span", "over", `${wholeMs(ms - LINE_MS)} ms over the line`));
  if (turn.isInterrupted) verdicts.push(make("span", "interrupted", "interrupted"));
  return verdicts;
}

/** The turn in words: what was waited for, and what was done meanwhile. */
function accountOf(turn, falls) {
  if (falls === null) return noStages(turn);
  const said = [];
  if (falls.afterMs !== null) said.push(`${wholeMs(falls.waitMs)} ms until the turn was taken as ended, ${wholeMs(falls.afterMs)} ms after that.`);
  if (falls.totalMs === null) said.push("No sound of the answer left.");
  if (falls.aheadMs >= 1 && falls.sequentialMs !== null) {
    said.push(`${wholeMs(falls.aheadMs)} ms of work was done meanwhile: one after the other it would have been ${wholeMs(falls.sequentialMs)} ms.`);
  }
  if (falls.tool) said.push(toolText(falls.tool));
  if (turn.discarded) said.push(`${turn.discarded} ${turn.discarded === 1 ? "answer" : "answers"} begun too early, thrown away.`);
  return said.join(" ");
}

function toolText({ ms, hiddenMs }) {
  const all = `The tool took ${wholeMs(ms)} ms`;
  if (hiddenMs < 1) return `${all}.`;
  return hiddenMs >= ms - 1 ? `${all}, all of it meanwhile.` : `${all}, ${wholeMs(hiddenMs)} of it meanwhile.`;
}

function noStages(turn) {
  if (turn.answeredMs !== null) return "As this page saw it. Stages are measured from speech, and you typed.";
  return "This turn did not begin with speech, so there is no last sound to measure from.";
}

function rowOf(one, falls) {
  const track = make("td", "track", ...one.bars.map((bar) => barOf(bar, falls.axis.endMs)));
  track.setAttribute("aria-hidden", "true");
  const label = make("th", "", one.label);
  label.scope = "row";
  label.title = one.label;
  const row = make("tr", "", label, track, make("td", "ms", one.ms === null ? "–" : wholeMs(one.ms)));
  row.dataset.stage = one.name;
  return row;
}

function barOf({ kind, of, fromMs, toMs }, endMs) {
  const bar = make("span", `bar ${kind} of-${of}`);
  // Custom properties set from script are allowed by a style-src without 'unsafe-inline'.
  bar.style.setProperty("--from", fromMs / endMs);
  bar.style.setProperty("--length", (toMs - fromMs) / endMs);
  bar.title = `${wholeMs(fromMs)} to ${wholeMs(toMs)} ms`;
  return bar;
}

function ticksOf({ endMs, step }) {
  const ticks = [];
  for (let ms = 0; ms <= endMs; ms += step) {
    if (ms === LINE_MS) continue; // the line has a label of its own
    const tick = make("span", "tick", wholeMs(ms));
    tick.style.setProperty("--at", ms / endMs);
    ticks.push(tick);
  }
  const line = make("span", "tick line-label", `${LINE_MS} ms`);
  line.style.setProperty("--at", LINE_MS / endMs);
  return [...ticks.filter((tick) => isApart(tick, line)), line];
}

/** Whether two labels do not touch, on a narrow screen either. */
function isApart(tick, line) {
  const at = (element) => Number(element.style.getPropertyValue("--at"));
  return Math.abs(at(tick) - at(line)) > 0.14;
}

function placeLine({ axis, endedMs }) {
  const { style } = byId("waterfall");
  style.setProperty("--line", LINE_MS / axis.endMs);
  style.setProperty("--ended", endedMs === null ? -1 : endedMs / axis.endMs);
  byId("waterfall").classList.toggle("has-end", endedMs !== null);
}
