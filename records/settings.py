"""The settings of a recorder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from fleet.fields import within
from fleet.settings import SharedSettings
from records.store.opening import check_url
from trunkline.process.address import Address


def _store(url: SecretStr) -> SecretStr:
    check_url(url.get_secret_value())
    return url


StoreUrl = Annotated[SecretStr, AfterValidator(_store)]
"""Where the record is; a secret as a whole, since it may hold a password."""


Days = Annotated[int, within("a number of days", 1, 36_500)]


class RecordsSettings(SharedSettings):
    """Settings of `python -m records`."""

    records_store: StoreUrl = Field(
        description="where the record is kept: sqlite:///file.db, or postgresql://user@host/name"
    )
    records_admin: Address = Field(
        Address("127.0.0.1", 9501),
        description="address of the gRPC admin service, health and reflection",
    )
    records_metrics: Address = Field(
        Address("127.0.0.1", 9502), description="HTTP: Prometheus metrics at /metrics"
    )
    records_keep_content_days: Days | None = Field(
        None,
        description="days for which is kept what was said",
        json_schema_extra={"default": "for ever"},
    )
    records_keep_days: Days | None = Field(
        None,
        description="days for which the record of a call is kept, after its last event",
        json_schema_extra={"default": "for ever"},
    )
    records_signing_key: Path | None = Field(
        None,
        description="PEM file of the Ed25519 key that signs roots over the record; the store must "
        "not have it",
        json_schema_extra={"default": "no roots"},
    )
    records_root_interval_s: Annotated[int, within("a number of seconds", 1, 86_400)] = Field(
        60, description="how long it takes at most until what was stored is signed"
    )
