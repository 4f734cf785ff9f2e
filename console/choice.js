// Which backend the next call goes to. With one there is nothing to choose, and its name is shown.

import { byId, make, setText } from "./page.js";

const ANY = "";
const STATE_WORDS = { ready: "", full: " (full)", away: " (not there)" };

export class Choice {
  #select = byId("backend");
  #backends = [];

  /** `onOpen()`: the caller is about to choose, so the list should be new; `onChange()`: has chosen. */
  constructor(onOpen, onChange) {
    this.#select.addEventListener("focus", onOpen);
    this.#select.addEventListener("change", onChange);
  }

  /** The name to ask for; "" leaves it to the server. */
  get name() {
    return this.#backends.length > 1 ? this.#select.value : ANY;
  }

  /** What will answer, as far as it is known: { name, kind, state }, or null. */
  get backend() {
    if (this.#backends.length === 1) return this.#backends[0];
    return this.#backends.find(({ name }) => name === this.#select.value) ?? null;
  }

  /** Show the list; what was chosen stays chosen if it is still there. */
  show(backends) {
    if (JSON.stringify(backends) === JSON.stringify(this.#backends)) return;
    const chosen = this.#select.value;
    this.#backends = backends;
    const options = backends.map((one) => option(one.name, labelOf(one)));
    this.#select.replaceChildren(option(ANY, "Any backend"), ...options);
    this.#select.value = backends.some(({ name }) => name === chosen) ? chosen : ANY;
    byId("choice").hidden = backends.length < 2;
    byId("only-backend").hidden = backends.length !== 1;
    if (backends.length === 1) setText(byId("only-backend"), onlyOf(backends[0]));
  }

  /** A call keeps the backend it began with. */
  lock(isLocked) {
    this.#select.disabled = isLocked;
  }
}

/** The list as the server tells it, checked. */
export function backendsIn(value) {
  if (!Array.isArray(value)) return [];
  return value
    .filter((one) => typeof one?.name === "string")
    .map(({ name, kind, state }) => ({ name, kind: typeof kind === "string" ? kind : "", state }));
}

function labelOf({ name, kind, state }) {
  const what = kind && kind !== name ? `${name} · ${kind}` : name;
  return `${what}${STATE_WORDS[state] ?? ""}`;
}

function onlyOf({ name, kind, state }) {
  return `${kind || name} backend${STATE_WORDS[state] ?? ""}`;
}

function option(value, label) {
  const element = make("option", "", label);
  element.value = value;
  return element;
}
