"""The conversation as clients see it: items in order, bounded.

At a bound the oldest items leave, and the client gets the events of a deletion. So a call may be
long, and the items that a client knows are the items that there are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from backends.realtime.refusals import Refusal
from backends.realtime.speech import Speech

MAX_ITEMS = 500
MAX_CHARS = 1024 * 1024  # of text in all items
ROOT = "root"

JsonItem = dict[str, Any]


@dataclass
class Entry:
    """One item as it is shown; `speech` is there when an assistant said it aloud in a response."""

    item: JsonItem
    speech: Speech | None = None
    response_id: str = ""
    chars: int = field(default=0)


class Conversation:
    """Items by id, in order. Raises Refusal where a client asked for what cannot be."""

    def __init__(self, max_items: int = MAX_ITEMS, max_chars: int = MAX_CHARS) -> None:
        self._max_items = max_items
        self._max_chars = max_chars
        self._entries: dict[str, Entry] = {}
        self._chars = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def items(self) -> list[JsonItem]:
        """All items, oldest first."""
        return [entry.item for entry in self._entries.values()]

    @property
    def entries(self) -> list[Entry]:
        """The same with what is known of their speech."""
        return list(self._entries.values())

    @property
    def last_id(self) -> str | None:
        """Of the newest item."""
        return next(reversed(self._entries), None)

    def get(self, item_id: str) -> Entry | None:
        """The item of that id."""
        return self._entries.get(item_id)

    def find(self, item_id: str, doing: str) -> Entry:
        """The same; a Refusal `item_<doing>_invalid_item_id` when there is none."""
        entry = self._entries.get(item_id)
        if entry is None:
            message = f"The item with id '{item_id}' does not exist."
            raise Refusal(f"item_{doing}_invalid_item_id", message, "item_id")
        return entry

    def check_new(self, item: JsonItem, previous_item_id: str | None) -> None:
        """Raise Refusal when the item cannot stand there, or answers no call that was made."""
        if item["id"] in self._entries:
            message = f"An item with id '{item['id']}' exists already."
            raise Refusal("item_create_duplicate_id", message, "item.id")
        if previous_item_id not in (None, ROOT, *self._entries):
            message = f"The item with id '{previous_item_id}' does not exist."
            raise Refusal("item_create_invalid_previous_item_id", message, "previous_item_id")
        if item["type"] == "function_call_output" and not self._was_called(item["call_id"]):
            message = f"Tool call ID '{item['call_id']}' not found in conversation."
            raise Refusal("invalid_tool_call_id", message, "item.call_id")

    def add(self, entry: Entry, previous_item_id: str | None = None) -> str | None:
        """Put an item at the end, or after another; the id of the one before it, None if first."""
        item_id = entry.item["id"]
        before = self.last_id if previous_item_id is None else previous_item_id
        moved = self._after(before) if before not in (None, self.last_id) else []
        self._entries[item_id] = entry
        for later in moved:
            self._entries[later] = self._entries.pop(later)
        self._measure(entry)
        return None if before == ROOT else before

    def remove(self, item_id: str) -> None:
        """Take an item out; nothing happens when it is not there."""
        entry = self._entries.pop(item_id, None)
        self._chars -= entry.chars if entry else 0

    def changed(self, entry: Entry) -> None:
        """An item's text has changed: count it anew."""
        if self._entries.get(entry.item["id"]) is entry:
            self._chars -= entry.chars
            self._measure(entry)

    def overflow(self, keep: str | None) -> list[str]:
        """Take out the oldest items until the bounds hold, never `keep`; their ids."""
        gone = []
        while len(self._entries) > self._max_items or self._chars > self._max_chars:
            oldest = next((item_id for item_id in self._entries if item_id != keep), None)
            if oldest is None:
                break
            self.remove(oldest)
            gone.append(oldest)
        return gone

    def _after(self, item_id: str | None) -> list[str]:
        ids = list(self._entries)
        return ids if item_id == ROOT else ids[ids.index(str(item_id)) + 1 :]

    def _measure(self, entry: Entry) -> None:
        entry.chars = _chars(entry.item)
        self._chars += entry.chars

    def _was_called(self, call_id: str) -> bool:
        return any(
            item["type"] == "function_call" and item["call_id"] == call_id for item in self.items
        )


def _chars(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_chars, value.values()))
    return sum(map(_chars, value)) if isinstance(value, list) else 0
