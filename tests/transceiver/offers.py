"""Real offers to test with, and ways to bend them."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent.parent / "vectors" / "offers"
NAMES = sorted(path.stem for path in FOLDER.glob("*.sdp"))


def real_offer(name: str = "chromium_audio_data") -> str:
    """The offer of that file."""
    return (FOLDER / f"{name}.sdp").read_bytes().decode()


def without(text: str, prefix: str) -> str:
    """The text without the lines that begin with `prefix`; fails when there are none."""
    kept = [line for line in text.split("\r\n") if not line.startswith(prefix)]
    assert len(kept) < len(text.split("\r\n"))
    return "\r\n".join(kept)


def replaced(text: str, old: str, new: str) -> str:
    """The text with every `old` replaced; fails when there are none."""
    assert old in text
    return text.replace(old, new)
