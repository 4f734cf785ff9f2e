"""Notes that outlive the backend: whoever has the call next knows what the page said before.

The page sends {"note": "milk"} and gets {"notes": ["milk"]}, all of them so far. When this backend
is killed in the middle of a call, the call goes on with another one, or with this one when it is
there again, and the notes are still there. Sound is an echo.

make run BACKEND=examples/notes.py:notes
"""

from __future__ import annotations

import json

from trunkline.backend import Audio, Call, Text, serve

FORMAT = 1  # of the snapshot: a rolling upgrade gives those of one release to another
MOST_NOTES = 100
MOST_CHARS = 200


def snapshot(kept: list[str]) -> bytes:
    """What another backend needs to go on; far below 256 KiB."""
    return json.dumps({"format": FORMAT, "notes": kept}).encode()


def read(snapshot: bytes) -> list[str]:
    """The notes in it; [] for a snapshot of another format, or none."""
    try:
        found = json.loads(snapshot or b"{}")
    except ValueError:
        return []
    return list(found["notes"]) if found.get("format") == FORMAT else []


def said(text: str) -> str:
    """The note in a message; "" for anything else."""
    try:
        return str(json.loads(text)["note"])[:MOST_CHARS]
    except (ValueError, TypeError, LookupError):
        return ""


async def notes(call: Call) -> None:
    """Echo sound; keep each note, and tell all of them."""
    kept = read(call.restored.snapshot) if call.restored else []
    async for event in call.events():
        if isinstance(event, Audio):
            await call.send_audio(event.payload, event.duration)
        elif isinstance(event, Text) and (note := said(event.text)):
            kept = [*kept, note][-MOST_NOTES:]
            call.remember(snapshot(kept))
            await call.send_text(event.label, json.dumps({"notes": kept}))


if __name__ == "__main__":
    serve(notes)
