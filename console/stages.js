// A turn as bars: what ran when, before the end of the turn was decided and after. Pure.
//
//   end of turn   ░░░░░░░░░░░░│              "wait": nothing to do but wait
//   transcript    ▒▒▒                        "ahead": done meanwhile, costs the caller nothing
//   first words      ▒▒▒▒▒
//   first sound           ▒▒▒▒▒▒██           "work": the caller waits for this
//   send                          █
//
// A row is { name, label, bars: [{ kind, fromMs, toMs }], ms }: `ms` is the stage's own length, null when
// it did not end.

import { LINE_MS, networkOf, toolMs, voiceToVoiceMs } from "./turns.js";

/** Everything a waterfall shows, or null for a turn that did not begin with speech. */
export function waterfallOf(turn) {
  const { stages } = turn;
  const network = networkOf(turn);
  const rows = rowsOf(turn).map((row) => moved(row, network.inMs));
  if (rows.length === 0) return null;
  const totalMs = voiceToVoiceMs(turn);
  if (network.inMs > 0) rows.unshift(row("network_in", "Network in", [bar("network", 0, network.inMs)]));
  if (network.outMs > 0 && totalMs !== null) {
    rows.push(row("network_out", "Network out", [bar("network", totalMs - network.outMs, totalMs)]));
  }
  const aheadMs = total(rows, "ahead");
  return {
    rows,
    totalMs,
    endedMs: stages.ended === null ? null : stages.ended + network.inMs,
    waitMs: stages.ended,
    afterMs: totalMs === null || stages.ended === null ? null : totalMs - network.inMs - stages.ended,
    aheadMs,
    sequentialMs: totalMs === null ? null : totalMs + aheadMs, // had nothing been done ahead
    tool: toolOf(turn),
    axis: axisOf(Math.max(LINE_MS, ...rows.flatMap(({ bars }) => bars.map(({ toMs }) => toMs)))),
  };
}

/** What a tool cost: its length, and how much of it the caller waited for. */
function toolOf(turn) {
  const ms = toolMs(turn);
  if (ms === null) return null;
  const { ended, tool_started: from, tool_ended: to } = turn.stages;
  const hiddenMs = ended === null ? 0 : Math.max(0, Math.min(to, ended) - from);
  return { ms, hiddenMs: Math.min(ms, hiddenMs) };
}

function rowsOf({ stages, tools }) {
  const { ended, heard, first_words: words, first_sound: sound, out } = stages;
  const { tool_started: toolFrom, tool_ended: toolTo } = stages;
  const cut = (...span) => split(...span, ended);
  const rows = [];
  if (ended !== null) rows.push(row("ended", "End of turn", [bar("wait", 0, ended)]));
  if (heard !== null) rows.push(row("heard", "Transcript", cut(0, heard)));
  if (toolFrom !== null && (words === null || toolFrom < words)) {
    rows.push(askingRow(before(toolFrom, heard), toolFrom, ended));
  }
  if (toolFrom !== null) rows.push(toolRow(tools, toolFrom, toolTo, stages));
  if (words !== null) rows.push(row("first_words", "First words", cut(before(words, heard, toolTo), words)));
  if (sound !== null) rows.push(row("first_sound", "First sound", cut(before(sound, heard, toolTo, words), sound)));
  if (out !== null) rows.push(sendRow(before(out, sound, ended), out, sound, ended));
  return rows;
}

/** A tool that has effects waits for the end of the turn: how long the model took before is not known. */
function askingRow(fromMs, toolMs, endedMs) {
  const mayWait = endedMs !== null && fromMs < endedMs && toolMs >= endedMs;
  if (!mayWait) return row("asking", "Choosing a tool", split(fromMs, toolMs, endedMs));
  return { ...row("asking", "Choosing a tool", [bar("held", fromMs, endedMs), bar("work", endedMs, toolMs)]), ms: toolMs - endedMs };
}

function toolRow(tools, fromMs, toMs, stages) {
  const label = tools.length ? `Tool ${tools.join(", ")}` : "Tool";
  if (toMs !== null) return row("tool", label, split(fromMs, toMs, stages.ended, "tool"));
  const lastMs = Math.max(fromMs, ...Object.values(stages).filter((ms) => ms !== null));
  return { ...row("tool", label, split(fromMs, lastMs, stages.ended, "tool")), ms: null };
}

function sendRow(fromMs, outMs, soundMs, endedMs) {
  const bars = [bar("work", fromMs, outMs)];
  if (soundMs !== null && endedMs !== null && soundMs < endedMs) bars.unshift(bar("held", soundMs, endedMs));
  return { ...row("out", "Send", bars), ms: outMs - fromMs };
}

/** The latest of the moments that lie before `ms`: where that stage began. */
function before(ms, ...moments) {
  return Math.max(0, ...moments.filter((moment) => moment !== null && moment <= ms));
}

/** A stage in two: what was done ahead of the end of the turn, and what after. */
function split(fromMs, toMs, endedMs, kind = "work") {
  if (endedMs === null || fromMs >= endedMs) return [bar(kind, fromMs, toMs)];
  const ahead = bar("ahead", fromMs, Math.min(toMs, endedMs), kind);
  return toMs > endedMs ? [ahead, bar(kind, endedMs, toMs)] : [ahead];
}

function bar(kind, fromMs, toMs, of = kind) {
  return { kind, of, fromMs, toMs };
}

function row(name, label, bars) {
  return { name, label, bars, ms: bars.reduce((sum, { fromMs, toMs }) => sum + toMs - fromMs, 0) };
}

function moved(one, byMs) {
  return { ...one, bars: one.bars.map((b) => ({ ...b, fromMs: b.fromMs + byMs, toMs: b.toMs + byMs })) };
}

function total(rows, kind) {
  const bars = rows.flatMap((one) => one.bars).filter((one) => one.kind === kind);
  return bars.reduce((sum, { fromMs, toMs }) => sum + toMs - fromMs, 0);
}

/** A round end for the axis, and a step that makes three to five marks: so many fit a narrow screen. */
export function axisOf(lastMs) {
  const step = [50, 100, 200, 250, 500, 1000, 2000, 5000].find((size) => lastMs / size <= 4.5) ?? 10_000;
  return { endMs: Math.ceil((lastMs * 1.04) / step) * step, step };
}
