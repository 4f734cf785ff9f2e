"""How many of each process a fleet has. Pure data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1, le=16)]
Setting = Annotated[str, Field(pattern=r"^TRUNKLINE_[A-Z0-9_]+$")]


class Shape(BaseModel):
    """A fleet to start; `redis = "sentinel"` is a master, two replicas and three sentinels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    relays: Count = 1
    transceivers: Count = 1
    backends: Annotated[int, Field(ge=0, le=16)] = 1
    """With none, `variables` name one that is there already."""
    talker: bool = False
    """A backend called `talker` that answers in pauses, for those who ask for it."""
    guest_backend: str = ""
    """`NAME=HOST:PORT` of one more backend, for those alone who ask for it."""
    backend: str = "backends.echo"
    """The module that `backends` run."""
    transceiver_processes: Annotated[int, Field(ge=1, le=8)] = 1
    """Of each transceiver; more than one have a supervisor, and admin ports in sequence."""
    relay_workers: Annotated[int, Field(ge=1, le=8)] = 1
    redis: Literal["single", "sentinel"] = "single"
    variables: dict[Setting, str] = Field(default_factory=dict)
    """`TRUNKLINE_*` settings of every process that knows them."""
