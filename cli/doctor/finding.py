"""What a check of the doctor found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One sentence about one thing. `good` is None where it could not be looked at; `cure` says
    what to do when it is not good."""

    check: str
    good: bool | None
    saw: str
    cure: str = ""


def fine(check: str, saw: str) -> Finding:
    """All is well."""
    return Finding(check, True, saw)


def bad(check: str, saw: str, cure: str) -> Finding:
    """Something is wrong, and this helps."""
    return Finding(check, False, saw, cure)


def skipped(check: str, why: str) -> Finding:
    """It could not be looked at."""
    return Finding(check, None, why)
