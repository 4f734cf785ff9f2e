// One call: microphone → offer → answer → ICE → DTLS → sound → hang up.
//
//   idle → asking → connecting → connected ⇄ reconnecting
//             │          │           │            │
//             └──────────┴───────────┴────────────┴──→ ended | failed   (final)
//
// A Call knows nothing of the page: it tells a listener what happened. It is used once.

import { candidateAddresses, legsOf, NO_STATS, summarise } from "./stats.js";
import {
  answerFault,
  backendLostFault,
  badAnswerFault,
  dtlsFault,
  iceFault,
  lostFault,
  microphoneFault,
  offerFault,
  unreachableFault,
  unsupportedFault,
} from "./faults.js";

const MICROPHONE = {
  audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
};
const ANSWER_TIMEOUT_MS = 15_000;
// Browsers give up on ICE after about 15 s by themselves; this bounds those that never do.
const CONNECT_TIMEOUT_MS = 20_000;
const SLOW_PATH_MS = 4_000; // ten times what a far but working path takes
const HANGUP_TIMEOUT_MS = 1_000;
const STATS_EVERY_MS = 1_000;
const FIRST_SOUND_EVERY_MS = 10; // the resolution of the set-up time
const UNSENT_LIMIT_BYTES = 256 * 1024;

const EVENT_WORDS = { asking: "asking for the microphone" };

/** The label of the data channel, as OpenAI's realtime clients name it. */
export const CHANNEL_LABEL = "oai-events";

export class Call {
  state = "idle";
  pc = null;
  stats = NO_STATS;
  fault = null;
  relays = [];
  /** ms since Talk at which each step was reached: microphone, offer, answer, ice, dtls, sound. */
  steps = {};

  #settings;
  #listener;
  #startedMs = performance.now();
  #connectedMs = null;
  #endedMs = null;
  #microphone = null;
  #channel = null;
  #hangupUrl = null;
  #farewell = null;
  #legStats = null;
  #timers = new Set();

  /**
   * `settings`: { key, callsUrl, backend }; the backend by name, "" for whichever the server gives. `listener` methods: onState(state, note), onEvent(text),
   * onStep(name, atMs), onLocal(stream), onRemote(stream), onChannel(isOpen), onMessage(data), onStats(stats).
   */
  constructor(settings, listener) {
    this.#settings = settings;
    this.#listener = listener;
  }

  get isOver() {
    return this.#endedMs !== null;
  }

