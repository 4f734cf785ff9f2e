"""The page's own cores: events in; entries, turns, bars and times out. In a browser alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Route, async_playwright

from tests.browser.kit import CHROMIUM, FLAGS
from transceiver.signaling.console_page import console_files

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]

STAGES = {
    "heard": 90.0,
    "first_words": 130.0,
    "tool_started": 100.0,
    "tool_ended": 120.0,
    "first_sound": 180.0,
    "ended": 250.0,
    "sent": 252.0,
    "out": 260.0,
}
NETWORK = {"rtt_ms": 40.0, "jitter_buffer_ms": 15.0}


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    """The console's files on a page of their own."""
    files = console_files()
    types = {
        "js": "text/javascript",
        "css": "text/css",
        "html": "text/html",
        "svg": "image/svg+xml",
    }

    async def serve(route: Route) -> None:
        name = route.request.url.rpartition("/")[2] or "index.html"
        if name in files:
            media_type = types[name.rpartition(".")[2]]
            await route.fulfill(body=files[name], content_type=media_type)
        else:
            await route.fulfill(status=404)

    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"), executable_path=CHROMIUM, args=FLAGS
        )
        page = await context.new_page()
        await page.route("**/*", serve)
        await page.goto("http://console.test/")
        yield page
        await context.close()


async def run(page: Page, module: str, body: str, *values: Any) -> Any:
    """What `body` returns, with the module's exports as `m` and the values as `v`."""
    script = f"async (v) => {{ const m = await import('/console/{module}.js'); {body} }}"
    return await page.evaluate(script, values)


def turn(**members: Any) -> dict[str, Any]:
    return {"type": "trunkline.turn", "turn": 1, "stages_ms": STAGES, **members}


WATERFALL = """
  const { readTurn } = await import('/console/turns.js');
  const turn = readTurn(v[0]);
  if (v[1]) turn.client = { rttMs: v[1][0], jitterBufferMs: v[1][1] };
  return m.waterfallOf(turn);
"""


async def test_bars_of_a_turn_made_ahead(page: Page) -> None:
    """What ran before the end of the turn is ahead, what was ready waits, and the sum says so."""
    falls = await run(page, "stages", WATERFALL, turn(tools=["get_time"]))
    rows = {row["name"]: row for row in falls["rows"]}
    assert list(rows) == ["ended", "heard", "asking", "tool", "first_words", "first_sound", "out"]
    kinds = {name: [bar["kind"] for bar in row["bars"]] for name, row in rows.items()}
    assert kinds["first_sound"] == ["ahead"]
    assert kinds["out"] == ["held", "work"]
    assert rows["out"]["ms"] == 10
    assert rows["first_words"]["ms"] == 10, "from the end of the tool"
    assert falls["tool"] == {"ms": 20, "hiddenMs": 20}
    assert (falls["totalMs"], falls["waitMs"], falls["afterMs"]) == (260, 250, 10)
    assert falls["aheadMs"] == 180
    assert falls["sequentialMs"] == 440


async def test_bars_that_cross_the_end(page: Page) -> None:
    """A stage begun ahead and ended after is two bars."""
    late = {**STAGES, "first_sound": 300.0, "out": 310.0}
    falls = await run(page, "stages", WATERFALL, turn(stages_ms=late))
    sound = next(row for row in falls["rows"] if row["name"] == "first_sound")
    spans = [(bar["kind"], bar["fromMs"], bar["toMs"]) for bar in sound["bars"]]
    assert spans == [("ahead", 130, 250), ("work", 250, 300)]


async def test_the_network_is_part_of_the_time(page: Page) -> None:
    """Half a round trip each way and the buffer at its end; any of them may lack."""
    falls = await run(page, "stages", WATERFALL, turn(network=NETWORK), [50.0, 30.0])
    assert falls["totalMs"] == 25 + 15 + 260 + 25 + 30
    assert falls["endedMs"] == 25 + 15 + 250
    assert [falls["rows"][0]["name"], falls["rows"][-1]["name"]] == ["network_in", "network_out"]
    falls = await run(page, "stages", WATERFALL, turn(network=NETWORK))
    assert falls["totalMs"] == 20 + 15 + 260 + 20
    nothing = {"rtt_ms": None}
    falls = await run(page, "stages", WATERFALL, turn(network=nothing), [None, None])
    assert falls["totalMs"] == 260
    assert falls["rows"][0]["name"] == "ended"


