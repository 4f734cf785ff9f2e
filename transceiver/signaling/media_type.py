"""Header values of the form `value; name=value; …` (RFC 9110 §5.6.6), read in one pass. Pure.

aiohttp and `email` read them in time that grows with the square of their length, on the loop that
carries media: 8 KB of `;` took four seconds. Here a value is at most MAX_CHARS long, and each
character is looked at once.
"""

from __future__ import annotations

import re

MAX_CHARS = 512  # browsers write some eighty

_WORD = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_ESSENCE = re.compile(rf"\s*({_WORD}/{_WORD})\s*(?:;|$)")
_PARAMETER = re.compile(rf'\s*({_WORD})=(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]*+))\s*(?:;|$)')
_ESCAPED = re.compile(r"\\(.)")


def media_type(value: str) -> str:
    """The media type that a Content-Type names, in lower case; empty when it cannot be read."""
    found = _ESSENCE.match(value[: MAX_CHARS + 1])
    return found[1].lower() if found else ""


def parameter(value: str, name: str) -> str:
    """The first parameter of that name (lower case), unquoted; empty when there is none.

    What follows a parameter that cannot be read is not looked at, and so is all of a value that is
    longer than MAX_CHARS.
    """
    if len(value) > MAX_CHARS:
        return ""
    at = value.find(";") + 1
    while at and (found := _PARAMETER.match(value, at)):
        if found[1].lower() == name:
            return found[3] if found[2] is None else _ESCAPED.sub(r"\1", found[2])
        at = found.end()
    return ""
