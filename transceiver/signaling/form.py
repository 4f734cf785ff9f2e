"""`multipart/form-data` (RFC 7578) of a few small text fields, read from a whole body.

A form here is at most some 100 kB and has two fields, so it is cut in one go; parts are not nested.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from transceiver.signaling.media_type import media_type, parameter

MAX_PARTS = 8
MAX_HEAD_BYTES = 2048  # of one part; clients write some 100
MAX_BOUNDARY_CHARS = 70  # RFC 2046 §5.1.1


class FormError(ValueError):
    """A body that is no such form; the text says what is wrong with it."""


@dataclass(frozen=True)
class Field:
    """One field: its media type (`text/plain` when it names none) and its content."""

    content_type: str
    content: bytes = field(repr=False)


def read_form(content_type: str, body: bytes) -> dict[str, Field]:
    """The fields by name. Raises FormError, and nothing else whatever the body."""
    delimiter = b"\r\n--" + _boundary(content_type)
    # The first delimiter needs no line end before it.
    _, *parts = (b"\r\n" + body).split(delimiter, MAX_PARTS + 1)
    if not parts or not parts[-1].startswith(b"--"):
        raise FormError(f"the form has no end, or more than {MAX_PARTS} parts")
    fields = [_field(part) for part in parts[:-1]]
    by_name = dict(fields)
    if len(by_name) != len(fields):
        raise FormError("a field stands twice")
    return by_name


def _boundary(content_type: str) -> bytes:
    boundary = parameter(content_type, "boundary")
    if not 1 <= len(boundary) <= MAX_BOUNDARY_CHARS or not boundary.isascii():
        raise FormError("the Content-Type has no usable boundary")
    return boundary.encode("ascii")


def _field(part: bytes) -> tuple[str, Field]:
    # What follows a delimiter on its line is padding (RFC 2046 §5.1.1).
    head_end = part.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
    padding, *lines = part[: max(0, head_end)].split(b"\r\n")
    if padding.strip() or not lines:
        raise FormError(f"a part has no header, or one of more than {MAX_HEAD_BYTES} bytes")
    headers = _headers(lines)
    name = parameter(headers.get("content-disposition", ""), "name")
    if not name:
        raise FormError("a part has no name")
    kind = media_type(headers.get("content-type", "text/plain"))
    return name, Field(kind, part[head_end + 4 :])


def _headers(lines: list[bytes]) -> dict[str, str]:
    pairs = (line.decode("utf-8", "replace").partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
