"""What a web page may set of a session. Pure.

A page runs in somebody's browser, and that person decides what it sends. So it may set what
OpenAI's own clients set in a browser, and nothing that spends or reaches further: no tools that a
server carries out, no MCP servers, no prompts by id, no tracing, no model, no backend. A server
that wants one of those for a page makes the client secret with it, and a page may always repeat
what its secret was made with. Those clients send `model` and `tracing` unasked, so these two are
left out silently. Anything else that may not be set is refused.

The words, of which a key's policy names some:

    instructions  how to behave             modalities    sound or text
    audio         voice, turns, input       functions     tools of the page, their choice
    include       more in events            limits        max_output_tokens, truncation
    tools         also what servers do      prompt        a prompt by its id
    tracing       what is traced            model         which model
    backend       which backend             reasoning     how hard to think
    images        pictures by address       default       the first five
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

DEFAULT = ("instructions", "modalities", "audio", "functions", "include")
FURTHER = ("limits", "tools", "prompt", "tracing", "model", "backend", "reasoning", "images")
EVERYTHING = "everything"
ANY_TENANT = "*"
MAX_RULES = 256
MAX_TOOLS = 128  # what a session takes

_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}|\*")
_SESSION = {
    **{"instructions": "instructions", "output_modalities": "modalities", "audio": "audio"},
    **{"parallel_tool_calls": "functions", "include": "include", "max_output_tokens": "limits"},
    **{"truncation": "limits", "prompt": "prompt", "tracing": "tracing", "model": "model"},
    **{"reasoning": "reasoning", "trunkline": "backend"},
}
_UNASKED = ("model", "tracing")  # OpenAI's clients send them by themselves
_ALWAYS = frozenset({"type", "object", "id"})  # of a session: they change nothing
_RESPONSE = frozenset({"conversation", "metadata"})  # of a response: they reach nowhere
_EVENTS = frozenset(
    {
        *("session.update", "response.create", "response.cancel", "conversation.item.create"),
        *("conversation.item.retrieve", "conversation.item.truncate", "conversation.item.delete"),
        *("input_audio_buffer.append", "input_audio_buffer.commit", "input_audio_buffer.clear"),
        *("output_audio_buffer.clear", "trunkline.client_report"),
    }
)
_ITEMS = frozenset({"message", "function_call", "function_call_output", "item_reference"})
_PARTS = frozenset({"input_text", "input_audio", "text", "audio", "output_text", "output_audio"})

Object = Mapping[str, Any]


class NotForPages(ValueError):  # noqa: N818 - says what is wrong
    """A page may not set `param`, a path such as `session.tools`."""

    def __init__(self, param: str) -> None:
        super().__init__(f"a page may not set {param}")
        self.param = param


@dataclass(frozen=True)
class PageRules:
    """What the pages of each tenant may set, by words; None: everything. `*` is for all others."""

    rules: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> PageRules:
        """Read `acme: default prompt; *: default`. Raises ValueError with one sentence."""
        rules: dict[str, tuple[str, ...] | None] = {}
        for item in filter(str.strip, text.split(";")):
            tenant, colon, words = item.partition(":")
            if not colon or not _TENANT.fullmatch(tenant.strip()) or tenant.strip() in rules:
                raise ValueError("each rule is written TENANT: WORDS, each tenant once")
            rules[tenant.strip()] = _words(words.split())
        if len(rules) > MAX_RULES:
            raise ValueError(f"at most {MAX_RULES} rules")
        return cls(rules)

    def of(self, tenant: str) -> tuple[str, ...] | None:
        """What a page of that tenant may set."""
        return self.rules.get(tenant, self.rules.get(ANY_TENANT, DEFAULT))

    def __str__(self) -> str:
        shown = {t: (EVERYTHING,) if words is None else words for t, words in self.rules.items()}
        return "; ".join(f"{tenant}: {' '.join(words)}" for tenant, words in shown.items())


NO_RULES = PageRules()


def _words(words: Collection[str]) -> tuple[str, ...] | None:
    if tuple(words) == (EVERYTHING,):
        return None
    unknown = set(words) - {"default", *DEFAULT, *FURTHER}
    if unknown:
        known = " ".join(("default", EVERYTHING, *DEFAULT, *FURTHER))
        raise ValueError(f"pages may set words of: {known}")
    plain = [word for word in words if word != "default"]
    return tuple(dict.fromkeys([*(DEFAULT if "default" in words else ()), *plain]))


class PagePolicy:
    """The rule for one page: the words it may use, and the session its secret was made with."""

    def __init__(self, may_set: Collection[str], bound: Object) -> None:
        self._may_set = frozenset(may_set)
        self._bound = bound

    def session(self, session: Object, path: str = "session") -> dict[str, Any]:
        """A session as far as the page may set it. Raises NotForPages."""
        return dict(self._kept(session, path, _ALWAYS))

    def event(self, event: Object) -> dict[str, Any]:
        """A client event, as far as the page may say it. Raises NotForPages."""
        checks: dict[str, tuple[str, Callable[[Object, str], object]]] = {
            "session.update": ("session", self.session),
            "response.create": ("response", self._response),
            "conversation.item.create": ("item", self._item),
        }
        kind = event.get("type")
        if not _is_one_of(kind, _EVENTS):
            raise NotForPages("type")
        if kind not in checks:
            return dict(event)
        member, check = checks[kind]
        value = event.get(member)
        # What is no object is for the protocol to refuse.
        return (
            {**event, member: check(value, member)} if isinstance(value, Mapping) else dict(event)
        )

    def _response(self, response: Object, path: str) -> dict[str, Any]:
        items = response.get("input")
        for number, item in enumerate(items if isinstance(items, list) else ()):
            self._item(item, f"{path}.input[{number}]")
        return dict(self._kept(response, path, _RESPONSE | {"input"}))

    def _kept(self, members: Object, path: str, free: Collection[str]) -> Iterator[tuple[str, Any]]:
        for name, value in members.items():
            if name in free or self._may(name, value):
                yield name, value
            elif name not in _UNASKED:
                raise NotForPages(f"{path}.{name[:64]}")

    def _may(self, name: str, value: Any) -> bool:
        if self._bound.get(name) == value:  # as it is, or null for what is not there
            return True
        if name == "tools":
            return self._may_tools(value)
        if name == "tool_choice":
            return self._may_choose(value)
        return _SESSION.get(name) in self._may_set

    def _may_tools(self, tools: Any) -> bool:
        if "tools" in self._may_set:
            return True
        made_with = self._bound.get("tools")
        made_with = made_with if isinstance(made_with, list) else []
        given = tools if isinstance(tools, list) else []
        if len(given) > MAX_TOOLS:  # each may be compared with each
            return False
        functions = "functions" in self._may_set
        return functions and all(_is_function(one) or one in made_with for one in given)

    def _may_choose(self, choice: Any) -> bool:
        """Any choice among the tools that are there; a server's tool is there by its secret."""
        return bool({"functions", "tools"} & self._may_set) or choice is None

    def _item(self, item: Any, path: str) -> Any:
        if not isinstance(item, Mapping):
            return item
        if not _is_one_of(item.get("type"), _ITEMS) and not self._may_approve(item):
            raise NotForPages(f"{path}.type")
        parts = item.get("content")
        for number, part in enumerate(parts if isinstance(parts, list) else ()):
            if isinstance(part, Mapping) and not self._may_say(part):
                raise NotForPages(f"{path}.content[{number}]")
        return item

    def _may_approve(self, item: Object) -> bool:
        """An answer to a server's tool that asks, which is there by the secret alone."""
        answers = item.get("type") == "mcp_approval_response"
        return answers and ("tools" in self._may_set or bool(self._bound.get("tools")))

    def _may_say(self, part: Object) -> bool:
        if part.get("type") == "input_image":  # in the event itself; an address reaches further
            return "images" in self._may_set or str(part.get("image_url", "data:"))[:5] == "data:"
        return _is_one_of(part.get("type"), _PARTS)


def _is_one_of(name: object, names: Collection[str]) -> TypeGuard[str]:
    """JSON has names that cannot even be looked up."""
    return isinstance(name, str) and name in names


def _is_function(tool: Any) -> bool:
    return isinstance(tool, Mapping) and tool.get("type") == "function"