@pytest.mark.parametrize(
    "event",
    [
        {"type": "trunkline.turn"},
        {"type": "trunkline.turn", "stages_ms": {"out": "soon", "ended": None}, "tools": 7},
        {"type": "trunkline.turn", "stages_ms": 3, "network": [], "turn": {}, "failed": ["x"]},
    ],
)
async def test_a_turn_without_stages_has_no_waterfall(page: Page, event: dict[str, Any]) -> None:
    """What an event lacks or has wrongly is not drawn, and breaks nothing."""
    assert await run(page, "stages", WATERFALL, event) is None


async def test_the_median_and_the_bounds_of_turns(page: Page) -> None:
    """Fifty turns are kept; the median goes over all that were measured and answered."""
    body = """
      const turns = new m.Turns();
      for (const out of v[0]) turns.take(m.readTurn({ turn: out, stages_ms: { out } }));
      turns.take(m.readTurn({ turn: 1, stages_ms: {} }));
      turns.take(m.readTurn({ turn: 2, stages_ms: { out: 1 }, failed: "llm: down" }));
      return [turns.list.length, turns.count, turns.measured, turns.p50Ms];
    """
    assert await run(page, "turns", body, [float(n) for n in range(100, 300)]) == [
        *(50, 202, 200, 199.5)
    ]


async def test_a_turn_that_is_told_again_is_the_same_turn(page: Page) -> None:
    """By its number: the server's part is renewed, what this browser saw stays."""
    body = """
      const turns = new m.Turns();
      const tell = (event) => turns.take(m.readTurn(event));
      const turn = tell({ turn: 4, final: false, stages_ms: { out: 100 }, response_id: "r" });
      turn.client = { rttMs: 10, jitterBufferMs: null };
      Object.assign(turn, { silentAfterMs: 90, isInterrupted: true });
      const first = [turns.measured, turns.p50Ms, turn.isFinal];
      const other = tell({ turn: 5, stages_ms: { out: 300 } });
      const stages_ms = { out: 100, tool_ended: 150 };
      const again = tell({ turn: 4, final: true, stages_ms, tools: ["t"], failed: "llm: cut_off" });
      tell({ turn: {}, stages_ms: {} });
      tell({ turn: {}, stages_ms: {} });
      const { count, p50Ms } = turns;
      return { first, same: again === turn, turn, other: other.isFinal, count, p50Ms };
    """
    seen = await run(page, "turns", body)
    turn = seen["turn"]
    assert seen["first"] == [1, 100, False]
    assert (seen["same"], turn["isFinal"], seen["other"]) == (True, True, True)
    assert (turn["stages"]["tool_ended"], turn["tools"], turn["failed"]) == (
        150,
        ["t"],
        "llm: cut_off",
    )
    assert (turn["client"]["rttMs"], turn["silentAfterMs"], turn["isInterrupted"]) == (10, 90, True)
    assert (seen["count"], seen["p50Ms"]) == (4, 300), "one that failed is no longer in the median"


async def test_a_turn_is_shown_at_once_and_reported_on_when_it_is_over(page: Page) -> None:
    """Also when the browser's own figures come late: the last telling is the one that counts."""
    body = """
      const [sent, shown, asked] = [[], [], []];
      const legs = (isOver) => new Promise((resolve) => asked.push([isOver, resolve]));
      const call = { legs, sendEvent: (event) => sent.push(event) };
      const view = { show() {}, select() {} };
      const waterfall = { show: (one) => shown.push([one.number, one.isFinal, one.client.rttMs]) };
      const listeners = { onPhase() {}, onFollow() {}, onCut() {} };
      const views = { transcript: view, history: view, waterfall, ...listeners };
      const dialogue = new m.Dialogue(call, views);
      const tell = (final) => dialogue.receive(JSON.stringify({ ...v[0], final }), 0);
      tell(false);
      const first = [...shown];
      tell(true);
      const [[, early], [, late]] = asked;
      late({ rttMs: 30, jitterBufferMs: 60 });
      await Promise.resolve().then(() => {});
      early({ rttMs: 20, jitterBufferMs: null });
      await new Promise((resolve) => setTimeout(resolve));
      const { count } = dialogue.turns;
      return { first, last: shown.at(-1), asked: asked.map(([isOver]) => isOver), sent, count };
    """
    seen = await run(page, "dialogue", body, turn())
    assert seen["first"] == [[1, False, None]]
    assert seen["last"] == [1, True, 30]
    assert (seen["asked"], seen["count"]) == ([False, True], 1)
    (report,) = seen["sent"]
    assert report["type"] == "trunkline.client_report"
    assert (report["turn"], report["rtt_ms"], report["jitter_buffer_ms"]) == (1, 30, 60)


