// What one call's data channel brings, to the views: transcript, waterfall, history. One a call.
//
// The page says three things by itself: what was left of an answer that was cut (the server knows, the page
// would guess), how the network looked from here (once a turn), and that it wants the caller's words.

import { Conversation, OWN_EVENT_ID } from "./conversation.js";
import { Reaction } from "./reaction.js";
import { readTurn, Turns } from "./turns.js";
import { Typed } from "./typed.js";

const SETTLE_MS = 500; // after a cut, until the last of the sound has certainly left the speaker
const RAW_LIMIT = 64 * 1024;

export class Dialogue {
  conversation = new Conversation();
  turns = new Turns();
  typed;
  #call;
  #views;
  #reaction = new Reaction();
  #shown = null; // the turn in the waterfall
  #isFollowing = true; // it is the latest one
  #spokeMs = -Infinity; // when the server last said that the caller speaks
  #asked = new Map(); // response → when its words were sent
  #mayReport = true;
  #timers = new Set();

  /** `call`: { sendEvent, sendText, legs }. `views`: { transcript, waterfall, history, onPhase, onFollow, onCut }. */
  constructor(call, views) {
    this.#call = call;
    this.#views = views;
    this.typed = new Typed(this.conversation, (event) => call.sendEvent(event));
  }

  /** Something came by the data channel: an event, or what an echo sent back. */
  receive(data, nowMs) {
    const event = typeof data === "string" ? eventIn(data) : null;
    if (event === null) this.#show(this.conversation.data(shownData(data), false));
    else this.#take(event, nowMs);
  }

  /** What the caller typed: words for an agent; as it is for anything else, and for a JSON event. */
  say(text, nowMs) {
    if (!this.conversation.isRealtime) return this.#call.sendText(text) && this.#show(this.conversation.data(text, true));
    const event = text.startsWith("{") ? eventIn(text) : null;
    return event === null ? this.typed.say(text, nowMs) : this.#call.sendEvent(event);
  }

  /** A frame of the display went by. */
  frame(nowMs, sentDbfs, receivedDbfs) {
    this.#reaction.add(nowMs, sentDbfs, receivedDbfs);
    this.#views.transcript.show(this.conversation.tick(nowMs));
    this.typed.poll(nowMs);
  }

  /** Show a turn in the waterfall, and stay there until the latest is shown again. */
  select(turn) {
    this.#isFollowing = turn === this.turns.list.at(-1);
    this.#showTurn(turn);
  }

  get latest() {
    return this.turns.list.at(-1) ?? null;
  }

  get isFollowing() {
    return this.#isFollowing;
  }

  /** The call is over: nothing more will be found out. */
  close() {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  #take(event, nowMs) {
    const changed = this.conversation.take(event, nowMs);
    OWN[event.type]?.call(this, event, nowMs);
    this.#show(changed);
    this.typed.poll(nowMs);
    this.#views.onPhase(this.conversation.phase);
  }

  #show(entries) {
    this.#views.transcript.show(entries);
    return true;
  }

  opened(event) {
    const input = event.session?.audio?.input;
    if (!input || input.transcription) return;
    // Without it a session says nothing of what it heard; the model's name is the API's own.
    const session = { type: "realtime", audio: { input: { transcription: { model: "whisper-1" } } } };
    this.#call.sendEvent({ type: "session.update", event_id: `${OWN_EVENT_ID}transcription`, session });
  }

  userSpeaks(nowMs) {
    this.#spokeMs = nowMs;
  }

  responseBegan(responseId) {
    if (this.typed.askedMs === null || typeof responseId !== "string") return;
    this.#asked.set(responseId, this.typed.askedMs);
    this.typed.askedMs = null;
    if (this.#asked.size > 20) this.#asked.delete(this.#asked.keys().next().value);
  }

  cleared(responseId) {
    const isSpokenOver = this.conversation.phase === "interrupted";
    if (isSpokenOver) this.#views.onCut();
    const spokeMs = this.#spokeMs;
    this.#later(SETTLE_MS, () => this.#settle(responseId, isSpokenOver ? spokeMs : null));
  }

  /** The sound has ended: how soon after the caller's voice, as heard here. */
  #settle(responseId, spokeMs) {
    this.#show(this.conversation.settle(responseId));
    const turn = this.turns.ofResponse(responseId);
    if (!turn) return;
    turn.isInterrupted = true;
    if (spokeMs !== null) turn.silentAfterMs = this.#reaction.silentAfterMs(spokeMs);
    this.#turnChanged(turn);
  }

  truncated(itemId) {
    this.#call.sendEvent({ type: "conversation.item.retrieve", event_id: `${OWN_EVENT_ID}heard`, item_id: itemId });
  }

  refused(error) {
    // A server that does not know the event; one that did not expect it now may expect the next.
    if (error?.event_id === `${OWN_EVENT_ID}report` && error.param === "type") this.#mayReport = false;
  }

  /** The answer begins to be heard, or the turn is over: only then is the way of its sound known here. */
  async turnTold(event) {
    const turn = this.turns.take(readTurn(event));
    const { isFinal } = turn;
    const askedMs = this.#asked.get(turn.responseId);
    const heardMs = this.conversation.firstHeardMs(turn.responseId);
    if (askedMs !== undefined && heardMs !== null) turn.answeredMs = Math.max(0, heardMs - askedMs);
    this.#turnChanged(turn);
    const client = await this.#call.legs(isFinal);
    if (turn.isFinal !== isFinal) return; // it was told once more meanwhile, and looked at then
    turn.client = client;
    if (isFinal) this.#report(turn);
    this.#turnChanged(turn);
  }

  #report({ number, client }) {
    if (!this.#mayReport || number === null) return;
    this.#call.sendEvent({
      type: "trunkline.client_report",
      event_id: `${OWN_EVENT_ID}report`,
      turn: number,
      rtt_ms: client.rttMs,
      jitter_buffer_ms: client.jitterBufferMs,
    });
  }

  #turnChanged(turn) {
    this.turns.note(turn);
    const entry = this.conversation.entryOf(turn.responseId);
    if (entry) {
      entry.turn = turn;
      this.#show([entry]);
    }
    this.#views.history.show(turn, this.turns);
    if (this.#isFollowing || this.#shown === turn) this.#showTurn(this.#isFollowing ? this.latest : turn);
  }

  #showTurn(turn) {
    this.#shown = turn;
    this.#views.waterfall.show(turn);
    this.#views.history.select(turn);
    this.#views.onFollow(this.#isFollowing);
  }

  #later(delayMs, action) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, delayMs);
    this.#timers.add(timer);
  }
}

const OWN = {
  __proto__: null, // an event's type may be any word, `constructor` too
  "session.created"(event) { this.opened(event); },
  "input_audio_buffer.speech_started"(_event, nowMs) { this.userSpeaks(nowMs); },
  "response.created"({ response }) { this.responseBegan(response?.id); },
  "output_audio_buffer.cleared"({ response_id: id }) { this.cleared(id); },
  "conversation.item.truncated"({ item_id: id }) { this.truncated(id); },
  "trunkline.turn"(event) { this.turnTold(event); },
  error({ error }) { this.refused(error); },
};

/** The Realtime event that a message is, or null. */
export function eventIn(text) {
  try {
    const event = JSON.parse(text);
    return event !== null && typeof event === "object" && typeof event.type === "string" ? event : null;
  } catch {
    return null;
  }
}

function shownData(data) {
  return typeof data === "string" ? data.slice(0, RAW_LIMIT) : `${data.byteLength} bytes of binary data`;
}
