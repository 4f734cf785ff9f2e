"""Tool calls of a chat model that makes none."""

from __future__ import annotations

import re

import pytest

from backends.agent.messages import tool_messages
from backends.agent.models import TextDelta, ToolCall
from backends.agent.settings import AgentSettings
from backends.voice.phrases import FAILED, TIME, Phrase, PhraseTools, filled_in
from fleet.settings import load
from tests.backends.agent.stand_ins import Thinker, words

WEATHER = Phrase("weather", re.compile("weather"), "It is {sky} in {city}.")


async def _answer(messages: list[dict[str, object]]) -> list[object]:
    model = PhraseTools(Thinker(words("Hello.")), (TIME, WEATHER))
    return [event async for event in model.stream("call", messages)]


@pytest.mark.parametrize("text", ["What time is it?", "Tell me, what's the time?"])
async def test_words_that_ask_for_a_tool(text: str) -> None:
    """The tool is called and the model is not asked."""
    (call,) = await _answer([{"role": "user", "content": text}])
    assert isinstance(call, ToolCall)
    assert call.name == "get_time"


async def test_everything_else_goes_to_the_model() -> None:
    """Words about other things."""
    events = await _answer([{"role": "user", "content": "I have no time today."}])
    assert events[0] == TextDelta("Hello. ")


async def test_the_answer_is_put_into_the_sentence() -> None:
    """What the tool said, or that it said nothing of use."""
    made = tool_messages("c", "weather", "{}", '{"sky": "grey", "city": "Rome"}')
    assert await _answer([*made]) == [TextDelta("It is grey in Rome.")]  # type: ignore[list-item]
    for output in ('{"error": "x"}', "[]", "nothing", '{"sky": 1}'):
        assert filled_in(WEATHER.say, output) == FAILED


@pytest.mark.parametrize(
    "tools",
    ["{", '{"name": 1}', '[{"name": "a b", "url": "http://x"}]', '[{"name": "a"}]',
     '[{"name": "a", "url": "http://x", "phrases": ["("]}]',
     '[{"name": "a", "url": "http://x"}, {"name": "a", "url": "http://y"}]'],
)  # fmt: skip
def test_bad_tools_are_named(
    tools: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with the variable's name and the rule."""
    monkeypatch.setenv("TRUNKLINE_BACKEND_TOOLS", tools)
    with pytest.raises(SystemExit) as exit_:
        load(AgentSettings, "voice", [])
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("TRUNKLINE_BACKEND_TOOLS")
