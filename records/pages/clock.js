// Media and conversation on one clock: lanes over one axis of time, so that what happened at once stands together.
//
//   Caller   level and lost packets of what came        Turns    waiting, answer being made
//   Agent    the same of what was sent                  Tools    as long as they ran
//                                                       Moments  paths, moves, faults, the end

import { byId, draw, duration, offset, setText } from "./page.js";

const WIDTH = 1000; // of the drawing; the page stretches it
const LANES = [["Caller", 46], ["Agent", 46], ["Turns", 22], ["Tools", 22], ["Moments", 22]];
const GAP = 8;
const AXIS = 18;
const QUIET_DBOV = -70; // a level below it is drawn as none
const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
const MOMENTS = {
  path: (b) => (b.from_network ? "path changed" : null),
  moved: (b) => `moved to node ${b.to_node ?? "?"}`,
  backend: (b) => `backend ${phase(b.phase, "BACKEND_PHASE_")}`,
  dtls: (b) => `DTLS ${phase(b.phase, "DTLS_PHASE_")}`,
  model_fault: (b) => `${b.stage ?? "model"} ${b.kind ?? "failed"}`,
  fault: (b) => `fault ${b.kind ?? ""}`,
  flight: (b) => `packets kept: ${phase(b.trigger, "TRIGGER_")}`,
  operator: (b) => `${b.operator ?? "operator"}: ${b.act ?? ""}`,
  budget: (b) => (b.used_up ? "budget used up" : null),
  hole: () => "events missing",
  connected: () => "connected",
  ended: (b) => `ended: ${phase(b.cause ?? b.reason, /^(CAUSE|END_REASON)_/)}`,
};

const phase = (name = "", prefix = "") => name.replace(prefix, "").toLowerCase().replaceAll("_", " ");

export class Clock {
  #onChoose;

  constructor(onChoose) {
    this.#onChoose = onChoose;
  }

