// The event log: when, how long after Talk, and what. Bounded; text only.

import { make } from "./page.js";

const LIMIT = 200;
const SHOWN_CHARS = 2000;

export class Journal {
  #list;
  #lines = [];

  constructor(list) {
    this.#list = list;
  }

  /** A new call: its events are set off from those of the one before. */
  begin() {
    this.#list.lastElementChild?.classList.add("last-of-call");
  }

  /** Add `text`; `atMs` is the time since Talk, if the event belongs to a call. */
  add(text, atMs = null, kind = "") {
    const shown = text.length > SHOWN_CHARS ? `${text.slice(0, SHOWN_CHARS)}…` : text;
    const time = clockTime(new Date());
    const offset = atMs === null ? "" : `+${(atMs / 1000).toFixed(3)}`;
    this.#lines.push([time, offset, shown].filter(Boolean).join("  "));
    if (this.#lines.length > LIMIT) this.#lines.shift();
    const row = make("li", kind, make("time", "", time), make("span", "offset", offset), make("span", "what", shown));
    const isAtEnd = this.#list.scrollTop + this.#list.clientHeight >= this.#list.scrollHeight - 8;
    this.#list.append(row);
    while (this.#list.children.length > LIMIT) this.#list.firstElementChild.remove();
    if (isAtEnd) this.#list.scrollTop = this.#list.scrollHeight;
  }

  lines() {
    return [...this.#lines];
  }

  /** Select the whole log, for browsers that do not let a page write to the clipboard. */
  select() {
    getSelection().selectAllChildren(this.#list);
  }
}

function clockTime(date) {
  const two = (number) => String(number).padStart(2, "0");
  const ms = String(date.getMilliseconds()).padStart(3, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${ms}`;
}
