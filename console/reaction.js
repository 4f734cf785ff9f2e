// How soon the answer fell silent when the caller spoke over it, as this browser heard it. Pure.
//
//   sent      ______▁▃▅▅▃▅▅▃____        onset: the voice that made the server stop
//   received  ▅▃▅▅▃▅▅▃▅_________        silence: the last audible moment after it
//                   └────┘ what is measured, to about one frame of the display

const KEPT_MS = 6_000;
const AUDIBLE_DBFS = -41; // as the load tests have it; a voice in the microphone counts from there, too
const SYLLABLE_GAP_MS = 160; // a voice is silent for so long within a word
const DETECTION_MS = 600; // the longest a detector may take to call a voice a voice
const FRAME_GAP_MS = 100; // a hidden page gets no frames: then nothing is known

/** The levels of the last seconds, and what they say of an interruption. */
export class Reaction {
  #samples = [];

  add(atMs, sentDbfs, receivedDbfs) {
    this.#samples.push({ atMs, isVoiced: sentDbfs > AUDIBLE_DBFS, isAudible: receivedDbfs > AUDIBLE_DBFS });
    while (this.#samples[0].atMs < atMs - KEPT_MS) this.#samples.shift();
  }

  get size() {
    return this.#samples.length;
  }

  /**
   * ms from the caller's voice, of which the server told at `toldMs`, to silence; null when the levels
   * do not say: no voice just before it, nothing audible since, still audible, or frames missing.
   */
  silentAfterMs(toldMs) {
    const onset = this.#onset(toldMs);
    if (onset === null) return null;
    const after = this.#samples.slice(onset);
    const last = after.findLastIndex((sample) => sample.isAudible);
    if (last < 0 || last === after.length - 1 || hasHole(after)) return null;
    return Math.round(after[last + 1].atMs - after[0].atMs);
  }

  /** Where the voice began that was heard just before `toldMs`. */
  #onset(toldMs) {
    let index = this.#samples.findLastIndex((sample) => sample.atMs <= toldMs && sample.isVoiced);
    if (index < 0 || this.#samples[index].atMs < toldMs - DETECTION_MS) return null;
    let onset = index;
    for (; index >= 0 && this.#samples[onset].atMs - this.#samples[index].atMs <= SYLLABLE_GAP_MS; index -= 1) {
      if (this.#samples[index].isVoiced) onset = index;
    }
    return onset;
  }
}

function hasHole(samples) {
  return samples.some((sample, index) => index > 0 && sample.atMs - samples[index - 1].atMs > FRAME_GAP_MS);
}
