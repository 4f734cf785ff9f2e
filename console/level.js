// How loud a stream is now: samples → dBFS.

/** The foot of the scale; anything quieter reads as silence. */
export const FLOOR_DBFS = -60;
const SAMPLES = 1024; // 21 ms at 48 kHz: a little more than a frame of the display, so none goes unseen

/** RMS of `samples` (floats, full scale ±1) in dBFS, not below the floor. */
export function dbfsOf(samples) {
  let square = 0;
  for (const sample of samples) square += sample * sample;
  const rms = Math.sqrt(square / samples.length);
  return rms > 0 ? Math.max(FLOOR_DBFS, Math.min(0, 20 * Math.log10(rms))) : FLOOR_DBFS;
}

/** The level of one stream, read anew by each `update`. */
export class Level {
  dbfs = FLOOR_DBFS;
  #analyser = null;
  #samples = new Float32Array(SAMPLES);

  /** Measure `stream`; the analyser ends nowhere, so nothing is played twice. */
  attach(audioContext, stream) {
    this.#analyser = audioContext.createAnalyser();
    this.#analyser.fftSize = SAMPLES;
    audioContext.createMediaStreamSource(stream).connect(this.#analyser);
  }

  detach() {
    this.#analyser?.disconnect();
    this.#analyser = null;
    this.dbfs = FLOOR_DBFS;
  }

  update() {
    if (!this.#analyser) return;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    this.dbfs = dbfsOf(this.#samples);
  }
}

/** Call `onFrame(nowMs)` on every frame of the display until the returned stop(). */
export function animate(onFrame) {
  let frame = requestAnimationFrame(function tick() {
    frame = requestAnimationFrame(tick);
    onFrame(performance.now());
  });
  return () => cancelAnimationFrame(frame);
}
