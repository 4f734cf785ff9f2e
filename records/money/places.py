"""YAML with places: a value that is wrong is named by its line and by the keys that lead to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import yaml

MAX_CHARS = 1_000_000
_NULLS = ("", "null", "~", "Null", "NULL")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it was built
_HUGE = Decimal(10**9)


class BookError(ValueError):
    """A price book that cannot be used; the words say where and why."""


@dataclass(frozen=True, slots=True)
class Place:
    """One value of the document."""

    node: yaml.Node
    path: str

    def bad(self, why: str) -> BookError:
        """An error that names this place."""
        return BookError(f"line {self.node.start_mark.line + 1}, {self.path or 'the book'}: {why}")

    def members(self, known: Iterable[str] = ()) -> dict[str, Place]:
        """A mapping; with `known`, only these keys. Raises BookError."""
        if self.is_null():
            return {}
        if not isinstance(self.node, yaml.MappingNode):
            raise self.bad("this is a mapping, with a key and a value on each line")
        found: dict[str, Place] = {}
        allowed = tuple(known)
        for key, value in self.node.value:
            name = str(key.value)
            place = Place(value, f"{self.path}.{name}" if self.path else name)
            if name in found:
                raise Place(key, place.path).bad("this key is there twice")
            if allowed and name not in allowed:
                raise Place(key, place.path).bad(f"it is not one of {', '.join(allowed)}")
            found[name] = place
        return found

    def each(self) -> Iterator[Place]:
        """The elements of a list. Raises BookError."""
        if self.is_null():
            return
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.bad("this is a list, each element with a dash")
        for number, node in enumerate(self.node.value, 1):
            yield Place(node, f"{self.path}[{number}]")

    def text(self) -> str:
        """One value. Raises BookError."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.bad("this is one value")
        return str(self.node.value)

    def is_null(self) -> bool:
        """Whether nothing stands here."""
        node = self.node
        return isinstance(node, yaml.ScalarNode) and not node.style and node.value in _NULLS

    def is_mapping(self) -> bool:
        """Whether keys follow."""
        return isinstance(self.node, yaml.MappingNode)

    def number(self) -> Decimal:
        """A figure from 0 to a billion. Raises BookError."""
        try:
            value = Decimal(self.text())
        except InvalidOperation:
            raise self.bad("this is a number, such as 0.09") from None
        if not value.is_finite() or not 0 <= value <= _HUGE:
            raise self.bad(f"this is a number from 0 to {_HUGE:f}")
        return value

    def yes(self) -> bool:
        """`true` or `false`. Raises BookError."""
        if self.text() not in ("true", "false"):
            raise self.bad("this is true or false")
        return self.text() == "true"


def read(text: str) -> Place:
    """The document. Raises BookError with the line."""
    if len(text) > MAX_CHARS:
        raise BookError(f"a price book has at most {MAX_CHARS:,} characters")
    try:
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise BookError(f"{line}this is no YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise BookError(f"this is no YAML: {type(error).__name__}") from None
    if node is None:
        raise BookError("the book is empty")
    return Place(node, "")
