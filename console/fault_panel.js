// What went wrong, on the page: the fault, what to do about it, and when to try again.

import { byId, setText } from "./page.js";

const CLOCK_EVERY_MS = 250;
const ERROR_LIMIT = 20;

export class FaultPanel {
  /** The faults since the page was loaded, the last ERROR_LIMIT of them. */
  errors = [];
  #panel = byId("fault");
  #fault = null;
  #retryAtMs = null;
  #clock = null;

  /** `onRetry(fault)`: the caller wants to try again. */
  constructor(onRetry) {
    byId("retry").addEventListener("click", () => {
      byId("talk").focus(); // the retry button is about to disappear, and focus must not go with it
      onRetry(this.#fault);
    });
  }

  show(fault) {
    this.#fault = fault;
    this.errors.push(fault);
    if (this.errors.length > ERROR_LIMIT) this.errors.shift();
    this.#panel.hidden = false;
    setText(byId("error-title"), fault.title);
    setText(byId("error-detail"), fault.detail);
    this.#retryAtMs = fault.retryAfterS === null ? null : Date.now() + fault.retryAfterS * 1000;
    clearInterval(this.#clock);
    if (this.#retryAtMs !== null) this.#clock = setInterval(() => this.#showWait(), CLOCK_EVERY_MS);
    this.#showWait();
  }

  clear() {
    this.#fault = null;
    clearInterval(this.#clock);
    this.#panel.hidden = true;
    for (const id of ["error-title", "error-detail", "retry-when"]) setText(byId(id), "");
  }

  /** The wait the server asked for, counted down; afterwards the button is the obvious next step. */
  #showWait() {
    const waitS = this.#retryAtMs === null ? null : Math.ceil((this.#retryAtMs - Date.now()) / 1000);
    if (waitS !== null && waitS <= 0) clearInterval(this.#clock);
    this.#panel.classList.toggle("waiting", waitS > 0);
    setText(byId("retry-when"), waitText(waitS));
  }
}

function waitText(waitS) {
  if (waitS === null) return "";
  if (waitS <= 0) return "You can try again now.";
  return waitS < 120 ? `The server asks to wait ${waitS} s.` : `The server asks to wait ${Math.ceil(waitS / 60)} min.`;
}
