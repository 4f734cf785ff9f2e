"""Why a call cannot have its backend.

Exception
└── LinkError
    ├── BackendAbsent    no backend is there (or was lost, or does not answer)
    ├── BackendRefused   the backend will not take this call; `reason` is for the operator
│   └── CallUnknown  the call was to be resumed, and the backend does not know it
    └── CallLimit        the backend holds as many calls as it said it would
"""


class LinkError(Exception):
    """A call cannot have the backend."""


class BackendAbsent(LinkError):  # noqa: N818 - a state of the world, not a mistake
    """There is no backend now: not connected, lost while the call waited, or silent."""


class BackendRefused(LinkError):  # noqa: N818
    """The backend said no. `reason` is for the operator and never shown to the caller."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the backend refused the call: {reason}")
        self.reason = reason


class CallUnknown(BackendRefused):
    """The call cannot be resumed there: its conversation must be restored."""


class CallLimit(LinkError):  # noqa: N818
    """The backend already holds the calls it announced as its limit."""
