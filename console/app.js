// The console page: wires one call at a time to the page's elements.
//
// For tests and for the curious, `window.trunkline` is a read-only view of the current or last call:
//   pc      its RTCPeerConnection, or null before the first call
//   state   "idle" | "asking" | "connecting" | "connected" | "reconnecting" | "ended" | "failed"
//   phase   of the conversation: "listening" | "hearing" | "thinking" | "speaking" | "interrupted", or null
//   stats   { roundTripMs, packetsLost, packetsReceived, packetsSent, jitterMs, setupMs, … }: the last
//           getStats() summary, once a second; null or 0 where nothing is known yet
//   steps   { microphone, offer, answer, ice, dtls, sound }: ms since Talk was pressed
//   levels  { sentDbfs, receivedDbfs }: how loud it is now, −60 to 0
//   turns   the turns of the call as turns.js keeps them (last 50)
//   errors  [{ code, title, detail, status, retryAfterS }]: faults since the page was loaded (last 20)
//   log     [string]: the event log, one line an event (last 200)
// The API key is not part of it, and is never written to the page or the log.

import { Call, CHANNEL_LABEL } from "./call.js";
import { backendsIn, Choice } from "./choice.js";
import { Dialogue, eventIn } from "./dialogue.js";
import { FaultPanel } from "./fault_panel.js";
import { settingsFault } from "./faults.js";
import { History } from "./history.js";
import { Journal } from "./journal.js";
import { animate, Level } from "./level.js";
import { Line } from "./line.js";
import { byId, duration, setText } from "./page.js";
import { NO_STATS } from "./stats.js";
import { Trace } from "./trace.js";
import { Transcript } from "./transcript.js";
import { Waterfall } from "./waterfall.js";

const SETTINGS_URL = "/console/config.json";
const CLOCK_EVERY_MS = 250;
const QUIET_AFTER_MS = 4_000;

const STATE_WORDS = {
  idle: "Ready",
  asking: "Asking for the microphone",
  connecting: "Connecting",
  connected: "Connected",
  reconnecting: "Reconnecting",
  ended: "Ended",
  failed: "Failed",
};
const PHASE_WORDS = {
  listening: ["Listening", "Speak, or type below."],
  hearing: ["Hearing you", "Your words appear as they are understood."],
  thinking: ["Thinking", "Your turn has ended."],
  speaking: ["Speaking", "Speak over the answer to stop it."],
  interrupted: ["Interrupted", "You spoke over the answer, and it stopped."],
};
const HINTS = {
  away: "This backend is not there now: a call would be refused.",
  echo: "This backend echoes: you will hear yourself. Wear headphones.",
};
// What the server says before it ends a call that nobody on the line wanted to end (transceiver/call/states.py).
const FAREWELLS = ["backend_lost", "drained", "operator", "budget"];
const LIVE_STATES = ["asking", "connecting", "connected", "reconnecting"];

const journal = new Journal(byId("log"));
const sent = new Level();
const received = new Level();
const trace = new Trace(byId("trace"));
const line = new Line();
const waterfall = new Waterfall();
const transcript = new Transcript(byId("transcript"), selectTurn);
const history = new History(selectTurn);
const faults = new FaultPanel((fault) => (fault?.code === "settings_unreadable" ? loadSettings() : talk()));
const choice = new Choice(refreshBackends, showBackend);

let settings = null;
let call = null;
let dialogue = null;
let audioContext = null;
let stopFrames = null;
let clock = null;

Object.defineProperty(window, "trunkline", {
  value: Object.freeze({
    get pc() { return call?.pc ?? null; },
    get state() { return document.body.dataset.state; },
    get phase() { return dialogue?.conversation.phase ?? null; },
    get stats() { return call?.stats ?? NO_STATS; },
    get steps() { return { ...call?.steps }; },
    get levels() { return { sentDbfs: sent.dbfs, receivedDbfs: received.dbfs }; },
    get turns() { return structuredClone(dialogue?.turns.list ?? []); },
    get errors() { return [...faults.errors]; },
    get log() { return journal.lines(); },
  }),
});

// ---- settings -------------------------------------------------------------------------------

