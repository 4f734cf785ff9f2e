// What was said, out of the events of the data channel (docs/realtime.md). Pure: events and `nowMs` in,
// entries out.
//
//   kind    "user" | "agent" | "tool" | "note" | "data"
//   text    all words known so far; isFinal: no more will come
//   spoken  of an agent's words: how many characters have been heard, estimated while the sound plays
//   isCut   the caller broke in; `spoken` is then what the server says was heard, and heardMs how long
//
// And in which phase the conversation is: "listening" | "hearing" | "thinking" | "speaking" | "interrupted",
// null as long as nobody spoke Realtime.

const ENTRY_LIMIT = 200;
const RESPONSE_LIMIT = 20;
const TEXT_LIMIT = 8_000;
const USUAL_MS_PER_CHAR = 62; // of a voice at an easy pace, until one was heard to its end
const [QUICKEST_MS_PER_CHAR, SLOWEST_MS_PER_CHAR] = [25, 150];
const MEASURABLE_CHARS = 20;
/** Event ids of what the page sends by itself: an error about them is nobody's business. */
export const OWN_EVENT_ID = "console_";

export class Conversation {
  entries = [];
  phase = null;
  /** The ids of the response that is made, and of the one that is heard; "" for none. */
  active = "";
  playing = "";
  #talking = false;
  #byItem = new Map();
  #responses = new Map();
  #msPerChar = USUAL_MS_PER_CHAR;
  #changed = new Set();

  get isRealtime() {
    return this.phase !== null;
  }

  /** Take one event; the entries that it made or changed. Whatever an event lacks is left out. */
  take(event, nowMs) {
    HANDLERS[event.type]?.call(this, event, nowMs);
    return this.#drain();
  }

  /** Time went on while sound plays: the entries of which more has been heard. */
  tick(nowMs) {
    const response = this.#responses.get(this.playing);
    if (response?.startedMs != null) this.#progress(response, nowMs);
    return this.#drain();
  }

  /** Something that is not an event of Realtime: what an echo sends back, and what went to it. */
  data(text, isSent) {
    this.#add({ kind: "data", isSent, text: clipped(text), isFinal: true });
    return this.#drain();
  }

  /** The first thing a response said, where what is known of its turn belongs. */
  entryOf(responseId) {
    return this.entries.find((entry) => entry.kind === "agent" && entry.responseId === responseId) ?? null;
  }

  /** When the first sound (or word) of a response came, in ms on the page's clock; null: none so far. */
  firstHeardMs(responseId) {
    return this.#responses.get(responseId)?.startedMs ?? null;
  }

  // What the handlers are made of.

  userSpeaks(itemId) {
    this.#talking = true;
    this.phase = this.playing || this.active ? "interrupted" : "hearing";
    this.#item(itemId, "user");
  }

  userStops() {
    this.#talking = false;
    this.phase = "thinking";
  }

  userSaid(itemId, change) {
    const entry = this.#item(itemId, "user");
    if (entry) this.#change(entry, change(entry));
    if (entry?.isFinal && !entry.text && this.phase === "thinking" && !this.active) this.phase = "listening";
  }

  itemAdded(item) {
    if (item.type === "function_call_output") return this.#toolAnswered(item);
    const typed = item.role === "user" && item.content?.find?.((part) => part?.type === "input_text");
    if (!typed) return;
    const entry = this.#item(item.id, "user");
    if (entry) this.#change(entry, { text: clipped(string(typed.text)), isFinal: true, isTyped: true });
  }

  outputAdded(responseId, item) {
    const kind = item.type === "function_call" ? "tool" : "agent";
    const entry = this.#item(item.id, kind);
    if (entry) this.#change(entry, { responseId, name: item.name ?? "", callId: item.call_id ?? "" });
  }

  agentSays(event, nowMs, isWritten) {
    const entry = this.#byItem.get(event.item_id);
    const delta = string(event.delta);
    if (!entry || entry.text.length + delta.length > TEXT_LIMIT) return;
    this.#change(entry, { text: entry.text + delta, spoken: isWritten ? entry.text.length + delta.length : entry.spoken });
    const response = this.#response(event.response_id);
    if (isWritten) response.startedMs ??= nowMs;
    else response.clauses.push({ entry, chars: delta.length, atMs: nowMs });
  }

