"""What a backend process can be told."""

from __future__ import annotations

from pydantic import Field

from fleet.address import Address
from fleet.settings import ProcessSettings


class BackendSettings(ProcessSettings):
    """Settings of a model backend; a backend with more to set derives its own class."""

    backend_listen: Address = Field(
        Address("127.0.0.1", 9301),
        description="address for transceivers (model link), health and reflection",
    )