  /** ms since the call was first connected; null before that; stands still after the end. */
  get elapsedMs() {
    if (this.#connectedMs === null) return null;
    return (this.#endedMs ?? performance.now()) - this.#connectedMs;
  }

  /** ms since Talk. */
  get sinceTalkMs() {
    return performance.now() - this.#startedMs;
  }

  /** Place the call. Never rejects: what goes wrong becomes the state "failed" and `fault`. */
  async place() {
    if (!globalThis.RTCPeerConnection || !navigator.mediaDevices?.getUserMedia) {
      return this.#fail(unsupportedFault(globalThis.isSecureContext));
    }
    this.#enter("asking", "Allow the microphone in the browser's prompt to go on.");
    if (!(await this.#openMicrophone())) return;
    this.#enter("connecting", "Sending the offer.");
    const offer = await this.#makeOffer().catch((error) => this.#fail(offerFault(error)));
    if (this.isOver) return;
    const answer = await this.#exchange(offer);
    if (!this.isOver) await this.#accept(answer);
  }

  /** End the call from this side; a no-op once it is over. `leaving` skips every wait. */
  hangUp({ leaving = false } = {}) {
    if (this.isOver) return;
    const note = this.#connectedMs === null ? "The call was cancelled." : "You hung up.";
    this.#end("ended", note, { leaving });
  }

  get isMuted() {
    return this.#microphone?.getAudioTracks()[0]?.enabled === false;
  }

  /** Send silence instead of what the microphone hears, or go on. */
  mute(isMuted) {
    for (const track of this.#microphone?.getAudioTracks() ?? []) track.enabled = !isMuted;
    if (!this.isOver) this.#event(isMuted ? "microphone muted" : "microphone on");
  }

  /** The server said why it is about to end the call: { code, message }. */
  farewell(reason) {
    this.#farewell = reason;
  }

  /**
   * The way to the server as this browser sees it: { rttMs, jitterBufferMs }, the wait in the mean since the last turn
   * that was over; `isOver`: this one is.
   */
  async legs(isOver) {
    const report = await this.pc.getStats().catch(() => null);
    if (!report) return { rttMs: null, jitterBufferMs: null };
    const summary = summarise(report, null);
    const legs = legsOf(summary, this.#legStats);
    if (isOver) this.#legStats = summary;
    return legs;
  }

  /** Send `text` over the data channel. False when it is not open or has too much unsent. */
  send(text) {
    if (this.#channel?.readyState !== "open") return false;
    if (this.#channel.bufferedAmount > UNSENT_LIMIT_BYTES) return false;
    this.#channel.send(text);
    return true;
  }

  async #openMicrophone() {
    try {
      const stream = await navigator.mediaDevices.getUserMedia(MICROPHONE);
      if (this.isOver) return stopTracks(stream);
      this.#microphone = stream;
    } catch (error) {
      return this.#fail(microphoneFault(error));
    }
    const [track] = this.#microphone.getAudioTracks();
    track.addEventListener("ended", () => this.#event("microphone disconnected"));
    this.#step("microphone", "microphone open");
    this.#listener.onLocal(this.#microphone);
    return true;
  }

  async #makeOffer() {
    // No STUN or TURN servers: the answer names a public relay, and the server is ICE-lite.
    this.pc = new RTCPeerConnection({});
    for (const track of this.#microphone.getTracks()) this.pc.addTrack(track, this.#microphone);
    this.#openChannel();
    this.#watch(this.pc);
    await this.pc.setLocalDescription(await this.pc.createOffer());
    return this.pc.localDescription.sdp;
  }

  /** POST the offer without waiting for candidates: an ICE-lite server never checks towards us. */
  async #exchange(offer) {
    try {
      this.#step("offer", "offer sent");
      const response = await fetch(this.#settings.callsUrl, {
        method: "POST",
        ...this.#body(offer),
        signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
      });
      return await this.#readAnswer(response, await response.text());
    } catch (error) {
      return this.#fail(unreachableFault(error));
    }
  }

  /** The offer alone, or in a form with the session, which names the backend. */
  #body(offer) {
    const authorization = this.#authorization();
    const { backend } = this.#settings;
    if (!backend) return { body: offer, headers: { "Content-Type": "application/sdp", ...authorization } };
    const form = new FormData();
    form.set("sdp", offer);
    form.set("session", JSON.stringify({ type: "realtime", trunkline: { backend } }));
    return { body: form, headers: authorization };
  }

  #readAnswer(response, body) {
    if (response.status !== 201) return this.#fail(answerFault(answered(response, body), Date.now()));
    this.#hangupUrl = hangupUrl(response, this.#settings.callsUrl);
    // Hung up while the offer was on its way: the server has made a call that nobody wants.
    if (this.isOver) this.#postHangup();
    return body;
  }

  async #accept(answer) {
    this.relays = candidateAddresses(answer);
    this.#step("answer", `answer received, relay ${this.relays.join(", ") || "not named"}`);
    if (this.#hangupUrl === null) this.#event("the answer has no usable Location: the server cannot be told to hang up");
    try {
      await this.pc.setRemoteDescription({ type: "answer", sdp: answer });
    } catch (error) {
      return this.#fail(badAnswerFault(error));
    }
    if (this.isOver) return;
    this.#note(`Looking for a path to ${this.relays[0] ?? "the relay"}.`);
    this.#after(SLOW_PATH_MS, () => this.#onSlowPath());
    this.#after(CONNECT_TIMEOUT_MS, () => this.#connectedMs === null && this.#failPath());
    this.#awaitSound();
  }

  #openChannel() {
    this.#channel = this.pc.createDataChannel(CHANNEL_LABEL);
    this.#channel.binaryType = "arraybuffer";
    this.#channel.onopen = () => this.#channelIs(true);
    this.#channel.onclose = () => this.#channelIs(false);
    this.#channel.onmessage = ({ data }) => this.isOver || this.#listener.onMessage(data);
  }

  #channelIs(isOpen) {
    if (this.isOver) return;
    this.#event(isOpen ? "data channel open" : "data channel closed");
    this.#listener.onChannel(isOpen);
  }

  #watch(pc) {
    pc.addEventListener("track", ({ track, streams }) => {
      this.#listener.onRemote(streams[0] ?? new MediaStream([track]));
    });
    pc.addEventListener("iceconnectionstatechange", () => this.#onIce(pc.iceConnectionState));
    pc.addEventListener("connectionstatechange", () => this.#onConnection(pc.connectionState));
    const dtls = pc.getSenders()[0].transport;
    if (dtls) this.#watchDtls(dtls);
    // The transport exists only once the local description is set.
    else pc.addEventListener("signalingstatechange", () => this.#watchDtls(pc.getSenders()[0]?.transport), { once: true });
  }

  #watchDtls(dtls) {
    dtls?.addEventListener("statechange", () => {
      if (dtls.state === "connected") this.#step("dtls", "DTLS connected");
      if (dtls.state === "closed") this.#onRemoteEnd();
    });
  }

  #onSlowPath() {
    if ("ice" in this.steps) return;
    this.#event("no path so far");
    this.#note(`No reply from ${this.relays[0] ?? "the relay"} so far. UDP may be blocked.`);
  }

  #onIce(state) {
    if (this.isOver) return;
    if (state === "connected" || state === "completed") this.#step("ice", "ICE connected");
    if (state === "connected" && this.state === "connecting") this.#note("Path found. Securing it.");
  }

  #onConnection(state) {
    if (this.isOver) return;
    if (state === "connected") this.#onConnected();
    if (state === "disconnected") this.#onDisconnected();
    if (state === "failed") this.#failPath();
    if (state === "closed") this.#onRemoteEnd();
  }

