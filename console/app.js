// The console page: wires one call at a time to the page's elements.
//
// For tests and for the curious, `window.trunkline` is a read-only view of the current or last call:
//   pc      its RTCPeerConnection, or null before the first call
//   state   "idle" | "asking" | "connecting" | "connected" | "reconnecting" | "ended" | "failed"
//   stats   { roundTripMs, packetsLost, packetsReceived, packetsSent, jitterMs, setupMs, … }: the last
//           getStats() summary, once a second; null or 0 where nothing is known yet
//   steps   { microphone, offer, answer, ice, dtls, sound }: ms since Talk was pressed
//   levels  { sentDbfs, receivedDbfs }: what the meters show now, −60 to 0
//   errors  [{ code, title, detail, status, retryAfterS }]: faults since the page was loaded (last 20)
//   log     [string]: the event log, one line an event (last 200)
// The API key is not part of it, and is never written to the page or the log.

import { Call, CHANNEL_LABEL } from "./call.js";
import { settingsFault } from "./faults.js";
import { Journal, Conversation } from "./papers.js";
import { animate, Meter } from "./meter.js";
import { NO_STATS } from "./stats.js";
import { Trace } from "./trace.js";

const SETTINGS_URL = "/console/config.json";
const CLOCK_EVERY_MS = 250;
const QUIET_AFTER_MS = 4_000;
const ERROR_LIMIT = 20;

const STATE_WORDS = {
  idle: "Idle",
  asking: "Asking for the microphone",
  connecting: "Connecting",
  connected: "Connected",
  reconnecting: "Reconnecting",
  ended: "Ended",
  failed: "Failed",
};

const byId = (id) => document.getElementById(id);
const journal = new Journal(byId("log"));
const conversation = new Conversation(byId("messages"));
const sentMeter = new Meter(byId("meter-sent"), byId("peak-sent"));
const receivedMeter = new Meter(byId("meter-received"), byId("peak-received"));
const trace = new Trace(byId("trace"));

let settings = null;
let call = null;
let fault = null;
let audioContext = null;
let stopMeters = null;
let clock = null;
let retryAtMs = null;
const errors = [];

Object.defineProperty(window, "trunkline", {
  value: Object.freeze({
    get pc() { return call?.pc ?? null; },
    get state() { return document.body.dataset.state; },
    get stats() { return call?.stats ?? NO_STATS; },
    get steps() { return { ...call?.steps }; },
    get levels() { return { sentDbfs: sentMeter.levelDbfs, receivedDbfs: receivedMeter.levelDbfs }; },
    get errors() { return [...errors]; },
    get log() { return journal.lines(); },
  }),
});

// ---- settings -------------------------------------------------------------------------------

async function loadSettings() {
  clearFault();
  try {
    settings = await readSettings();
    showSettings();
  } catch (error) {
    settings = null;
    journal.add("settings could not be read");
    showFault(settingsFault(`${SETTINGS_URL}: ${error.message}. Is the server running?`));
  }
}

async function readSettings() {
  const response = await fetch(SETTINGS_URL, { cache: "no-store" });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const { key, calls_url: callsUrl, version, backend } = await response.json();
  if (typeof key !== "string" || !key) throw new Error("it has no key");
  if (typeof callsUrl !== "string") throw new Error("it has no calls_url");
  return { key, callsUrl: new URL(callsUrl, location.href).href, version, backend };
}

function showSettings() {
  byId("version").textContent = settings.version ? `v${settings.version}` : "";
  byId("backend").textContent = settings.backend ? `${settings.backend} backend` : "";
  byId("hint").hidden = settings.backend !== "echo";
}

// ---- the call -------------------------------------------------------------------------------

async function talk() {
  if (settings === null) await loadSettings();
  if (settings === null || (call && !call.isOver)) return;
  startCall();
  await call.place();
}

