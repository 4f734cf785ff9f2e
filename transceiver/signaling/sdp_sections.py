"""An SDP text cut into its sections: the session part, then one per `m=` line (RFC 8866 §5).

Cutting is linear in the text and refuses nothing but a first line that is not `v=0`; what the
lines mean is for `offer_policy` to say. Each section is read into its attributes once, however
often it is asked.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

MAX_LINES = 4096  # a browser's offer with ten video sections has some 1,500

_WORD = r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+"
_MEDIA_LINE = re.compile(rf"m=({_WORD}) ([0-9]{{1,5}}) ([A-Za-z0-9/.-]+) ([!-~]+(?: [!-~]+)*)")


@dataclass(frozen=True)
class MediaLine:
    """`m=<kind> <port> <protocol> <formats>`; formats stay one text, which an answer repeats."""

    kind: str
    port: int
    protocol: str
    formats: str


@dataclass(frozen=True)
class Section:
    """The lines of one section without line ends; the first is `m=…`, or `v=…` of the session."""

    lines: tuple[str, ...] = field(repr=False)  # passwords stand in them

    def values(self, name: str) -> Sequence[str]:
        """The values of every `a=name:value`, in order."""
        return self._values.get(name, ())

    def first(self, name: str) -> str | None:
        """The value of the first `a=name:value`, or None."""
        return next(iter(self.values(name)), None)

    def has(self, name: str) -> bool:
        """Whether the property attribute `a=name` is there."""
        return name in self.properties

    @cached_property
    def properties(self) -> Mapping[str, None]:
        """The names of the property attributes (`a=name`), in order."""
        return {line[2:]: None for line in self.lines if line.startswith("a=") and ":" not in line}

    @cached_property
    def _values(self) -> Mapping[str, list[str]]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        for line in self.lines:
            name, colon, value = line.partition(":")
            if colon and name.startswith("a="):
                found[name[2:]].append(value.strip())
        return found

    def media_line(self) -> MediaLine | None:
        """The `m=` line read, or None when it is malformed."""
        found = _MEDIA_LINE.fullmatch(self.lines[0])
        if not found:
            return None
        return MediaLine(found[1], int(found[2]), found[3], found[4])


def cut(text: str) -> tuple[Section, list[Section]] | None:
    """The session section and the media sections of `text`; None when it is no SDP at all."""
    groups: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith("m="):
            groups.append([])
        groups[-1].append(line.rstrip())
    if not groups[0] or groups[0][0] != "v=0":
        return None
    return Section(tuple(groups[0])), [Section(tuple(group)) for group in groups[1:]]
