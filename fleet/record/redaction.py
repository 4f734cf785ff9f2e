"""What must not be stored of what was said: cards, e-mail addresses, numbers, names. Pure.

Redaction happens in the process that has the call, before an event is made: neither Redis nor a
store ever has the original. It works on texts, by patterns; what is spelled out in words ("five
five five") is not found. TRUNKLINE_TRANSCEIVER_RECORD_HOOK names a hook that can do better.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from importlib import import_module

Redact = Callable[[str], str]
"""Takes a text and gives what may be stored of it."""

_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_DIGITS = re.compile(r"(?<![\w.])\+?\d(?:[ ()./-]{0,2}\d){5,31}(?!\w)")
# After words with which people give their name; one to three words that begin with a capital.
_NAME = re.compile(
    r"\b((?i:my name is|this is|i am|i'm|mein name ist|ich bin|je m'appelle|me llamo)\s+)"
    r"((?:[A-Z\u00c0-\u00de][\w'-]{1,40}\s?){1,3})"
)
MIN_CARD_DIGITS, MAX_CARD_DIGITS = 13, 19  # ISO/IEC 7812-1


class Content(Enum):
    """What of a conversation is recorded."""

    METADATA = "metadata"  # nothing of it
    REDACTED = "redacted"
    WHOLE = "whole"


class BadHook(ValueError):  # noqa: N818 - says what happened
    """The hook cannot be used; the text says why."""


def redaction(content: Content, hook: str = "") -> Redact:
    """The rule of a policy; `hook` is `module:function` and comes last. Raises BadHook."""
    if content is Content.METADATA:
        return lambda _text: ""
    own = _found(hook) if hook else None
    if content is Content.WHOLE:
        return own or (lambda text: text)
    return (lambda text: own(redact(text))) if own else redact


def redact(text: str) -> str:
    """A text without cards, e-mail addresses, longer numbers, and names that somebody gives."""
    text = _EMAIL.sub("[e-mail]", text)
    text = _DIGITS.sub(lambda found: "[card]" if _is_card(found[0]) else "[number]", text)
    return _NAME.sub(lambda found: f"{found[1]}[name]{_space(found[2])}", text)


def _is_card(text: str) -> bool:
    digits = [int(character) for character in text if character.isdigit()]
    if not MIN_CARD_DIGITS <= len(digits) <= MAX_CARD_DIGITS:
        return False
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])  # Luhn
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _space(text: str) -> str:
    return " " if text.endswith(" ") else ""


def _found(hook: str) -> Redact:
    module, _, name = hook.partition(":")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadHook(f"no function is there ({type(error).__name__})") from None
    if not callable(function):
        raise BadHook("it is no function")
    return lambda text: str(function(text))
