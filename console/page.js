// The few things every view of the page needs: finding, making and writing elements.

export const byId = (id) => document.getElementById(id);

/** A new element with a class and text or children. Text only, never markup. */
export function make(tag, className = "", ...content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...content);
  return element;
}

/** Writing the same text again would make screen readers repeat it. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Milliseconds as a person reads them: whole, with a thin space in thousands. */
export function wholeMs(value) {
  return Math.round(value).toLocaleString("en").replace(",", "\u2009");
}

/** "0:42", "1:02:03" */
export function duration(elapsedMs) {
  const totalS = Math.floor(elapsedMs / 1000);
  const [hours, minutes, seconds] = [Math.floor(totalS / 3600), Math.floor(totalS / 60) % 60, totalS % 60];
  const tail = `${String(minutes).padStart(hours ? 2 : 1, "0")}:${String(seconds).padStart(2, "0")}`;
  return hours ? `${hours}:${tail}` : tail;
}