  /** Draw a call; `chosen` is the number of the turn that is chosen. */
  show(told, chosen) {
    const { story } = told;
    const lengthS = Math.max(1, (story.last_us - story.began_us) / 1e6);
    const scale = { beganUs: story.began_us, lengthS, x: (us) => Math.min(WIDTH, Math.max(0, ((us - story.began_us) / 1e6 / lengthS) * WIDTH)) };
    const tops = laneTops();
    const height = tops.at(-1) + LANES.at(-1)[1] + AXIS;
    const picture = draw("svg", { viewBox: `0 0 ${WIDTH} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": inWords(told, lengthS) });
    LANES.forEach(([, size], lane) => picture.append(draw("rect", { class: "lane", x: 0, y: tops[lane], width: WIDTH, height: size })));
    this.#media(picture, told, scale, tops);
    this.#turns(picture, story, scale, tops[2], chosen);
    this.#tools(picture, story, scale, tops[3]);
    this.#moments(picture, told, scale, tops[4], height - AXIS);
    this.#frame(picture, height, tops, scale);
  }

  #media(picture, told, scale, tops) {
    for (const span of told.spans) {
      const lane = span.direction === "from_caller" ? 0 : 1;
      const [from, to] = [scale.x(span.at_us - span.span_s * 1e6), scale.x(span.at_us)];
      const size = LANES[lane][1];
      const loud = span.level_dbov === null ? 0.5 : Math.max(0.04, 1 - span.level_dbov / QUIET_DBOV);
      const expected = lane === 0 ? span.packets + span.lost : span.packets;
      const lost = expected ? Math.min(1, span.lost / expected) : 0;
      const words = `${lane === 0 ? "from" : "to"} the caller: ${span.packets} packets, ${span.lost} lost, jitter ${span.jitter_ms.toFixed(1)} ms${span.level_dbov === null ? "" : `, ${span.level_dbov.toFixed(0)} dBov`}`;
      const width = Math.max(1, to - from - 1);
      picture.append(named(draw("rect", { class: `level ${span.level_dbov === null ? "unknown" : ""}`, x: from, y: tops[lane] + size * (1 - loud), width, height: size * loud }), words));
      if (lost > 0) picture.append(named(draw("rect", { class: "lost", x: from, y: tops[lane], width, height: Math.max(2, size * Math.min(1, lost * 5)) }), words));
    }
    for (const { body, kind, wall_us: us } of told.events) {
      if (kind !== "gap") continue;
      const lane = body.direction === "DIRECTION_FROM_CALLER" ? 0 : 1;
      const from = scale.x(us - (body.length_ms ?? 0) * 1000);
      picture.append(named(draw("rect", { class: "lost gap", x: from, y: tops[lane], width: Math.max(2, scale.x(us) - from), height: LANES[lane][1] }), `gap of ${Math.round(body.length_ms ?? 0)} ms`));
    }
  }

  #turns(picture, story, scale, top, chosen) {
    for (const turn of story.turns) {
      const at = (ms) => scale.x(turn.began_us + ms * 1000);
      const endedMs = turn.stages.ended ?? 0;
      const outMs = turn.voice_to_voice_ms ?? Math.max(endedMs, ...Object.values(turn.stages), 0);
      const words = `turn ${turn.turn}: ${turn.voice_to_voice_ms === null ? "no answer" : `answered after ${Math.round(outMs)} ms`}`;
      const group = draw("g", { class: `turn ${turn.turn === chosen ? "chosen" : ""} ${turn.failed || turn.interrupted ? "bad" : ""}` });
      group.append(draw("rect", { class: "wait", x: at(0), y: top, width: Math.max(1, at(endedMs) - at(0)), height: 22 }));
      group.append(draw("rect", { class: "work", x: at(endedMs), y: top, width: Math.max(3, at(outMs) - at(endedMs)), height: 22 }));
      group.addEventListener("click", () => this.#onChoose(turn.turn));
      picture.append(named(group, words));
    }
  }

  #tools(picture, story, scale, top) {
    for (const tool of story.tools) {
      const toUs = tool.outcome === "started" ? story.last_us : tool.began_us + tool.duration_ms * 1000;
      const from = scale.x(tool.began_us);
      const bad = ["failed", "timed_out", "started"].includes(tool.outcome) ? "bad" : "";
      picture.append(named(draw("rect", { class: `tool ${bad}`, x: from, y: top, width: Math.max(3, scale.x(toUs) - from), height: 22 }), `${tool.name}: ${tool.outcome.replace("_", " ")}, ${Math.round(tool.duration_ms)} ms`));
    }
  }

  #moments(picture, told, scale, top, bottom) {
    const proofs = new Set(told.story.diagnosis.evidence.map((one) => `${one.source}/${one.number}`));
    for (const event of told.events) {
      const isProof = proofs.has(`${event.source}/${event.number}`);
      const words = MOMENTS[event.kind]?.(event.body) ?? null;
      const x = scale.x(event.wall_us);
      if (isProof) picture.append(draw("line", { class: "proof", x1: x, x2: x, y1: 0, y2: bottom }));
      if (words !== null) picture.append(named(draw("rect", { class: `mark ${isProof ? "bad" : ""}`, x: Math.max(0, x - 3), y: top + 3, width: 6, height: 16, rx: 2 }), words));
    }
  }

  #frame(picture, height, tops, scale) {
    const cursor = draw("line", { class: "cursor away", x1: 0, x2: 0, y1: 0, y2: height - AXIS });
    picture.append(cursor);
    picture.addEventListener("pointermove", (event) => {
      const box = picture.getBoundingClientRect();
      const at = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      cursor.classList.remove("away");
      cursor.setAttribute("x1", at * WIDTH);
      cursor.setAttribute("x2", at * WIDTH);
      const title = event.target.closest?.("[data-words]")?.dataset.words;
      setText(byId("readout"), `${offset(at * scale.lengthS)}${title ? `  ${title}` : ""}`);
    });
    picture.addEventListener("pointerleave", () => {
      cursor.classList.add("away");
      setText(byId("readout"), "");
    });
    byId("clock").replaceChildren(labels(tops, height), picture, axis(scale.lengthS));
  }
}

function laneTops() {
  let top = 0;
  return LANES.map(([, size]) => {
    const mine = top;
    top += size + GAP;
    return mine;
  });
}

function named(element, words) {
  element.dataset.words = words;
  element.append(draw("title", {}, words));
  return element;
}

function labels(tops, height) {
  const made = document.createElement("div");
  made.className = "lane-names";
  made.setAttribute("aria-hidden", "true");
  LANES.forEach(([name, size], lane) => {
    const label = document.createElement("span");
    label.textContent = name;
    label.style.setProperty("--top", (tops[lane] + size / 2) / height);
    made.append(label);
  });
  return made;
}

function axis(lengthS) {
  const made = document.createElement("div");
  made.className = "axis";
  made.setAttribute("aria-hidden", "true");
  const step = STEPS_S.find((one) => lengthS / one <= 8) ?? Math.ceil(lengthS / 8);
  for (let at = 0; at <= lengthS * 0.97; at += step) {
    const tick = document.createElement("span");
    tick.textContent = duration(at);
    tick.style.setProperty("--at", at / lengthS);
    made.append(tick);
  }
  return made;
}

/** What the picture shows, for who cannot see it. */
function inWords({ story, spans }, lengthS) {
  return `${duration(lengthS)} of a call: ${spans.length} spans of media, ${story.turns.length} turns, ${story.tools.length} tools, ${story.moves.length} moves`;
}
