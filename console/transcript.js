// The conversation on the page: one row an entry, written anew only where it changed. Text, never markup.

import { make, setText, wholeMs } from "./page.js";
import { toolMs, voiceToVoiceMs, LINE_MS } from "./turns.js";

const ROW_LIMIT = 200;
const NEAR_END_PX = 48;
const SPEAKERS = { user: "You", agent: "Agent", tool: "Tool", note: "", data: "" };

export class Transcript {
  #list;
  #rows = new Map(); // entry → row
  #abouts = new WeakMap(); // row → what stands below its words, as text
  #onTurn;
  #isAtEnd = true; // and stays there, whatever is added and however the screen changes

  /** `onTurn(turn)`: the caller pointed at the figures of a turn. */
  constructor(list, onTurn) {
    this.#list = list;
    this.#onTurn = onTurn;
    list.addEventListener("scroll", () => {
      this.#isAtEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - NEAR_END_PX;
    });
    new ResizeObserver(() => this.#stay()).observe(list);
  }

  clear() {
    this.#rows.clear();
    this.#list.replaceChildren();
    this.#isAtEnd = true;
  }

  /** Show what changed of `entries`; whoever reads further up is not moved. */
  show(entries) {
    if (entries.length === 0) return;
    for (const entry of entries) this.#write(this.#row(entry), entry);
    this.#stay();
  }

  #stay() {
    if (this.#isAtEnd) this.#list.scrollTop = this.#list.scrollHeight;
  }

  #row(entry) {
    const known = this.#rows.get(entry);
    if (known) return known;
    const row = make("li", entry.kind, make("span", "who"), make("p", "words"), make("p", "about"));
    this.#rows.set(entry, row);
    this.#list.append(row);
    if (this.#rows.size > ROW_LIMIT) this.#forgetOldest();
    return row;
  }

  #forgetOldest() {
    const [entry, row] = this.#rows.entries().next().value;
    row.remove();
    this.#rows.delete(entry);
  }

  #write(row, entry) {
    const [who, words, about] = row.children;
    setText(who, speakerOf(entry));
    row.classList.toggle("partial", !entry.isFinal);
    row.classList.toggle("cut", entry.isCut);
    row.classList.toggle("error", Boolean(entry.isError || entry.failed));
    words.replaceChildren(...wordsOf(entry));
    this.#writeAbout(row, about, entry);
  }

  /** Only when it changed: a button that is made anew loses the focus. */
  #writeAbout(row, about, entry) {
    const parts = this.#aboutOf(entry);
    const text = parts.map((part) => part.textContent).join("\n");
    if (this.#abouts.get(row) === text) return;
    this.#abouts.set(row, text);
    about.replaceChildren(...parts);
  }

  /** What is known of how an answer went: its time, its tools, where it was cut. */
  #aboutOf({ kind, isCut, heardMs, turn }) {
    const parts = [];
    if (turn) parts.push(...this.#figures(turn));
    if (isCut) parts.push(make("span", "cut-off", cutText(heardMs, turn)));
    return kind === "agent" ? parts : [];
  }

  #figures(turn) {
    const ms = voiceToVoiceMs(turn) ?? turn.answeredMs;
    const figures = [];
    if (ms !== null) {
      const isWithin = voiceToVoiceMs(turn) !== null && ms <= LINE_MS && !turn.failed;
      const button = make("button", isWithin ? "chip within" : "chip", `${wholeMs(ms)} ms`);
      button.type = "button";
      button.title = "Show where the milliseconds of this turn went";
      button.addEventListener("click", () => this.#onTurn(turn));
      figures.push(button);
    }
    const tool = toolMs(turn);
    if (tool !== null) figures.push(make("span", "chip tool-cost", `+${wholeMs(tool)} ms ${turn.tools.join(", ")}`));
    return figures;
  }
}

function speakerOf(entry) {
  if (entry.kind === "data") return entry.isSent ? "Sent" : "Reply";
  return SPEAKERS[entry.kind];
}

function wordsOf(entry) {
  if (entry.kind === "agent") return answerOf(entry);
  if (entry.kind === "tool") return [`${entry.name}(${entry.text})${entry.output === undefined ? "" : ` → ${entry.output}`}`];
  if (entry.failed) return [make("span", "ahead", `could not be written down (${entry.failed})`)];
  if (entry.kind === "user" && !entry.text) return [make("span", "ahead", entry.isFinal ? "no words" : "…")];
  return [entry.text];
}

/** An answer in two: what was heard, and what is still to come or, after a cut, never was. */
function answerOf({ text, spoken, isCut }) {
  const [rest] = text.slice(spoken).match(/\S.*$/s) ?? [""];
  const parts = [make("span", "said", text.slice(0, text.length - rest.length))];
  if (rest) parts.push(isCut ? make("del", "unheard", rest.trimEnd()) : make("span", "ahead", rest));
  return parts;
}

function cutText(heardMs, turn) {
  const heard = typeof heardMs === "number" ? `cut off after ${(heardMs / 1000).toFixed(1)} s` : "cut off";
  const silent = turn?.silentAfterMs ?? null;
  return silent === null ? heard : `${heard} · silent ${wholeMs(silent)} ms after you spoke`;
}
