"""The settings of the API of the record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from fleet.fields import ApiKeyList
from fleet.settings import AdminSettings
from fleet.usage import variable
from records.money.book_file import load_book
from records.settings import RecordsSettings, StoreUrl
from trunkline.process.address import Address


def _readable(path: Path) -> Path:
    load_book(path)
    return path


BookPath = Annotated[Path, AfterValidator(_readable)]
"""A price book that can be read: a mistake in it stops the process before it serves figures."""


class RecordsApiSettings(AdminSettings):
    """Settings of `python -m records.api`."""

    records_store: StoreUrl = Field(
        description="where the record is kept: sqlite:///file.db, or postgresql://user@host/name"
    )
    records_api_http: Address = Field(
        Address("127.0.0.1", 9503),
        description="address of the API and its pages; TLS is for a proxy in front of it",
    )
    records_api_keys: ApiKeyList = Field(
        (),
        description="API keys whose holders may read the record of their own calls, KEY or "
        "TENANT:KEY separated by commas, as the transceivers have them",
        json_schema_extra={"default": "none"},
    )
    records_prices: BookPath | None = Field(
        None,
        description="YAML file of your prices, over those that come with Trunkline",
        json_schema_extra={"default": "the prices that come with Trunkline"},
    )

    @classmethod
    def known(cls) -> frozenset[str]:
        """Those of the recorder, too: both often share an environment."""
        kinds = (cls, RecordsSettings)
        return frozenset(variable(kind, name) for kind in kinds for name in kind.model_fields)
