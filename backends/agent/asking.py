"""What a chat model is asked: from the session, or from what one response brought."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from backends.agent.messages import Item, assistant_message, chat_messages
from backends.agent.models import ChatMessage
from backends.agent.reply import Asked
from backends.agent.tools import as_function
from backends.realtime import RealtimeSession, ResponseOptions
from backends.realtime.responses import options_of

GO_ON = "(Go on with your answer from there. Do not repeat anything.)"
NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


class Asking:
    """Questions about the conversation of `session`, of which a model reads `context_chars`."""

    def __init__(self, session: RealtimeSession, context_chars: int) -> None:
        self._session = session
        self._context_chars = context_chars

    def messages(self, *more: Item) -> list[ChatMessage]:
        """The conversation, and items that are not in it yet."""
        items = [*self._session.conversation.items, *more]
        return chat_messages(items, self._session.config.instructions, self._context_chars)

    def by_session(self, *more: Item) -> Asked:
        """An answer as the session's configuration says."""
        return _asked(self.messages(*more), options_of(self._session.config))

    def continued(self, words: str, *, ask: bool) -> Asked:
        """Say these words of an answer that was cut off; if `ask`, let the model add the rest."""
        asked = self.by_session(assistant_message(words)) if words else self.by_session()
        messages = asked.messages
        if ask and words:
            messages = (*messages, {"role": "user", "content": GO_ON})
        return replace(asked, messages=messages if ask else (), words=words)

    def by_options(self, options: ResponseOptions) -> Asked:
        """An answer as one response.create says."""
        items = self._session.conversation.items if options.context is None else options.context
        return _asked(chat_messages(items, options.instructions, self._context_chars), options)


def _asked(messages: list[ChatMessage], options: ResponseOptions) -> Asked:
    tools = () if options.tool_choice == "none" else options.tools
    return Asked(
        tuple(messages),
        tuple(_function(tool) for tool in tools),
        options.modality == "audio",
        options.voice,
        options.max_output_tokens,
    )


def _function(tool: Mapping[str, Any]) -> dict[str, Any]:
    parameters = tool.get("parameters") or NO_PARAMETERS
    return as_function(tool["name"], tool.get("description") or "", parameters)
