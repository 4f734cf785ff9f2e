"""A page sets what OpenAI's clients set in a browser, nothing that spends or reaches further."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.page_policy import DEFAULT, FURTHER, MAX_TOOLS, NotForPages, PagePolicy, PageRules

FUNCTION = {"type": "function", "name": "f", "parameters": {}}
MCP = {"type": "mcp", "server_label": "s", "server_url": "https://elsewhere.example"}
PAGE = PagePolicy(DEFAULT, {})

# As @openai/agents sends it when it connects.
UNASKED = {
    "type": "realtime",
    "model": "gpt-realtime",
    "instructions": "Be brief.",
    "output_modalities": ["audio"],
    "audio": {
        "input": {"turn_detection": {"type": "semantic_vad"}, "transcription": {"model": "m"}},
        "output": {"voice": "marin", "speed": 1.1},
    },
    "tools": [FUNCTION],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "tracing": "auto",
    "prompt": None,
}


def refused(policy: PagePolicy, event: dict[str, Any]) -> str:
    with pytest.raises(NotForPages) as error:
        policy.event(event)
    return error.value.param


def update(**members: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "realtime", **members}}


def test_what_clients_send_by_themselves_passes() -> None:
    """All of it but model and tracing, which are left out without a word."""
    kept = PAGE.session(UNASKED)
    assert kept == {name: UNASKED[name] for name in UNASKED if name not in ("model", "tracing")}
    assert PAGE.event({"type": "session.update", "session": UNASKED})["session"] == kept


@pytest.mark.parametrize(
    ("event", "param"),
    [
        (update(tools=[FUNCTION, MCP]), "session.tools"),
        (update(tools=[{"type": "web_search"}]), "session.tools"),
        (update(tools="all"), None),
        (update(prompt={"id": "pmpt_1"}), "session.prompt"),
        (update(max_output_tokens="inf"), "session.max_output_tokens"),
        (update(truncation="disabled"), "session.truncation"),
        (update(reasoning={"effort": "high"}), "session.reasoning"),
        (update(trunkline={"backend": "dear"}), "session.trunkline"),
        (update(of_tomorrow=1), "session.of_tomorrow"),
        ({"type": "response.create", "response": {"tools": [MCP]}}, "response.tools"),
        ({"type": "response.create", "response": {"prompt": {"id": "p"}}}, "response.prompt"),
        ({"type": "response.create", "response": {"of_tomorrow": 1}}, "response.of_tomorrow"),
        (
            {"type": "response.create", "response": {"input": [{"type": "mcp_call"}]}},
            "response.input[0].type",
        ),
        (
            {"type": "conversation.item.create", "item": {"type": "mcp_approval_response"}},
            "item.type",
        ),
        (
            {
                "type": "conversation.item.create",
                "item": {
                    "type": "message",
                    "content": [{"type": "input_image", "image_url": "https://x.example/i"}],
                },
            },
            "item.content[0]",
        ),
        ({"type": "transcription_session.update"}, "type"),
        ({"type": "of.tomorrow"}, "type"),
        ({"type": ["session.update"]}, "type"),
        ({}, "type"),
    ],
)
def test_what_spends_or_reaches_further_does_not(event: dict[str, Any], param: str | None) -> None:
    """It is named; what is of no meaning at all is left to the protocol to refuse."""
    if param is None:
        assert PAGE.event(event) == event
    else:
        assert refused(PAGE, event) == param


@pytest.mark.parametrize(
    "event",
    [
        {"type": "input_audio_buffer.append", "audio": "AAAA"},
        {"type": "output_audio_buffer.clear"},
        {"type": "response.create"},
        {"type": "response.create", "response": {"instructions": "x", "metadata": {"a": "b"}}},
        {"type": "response.create", "response": {"input": [{"type": "item_reference", "id": "i"}]}},
        {"type": "conversation.item.create", "item": {"type": "function_call_output"}},
        {
            "type": "conversation.item.create",
            "item": {"type": "message", "content": [{"type": "input_text", "text": "hi"}]},
        },
        {
            "type": "conversation.item.create",
            "item": {
                "type": "message",
                "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA"}],
            },
        },
        {"type": "session.update", "session": "nonsense"},
        {"type": "trunkline.client_report", "turn": 1},
    ],
)
def test_what_a_conversation_needs_passes(event: dict[str, Any]) -> None:
    """Unchanged."""
    assert PAGE.event(event) == event


def test_what_the_secret_was_made_with_may_be_repeated() -> None:
    """The same tool, prompt, model: yes; another: no. A server's tool that asks may be answered."""
    bound = {"tools": [MCP], "prompt": {"id": "p"}, "model": "m", "max_output_tokens": 50}
    page = PagePolicy(DEFAULT, bound)
    assert page.session({**bound, "tools": [FUNCTION, MCP]})["tools"] == [FUNCTION, MCP]
    assert page.session(bound) == bound
    page.event({"type": "conversation.item.create", "item": {"type": "mcp_approval_response"}})
    assert refused(page, update(prompt={"id": "q"})) == "session.prompt"
    assert refused(page, update(prompt=None)) == "session.prompt"
    assert refused(page, update(tools=[{**MCP, "server_url": "https://other"}])) == "session.tools"
    assert refused(page, update(max_output_tokens=51)) == "session.max_output_tokens"
    assert "model" not in page.session({"model": "dear"})


