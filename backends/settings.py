"""The settings of a backend process."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

from pydantic import Field, JsonValue, PlainValidator

from fleet.fields import within
from fleet.settings import AdminSettings
from fleet.usage import variable
from trunkline.backend.encoder import LARGEST_BPS, MAX_COMPLEXITY, SMALLEST_BPS, OpusEncoder
from trunkline.backend.events import AudioFormat
from trunkline.backend.settings import LONGEST_DRAIN_S, LONGEST_HOLD_MS, Settings
from trunkline.process.address import Address, shown


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


_LIBRARY = Settings()
_OTHERS = (
    "backends.agent.settings",
    "backends.openai_pipeline.settings",
    "backends.openai_realtime.settings",
)

AudioFormats = Annotated[tuple[AudioFormat, ...], PlainValidator(_formats)]


class BackendSettings(AdminSettings):
    """Settings of a model backend; a backend with more to set derives its own class."""

    backend_listen: Address = Field(
        Address.parse(str(_LIBRARY.listen)),
        description="address for transceivers (model link), health and reflection",
    )
    backend_admin: Address = Field(
        Address("127.0.0.1", 9401),
        description="address of the gRPC admin service, health and reflection",
    )
    backend_drain_s: Annotated[int, within("a number of seconds", 0, LONGEST_DRAIN_S)] = Field(
        _LIBRARY.drain_s,
        description="how long live calls may go on after SIGTERM; then they end, with a message "
        "to the caller. The process exits a few seconds later at most",
    )
    backend_hold_ms: Annotated[int, within("a number of ms", 0, LONGEST_HOLD_MS)] = Field(
        _LIBRARY.hold_ms,
        description="how long a call waits, with its handler running, for another stream of a "
        "transceiver when its own broke; 0: it ends at once",
    )

    @classmethod
    def known(cls) -> frozenset[str]:
        """Those of every backend: who tries several in one shell has the variables of all set."""
        for module in _OTHERS:
            import_module(module)
        kinds = [BackendSettings]
        for kind in kinds:  # which grows meanwhile
            kinds += kind.__subclasses__()
        return frozenset(variable(kind, name) for kind in kinds for name in kind.model_fields)


_OWN: dict[str, JsonValue] = {"default": "the transceiver's own"}


class EchoSettings(BackendSettings):
    """Settings of the echo backend, which takes any format."""

    backend_opus_bitrate_bps: Annotated[int, Field(ge=SMALLEST_BPS, le=LARGEST_BPS)] | None = Field(
        None,
        description="bits a second of the Opus made of PCM, 6000 to 510000",
        json_schema_extra=_OWN,
    )
    backend_opus_complexity: Annotated[int, Field(ge=0, le=MAX_COMPLEXITY)] | None = Field(
        None,
        description="effort of the encoder of PCM, 0 to 10",
        json_schema_extra=_OWN,
    )
    backend_opus_fec: bool | None = Field(
        None, description="in-band FEC of the Opus made of PCM", json_schema_extra=_OWN
    )
    backend_opus_dtx: bool | None = Field(
        None, description="DTX of the Opus made of PCM", json_schema_extra=_OWN
    )

    backend_accepts: AudioFormats = Field(
        (AudioFormat.OPUS,),
        description="formats of the sound, best first: opus, pcm16_8000, pcm16_16000, "
        "pcm16_24000, pcm16_48000",
        json_schema_extra={"default": "opus"},
    )

    @property
    def encoder(self) -> OpusEncoder:
        """What is asked of the transceiver's encoder."""
        return OpusEncoder(
            self.backend_opus_bitrate_bps,
            self.backend_opus_complexity,
            self.backend_opus_fec,
            self.backend_opus_dtx,
        )