  #onRemoteEnd() {
    this.#hangupUrl = null; // what has ended needs no hang-up
    if (this.#farewell?.code === "backend_lost") this.#fail(backendLostFault(this.#farewell.message));
    else this.#end("ended", this.#farewell?.message ?? "The other side ended the call.");
  }

  #onConnected() {
    this.#step("ice", "ICE connected");
    this.#step("dtls", "DTLS connected");
    this.#enter("connected", "");
    if (this.#connectedMs !== null) return;
    this.#connectedMs = performance.now();
    this.#poll();
  }

  #onDisconnected() {
    if (this.#connectedMs === null) return;
    this.#enter("reconnecting", "Nothing is getting through. The call resumes by itself.");
  }

  #failPath() {
    if (this.#connectedMs !== null) return this.#fail(lostFault(this.relays));
    return this.#fail("ice" in this.steps ? dtlsFault() : iceFault(this.relays));
  }

  /** Watch for the first packet that reached the decoder; getStats() is cached too long for this. */
  #awaitSound() {
    if (this.isOver || "sound" in this.steps) return;
    const isHeard = this.pc.getReceivers().some((r) => r.getSynchronizationSources().length > 0);
    if (isHeard) this.#onSound();
    else this.#after(FIRST_SOUND_EVERY_MS, () => this.#awaitSound());
  }

  #onSound() {
    this.#step("sound", "first sound received");
    this.stats = Object.freeze({ ...this.stats, setupMs: this.steps.sound });
    this.#listener.onStats(this.stats);
  }

  async #poll() {
    const report = await this.pc.getStats().catch(() => null);
    if (this.isOver) return;
    if (report) this.#onReport(report);
    this.#after(STATS_EVERY_MS, () => this.#poll());
  }

  #onReport(report) {
    this.stats = summarise(report, this.steps.sound ?? null, this.stats);
    this.#listener.onStats(this.stats);
  }

  #fail(fault) {
    if (this.isOver) return null;
    this.fault = fault;
    this.#event(`failed: ${fault.title}${fault.status ? ` (status ${fault.status})` : ""}`);
    this.#end("failed", "");
    return null;
  }

  #end(state, note, { leaving = false } = {}) {
    if (this.isOver) return;
    this.#endedMs = performance.now();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    if (this.#microphone) stopTracks(this.#microphone);
    this.#enter(state, note);
    this.#close(leaving);
  }

  /** The server hears of the end before the connection goes, so it can end the call in order. */
  async #close(leaving) {
    const posted = this.#postHangup();
    if (!leaving) await Promise.race([posted, delay(HANGUP_TIMEOUT_MS)]);
    this.pc?.close();
  }

  async #postHangup() {
    if (this.#hangupUrl === null) return;
    const request = { method: "POST", headers: this.#authorization(), keepalive: true };
    try {
      const { status } = await fetch(this.#hangupUrl, request);
      // 404 says that the server had ended the call already.
      this.#event(status === 404 ? "server had already ended the call" : `hang-up sent, status ${status}`);
    } catch {
      this.#event("hang-up could not be delivered");
    }
  }

  #authorization() {
    return { Authorization: `Bearer ${this.#settings.key}` };
  }

  #enter(state, note) {
    if (this.state !== state) this.#noteState(state, note);
    this.state = state;
    this.#listener.onState(state, note);
  }

  /** Put a change of state in the log; a failure is noted with its reason, where it happens. */
  #noteState(state, note) {
    if (state === "failed") return;
    this.#event(state === "ended" ? `ended: ${note}` : (EVENT_WORDS[state] ?? state));
  }

  #note(note) {
    if (!this.isOver) this.#listener.onState(this.state, note);
  }

  #step(name, text) {
    if (this.isOver || name in this.steps) return;
    this.steps[name] = Math.round(performance.now() - this.#startedMs);
    this.#event(text);
    this.#listener.onStep(name, this.steps[name]);
  }

  #event(text) {
    this.#listener.onEvent(text, this.sinceTalkMs);
  }

  #after(delayMs, action) {
    if (this.isOver) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, delayMs);
    this.#timers.add(timer);
  }
}

function answered(response, body) {
  return {
    status: response.status,
    contentType: response.headers.get("Content-Type"),
    retryAfter: response.headers.get("Retry-After"),
    body,
  };
}

/** The call's hang-up URL, or null. The key goes to no origin other than the one that answered. */
function hangupUrl(response, callsUrl) {
  const location = response.headers.get("Location");
  if (!location) return null;
  const url = new URL(location, response.url || callsUrl);
  if (url.origin !== new URL(callsUrl).origin) return null;
  url.pathname = `${url.pathname.replace(/\/$/, "")}/hangup`;
  return url.href;
}

function stopTracks(stream) {
  for (const track of stream.getTracks()) track.stop();
  return null;
}

function delay(delayMs) {
  return new Promise((resolve) => setTimeout(resolve, delayMs));
}