  agentDone(event) {
    const entry = this.#byItem.get(event.item_id);
    if (entry) this.#change(entry, { isFinal: true });
  }

  toolAsked(event) {
    const entry = this.#byItem.get(event.item_id);
    if (entry) this.#change(entry, { text: clipped(string(event.arguments)), isFinal: true });
  }

  responseBegan(responseId) {
    this.active = responseId;
    this.#response(responseId);
    if (!this.#talking && this.phase !== "speaking") this.phase = "thinking";
  }

  responseEnded(response) {
    this.active = "";
    if (!this.playing && !this.#talking) this.phase = "listening";
    const error = response.status_details?.error;
    if (response.status === "failed") this.note(`The answer failed: ${string(error?.code) || "no reason given"}.`, true);
  }

  soundBegan(responseId, nowMs) {
    this.playing = responseId;
    this.#response(responseId).startedMs ??= nowMs;
    if (!this.#talking) this.phase = "speaking";
  }

  soundEnded(responseId, nowMs, isCleared) {
    const response = this.#response(responseId);
    this.#progress(response, nowMs);
    if (!isCleared) this.#heardAll(response, nowMs);
    if (this.playing === responseId) this.playing = "";
    if (this.#talking) this.phase = isCleared ? "interrupted" : "hearing";
    else if (this.phase !== "thinking") this.phase = this.active ? "thinking" : "listening";
  }

  /** A while after the sound was cleared: what was not said to be cut had been heard by then. */
  settle(responseId) {
    for (const { entry } of this.#responses.get(responseId)?.clauses ?? []) this.#heardWhole(entry);
    return this.#drain();
  }

  truncated(itemId, heardMs) {
    const entry = this.#byItem.get(itemId);
    if (entry) this.#change(entry, { isCut: true, heardMs });
  }

  /** What is left of an item is what was heard of it. */
  retrieved(item) {
    const entry = this.#byItem.get(item.id);
    const heard = item.content?.[0]?.transcript;
    if (!entry?.isCut || typeof heard !== "string" || !entry.text.startsWith(heard)) return;
    this.#change(entry, { spoken: heard.length });
  }

  note(text, isError = false) {
    this.#add({ kind: "note", text: clipped(text), isError, isFinal: true });
  }

  // Entries and responses, both bounded.

  #item(itemId, kind) {
    if (typeof itemId !== "string") return null;
    const known = this.#byItem.get(itemId);
    if (known) return known;
    const entry = this.#add({ kind, itemId });
    this.#byItem.set(itemId, entry);
    return entry;
  }

  #add(members) {
    const entry = { text: "", isFinal: false, spoken: 0, isCut: false, heardMs: null, turn: null, ...members };
    this.entries.push(entry);
    if (this.entries.length > ENTRY_LIMIT) this.#byItem.delete(this.entries.shift().itemId);
    this.#changed.add(entry);
    return entry;
  }

  #change(entry, members) {
    Object.assign(entry, members);
    this.#changed.add(entry);
  }

  #drain() {
    const changed = [...this.#changed];
    this.#changed.clear();
    return changed;
  }

  #response(responseId) {
    if (!this.#responses.has(responseId)) this.#responses.set(responseId, { clauses: [], startedMs: null });
    if (this.#responses.size > RESPONSE_LIMIT) this.#responses.delete(this.#responses.keys().next().value);
    return this.#responses.get(responseId);
  }

  #toolAnswered(item) {
    const asked = this.entries.findLast((entry) => entry.kind === "tool" && entry.callId === item.call_id);
    if (asked) this.#change(asked, { output: clipped(string(item.output)) });
  }

  #progress(response, nowMs) {
    const spoken = spokenChars(response.clauses, response.startedMs, nowMs, this.#msPerChar);
    for (const [entry, chars] of spoken) {
      const upTo = wordEnd(entry.text, chars);
      if (!entry.isCut && upTo > entry.spoken) this.#change(entry, { spoken: upTo });
    }
  }

  #heardWhole(entry) {
    if (!entry.isCut && entry.spoken < entry.text.length) this.#change(entry, { spoken: entry.text.length });
  }

  /** All of it was heard; how long it took is how fast this voice speaks. */
  #heardAll(response, nowMs) {
    for (const { entry } of response.clauses) this.#heardWhole(entry);
    const chars = response.clauses.reduce((sum, clause) => sum + clause.chars, 0);
    if (chars < MEASURABLE_CHARS) return;
    const pace = (nowMs - response.startedMs) / chars;
    this.#msPerChar = Math.min(SLOWEST_MS_PER_CHAR, Math.max(QUICKEST_MS_PER_CHAR, pace));
  }
}

