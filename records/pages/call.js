// The page of one call: the diagnosis on top, the clock, then turns, words, network and facts.

import { Clock } from "./clock.js";
import { byId, duration, make, moment, offset, setText, share, wholeMs } from "./page.js";
import { markTurn, showTranscript } from "./transcript.js";
import { Turns } from "./turns.js";

const KNOWN_BY = {
  ended: "The end of the call says so.",
  said: "The process that saw it wrote it down.",
  measured: "A figure is beyond its threshold.",
  circumstance: "It was so at the same time.",
};

export class CallPage {
  #told = null;
  #clock = new Clock((number) => this.#turns.choose(number));
  #turns = new Turns((number) => {
    markTurn(number);
    this.#clock.show(this.#told, number);
  });

  /** Show what was read of a call. */
  show(told) {
    if (this.#told?.call.call_id !== told.call.call_id) this.#turns.forget();
    this.#told = told;
    const { call, story } = told;
    document.title = `${call.call_id} · Trunkline calls`;
    setText(byId("call-id"), call.call_id);
    setText(byId("call-when"), `${moment(story.began_us)} UTC, ${duration(story.lasted_s)}`);
    showDiagnosis(story);
    this.#turns.show(story.turns, story.began_us);
    this.#clock.show(told, this.#turns.chosen);
    showTranscript(told, (number) => this.#turns.choose(number));
    markTurn(this.#turns.chosen);
    byId("media").replaceChildren(...mediaRows(story.media));
    byId("facts").replaceChildren(...factsOf(told).flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value || "–")]));
  }

  get isLive() {
    return this.#told?.call.state === "live";
  }
}

function showDiagnosis({ diagnosis, ending, began_us: beganUs, state }) {
  const well = diagnosis.cause === "nothing_wrong";
  byId("diagnosis").dataset.verdict = well ? "well" : "trouble";
  byId("diagnosis").dataset.cause = diagnosis.cause;
  setText(byId("diagnosis-title"), diagnosis.title);
  setText(byId("diagnosis-sentence"), well ? diagnosis.sentence : `${diagnosis.sentence} ${KNOWN_BY[diagnosis.known_by] ?? ""}`);
  byId("evidence").replaceChildren(...diagnosis.evidence.map((one) => make(
    "li", "", make("span", "at", offset((one.wall_us - beganUs) / 1e6)), make("span", "words", one.words), make("span", "source", `${one.source} #${one.number}`),
  )));
  const beside = [["Also", diagnosis.also], ["It follows", diagnosis.follows]].filter(([, found]) => found.length);
  byId("beside").replaceChildren(...beside.flatMap(([name, found]) => [make("span", "name", name), ...found.map((one) => {
    const chip = make("span", "chip", one.title);
    chip.title = one.sentence;
    return chip;
  })]));
  byId("ending").replaceChildren(make("span", state === "live" ? "chip live" : "chip", state), ` ${ending.words}`);
}

const COLUMNS = [
  ["Packets", (one) => one.packets.toLocaleString("en")],
  ["Lost", (one) => share(one.lost_share)],
  ["Worst 10 s", (one) => share(one.worst_lost_share)],
  ["Late", (one) => String(one.late)],
  ["Concealed, ms", (one) => wholeMs(one.concealed_ms)],
  ["Jitter, ms", (one) => wholeMs(one.jitter_ms)],
  ["Round trip, ms", (one) => wholeMs(one.round_trip_ms)],
  ["Longest silence, ms", (one) => wholeMs(one.longest_silence_ms)],
  ["Level, dBov", (one) => (one.level_dbov === null ? "–" : one.level_dbov.toFixed(0))],
  ["Gaps", (one) => String(one.gaps)],
  ["Longest gap, ms", (one) => wholeMs(one.longest_gap_ms || null)],
];

/** Figures down, the two directions across: it fits a telephone. */
function mediaRows(lines) {
  const head = make("tr", "", make("td"), ...lines.map(({ direction }) => {
    const cell = make("th", "number", direction === "from_caller" ? "From the caller" : "To the caller");
    cell.scope = "col";
    return cell;
  }));
  const rows = COLUMNS.map(([name, of]) => {
    const label = make("th", "", name);
    label.scope = "row";
    return make("tr", "", label, ...lines.map((one) => make("td", "number", of(one))));
  });
  return [make("thead", "", head), make("tbody", "", ...rows)];
}

function factsOf({ call, story }) {
  const { head } = story;
  const { setup } = head;
  const moves = story.moves.map((one) => `${one.kind} from ${one.from_node} to ${one.to_node}${one.gap_ms ? `, gap ${wholeMs(one.gap_ms)} ms` : ""}`);
  const used = story.usage.flatMap(({ amounts }) => Object.entries(amounts).map(([kind, amount]) => `${wholeMs(amount)} ${kind.replaceAll("_", " ")}`));
  const joined = (...parts) => parts.filter(Boolean).join(", ");
  return [
    ["Whose", joined(head.tenant, head.key_id, head.secret_id)],
    ["Where", joined(head.region, head.nodes.length ? `node ${head.nodes.join(" → ")}` : "", head.network)],
    ["Moves", moves.join("; ") || "none"],
    ["Backend", joined(head.backend, head.backend_build)],
    ["Model", joined(head.model, head.voice)],
    ["Prompt", joined(head.prompt_id ? `${head.prompt_id}@${head.prompt_version}` : "", head.instructions_sha256.slice(0, 12))],
    ["Tools", head.tools.join(", ") || "none"],
    ["Set up", [["answered", setup.answered_ms], ["check", setup.first_check_ms], ["DTLS", setup.dtls_connected_ms], ["connected", setup.connected_ms]]
      .map(([name, ms]) => `${name} ${wholeMs(ms)}`).join(", ") + " ms"],
    ["Consent", head.recording_consent === null ? "not asked" : head.recording_consent ? "to recording" : "withdrawn"],
    ["Used", used.join(", ")],
    ["Record", `${story.events} events${call.holes ? `, ${call.holes} missing` : ""}${call.erased_us ? ", words erased" : ""}`],
  ];
}
