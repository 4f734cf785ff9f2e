"""The library's log: event names with fields, by the standard `logging` alone.

    14:03:02 INFO drain_began calls=3 deadline_s=30

Its loggers are named `trunkline.…`; the fields stand in `extra`, where any handler finds them.
"""

from __future__ import annotations

import logging

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class FieldFormatter(logging.Formatter):
    """Time, level, message, then the fields of `extra`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line; a traceback follows it as always."""
        fields = (
            f" {name}={value}" for name, value in vars(record).items() if name not in _STANDARD
        )
        return super().formatMessage(record) + "".join(fields)


def configure(level: str) -> None:
    """Write to stderr from `level` up, unless the program has set up logging by itself."""
    if logging.root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(FieldFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
