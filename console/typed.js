// What the caller types, into a conversation that may be talking just then: the answer is stopped first,
// and the words go when it has ended, since a session has one response at a time.

import { OWN_EVENT_ID } from "./conversation.js";

const WAITING_LIMIT = 8;
const PATIENCE_MS = 3_000; // then they go all the same, and the server says what is wrong

export class Typed {
  /** When the latest words went out and an answer was asked for; null when it has begun. */
  askedMs = null;
  #conversation;
  #send;
  #waiting = [];
  #sinceMs = 0;

  /** `send(event)` sends a client event, and says whether it went. */
  constructor(conversation, send) {
    this.#conversation = conversation;
    this.#send = send;
  }

  /** Say `text`; false when it cannot be said now. */
  say(text, nowMs) {
    if (this.#waiting.length >= WAITING_LIMIT) return false;
    this.#waiting.push(text);
    this.#sinceMs = nowMs;
    const { active, playing } = this.#conversation;
    if (active) this.#send({ type: "response.cancel", event_id: `${OWN_EVENT_ID}cancel` });
    if (playing) this.#send({ type: "output_audio_buffer.clear", event_id: `${OWN_EVENT_ID}clear` });
    return this.poll(nowMs);
  }

  /** After every event, and now and then: say what waits, as soon as nobody else speaks. */
  poll(nowMs) {
    if (this.#waiting.length === 0) return true;
    const { active, playing } = this.#conversation;
    if ((active || playing) && nowMs - this.#sinceMs < PATIENCE_MS) return true;
    const content = this.#waiting.splice(0).map((text) => ({ type: "input_text", text }));
    const item = { type: "message", role: "user", content };
    const isSent = this.#send({ type: "conversation.item.create", item }) && this.#send({ type: "response.create" });
    this.askedMs = isSent ? nowMs : null;
    return isSent;
  }
}
