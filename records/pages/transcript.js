// What was said, in order, with what of an answer was heard and what was cut off.

import { byId, duration, make, setText } from "./page.js";

const WHO = { user: "Caller", assistant: "Agent", system: "System", tool: "Tool" };

export function showTranscript({ items, erasedUs, story }, onChoose) {
  const turnOf = new Map(story.turns.flatMap((one) => [[one.item_id, one.turn], [one.response_id, one.turn]]).filter(([id]) => id));
  const lines = items.map((item) => lineOf(item, story.began_us, turnOf.get(item.item_id) ?? turnOf.get(item.response_id), onChoose));
  byId("transcript").replaceChildren(...lines);
  byId("transcript").hidden = lines.length === 0;
  byId("no-said").hidden = lines.length > 0 && erasedUs === null;
  setText(byId("no-said"), erasedUs === null
    ? "Nothing is recorded of what was said. Words appear here when the backend tells of its conversation and the policy keeps them."
    : "What was said was erased. The rest of the record stays.");
}

/** Mark the lines of a turn. */
export function markTurn(number) {
  for (const line of byId("transcript").children) line.classList.toggle("chosen", line.dataset.turn === String(number));
}

function lineOf(item, beganUs, turn, onChoose) {
  const at = duration((item.at_us - beganUs) / 1e6);
  const line = make("li", item.role, make("span", "at", at), make("span", "who", whoOf(item)), wordsOf(item));
  if (turn !== undefined) {
    line.dataset.turn = String(turn);
    line.addEventListener("click", () => onChoose(turn));
  }
  return line;
}

function whoOf(item) {
  return item.type.startsWith("function_call") ? "Tool" : WHO[item.role] ?? item.role;
}

function wordsOf(item) {
  const isTool = item.type.startsWith("function_call");
  const words = make("span", isTool ? "words mono" : "words");
  if (isTool && item.tool_name) words.append(make("b", "", `${item.tool_name} `));
  if (item.text === null) words.append(make("span", "soft", "not kept"));
  else if (item.truncated && item.heard !== null) words.append(item.heard, unheard(item.text.slice(item.heard.length)));
  else words.append(item.text);
  if (item.truncated) words.append(" ", make("span", "chip bad", item.heard_ms === null ? "cut off" : `cut off after ${(item.heard_ms / 1000).toFixed(1)} s`));
  return words;
}

function unheard(text) {
  const cut = make("s", "unheard", text);
  cut.title = "The caller did not hear this";
  return cut;
}
