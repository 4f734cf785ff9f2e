"""An SDP text cut into its sections: the session part, then one per `m=` line (RFC 8866 §5).

Cutting is linear in the text and refuses nothing but a first line that is not `v=0`; what the
lines mean is for `offer_policy` to say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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

    lines: tuple[str, ...]

    def values(self, name: str) -> list[str]:
        """The values of every `a=name:value`, in order."""
        prefix = f"a={name}:"
        return [line[len(prefix) :].strip() for line in self.lines if line.startswith(prefix)]

    def first(self, name: str) -> str | None:
        """The value of the first `a=name:value`, or None."""
        return next(iter(self.values(name)), None)

    def has(self, name: str) -> bool:
        """Whether the property attribute `a=name` is there."""
        return f"a={name}" in self.lines

    def media_line(self) -> MediaLine | None:
        """The `m=` line read, or None when it is malformed."""
        found = _MEDIA_LINE.fullmatch(self.lines[0])
        if not found:
            return None
        return MediaLine(found[1], int(found[2]), found[3], found[4])


def cut(text: str) -> tuple[Section, list[Section]] | None:
    """The session section and the media sections of `text`; None when it is no SDP at all."""
    groups: list[list[str]] = [[]]
    # The same notion of a line as the SDP library's, so that the two never see different sections.
    for line in text.splitlines():
        if line.startswith("m="):
            groups.append([])
        groups[-1].append(line.rstrip())
    if not groups[0] or groups[0][0] != "v=0":
        return None
    return Section(tuple(groups[0])), [Section(tuple(group)) for group in groups[1:]]
