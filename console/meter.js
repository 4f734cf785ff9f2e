// Level meters: samples → dBFS → a ladder of 60 one-decibel steps with a held peak.

/** The foot of the scale; anything quieter reads as silence. */
export const FLOOR_DBFS = -60;
const RELEASE_DB_PER_S = 40; // falls slowly enough to read, fast enough to show syllables
const PEAK_HOLD_MS = 1500;
const PEAK_FALL_DB_PER_S = 20;
const ANNOUNCE_EVERY_MS = 1000; // assistive technology gets the level at reading speed
const CALM_EVERY_MS = 200; // with prefers-reduced-motion the ladder steps instead of dancing

/** RMS and sample peak of `samples` (floats, full scale ±1) in dBFS, not below the floor. */
export function levelsOf(samples) {
  let square = 0;
  let peak = 0;
  for (const sample of samples) {
    square += sample * sample;
    peak = Math.max(peak, Math.abs(sample));
  }
  return { rmsDbfs: toDbfs(Math.sqrt(square / samples.length)), peakDbfs: toDbfs(peak) };
}

function toDbfs(amplitude) {
  return amplitude > 0 ? Math.max(FLOOR_DBFS, Math.min(0, 20 * Math.log10(amplitude))) : FLOOR_DBFS;
}

/** What the needle does: rises at once, falls slowly, holds its peak. Takes `nowMs`, has no clock. */
export class Ballistics {
  levelDbfs = FLOOR_DBFS;
  peakDbfs = FLOOR_DBFS;
  #peakAtMs = 0;
  #lastMs = null;

  step({ rmsDbfs, peakDbfs }, nowMs) {
    const elapsedS = this.#lastMs === null ? 0 : (nowMs - this.#lastMs) / 1000;
    this.#lastMs = nowMs;
    this.levelDbfs = Math.max(rmsDbfs, this.levelDbfs - RELEASE_DB_PER_S * elapsedS);
    if (peakDbfs >= this.peakDbfs) {
      this.#peakAtMs = nowMs;
      this.peakDbfs = peakDbfs;
    } else if (nowMs - this.#peakAtMs > PEAK_HOLD_MS) {
      this.peakDbfs = Math.max(peakDbfs, this.peakDbfs - PEAK_FALL_DB_PER_S * elapsedS);
    }
    return this;
  }
}

/** One meter on the page, fed by an AnalyserNode while a call lasts. */
export class Meter {
  #element;
  #reading;
  #analyser = null;
  #samples = null;
  #ballistics = new Ballistics();
  #announcedMs = 0;

  constructor(element, reading) {
    this.#element = element;
    this.#reading = reading;
  }

  get levelDbfs() {
    return this.#ballistics.levelDbfs;
  }

  /** Meter `stream`; the analyser ends nowhere, so nothing is played twice. */
  attach(audioContext, stream) {
    this.#analyser = audioContext.createAnalyser();
    this.#analyser.fftSize = 2048; // 43 ms at 48 kHz: longer than a frame, so no sample goes unseen
    this.#samples = new Float32Array(this.#analyser.fftSize);
    this.#ballistics = new Ballistics();
    audioContext.createMediaStreamSource(stream).connect(this.#analyser);
  }

  detach() {
    this.#analyser?.disconnect();
    this.#analyser = null;
    this.#ballistics = new Ballistics();
    this.#draw();
    this.#announce();
  }

  update(nowMs) {
    if (!this.#analyser) return;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    this.#ballistics.step(levelsOf(this.#samples), nowMs);
    this.#draw();
    if (nowMs - this.#announcedMs < ANNOUNCE_EVERY_MS) return;
    this.#announcedMs = nowMs;
    this.#announce();
  }

  #draw() {
    const { levelDbfs, peakDbfs } = this.#ballistics;
    // Custom properties set from script are allowed by a style-src without 'unsafe-inline'.
    this.#element.style.setProperty("--level-steps", Math.round(levelDbfs - FLOOR_DBFS));
    this.#element.style.setProperty("--peak-step", Math.ceil(peakDbfs - FLOOR_DBFS) - 1);
    this.#element.classList.toggle("peaking", peakDbfs > FLOOR_DBFS);
    this.#element.classList.toggle("clipping", peakDbfs > -0.1);
    this.#reading.textContent = peakDbfs > FLOOR_DBFS ? signed(peakDbfs) : "–";
  }

  #announce() {
    const levelDbfs = Math.round(this.#ballistics.levelDbfs);
    this.#element.setAttribute("aria-valuenow", levelDbfs);
    this.#element.setAttribute("aria-valuetext", levelDbfs > FLOOR_DBFS ? `${levelDbfs} dBFS` : "silent");
  }
}

/** A decibel figure with a real minus sign, so that digits do not jump. */
function signed(dbfs) {
  const figure = Math.abs(dbfs).toFixed(1);
  return figure === "0.0" ? "0.0" : `−${figure}`;
}

/** Call `onFrame(nowMs)` on every frame (five times a second for calm) until the returned stop(). */
export function animate(onFrame) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let lastMs = -Infinity;
  let frame = requestAnimationFrame(function tick(nowMs) {
    frame = requestAnimationFrame(tick);
    if (calm.matches && nowMs - lastMs < CALM_EVERY_MS) return;
    lastMs = nowMs;
    onFrame(nowMs);
  });
  return () => cancelAnimationFrame(frame);
}