async function loadSettings() {
  faults.clear();
  try {
    settings = await readSettings();
    setText(byId("version"), settings.version ? `v${settings.version}` : "");
    choice.show(settings.backends);
    showBackend();
  } catch (error) {
    settings = null;
    journal.add("settings could not be read");
    faults.show(settingsFault(`${SETTINGS_URL}: ${error.message}. Is the server running?`));
  }
}

async function readSettings() {
  const response = await fetch(SETTINGS_URL, { cache: "no-store" });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const { key, calls_url: callsUrl, version, backends } = await response.json();
  if (typeof key !== "string" || !key) throw new Error("it has no key");
  if (typeof callsUrl !== "string") throw new Error("it has no calls_url");
  return { key, callsUrl: new URL(callsUrl, location.href).href, version, backends: backendsIn(backends) };
}

/** Which backends are there changes while the page is open; a failure leaves what was known. */
async function refreshBackends() {
  const fresh = await readSettings().catch(() => null);
  if (fresh === null) return;
  settings = fresh;
  choice.show(fresh.backends);
  showBackend();
}

function showBackend() {
  const { kind, state } = choice.backend ?? {};
  const hint = state === "away" ? HINTS.away : (HINTS[kind] ?? "");
  byId("hint").hidden = !hint;
  setText(byId("hint"), hint);
}

// ---- the call -------------------------------------------------------------------------------

async function talk() {
  if (settings === null) await loadSettings();
  if (settings === null || (call && !call.isOver)) return;
  startCall();
  await call.place();
}

function startCall() {
  faults.clear();
  clearReadouts();
  journal.begin();
  openSound();
  const mine = (handler) => (...args) => call === placed && handler(...args);
  const placed = new Call({ ...settings, backend: choice.name }, {
    onState: mine(onState),
    onEvent: mine((text, atMs) => journal.add(text, atMs)),
    onStep: mine((name, atMs) => line.step(name, atMs)),
    onLocal: mine((stream) => sent.attach(audioContext, stream)),
    onRemote: mine(onRemote),
    onChannel: mine(showChannel),
    onMessage: mine(onMessage),
    onStats: mine((stats) => line.show(stats)),
  });
  call = placed;
  dialogue = new Dialogue(
    { sendEvent, sendText, legs: () => placed.legs() },
    { transcript, waterfall, history, onPhase: showPhase, onFollow: showFollow, onCut: () => trace.mark() },
  );
  clock = setInterval(onClock, CLOCK_EVERY_MS);
}

function onMessage(data) {
  const event = typeof data === "string" ? eventIn(data) : null;
  if (event?.type === "error" && FAREWELLS.includes(event.error?.code)) call.farewell(event.error);
  journal.add(`← ${typeof data === "string" ? data : "binary data"}`, call.sinceTalkMs, "received");
  dialogue.receive(data, performance.now());
}

function sendEvent(event) {
  return sendText(JSON.stringify(event));
}

function sendText(text) {
  const isSent = call?.send(text) ?? false;
  journal.add(isSent ? `→ ${text}` : `not sent: ${CHANNEL_LABEL} is not ready`, call?.sinceTalkMs ?? null, "sent");
  return isSent;
}

function onState(state, note) {
  showState(state, note || noteFor(state));
  if (state === "connected") showPhase(dialogue.conversation.phase);
  if (!call.isOver) return;
  onClock();
  clearInterval(clock);
  closeSound();
  dialogue.close();
  showChannel(false);
  byId("sound").srcObject = null;
  if (call.fault) faults.show(call.fault);
  refreshBackends();
}

function noteFor(state) {
  if (state === "connected") return choice.backend?.kind === "echo" ? "Speak, and hear yourself come back." : "Speak now.";
  if (state === "failed") return call.elapsedMs === null ? "The call could not be set up." : `The call lasted ${duration(call.elapsedMs)}.`;
  return "";
}

function onRemote(stream) {
  const sound = byId("sound");
  sound.srcObject = stream;
  sound.play().catch(() => call?.isOver || journal.add("the browser did not start playback"));
  received.attach(audioContext, stream);
}

