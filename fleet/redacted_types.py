"""Values that no log may show: wherever they are printed, they print a redacted form."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.redact import redact_network, redact_transcript, redact_ufrag


@dataclass(frozen=True, repr=False, slots=True)
class Redacted:
    """Text that prints only its redacted form, wherever it ends up; `value` is the real one."""

    value: str

    def redacted(self) -> str:
        """What may be printed."""
        return "***"

    def __str__(self) -> str:
        return self.redacted()

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(self.redacted(), spec)


class Secret(Redacted):
    """A key, password or bearer token: prints `***`."""

    __slots__ = ()


class ClientAddress(Redacted):
    """A caller's IP address, without port: prints its /24 or /48."""

    __slots__ = ()

    def redacted(self) -> str:
        """The network."""
        return redact_network(self.value)


class Ufrag(Redacted):
    """An ICE username fragment: prints its first four characters."""

    __slots__ = ()

    def redacted(self) -> str:
        """The first four characters."""
        return redact_ufrag(self.value)


class Transcript(Redacted):
    """What somebody said or was told, or a whole SDP: prints its length."""

    __slots__ = ()

    def redacted(self) -> str:
        """The length."""
        return redact_transcript(self.value)
