// A turn as bars: what ran when, in ms after the caller's last sound. Pure.
//
// A row is { name, label, kind, fromMs, toMs, ms }. What was done before the end of the turn was decided is
// "ahead": it cost the caller nothing.

export const LINE_MS = 300; // what people notice

/** The rows of a turn of the API, and where its axis ends. */
export function waterfallOf(turn) {
  const s = turn.stages;
  const has = (name) => Number.isFinite(s[name]);
  const rows = [];
  const add = (name, label, kind, fromMs, toMs) => rows.push({ name, label, kind, fromMs, toMs: Math.max(fromMs, toMs), ms: Math.max(0, toMs - fromMs) });
  if (has("ended")) add("ended", "End of turn", "wait", 0, s.ended);
  if (has("heard")) add("heard", "Transcript", "work", 0, s.heard);
  const asked = has("heard") ? s.heard : 0;
  const toolFirst = has("tool_started") && (!has("first_words") || s.tool_started < s.first_words);
  if (toolFirst) add("asking", "Asks a tool", "work", asked, s.tool_started);
  if (has("tool_started")) {
    const toMs = has("tool_ended") ? s.tool_ended : Math.max(s.tool_started, ...Object.values(s));
    add("tool", turn.tools.join(", ") || "Tool", "tool", s.tool_started, toMs);
  }
  const told = toolFirst && has("tool_ended") ? s.tool_ended : asked;
  if (has("first_words")) add("first_words", "First words", "work", Math.min(told, s.first_words), s.first_words);
  if (has("first_sound")) add("first_sound", "First sound", "work", lastBefore(s.first_sound, told, s.first_words, s.tool_ended), s.first_sound);
  if (has("out")) add("out", "Sent", "work", lastBefore(s.out, s.first_sound, s.ended), s.out);
  const endMs = Math.max(LINE_MS * 1.2, ...rows.map(({ toMs }) => toMs));
  return { rows, endMs, endedMs: has("ended") ? s.ended : null };
}

function lastBefore(atMs, ...moments) {
  return Math.max(0, ...moments.filter((ms) => Number.isFinite(ms) && ms <= atMs));
}
