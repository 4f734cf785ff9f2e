// The turns of a call, out of `trunkline.turn` events (backends/agent/stages.py). Pure.
//
// A turn is told when its answer begins to leave, and once more when it is over; the number is the same.
//
//   your last sound ─ network in ─▶ voiced ─▶ … ─▶ out ─ network out ─▶ the first sound of the answer
//   0                               stages_ms count from here
//
// Everything here counts from the caller's last sound, so the stages are moved by the network's way in.

/** What people notice: the line every turn is held against. */
export const LINE_MS = 300;
const TURN_LIMIT = 50;
const TOTAL_LIMIT = 1000;

const STAGES = ["ended", "heard", "first_words", "tool_started", "tool_ended", "first_sound", "sent", "out"];

/** A turn as the page keeps it; what an event lacks, or has wrongly, is null. */
export function readTurn(event) {
  const stages = {};
  for (const name of STAGES) stages[name] = figure(event.stages_ms?.[name]);
  return {
    number: figure(event.turn),
    itemId: text(event.item_id),
    responseId: text(event.response_id),
    stages,
    isSpeculative: event.speculative === true,
    discarded: figure(event.discarded) ?? 0,
    tools: Array.isArray(event.tools) ? event.tools.slice(0, 8).map(text).filter(Boolean) : [],
    isInterrupted: event.interrupted === true,
    failed: text(event.failed),
    isFinal: event.final !== false, // nothing more will be told of it
    network: legs(event.network), // as the server sees it: round trip, wait in its receive buffer
    client: legs(null), // as this browser sees it
    silentAfterMs: null, // when interrupted: from the caller's voice to silence in this browser
    answeredMs: null, // of a typed turn: from Send to the first sound or word
  };
}

/** The ways in and out of a turn: half a round trip each, and the buffer at its end. */
export function networkOf(turn) {
  const roundTripMs = turn.client.rttMs ?? turn.network.rttMs;
  const half = roundTripMs === null ? 0 : roundTripMs / 2;
  return {
    roundTripMs,
    inMs: half + (turn.network.jitterBufferMs ?? 0),
    outMs: half + (turn.client.jitterBufferMs ?? 0),
  };
}

/** From the caller's last sound to the first of the answer; null when there was none to measure. */
export function voiceToVoiceMs(turn) {
  if (turn.stages.out === null) return null;
  const { inMs, outMs } = networkOf(turn);
  return inMs + turn.stages.out + outMs;
}

/** How long the tools of a turn took; null for none, or none that ended. */
export function toolMs({ stages }) {
  if (stages.tool_started === null || stages.tool_ended === null) return null;
  return stages.tool_ended - stages.tool_started;
}

/** The turns of one call: the latest in full, the times of a thousand for the median. */
export class Turns {
  list = [];
  count = 0;
  #totals = new Map();

  /** Take a turn as it was told: a new one, or more of one that is there. The turn as it is kept. */
  take(told) {
    const known = told.number === null ? undefined : this.list.findLast(({ number }) => number === told.number);
    if (known) renew(known, told);
    else this.#add(told);
    this.note(known ?? told);
    return known ?? told;
  }

  #add(turn) {
    this.list.push(turn);
    this.count += 1;
    if (this.list.length > TURN_LIMIT) this.list.shift();
  }

  /** A turn's time became known, or better known. */
  note(turn) {
    const totalMs = voiceToVoiceMs(turn);
    if (totalMs === null || turn.failed) this.#totals.delete(turn); // an apology is quick, and no answer
    else this.#totals.set(turn, totalMs);
    if (this.#totals.size > TOTAL_LIMIT) this.#totals.delete(this.#totals.keys().next().value);
  }

  get measured() {
    return this.#totals.size;
  }

  /** The median of what was measured, in ms; null before the first. */
  get p50Ms() {
    return median([...this.#totals.values()]);
  }

  ofResponse(responseId) {
    return this.list.findLast((turn) => turn.responseId && turn.responseId === responseId) ?? null;
  }
}

export function median(values) {
  if (values.length === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** What the server knows now, in the place of what it knew; what this browser saw stays. */
function renew(turn, told) {
  const { client, silentAfterMs, answeredMs } = turn;
  const isInterrupted = turn.isInterrupted || told.isInterrupted;
  Object.assign(turn, told, { client, silentAfterMs, answeredMs, isInterrupted });
}

function legs(members) {
  return { rttMs: figure(members?.rtt_ms), jitterBufferMs: figure(members?.jitter_buffer_ms) };
}

function figure(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

function text(value) {
  return typeof value === "string" ? value.slice(0, 200) : "";
}