function onClock() {
  const elapsedMs = call.elapsedMs;
  setText(byId("elapsed"), elapsedMs === null ? "" : duration(elapsedMs));
  if (call.state !== "connected" || elapsedMs < QUIET_AFTER_MS || dialogue.conversation.isRealtime) return;
  if (call.stats.packetsReceived === 0) showState("connected", "Connected, but no sound has come back so far.");
}

function openSound() {
  // Made inside the click: browsers start an AudioContext only on a gesture.
  audioContext = new AudioContext();
  stopFrames = animate(onFrame);
  trace.begin();
}

function onFrame(nowMs) {
  sent.update();
  received.update();
  dialogue.frame(nowMs, sent.dbfs, received.dbfs);
  trace.update(sent.dbfs, received.dbfs, nowMs);
}

function closeSound() {
  stopFrames?.();
  sent.detach();
  received.detach();
  audioContext?.close();
  audioContext = stopFrames = null;
}

// ---- the page -------------------------------------------------------------------------------

function showState(state, note) {
  const isLive = LIVE_STATES.includes(state);
  document.body.dataset.state = state;
  if (state !== "connected") delete document.body.dataset.phase;
  setText(byId("state"), state === "failed" && call?.fault ? call.fault.name : STATE_WORDS[state]);
  setText(byId("note"), note);
  setText(byId("announcement"), `${byId("state").textContent}. ${note}`);
  setText(byId("talk-label"), isLive ? "Hang up" : "Talk");
  byId("talk").dataset.action = isLive ? "hang-up" : "talk";
  byId("mute").hidden = !["connected", "reconnecting"].includes(state);
  showMute();
  choice.lock(isLive);
}

/** What the conversation is doing. Not announced: whoever listens hears it. */
function showPhase(phase) {
  if (phase === null || call.state !== "connected") return;
  document.body.dataset.phase = phase;
  const [word, note] = PHASE_WORDS[phase];
  setText(byId("state"), word);
  setText(byId("note"), call.isMuted && phase === "listening" ? "Your microphone is muted." : note);
}

function showMute() {
  const isMuted = call?.isMuted === true && !call.isOver;
  byId("mute").setAttribute("aria-pressed", isMuted);
  setText(byId("mute"), isMuted ? "Unmute" : "Mute");
}

function showFollow(isFollowing) {
  byId("latest").hidden = isFollowing;
}

function selectTurn(turn) {
  dialogue?.select(turn);
}

function clearReadouts() {
  dialogue?.close();
  for (const view of [transcript, history, waterfall, line]) view.clear();
  showFollow(true);
  setText(byId("elapsed"), "");
}

function showChannel(isOpen) {
  const field = byId("message");
  byId("send").disabled = field.disabled = !isOpen;
  field.placeholder = isOpen ? "Type a message" : "Type a message, once connected";
}

// ---- controls -------------------------------------------------------------------------------

byId("talk").addEventListener("click", () => (call && !call.isOver ? call.hangUp() : talk()));

byId("mute").addEventListener("click", () => {
  call.mute(!call.isMuted);
  showMute();
  showPhase(dialogue.conversation.phase);
});

byId("latest").addEventListener("click", () => {
  selectTurn(dialogue.latest);
  byId("turn").focus();
});

byId("message-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = byId("message");
  const text = field.value.trim();
  if (text && dialogue?.say(text, performance.now())) field.value = "";
});

byId("copy").addEventListener("click", async () => {
  const text = [`Trunkline console ${settings?.version ?? ""} · ${navigator.userAgent}`, ...journal.lines()].join("\n");
  const isCopied = await navigator.clipboard.writeText(text).then(() => true, () => false);
  if (!isCopied) journal.select();
  setText(byId("copy"), isCopied ? "Copied" : "Selected");
  setTimeout(() => setText(byId("copy"), "Copy"), 1500);
});

// Leaving the page ends the call on the server too: a keepalive request outlives the page.
window.addEventListener("pagehide", () => call?.hangUp({ leaving: true }));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && settings !== null && (call?.isOver ?? true)) refreshBackends();
});

loadSettings();
