"""A backend that returns what it hears, in any format; `examples/` has some to copy.

python -m backends.echo
"""

from __future__ import annotations

import fleet.extras  # noqa: F401 - first: it says what to install when an import below fails

# isort: split
from backends.operated import serve
from backends.settings import EchoSettings
from fleet.settings import load
from trunkline.backend import Audio, Backend, Binary, Call, Text


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
    serve(Backend(echo, accepts=settings.backend_accepts, encoder=settings.encoder), settings)
