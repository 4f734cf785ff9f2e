"""The measured figures that a plan multiplies, each with where it comes from."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

DEFAULT = Path(__file__).with_name("figures.toml")


class FiguresError(Exception):
    """A file of figures cannot be used; `str()` is one line for each reason."""


class Figure(BaseModel):
    """One number above 0 and the command, rule or assumption behind it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    source: Annotated[str, Field(min_length=1)]

    @property
    def assumed(self) -> bool:
        """Whether nobody measured it."""
        return self.source.startswith("assumption")


class Figures(BaseModel):
    """All of them; the units stand in the names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    relay_up_packets_per_core_s: Figure
    relay_down_packets_per_core_s: Figure
    relay_bytes_per_flow: Figure
    transceiver_cpu_ms_per_call_s: Figure
    transceiver_mib_per_call: Figure
    packets_per_call_s: Figure
    packet_bytes: Figure
    redis_flow_writes_per_call_s: Figure
    redis_commands_per_new_call: Figure
    redis_commands_per_process_s: Figure
    redis_commands_per_core_s: Figure
    call_s: Figure
    busy: Figure
    stock_calls_per_core: Figure
    stock_ports_per_call: Figure
    node_ports: Figure
    node_cores: Figure
    price_core_hour: Figure
    price_gib_hour: Figure
    price_egress_gib: Figure
    price_public_ip_hour: Figure


def read_figures(path: Path | None = None) -> Figures:
    """Read the figures that ship with the code, with those of `path` in their place.

    Raises FiguresError.
    """
    table = _table(DEFAULT)
    if path is not None:
        table = {**table, **_table(path)}
    try:
        return Figures.model_validate(table)
    except ValidationError as error:
        name = (path or DEFAULT).name
        lines = [f"{name}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise FiguresError("\n".join(lines)) from None


def _table(path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise FiguresError(f"{path.name}: {reason}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FiguresError(f"{path.name}: not TOML: {error}") from None