/**
 * How many characters of each entry have been heard by `nowMs`, as a Map. A clause begins when the one
 * before has ended, and not before its words came.
 */
export function spokenChars(clauses, startedMs, nowMs, msPerChar) {
  const spoken = new Map();
  let endMs = startedMs;
  for (const { entry, chars, atMs } of clauses) {
    const beginMs = Math.max(endMs, atMs);
    endMs = beginMs + chars * msPerChar;
    const heard = Math.min(chars, Math.max(0, (nowMs - beginMs) / msPerChar));
    spoken.set(entry, (spoken.get(entry) ?? 0) + heard);
  }
  return spoken;
}

/** `chars` without the part of a word at its end. */
function wordEnd(text, chars) {
  if (chars >= text.length) return text.length;
  return Math.max(0, text.lastIndexOf(" ", Math.floor(chars)));
}

const string = (value) => (typeof value === "string" ? value : "");
const clipped = (text) => (text.length > TEXT_LIMIT ? `${text.slice(0, TEXT_LIMIT)}…` : text);

const TRANSCRIPTION = "conversation.item.input_audio_transcription";

const HANDLERS = {
  __proto__: null, // an event's type may be any word, `constructor` too
  "session.created"() { this.phase ??= "listening"; },
  "input_audio_buffer.speech_started"({ item_id: id }) { this.userSpeaks(id); },
  "input_audio_buffer.speech_stopped"() { this.userStops(); },
  "input_audio_buffer.committed"() { this.userStops(); },
  [`${TRANSCRIPTION}.delta`]({ item_id: id, delta }) {
    this.userSaid(id, (entry) => ({ text: clipped(entry.text + string(delta)) }));
  },
  [`${TRANSCRIPTION}.completed`]({ item_id: id, transcript }) {
    this.userSaid(id, () => ({ text: clipped(string(transcript).trim()), isFinal: true }));
  },
  [`${TRANSCRIPTION}.failed`]({ item_id: id, error }) {
    this.userSaid(id, () => ({ isFinal: true, failed: string(error?.code) || "failed" }));
  },
  "conversation.item.added"({ item }) { if (item) this.itemAdded(item); },
  "conversation.item.truncated"({ item_id: id, audio_end_ms: heardMs }) { this.truncated(id, heardMs); },
  "conversation.item.retrieved"({ item }) { if (item) this.retrieved(item); },
  "response.created"({ response }) { this.responseBegan(string(response?.id)); },
  "response.output_item.added"({ response_id: id, item }) { if (item) this.outputAdded(id, item); },
  "response.output_audio_transcript.delta"(event, nowMs) { this.agentSays(event, nowMs, false); },
  "response.output_audio_transcript.done"(event) { this.agentDone(event); },
  "response.output_text.delta"(event, nowMs) { this.agentSays(event, nowMs, true); },
  "response.output_text.done"(event) { this.agentDone(event); },
  "response.function_call_arguments.done"(event) { this.toolAsked(event); },
  "response.done"({ response }) { if (response) this.responseEnded(response); },
  "output_audio_buffer.started"({ response_id: id }, nowMs) { this.soundBegan(string(id), nowMs); },
  "output_audio_buffer.stopped"({ response_id: id }, nowMs) { this.soundEnded(string(id), nowMs, false); },
  "output_audio_buffer.cleared"({ response_id: id }, nowMs) { this.soundEnded(string(id), nowMs, true); },
  error({ error }) {
    if (string(error?.event_id).startsWith(OWN_EVENT_ID)) return;
    this.note(string(error?.message) || "The server reported an error without a message.", true);
  },
};
