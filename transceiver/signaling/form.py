"""`multipart/form-data` (RFC 7578) of a few small text fields, read from a whole body.

A form here is at most some 100 kB and has two fields, so it is cut in one go; parts are not nested.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.message import Message

MAX_PARTS = 8
MAX_BOUNDARY_CHARS = 70  # RFC 2046 §5.1.1


class FormError(ValueError):
    """A body that is no such form; the text says what is wrong with it."""


@dataclass(frozen=True)
class Field:
    """One field: its media type (`text/plain` when it names none) and its content."""

    content_type: str
    content: bytes


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
    boundary = _parameter("Content-Type", content_type, "boundary")
    if not 1 <= len(boundary) <= MAX_BOUNDARY_CHARS or not boundary.isascii():
        raise FormError("the Content-Type has no usable boundary")
    return boundary.encode("ascii")


def _field(part: bytes) -> tuple[str, Field]:
    # What follows a delimiter on its line is padding (RFC 2046 §5.1.1).
    padding, line_end, rest = part.partition(b"\r\n")
    head, blank_line, content = (b"\r\n" + rest).partition(b"\r\n\r\n")
    if padding.strip() or not line_end or not blank_line:
        raise FormError("a part has no header")
    headers = _headers(head)
    name = _parameter("Content-Disposition", headers.get("content-disposition", ""), "name")
    if not name:
        raise FormError("a part has no name")
    content_type = headers.get("content-type", "text/plain").partition(";")[0]
    return name, Field(content_type.strip().lower(), content)


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("utf-8", "replace").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _parameter(header: str, value: str, parameter: str) -> str:
    message = Message()
    message[header] = value
    found = message.get_param(parameter, "", header)
    return found if isinstance(found, str) else ""
