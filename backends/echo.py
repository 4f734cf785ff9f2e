"""A backend that returns what it hears: the smallest one there is, and the one to copy.

python -m backends.echo
"""

from __future__ import annotations

from backends.serve import Audio, Binary, Call, Text, serve
from backends.settings import EchoSettings
from fleet.settings import load


async def echo(call: Call) -> None:
    """Say everything back: speech as speech, text as text, bytes as bytes."""
    async for event in call.events():
        match event:
            case Audio():
                await call.send_audio(event.payload, event.duration)
            case Text():
                await call.send_text(event.label, event.text)
            case Binary():
                await call.send_binary(event.label, event.content)


if __name__ == "__main__":
    settings = load(EchoSettings, "python -m backends.echo")
    serve(echo, settings, accepts=settings.backend_accepts, name="echo", encoder=settings.encoder)