CONVERSE = """
  const conversation = new m.Conversation();
  for (const [event, atMs] of v[0]) conversation.take(event, atMs);
  if (v[1] !== undefined) conversation.tick(v[1]);
  return { phase: conversation.phase, entries: conversation.entries };
"""
ANSWER = "One two three four five six."


def answering() -> list[list[Any]]:
    """The events of an answer that began to sound at 1000 ms."""
    response = {"response_id": "resp_1", "item_id": "item_a"}
    item = {"id": "item_a", "type": "message", "role": "assistant"}
    return [
        [{"type": "session.created", "session": {}}, 0],
        [{"type": "response.created", "response": {"id": "resp_1"}}, 900],
        [{"type": "response.output_item.added", "response_id": "resp_1", "item": item}, 910],
        [{"type": "response.output_audio_transcript.delta", "delta": ANSWER, **response}, 920],
        [{"type": "output_audio_buffer.started", "response_id": "resp_1"}, 1000],
        [{"type": "response.done", "response": {"id": "resp_1", "status": "completed"}}, 1010],
    ]


async def test_words_light_up_as_they_are_spoken(page: Page) -> None:
    """Whole words only, not before their sound; all of them when it has ended."""
    early = await run(page, "conversation", CONVERSE, answering(), 1000)
    assert early["entries"][0]["spoken"] == 0
    middle = await run(page, "conversation", CONVERSE, answering(), 1700)
    spoken = middle["entries"][0]["spoken"]
    assert 0 < spoken < len(ANSWER)
    assert ANSWER[spoken] == " "
    ended = [*answering(), [{"type": "output_audio_buffer.stopped", "response_id": "resp_1"}, 1700]]
    seen = await run(page, "conversation", CONVERSE, ended)
    assert seen["entries"][0]["spoken"] == len(ANSWER)
    assert seen["phase"] == "listening"


async def test_a_cut_answer_keeps_what_the_server_says_was_heard(page: Page) -> None:
    """Not what the page would guess."""
    cut = [
        *answering(),
        [{"type": "input_audio_buffer.speech_started", "item_id": "item_b"}, 1400],
        [{"type": "output_audio_buffer.cleared", "response_id": "resp_1"}, 1410],
        [{"type": "conversation.item.truncated", "item_id": "item_a", "audio_end_ms": 400}, 1411],
        [
            {
                "type": "conversation.item.retrieved",
                "item": {"id": "item_a", "content": [{"transcript": "One two three"}]},
            },
            1420,
        ],
    ]
    seen = await run(page, "conversation", CONVERSE, cut, 5000)
    answer = seen["entries"][0]
    assert (answer["isCut"], answer["heardMs"]) == (True, 400)
    assert ANSWER[: answer["spoken"]] == "One two three"
    assert seen["phase"] == "interrupted"


async def test_events_that_are_wrong_change_nothing(page: Page) -> None:
    """Unknown types, missing members and members of another type are passed over."""
    kinds = [
        *("constructor", "__proto__", "toString", "response.done", "conversation.item.added"),
        *("response.created", "response.output_item.added", "conversation.item.retrieved"),
        *("input_audio_buffer.speech_started", "response.output_audio_transcript.delta"),
        *("output_audio_buffer.cleared", "conversation.item.truncated", "nothing.of.ours"),
    ]
    wrong: dict[str, Any] = {
        "item": 7,
        "response": [],
        "delta": {},
        "item_id": {},
        "response_id": 3,
    }
    events = [[{"type": kind, **members}, 1] for kind in kinds for members in ({}, wrong)]
    seen = await run(page, "conversation", CONVERSE, events, 2)
    assert seen["entries"] == []


