// The last half minute of sound as a strip chart: sent above the line, received below it.
// It shows who spoke when, any gap, and where the caller broke in.

import { FLOOR_DBFS } from "./level.js";

const COLUMN_MS = 100;
const COLUMNS = 300;
const STRETCH_COLUMNS = 5;
const BLANK = { sentDbfs: FLOOR_DBFS, receivedDbfs: FLOOR_DBFS };

/** The loudest level of each tenth of a second of the last half minute. Pure: takes `nowMs`. */
export class Tape {
  columns = [];
  #current = null;

  /** Note both levels; true when a new column was begun. */
  add(sentDbfs, receivedDbfs, nowMs) {
    const column = Math.floor(nowMs / COLUMN_MS);
    const isNew = column !== this.#current;
    if (isNew) this.#advance(column, sentDbfs, receivedDbfs);
    const last = this.columns[this.columns.length - 1];
    last.sentDbfs = Math.max(last.sentDbfs, sentDbfs);
    last.receivedDbfs = Math.max(last.receivedDbfs, receivedDbfs);
    return isNew;
  }

  /** The caller broke in now. */
  mark() {
    const last = this.columns.at(-1);
    if (last) last.isMarked = true;
  }

  /** Slow frames stretch a level over a few columns; a hidden page, which gets no frames, leaves blank tape. */
  #advance(column, sentDbfs, receivedDbfs) {
    const steps = this.#current === null ? 1 : Math.min(column - this.#current, COLUMNS);
    const fill = steps <= STRETCH_COLUMNS ? { sentDbfs, receivedDbfs } : BLANK;
    for (let i = 0; i < steps; i += 1) this.columns.push({ ...fill });
    this.columns.splice(0, Math.max(0, this.columns.length - COLUMNS));
    this.#current = column;
  }
}

/** Draws a Tape on a canvas, newest at the right edge, in the colours of the style sheet. */
export class Trace {
  #canvas;
  #tape = new Tape();

  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  begin() {
    this.#tape = new Tape();
    this.#draw();
  }

  update(sentDbfs, receivedDbfs, nowMs) {
    if (this.#tape.add(sentDbfs, receivedDbfs, nowMs)) this.#draw();
  }

  mark() {
    this.#tape.mark();
  }

  #draw() {
    const { width, height } = this.#fit();
    const context = this.#canvas.getContext("2d");
    const style = getComputedStyle(this.#canvas);
    const [sentInk, receivedInk, stop] = ["--sent-ink", "--received-ink", "--stop"].map((name) => style.getPropertyValue(name));
    const middle = Math.round(height / 2);
    const reach = middle - 1;
    const edge = (column) => Math.round((width * column) / COLUMNS); // whole pixels: no seams
    context.clearRect(0, 0, width, height);
    this.#tape.columns.forEach(({ sentDbfs, receivedDbfs, isMarked }, index, columns) => {
      const left = edge(COLUMNS - columns.length + index);
      const pitch = edge(COLUMNS - columns.length + index + 1) - left;
      context.fillStyle = sentInk;
      context.fillRect(left, middle, pitch, -reach * share(sentDbfs));
      context.fillStyle = receivedInk;
      context.fillRect(left, middle + 1, pitch, reach * share(receivedDbfs));
      if (!isMarked) return;
      context.fillStyle = stop;
      context.fillRect(left, 0, Math.max(1, Math.round(devicePixelRatio)), height);
    });
    context.fillStyle = style.getPropertyValue("--edge");
    context.fillRect(0, middle, width, 1);
  }

  /** Match the bitmap to the element's size in device pixels, so that lines stay sharp. */
  #fit() {
    const width = Math.round(this.#canvas.clientWidth * devicePixelRatio);
    const height = Math.round(this.#canvas.clientHeight * devicePixelRatio);
    if (this.#canvas.width !== width) this.#canvas.width = width;
    if (this.#canvas.height !== height) this.#canvas.height = height;
    return { width, height };
  }
}

function share(dbfs) {
  return 1 - dbfs / FLOOR_DBFS;
}
