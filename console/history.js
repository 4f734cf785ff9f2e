// The turns of the call, newest first: radio buttons, so that the arrow keys walk through them.

import { byId, make, setText, wholeMs } from "./page.js";
import { LINE_MS, toolMs, voiceToVoiceMs } from "./turns.js";

const ROW_LIMIT = 50;

export class History {
  #list = byId("turns");
  #rows = new Map(); // turn → row
  #onSelect;

  /** `onSelect(turn)`: the caller wants to see that one. */
  constructor(onSelect) {
    this.#onSelect = onSelect;
  }

  clear() {
    this.#rows.clear();
    this.#list.replaceChildren();
    setText(byId("p50"), "");
  }

  /** Show a turn that is new or changed, and what is so of all. */
  show(turn, turns) {
    const longestMs = Math.max(2 * LINE_MS, ...turns.list.map((one) => voiceToVoiceMs(one) ?? 0));
    this.#list.style.setProperty("--line", LINE_MS / longestMs);
    this.#write(this.#row(turn), turn);
    for (const [one, row] of this.#rows) row.style.setProperty("--length", (voiceToVoiceMs(one) ?? 0) / longestMs);
    setText(byId("p50"), summaryOf(turns));
  }

  /** Mark the one that is shown. */
  select(turn) {
    const row = this.#rows.get(turn);
    if (row) row.querySelector("input").checked = true;
  }

  #row(turn) {
    const known = this.#rows.get(turn);
    if (known) return known;
    const button = make("input", "unseen");
    Object.assign(button, { type: "radio", name: "turn" });
    button.addEventListener("change", () => this.#onSelect(turn));
    const row = make("label", "turn-row", button, make("span", "number"), make("span", "gauge", make("i")), make("span", "ms"), make("span", "outcome"));
    this.#rows.set(turn, row);
    this.#list.prepend(row);
    if (this.#rows.size > ROW_LIMIT) this.#forgetOldest();
    return row;
  }

  #forgetOldest() {
    const [turn, row] = this.#rows.entries().next().value;
    row.remove();
    this.#rows.delete(turn);
  }

  #write(row, turn) {
    const [, number, , ms, outcome] = row.children;
    const totalMs = voiceToVoiceMs(turn);
    const shownMs = totalMs ?? turn.answeredMs;
    row.classList.toggle("within", totalMs !== null && totalMs <= LINE_MS && !turn.failed);
    setText(number, String(turn.number ?? "?"));
    setText(ms, shownMs === null ? "–" : `${wholeMs(shownMs)} ms`);
    outcome.replaceChildren(...outcomesOf(turn));
  }
}

function outcomesOf(turn) {
  const outcomes = [];
  const say = (className, text, title) => {
    const chip = make("span", `chip ${className}`, text);
    chip.title = title;
    outcomes.push(chip);
  };
  const tool = toolMs(turn);
  if (turn.failed) say("failed", "failed", turn.failed);
  if (turn.isInterrupted) say("interrupted", "interrupted", "You spoke over the answer");
  if (tool !== null) say("tool-cost", `+${wholeMs(tool)} ms ${turn.tools[0] ?? "tool"}`, "What the tool call took");
  if (turn.isSpeculative) say("kept", "ahead, kept", "The answer was begun before the turn had ended, and given");
  if (turn.discarded) say("discarded", `${turn.discarded} discarded`, "Answers begun too early and thrown away");
  if (turn.answeredMs !== null) say("typed", "typed", "From Send to the first of the answer");
  return outcomes;
}

function summaryOf(turns) {
  if (turns.p50Ms === null) return turns.count ? `${turns.count} so far` : "";
  return `p50 ${wholeMs(turns.p50Ms)} ms · ${turns.measured} ${turns.measured === 1 ? "turn" : "turns"}`;
}