function startCall() {
  clearFault();
  clearReadouts();
  conversation.clear();
  journal.begin();
  openMeters();
  const mine = (handler) => (...args) => call === placed && handler(...args);
  const placed = new Call(settings, {
    onState: mine(onState),
    onEvent: mine((text, atMs) => journal.add(text, atMs)),
    onStep: mine(showStep),
    onLocal: mine((stream) => sentMeter.attach(audioContext, stream)),
    onRemote: mine(onRemote),
    onChannel: mine(showChannel),
    onMessage: mine((data) => conversation.received(data)),
    onStats: mine(showStats),
  });
  call = placed;
  clock = setInterval(onClock, CLOCK_EVERY_MS);
}

function onState(state, note) {
  showState(state, note || noteFor(state));
  if (state === "connected") showSince();
  if (!call.isOver) return;
  onClock();
  clearInterval(clock);
  closeMeters();
  showChannel(false);
  byId("sound").srcObject = null;
  if (call.fault) showFault(call.fault);
}

function noteFor(state) {
  if (state === "connected") return settings.backend === "echo" ? "Speak, and hear yourself come back." : "Speak now.";
  if (state === "failed") return call.elapsedMs === null ? "The call could not be set up." : `After ${duration(call.elapsedMs)}.`;
  return "";
}

function onRemote(stream) {
  const sound = byId("sound");
  sound.srcObject = stream;
  sound.play().catch(() => call?.isOver || journal.add("the browser did not start playback"));
  receivedMeter.attach(audioContext, stream);
}

function onClock() {
  const elapsedMs = call.elapsedMs;
  byId("elapsed").textContent = elapsedMs === null ? "" : duration(elapsedMs);
  if (call.state !== "connected" || elapsedMs < QUIET_AFTER_MS) return;
  if (call.stats.packetsReceived === 0) showState("connected", "Connected, but no sound has come back so far.");
}

function openMeters() {
  // Made inside the click: browsers start an AudioContext only on a gesture.
  audioContext = new AudioContext();
  stopMeters = animate(onFrame);
  trace.begin();
}

function onFrame(nowMs) {
  sentMeter.update(nowMs);
  receivedMeter.update(nowMs);
  trace.update(sentMeter.levelDbfs, receivedMeter.levelDbfs, nowMs);
}

function closeMeters() {
  stopMeters?.();
  sentMeter.detach();
  receivedMeter.detach();
  audioContext?.close();
  audioContext = stopMeters = null;
}

// ---- the page -------------------------------------------------------------------------------

function showState(state, note) {
  const isLive = !["idle", "ended", "failed"].includes(state);
  document.body.dataset.state = state;
  setText(byId("state"), STATE_WORDS[state]);
  setText(byId("note"), note);
  setText(byId("talk-label"), isLive ? "Hang up" : "Talk");
  byId("talk").dataset.action = isLive ? "hang-up" : "talk";
}

/** Writing the same text again would make screen readers repeat it. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function showStep(name, atMs) {
  const station = document.querySelector(`[data-station="${name}"]`);
  station.classList.add("reached");
  station.querySelector(".at").textContent = `${atMs} ms`;
}

function showStats(stats) {
  byId("rtt").textContent = figure(stats.roundTripMs);
  byId("lost").textContent = stats.packetsLost ?? "";
  byId("setup").textContent = stats.setupMs ?? "";
  byId("jitter").textContent = stats.jitterMs === null ? "\u00a0" : `jitter ${figure(stats.jitterMs)} ms`;
  byId("lost-of").textContent = `of ${(stats.packetsReceived + (stats.packetsLost ?? 0)).toLocaleString("en")} expected`;
  if (stats.sentKbps !== null) byId("rate").textContent = `${stats.sentKbps} kbit/s sent · ${stats.receivedKbps ?? 0} kbit/s received`;
  if (stats.setupMs !== null) byId("setup-from-offer").textContent = `${stats.setupMs - call.steps.offer} ms from offer`;
  if (stats.codec) setText(byId("codec"), stats.codec);
  if (stats.path) setText(byId("path"), stats.path);
}

/** The time of day the call was connected; a reconnection does not change it. */
function showSince() {
  const since = byId("since");
  if (!since.textContent.trim()) since.textContent = `since ${new Date().toLocaleTimeString()}`;
}

