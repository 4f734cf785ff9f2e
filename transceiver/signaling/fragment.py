"""SDP fragments of `application/trickle-ice-sdpfrag` (RFC 8840 §9), as WHIP's PATCH uses them.

An ICE-lite agent does not use the caller's candidates (RFC 8445 §2.5): it answers the checks that
come. So only the credentials in a fragment matter. Known credentials mean trickle ICE, and new ones
mean a restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from transceiver.signaling.answer import candidates
from transceiver.signaling.offer_policy import MAX_SECTIONS, are_ice_credentials
from transceiver.signaling.sdp_sections import Section
from trunkline.process.address import Address

MAX_FRAGMENT_BYTES = 16 * 1024

_KNOWN_LINES = ("a=", "m=", "c=", "b=", "i=", "k=")


class FragmentRefused(Exception):  # noqa: N818 - a verdict, not a mistake of ours
    """A fragment that cannot be used: `code` is bad_fragment or bad_ice_credentials."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Fragment:
    """What a fragment says. Credentials are None when it names none: those in use are meant."""

    ufrag: str | None = field(repr=False)
    password: str | None = field(repr=False)
    media_line: str | None  # of the section the candidates belong to, for the answer to repeat
    mid: str | None


def read_fragment(text: str) -> Fragment:
    """Read a fragment. Raises FragmentRefused, and nothing else whatever the text."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    sections = sum(line.startswith("m=") for line in lines)
    if not lines or sections > MAX_SECTIONS or not all(ln.startswith(_KNOWN_LINES) for ln in lines):
        raise FragmentRefused("bad_fragment", "The body is no SDP fragment (RFC 8840 §9).")
    whole = Section(tuple(lines))
    ufrag, password = _only(whole, "ice-ufrag"), _only(whole, "ice-pwd")
    if (ufrag is None) != (password is None):
        raise FragmentRefused("bad_fragment", "a=ice-ufrag and a=ice-pwd come together.")
    if ufrag and password and not are_ice_credentials(ufrag, password):
        raise FragmentRefused("bad_ice_credentials", "The ICE credentials are malformed.")
    media_line = next((line for line in lines if line.startswith("m=")), None)
    return Fragment(ufrag, password, media_line, whole.first("mid"))


def write_fragment(
    asked: Fragment, ufrag: str, password: str, mid: str, relays: Sequence[Address]
) -> str:
    """The answer to a restart: our new credentials and the relays (RFC 9725 §4.3.3)."""
    lines = ["a=ice-lite", asked.media_line or "m=audio 9 UDP/TLS/RTP/SAVPF 0", f"a=mid:{mid}"]
    lines += [f"a=ice-ufrag:{ufrag}", f"a=ice-pwd:{password}", *candidates(relays)]
    return "\r\n".join(lines) + "\r\n"


def _only(section: Section, name: str) -> str | None:
    values = set(section.values(name))
    if len(values) > 1:
        raise FragmentRefused("bad_fragment", f"The fragment has two different a={name} lines.")
    return next(iter(values), None)
