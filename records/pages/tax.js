// The Plumbing Tax: what calls cost by layer, in money and milliseconds, beside what the same minutes cost rented.

import { get } from "./api.js";
import { byId, make, setText, wholeMs } from "./page.js";

const NAMES = ["from", "to", "key", "prompt", "call", "by"];
const LAYERS = {
  transport: "Transport", latency_engineering: "Latency engineering", scaling: "Scaling",
  observability: "Observability", model: "Model",
};
const DIVISIONS = { day: "Day", key: "Key", prompt: "Prompt" };
const NONE = "–";

export class TaxPage {
  #form = byId("tax-filters");

  constructor(openPath) {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      openPath(`/tax${searchOf(Object.fromEntries(new FormData(this.#form)))}`);
    });
    this.#form.addEventListener("reset", () => setTimeout(() => openPath("/tax"), 0));
  }

  /** Read the report that the address asks for; what comes back shows it. */
  async read() {
    const given = new URLSearchParams(location.search);
    const asked = Object.fromEntries(NAMES.filter((name) => given.get(name)).map((name) => [name, given.get(name)]));
    const report = await get(`/v1/tax${searchOf(asked)}`);
    return () => this.#show(report, asked);
  }

  #show(report, asked) {
    for (const name of NAMES) this.#form.elements[name].value = asked[name] ?? (name === "by" ? "day" : "");
    const { bill } = report;
    byId("tax-report").hidden = report.calls === 0;
    byId("no-tax").hidden = report.calls > 0;
    setText(byId("no-tax"), Object.keys(asked).some((name) => name !== "by")
      ? "No call matches. Clear the fields to see what every call cost."
      : "No call is recorded yet. Once there is one, this page shows what it cost by layer, in money and in milliseconds of its answers, and what the same minutes cost rented.");
    setText(byId("tax-count"), report.calls === 0 ? "" : countOf(report));
    if (report.calls === 0) return;
    this.#showLayers(bill);
    fill("tax-shares", [DIVISIONS[report.by], "Calls", "Minutes", "Plumbing", "Model", "Paid"], report.shares.map((one) => [
      one.name || "none", one.calls.toLocaleString("en"), minutes(one.minutes), money(one.plumbing), money(one.model), money(one.paid),
    ]));
    fill("tax-lines", ["Line", "Amount", "List", "Paid"], bill.lines.map((one) => [
      `${LAYERS[one.layer]}: ${one.what}`, one.known === "not_measured" ? NONE : `${amount(one.amount)} ${one.unit}`, money(one.list), money(one.paid),
    ]));
    byId("tax-rented").replaceChildren(...report.rented.map((one) => offer(one, bill.currency)));
    byId("tax-unknown").replaceChildren(...bill.not_known.map((words) => make("li", "", words)));
    byId("tax-unknown-part").hidden = bill.not_known.length === 0;
  }

  #showLayers(bill) {
    const whole = Number(bill.paid);
    const rows = bill.layers.map((one) => {
      const part = make("span", "part", make("i"));
      part.style.setProperty("--length", whole ? Number(one.paid) / whole : 0);
      const name = make("th", "", LAYERS[one.layer], make("small", "", one.says));
      name.scope = "row";
      const row = make("tr", "", name, shareCell(part), cell("List", money(one.priced ? one.list : null)), cell("Paid", money(one.priced ? one.paid : null)), cell("Ms an answer", timeOf(one)));
      row.dataset.layer = one.layer;
      return row;
    });
    if (bill.unexplained_ms) rows.push(make("tr", "", head("Not explained"), shareCell(""), cell("", ""), cell("", ""), cell("Ms an answer", wholeMs(bill.unexplained_ms))));
    const sum = make("tr", "sum", head(`Bill, ${bill.currency}`), shareCell(""), cell("List", money(bill.list)), cell("Paid", money(bill.paid)), cell("Ms an answer", wholeMs(bill.answer_ms)));
    byId("tax-layers").replaceChildren(...rows, sum);
  }
}

function searchOf(fields) {
  const kept = Object.entries(fields).filter(([name, value]) => value && !(name === "by" && value === "day"));
  const search = new URLSearchParams(kept).toString();
  return search ? `?${search}` : "";
}

function countOf(report) {
  const calls = `${report.calls.toLocaleString("en")}${report.more ? " newest" : ""} ${report.calls === 1 ? "call" : "calls"}`;
  return `${calls}, ${minutes(report.bill.minutes)} minutes, ${report.bill.answers.toLocaleString("en")} answers`;
}

function timeOf(layer) {
  const silence = layer.silence_ms ? ` (moves: ${wholeMs(layer.silence_ms)} ms of silence)` : "";
  return `${wholeMs(layer.ms_per_answer)}${silence}`;
}

function fill(id, titles, rows) {
  const heads = titles.map((title, place) => make("th", place ? "number" : "", title));
  for (const one of heads) one.scope = "col";
  const made = rows.map((row) => make("tr", "", ...row.map((text, place) => (place ? cell(titles[place], text) : head(text)))));
  byId(id).replaceChildren(make("thead", "", make("tr", "", ...heads)), make("tbody", "", ...made));
}

function offer(one, currency) {
  const link = make("a", "", one.source.replace(/^https?:\/\//, ""));
  if (/^https?:\/\//.test(one.source)) Object.assign(link, { href: one.source, rel: "noreferrer" });
  const part = one.with_model ? "with the model" : "plumbing only";
  const figures = one.rented === null
    ? "no figure"
    : `${money(one.per_minute)} a minute: ${money(one.rented)} ${currency}, ours ${money(one.ours)}`;
  return make(
    "li", "",
    make("p", "", make("strong", "", one.name), ` ${part}`), make("p", "figures", figures),
    make("p", "soft", `${one.break_even} ${one.note}`), make("p", "soft", `${one.as_of}, `, link),
  );
}

function shareCell(content) {
  return make("td", "share", content);
}

function head(text) {
  const made = make("th", "", text);
  made.scope = "row";
  return made;
}

function cell(label, content) {
  const made = make("td", "number", content);
  made.dataset.label = label;
  return made;
}

const minutes = (value) => value.toLocaleString("en", { maximumFractionDigits: 1 });
const amount = (value) => Number(value).toLocaleString("en", { maximumSignificantDigits: 6 });

/** Money comes as a string, so that nothing is rounded on the way; here it is shown with four digits or more. */
function money(value) {
  if (value === null) return NONE;
  const figure = Number(value);
  if (figure === 0 || figure >= 1) return figure.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  return figure >= 0.001 ? figure.toFixed(4) : figure.toLocaleString("en", { maximumSignificantDigits: 2, maximumFractionDigits: 12 });
}
