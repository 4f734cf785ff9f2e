"""What a backend process can be told."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainValidator

from backends.events import AudioFormat
from fleet.address import Address, shown
from fleet.settings import ProcessSettings


def _formats(value: Any) -> tuple[AudioFormat, ...]:
    names = value.split(",") if isinstance(value, str) else tuple(value)
    return tuple(dict.fromkeys(_format(name) for name in names))


def _format(name: Any) -> AudioFormat:
    if isinstance(name, AudioFormat):
        return name
    try:
        return AudioFormat[str(name).strip().upper()]
    except KeyError:
        known = ", ".join(known.name.lower() for known in AudioFormat)
        raise ValueError(f"{shown(str(name))} is not one of {known}") from None


AudioFormats = Annotated[tuple[AudioFormat, ...], PlainValidator(_formats)]


class BackendSettings(ProcessSettings):
    """Settings of a model backend; a backend with more to set derives its own class."""

    backend_listen: Address = Field(
        Address("127.0.0.1", 9301),
        description="address for transceivers (model link), health and reflection",
    )


class EchoSettings(BackendSettings):
    """Settings of the echo backend, which takes any format."""

    backend_accepts: AudioFormats = Field(
        (AudioFormat.OPUS,),
        description="formats of the sound, best first: opus, pcm16_8000, pcm16_16000, "
        "pcm16_24000, pcm16_48000",
        json_schema_extra={"default": "opus"},
    )
