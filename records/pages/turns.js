// The turns of a call: one line each, and the waterfall of the one that is chosen.

import { byId, duration, make, setText, wholeMs } from "./page.js";
import { LINE_MS, waterfallOf } from "./stages.js";

export class Turns {
  #onChoose;
  #chosen = null;
  #told = [];
  #beganUs = 0;

  constructor(onChoose) {
    this.#onChoose = onChoose;
  }

  /** Show the turns of a call; the slowest one is chosen until somebody chooses another. */
  show(turns, beganUs) {
    this.#told = turns;
    this.#beganUs = beganUs;
    if (!turns.some(({ turn }) => turn === this.#chosen)) this.#chosen = slowest(turns);
    const longestMs = Math.max(LINE_MS, ...turns.map(({ voice_to_voice_ms: ms }) => ms ?? 0));
    byId("turns").replaceChildren(...turns.map((one) => this.#line(one, longestMs)));
    byId("no-turns").hidden = turns.length > 0;
    setText(byId("no-turns"), "No turn is recorded. A backend that tells of its turns shows here where the time of each answer went.");
    this.#draw();
  }

  forget() {
    this.#chosen = null;
  }

  choose(number) {
    this.#chosen = number;
    for (const input of byId("turns").querySelectorAll("input")) input.checked = Number(input.value) === number;
    this.#draw();
    this.#onChoose(number);
  }

  get chosen() {
    return this.#chosen;
  }

  #line(one, longestMs) {
    const input = make("input", "unseen");
    Object.assign(input, { type: "radio", name: "turn", value: String(one.turn), checked: one.turn === this.#chosen });
    input.addEventListener("change", () => this.choose(one.turn));
    const bar = make("i");
    const gauge = make("span", "gauge", bar);
    bar.style.setProperty("--length", Math.min(1, (one.voice_to_voice_ms ?? 0) / longestMs));
    gauge.style.setProperty("--line", LINE_MS / longestMs);
    const outcome = make("span", "outcome");
    if (one.failed) outcome.append(make("span", "chip bad", one.failed));
    else if (one.interrupted) outcome.append(make("span", "chip bad", "interrupted"));
    for (const tool of one.tools) outcome.append(make("span", "chip tool-cost", tool));
    const at = duration((one.began_us - this.#beganUs) / 1e6);
    const ms = one.voice_to_voice_ms === null ? "no answer" : `${wholeMs(one.voice_to_voice_ms)} ms`;
    const row = make("label", "turn-row", input, make("span", "number", String(one.turn)), make("span", "at", at), gauge, make("span", "ms", ms), outcome);
    row.classList.toggle("within", one.voice_to_voice_ms !== null && one.voice_to_voice_ms <= LINE_MS);
    return row;
  }

  #draw() {
    const turn = this.#told.find(({ turn: number }) => number === this.#chosen);
    byId("waterfall").hidden = !turn;
    setText(byId("turn-figure"), turn ? `Turn ${turn.turn}: ${wholeMs(turn.voice_to_voice_ms)} ms` : "");
    if (!turn) return;
    const falls = waterfallOf(turn);
    const rows = falls.rows.map((one) => rowOf(one, falls));
    const table = make("table", "", make("tbody", "", ...rows));
    table.setAttribute("aria-label", `Stages of turn ${turn.turn}, in milliseconds after the caller's last sound`);
    byId("waterfall").replaceChildren(table, make("p", "soft", accountOf(turn, falls)));
  }
}

function slowest(turns) {
  const ordered = [...turns].sort((a, b) => (b.voice_to_voice_ms ?? Infinity) - (a.voice_to_voice_ms ?? Infinity));
  return ordered[0]?.turn ?? null;
}

function rowOf(one, { endMs, endedMs }) {
  const isAhead = one.kind === "work" && endedMs !== null && one.toMs <= endedMs;
  const bar = make("span", `bar ${isAhead ? "ahead" : one.kind}`);
  bar.style.setProperty("--from", one.fromMs / endMs);
  bar.style.setProperty("--length", (one.toMs - one.fromMs) / endMs);
  const track = make("td", "track", bar);
  track.setAttribute("aria-hidden", "true");
  track.style.setProperty("--line", LINE_MS / endMs);
  const label = make("th", "", one.label);
  label.scope = "row";
  return make("tr", "", label, track, make("td", "ms", wholeMs(one.ms)));
}

function accountOf(turn, falls) {
  const said = [];
  if (falls.rows.length === 0) said.push("This turn has no stages.");
  if (turn.unexplained_ms !== null) said.push(`${wholeMs(turn.unexplained_ms)} ms are in no stage.`);
  if (turn.network_ms !== null) said.push(`The network adds ${wholeMs(turn.network_ms)} ms.`);
  if (turn.discarded) said.push(`${turn.discarded} ${turn.discarded === 1 ? "answer was" : "answers were"} begun too early and thrown away.`);
  const used = Object.entries(turn.usage).map(([kind, amount]) => `${wholeMs(amount)} ${kind.replaceAll("_", " ")}`);
  if (used.length) said.push(`Used: ${used.join(", ")}.`);
  return said.join(" ");
}
