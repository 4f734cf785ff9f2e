// The connection on the page: how the call was set up, and what getStats() says of it.

import { byId, setText } from "./page.js";

const READOUTS = ["rtt", "lost", "setup", "jitter", "codec", "path", "rate"];

export class Line {
  clear() {
    for (const id of READOUTS) byId(id).textContent = "";
    setText(byId("lost-of"), "");
    for (const station of document.querySelectorAll("[data-station]")) {
      station.classList.remove("reached");
      station.querySelector(".at").textContent = "";
    }
  }

  step(name, atMs) {
    const station = document.querySelector(`[data-station="${name}"]`);
    station.classList.add("reached");
    station.querySelector(".at").textContent = `${atMs} ms`;
    if (name === "dtls") setText(byId("setup"), String(atMs)); // from here on both sides can talk
  }

  show(stats) {
    setText(byId("rtt"), figure(stats.roundTripMs));
    setText(byId("jitter"), figure(stats.jitterMs));
    setText(byId("lost"), stats.packetsLost === null ? "" : String(stats.packetsLost));
    const expected = stats.packetsReceived + (stats.packetsLost ?? 0);
    if (expected) setText(byId("lost-of"), `of ${expected.toLocaleString("en")}`);
    if (stats.sentKbps !== null) setText(byId("rate"), `${stats.sentKbps} kbit/s sent, ${stats.receivedKbps ?? 0} received`);
    if (stats.codec) setText(byId("codec"), stats.codec);
    if (stats.path) setText(byId("path"), stats.path);
  }
}

/** One decimal below ten, none above: calm to read. Browsers round these to whole ms, so 0 is "<1". */
function figure(value) {
  if (value === null) return "";
  if (value === 0) return "<1";
  return value < 10 ? value.toFixed(1) : value.toFixed(0);
}