@pytest.mark.parametrize(
    ("word", "member"),
    [
        ("tools", {"tools": [MCP]}),
        ("prompt", {"prompt": {"id": "p"}}),
        ("tracing", {"tracing": "auto"}),
        ("model", {"model": "m"}),
        ("backend", {"trunkline": {"backend": "b"}}),
        ("reasoning", {"reasoning": {}}),
        ("limits", {"max_output_tokens": 9}),
        ("instructions", {"instructions": "x"}),
        ("modalities", {"output_modalities": ["text"]}),
        ("audio", {"audio": {}}),
        ("functions", {"tools": [FUNCTION]}),
        ("include", {"include": []}),
    ],
)
def test_each_word_allows_what_it_says(word: str, member: dict[str, Any]) -> None:
    """And without it that is not set."""
    assert PagePolicy([word], {}).session(member) == member
    others = set(DEFAULT + FURTHER) - {word, "tools"}
    try:
        assert PagePolicy(others, {}).session(member) == {}
    except NotForPages as error:
        assert error.param == f"session.{next(iter(member))}"


def test_rules_are_read() -> None:
    """By tenant, `*` for the others, `everything` for no rule; without any the default holds."""
    rules = PageRules.parse("acme: default prompt; kiosk: audio; k_0123456789: everything")
    assert rules.of("acme") == (*DEFAULT, "prompt")
    assert rules.of("kiosk") == ("audio",)
    assert rules.of("k_0123456789") is None
    assert rules.of("other") == DEFAULT
    assert PageRules.parse("*: prompt").of("other") == ("prompt",)
    assert PageRules.parse(str(rules)) == rules
    assert PageRules.parse("").of("x") == DEFAULT


@pytest.mark.parametrize(
    "text", ["acme", "acme: all", "a: audio; a: audio", "a b: audio", ": audio"]
)
def test_a_bad_rule_is_refused_in_one_sentence(text: str) -> None:
    """With the words that there are."""
    with pytest.raises(ValueError, match=r"each rule is written|pages may set words of"):
        PageRules.parse(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)
TYPES = st.sampled_from(["session.update", "response.create", "conversation.item.create"])


@given(TYPES, JSON, JSON)
def test_any_event_passes_or_is_refused(kind: str, value: Any, bound: Any) -> None:
    """And what passes holds no member that no word allows."""
    policy = PagePolicy(DEFAULT, bound if isinstance(bound, dict) else {})
    member = {"session.update": "session", "response.create": "response"}.get(kind, "item")
    try:
        policy.event({"type": kind, member: value})
    except NotForPages as error:
        assert error.param.startswith(member)


@pytest.mark.parametrize("kind", [[], {}, [{"type": "message"}], 1, None])
def test_a_type_that_is_no_name_is_refused(kind: object) -> None:
    """JSON has types that cannot be looked up; they are nobody's, and raise nothing else."""
    policy = PagePolicy(DEFAULT, {})
    part = {"type": "message", "content": [{"type": kind}]}
    for event in (
        {"type": kind},
        {"type": "conversation.item.create", "item": {"type": kind}},
        {"type": "conversation.item.create", "item": part},
    ):
        with pytest.raises(NotForPages):
            policy.event(event)


def test_more_tools_than_a_session_takes_are_not_compared() -> None:
    """A page's list of any length against the secret's would cost the product of both."""
    tool = {"type": "mcp", "server_label": "x"}
    policy = PagePolicy(DEFAULT, {"tools": [tool]})
    assert policy.session({"tools": [tool] * MAX_TOOLS})
    with pytest.raises(NotForPages):
        policy.session({"tools": [tool] * (MAX_TOOLS + 1)})