function clearReadouts() {
  for (const id of ["rtt", "lost", "setup", "elapsed", "codec", "path", "rate"]) byId(id).textContent = "";
  for (const id of ["jitter", "lost-of", "since", "setup-from-offer"]) byId(id).textContent = "\u00a0";
  for (const station of document.querySelectorAll("[data-station]")) {
    station.classList.remove("reached");
    station.querySelector(".at").textContent = "";
  }
}

function showChannel(isOpen) {
  const field = byId("message");
  byId("send").disabled = field.disabled = !isOpen;
  field.placeholder = isOpen ? "Message or JSON event" : "Opens with the call";
}

/** One decimal below ten, none above: calm to read. Browsers round these to whole ms, so 0 is "<1". */
function figure(value) {
  if (value === null) return "";
  if (value === 0) return "<1";
  return value < 10 ? value.toFixed(1) : value.toFixed(0);
}

function duration(elapsedMs) {
  const totalS = Math.floor(elapsedMs / 1000);
  const [hours, minutes, seconds] = [Math.floor(totalS / 3600), Math.floor(totalS / 60) % 60, totalS % 60];
  const tail = `${String(minutes).padStart(hours ? 2 : 1, "0")}:${String(seconds).padStart(2, "0")}`;
  return hours ? `${hours}:${tail}` : tail;
}

// ---- faults ---------------------------------------------------------------------------------

let retryClock = null;

function showFault(found) {
  fault = found;
  errors.push(found);
  if (errors.length > ERROR_LIMIT) errors.shift();
  byId("fault").hidden = false;
  byId("error-title").textContent = found.title;
  byId("error-detail").textContent = found.detail;
  retryAtMs = found.retryAfterS === null ? null : Date.now() + found.retryAfterS * 1000;
  if (retryAtMs !== null) retryClock = setInterval(showRetry, CLOCK_EVERY_MS);
  showRetry();
}

function clearFault() {
  fault = null;
  clearInterval(retryClock);
  byId("fault").hidden = true;
  byId("error-title").textContent = byId("error-detail").textContent = "";
}

/** The wait the server asked for, counted down; afterwards the button is the obvious next step. */
function showRetry() {
  const waitS = retryAtMs === null ? null : Math.ceil((retryAtMs - Date.now()) / 1000);
  if (waitS !== null && waitS <= 0) clearInterval(retryClock);
  byId("retry-when").textContent = retryText(waitS);
}

function retryText(waitS) {
  if (waitS === null) return "";
  if (waitS <= 0) return "You can try again now.";
  return waitS < 120 ? `The server asks to wait ${waitS} s.` : `The server asks to wait ${Math.ceil(waitS / 60)} min.`;
}

function retry() {
  return fault?.code === "settings_unreadable" ? loadSettings() : talk();
}

// ---- controls -------------------------------------------------------------------------------

byId("talk").addEventListener("click", () => (call && !call.isOver ? call.hangUp() : talk()));

byId("retry").addEventListener("click", () => {
  byId("talk").focus(); // the retry button is about to disappear, and focus must not go with it
  retry();
});

byId("message-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = byId("message");
  if (!field.value) return;
  if (!call?.send(field.value)) return journal.add(`message not sent: ${CHANNEL_LABEL} is not ready`);
  conversation.sent(field.value);
  field.value = "";
});

byId("copy").addEventListener("click", async () => {
  const text = [`Trunkline console ${settings?.version ?? ""} · ${navigator.userAgent}`, ...journal.lines()].join("\n");
  const isCopied = await navigator.clipboard.writeText(text).then(() => true, () => false);
  if (!isCopied) journal.select();
  byId("copy").textContent = isCopied ? "Copied" : "Selected";
  setTimeout(() => { byId("copy").textContent = "Copy"; }, 1500);
});

// Leaving the page ends the call on the server too: a keepalive request outlives the page.
window.addEventListener("pagehide", () => call?.hangUp({ leaving: true }));

loadSettings();
