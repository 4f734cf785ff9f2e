// The list of calls: filters, rows, page by page. It reads itself anew while somebody looks at its first page.

import { get } from "./api.js";
import { filtersIn, NAMES, queryOf, searchOf } from "./filters.js";
import { byId, duration, make, moment, setText, share, wholeMs } from "./page.js";

const LIMIT = 50;
const END_WORDS = {
  client_closed: "caller", hangup: "backend", timeout: "silence", failed: "failure", lost: "died",
  budget: "budget", operator: "operator", drained: "drain", refused: "refused",
};
const BAD_ENDS = ["timeout", "failed", "lost", "budget", "refused", "drained"];
const POOR_SHARE = 0.03; // as the diagnosis has it

export class CallList {
  #form = byId("filters");
  #rows = byId("calls");
  #cursor = null;
  #pages = 0;

  constructor(openPath, onFault) {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      openPath(`/${searchOf(this.#given())}`);
    });
    this.#form.addEventListener("reset", () => setTimeout(() => openPath("/"), 0));
    byId("more").addEventListener("click", () => this.#read(this.#cursor).catch(onFault));
  }

  /** Show the calls that the address asks for. */
  async open() {
    const filters = filtersIn(location.search);
    for (const name of NAMES) this.#form.elements[name].value = filters[name] ?? "";
    await this.#read(null);
  }

  /** What changed meanwhile, unless somebody is further down. */
  async refresh() {
    if (this.#pages === 1) await this.#read(null);
  }

  #given() {
    return Object.fromEntries(new FormData(this.#form));
  }

  async #read(cursor) {
    const filters = filtersIn(location.search);
    const query = queryOf(filters, Date.now());
    const page = await get(`/v1/calls?limit=${LIMIT}${query && `&${query}`}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
    const rows = page.calls.map(rowOf);
    if (cursor) this.#rows.append(...rows);
    else this.#rows.replaceChildren(...rows);
    this.#pages = cursor ? this.#pages + 1 : 1;
    this.#cursor = page.next_cursor;
    this.#tell(filters);
  }

  #tell(filters) {
    const shown = this.#rows.childElementCount;
    const filtered = Object.keys(filters).length > 0;
    byId("more").hidden = this.#cursor === null;
    byId("calls-table").hidden = shown === 0;
    byId("no-calls").hidden = shown > 0;
    setText(byId("no-calls"), filtered
      ? "No call matches these filters. Clear them to see every call."
      : "No call is recorded yet. Each call appears here as soon as it is placed, with what was said, how it sounded, and where the time of each turn went.");
    setText(byId("count"), shown === 0 ? "" : `${shown}${this.#cursor ? " newest" : ""}${filtered ? " that match" : ""}`);
  }
}

function rowOf(call) {
  const link = make("a", "id", call.call_id);
  link.href = `/calls/${encodeURIComponent(call.call_id)}`;
  const sent = call.packets_from_caller + call.lost_from_caller;
  const lost = sent ? call.lost_from_caller / sent : null;
  const row = make(
    "tr", "",
    cell("", link), cell("Began", moment(call.first_us)), cell("Lasted", duration(call.lasted_s ?? (call.last_us - call.first_us) / 1e6), "number"),
    cell("End", endOf(call)), cell("Model", call.model ?? ""), cell("Prompt", promptOf(call)),
    cell("Turns", String(call.turns ?? 0), "number"), cell("Answer p95", call.v2v_p95_ms === null ? "–" : `${wholeMs(call.v2v_p95_ms)} ms`, "number"),
    cell("Lost in", share(lost), "number"), cell("Trouble", troubleOf(call, lost)),
  );
  row.dataset.callId = call.call_id;
  return row;
}

function cell(label, content, className = "") {
  const made = make("td", className, ...[content].flat());
  if (label) made.dataset.label = label;
  return made;
}

function endOf(call) {
  if (call.state === "live") return make("span", "chip live", "live");
  const bad = BAD_ENDS.includes(call.end_reason);
  return make("span", bad ? "chip bad" : "chip", END_WORDS[call.end_reason] ?? call.end_reason ?? "?");
}

function promptOf(call) {
  return call.prompt_id ? `${call.prompt_id}${call.prompt_version ? `@${call.prompt_version}` : ""}` : "";
}

/** What a row alone says; the cause is on the page of the call. */
function troubleOf(call, lost) {
  const found = [
    [call.turns_failed, "turn failed", "turns failed"], [call.tools_failed, "tool failed", "tools failed"],
    [call.model_faults, "model fault", "model faults"], [call.moves, "move", "moves"],
    [call.faults, "fault", "faults"], [call.holes, "event missing", "events missing"],
  ].filter(([count]) => count > 0).map(([count, one, several]) => `${count} ${count === 1 ? one : several}`);
  if (lost !== null && lost >= POOR_SHARE) found.push("packets lost");
  return found.map((words) => make("span", "chip bad", words));
}