async def test_long_conversations_stay_bounded(page: Page) -> None:
    """A thousand turns leave 200 rows, 50 turns in the history, 200 lines in the log."""
    body = """
      const { Transcript } = await import('/console/transcript.js');
      const { History } = await import('/console/history.js');
      const { Journal } = await import('/console/journal.js');
      const { Turns, readTurn } = await import('/console/turns.js');
      const at = (id) => document.getElementById(id);
      const conversation = new m.Conversation();
      const transcript = new Transcript(at("transcript"), () => {});
      const history = new History(() => {});
      const journal = new Journal(at("log"));
      const turns = new Turns();
      const long = "word ".repeat(4000);
      for (let n = 0; n < 1000; n += 1) {
        const [item_id, transcript_of] = [`i${n}`, "conversation.item.input_audio_transcription"];
        const began = { type: "input_audio_buffer.speech_started", item_id };
        const done = { type: `${transcript_of}.completed`, item_id, transcript: long };
        for (const event of [began, done]) transcript.show(conversation.take(event, n));
        const turn = readTurn({ turn: n, stages_ms: { out: n } });
        turns.take(turn);
        history.show(turn, turns);
        journal.add(long, n);
      }
      const counts = ["transcript", "turns", "log"].map((id) => at(id).childElementCount);
      const kept = [conversation.entries.length, journal.lines().length];
      return [...counts, ...kept, at("transcript").textContent.length];
    """
    *counts, characters = await run(page, "conversation", body)
    assert counts == [200, 50, 200, 200, 200]
    assert characters < 200 * 8100


async def test_the_transcript_follows_unless_somebody_reads(page: Page) -> None:
    """New words scroll into view, also as the screen shrinks; who scrolled up is left alone."""
    body = """
      const { Transcript } = await import('/console/transcript.js');
      const list = document.getElementById("transcript");
      const conversation = new m.Conversation();
      const transcript = new Transcript(list, () => {});
      const say = () => transcript.show(conversation.data("something was said ".repeat(20), true));
      const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
      const restPx = () => list.scrollHeight - list.scrollTop - list.clientHeight;
      for (let n = 0; n < 60; n += 1) say();
      await frame();
      const followed = restPx();
      list.style.width = "300px";
      for (let n = 0; n < 3; n += 1) await frame();
      const shrunk = restPx();
      list.scrollTop = 100;
      for (let n = 0; n < 3; n += 1) await frame();
      say();
      await frame();
      return [followed, shrunk, list.scrollTop];
    """
    followed, shrunk, read_at = await run(page, "conversation", body)
    assert followed <= 1
    assert shrunk <= 1
    assert read_at == 100


async def test_how_soon_it_was_silent(page: Page) -> None:
    """From the caller's onset, not from the server's word of it; unknown where frames lack."""
    body = """
      const reaction = new m.Reaction();
      for (const [atMs, sent, received] of v[0]) reaction.add(atMs, sent, received);
      return [reaction.silentAfterMs(v[1]), reaction.size];
    """

    def frames(silent_ms: int, hole: range = range(0)) -> list[tuple[int, int, int]]:
        """60 a second: the caller's voice begins at 2000, the answer ends at `silent_ms`."""
        times = [n * 16 for n in range(200) if n * 16 not in hole]
        return [(t, -20 if t >= 2000 else -60, -25 if t < silent_ms else -60) for t in times]

    silent_ms, _ = await run(page, "reaction", body, frames(2112), 2100)
    assert silent_ms == 112
    assert (await run(page, "reaction", body, frames(9999), 2100))[0] is None
    assert (await run(page, "reaction", body, frames(2112, range(2032, 2200)), 2100))[0] is None
    assert (await run(page, "reaction", body, frames(2112), 1000))[0] is None
    long_call = [(n * 16, -60, -60) for n in range(5000)]
    assert (await run(page, "reaction", body, long_call, 0))[1] <= 400


async def test_typed_words_wait_for_silence(page: Page) -> None:
    """An answer is cancelled and its sound cleared first; the words go when both have ended."""
    body = """
      const sent = [];
      const conversation = { active: "resp_1", playing: "resp_1" };
      const typed = new m.Typed(conversation, (event) => sent.push(event.type));
      typed.say("first", 0);
      typed.say("second", 10);
      const before = sent.length;
      conversation.active = "";
      typed.poll(20);
      conversation.playing = "";
      typed.poll(30);
      const full = Array.from({ length: 20 }, () => {
        conversation.active = "resp_2";
        return typed.say("more", 40);
      });
      return { before, sent: sent.slice(0, 6), refused: full.filter((taken) => !taken).length };
    """
    seen = await run(page, "typed", body)
    stop = ["response.cancel", "output_audio_buffer.clear"]
    asked = ["conversation.item.create", "response.create"]
    assert seen == {"before": 4, "sent": [*stop, *stop, *asked], "refused": 12}


async def test_the_settings_may_lack(page: Page) -> None:
    """Without settings the page says what is wrong, and offers to read them again."""
    await page.wait_for_selector("#fault:not([hidden])")
    assert "settings" in (await page.inner_text("#error-title")).lower()
    assert await page.is_visible("#retry")
    assert json.loads(await page.evaluate("JSON.stringify(window.trunkline.turns)")) == []
