// The few things every view of the page needs: finding, making and writing elements; figures for people.

export const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const NONE = "–";

/** A new element with a class and text or children. Text only, never markup. */
export function make(tag, className = "", ...content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...content);
  return element;
}

/** A new element of SVG with attributes. */
export function draw(tag, attributes = {}, ...content) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...content);
  return element;
}

/** Writing the same text again would make screen readers repeat it. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Milliseconds as a person reads them, with a thin space in thousands. */
export function wholeMs(value) {
  return value === null || value === undefined ? NONE : Math.round(value).toLocaleString("en").replaceAll(",", "\u2009");
}

/** "0:42", "1:02:03" */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  const total = Math.floor(Math.max(0, seconds));
  const [hours, minutes, rest] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  const tail = `${String(minutes).padStart(hours ? 2 : 1, "0")}:${String(rest).padStart(2, "0")}`;
  return hours ? `${hours}:${tail}` : tail;
}

/** "0:22.9", of a moment in a call. */
export function offset(seconds) {
  const tenths = Math.round(Math.max(0, seconds) * 10);
  return `${duration(tenths / 10)}.${tenths % 10}`;
}

/** "29 Nov, 02:14:07" in UTC: operators of one fleet sit in several time zones. */
export function moment(us) {
  if (us === null || us === undefined) return NONE;
  const date = new Date(us / 1000);
  const day = date.toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
  return `${day}, ${date.toISOString().slice(11, 19)}`;
}

/** "1.4 %" */
export function share(value) {
  return value === null || value === undefined ? NONE : `${(100 * value).toFixed(1)} %`;
}
