// The two running papers of the page: the event log and the messages. Both are bounded.

const EVENT_LIMIT = 200;
const MESSAGE_LIMIT = 100;
const MESSAGE_SHOWN_CHARS = 4000;

/** The event log: when, how long after Talk, and what. */
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
  add(text, atMs = null) {
    const time = clockTime(new Date());
    const offset = atMs === null ? "" : `+${(atMs / 1000).toFixed(3)}`;
    this.#lines.push([time, offset, text].filter(Boolean).join("  "));
    if (this.#lines.length > EVENT_LIMIT) this.#lines.shift();
    append(this.#list, EVENT_LIMIT, "", [["time", time], ["span", offset, "offset"], ["span", text, "what"]]);
  }

  lines() {
    return [...this.#lines];
  }

  /** Select the whole log, for browsers that do not let a page write to the clipboard. */
  select() {
    getSelection().selectAllChildren(this.#list);
  }
}

/** What went over the data channel, both ways. Shown as text, never as markup. */
export class Conversation {
  #list;

  constructor(list) {
    this.#list = list;
  }

  sent(text) {
    this.#add("sent", "Sent", text);
  }

  received(data) {
    const text = typeof data === "string" ? data : `${data.byteLength} bytes of binary data`;
    this.#add("received", "Received", text);
  }

  clear() {
    this.#list.replaceChildren();
  }

  #add(kind, label, text) {
    const shown = text.length > MESSAGE_SHOWN_CHARS ? `${text.slice(0, MESSAGE_SHOWN_CHARS)}…` : text;
    append(this.#list, MESSAGE_LIMIT, kind, [["span", label, "direction"], ["span", shown, "what"]]);
  }
}

function append(list, limit, kind, parts) {
  const row = document.createElement("li");
  if (kind) row.className = kind;
  for (const [tag, text, className] of parts) {
    const part = document.createElement(tag);
    if (className) part.className = className;
    part.textContent = text;
    row.append(part);
  }
  list.append(row);
  while (list.children.length > limit) list.firstElementChild.remove();
  list.scrollTop = list.scrollHeight;
}

function clockTime(date) {
  const two = (number) => String(number).padStart(2, "0");
  const ms = String(date.getMilliseconds()).padStart(3, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${ms}`;
}
