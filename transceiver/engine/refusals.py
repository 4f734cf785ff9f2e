"""Why an engine takes no call.

Exception
└── EngineRefusal
    ├── TooManyCalls    `max_calls` are live
    ├── Draining        the process takes no new calls
    └── CallFailed      the call raised while it was made
"""

from __future__ import annotations


class EngineRefusal(Exception):  # noqa: N818 - a state of the process, not a mistake
    """The process will not take a call now."""


class TooManyCalls(EngineRefusal):
    """As many calls are live as the process takes."""


class Draining(EngineRefusal):
    """The process is about to leave."""


class CallFailed(EngineRefusal):
    """The call is over before it began, by a fault of ours; the log says more."""
