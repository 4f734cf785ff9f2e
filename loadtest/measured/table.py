"""What is measured, by which command, and how a result is written: `table.toml`."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

TABLE = Path(__file__).with_name("table.toml")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Row(_Strict):
    """One line of the page. Its name is unique: a text that was kept goes by it."""

    name: str
    what: str
    figure: str = ""
    in_readme: str = ""


class Source(_Strict):
    """One command and its rows."""

    name: str
    group: str
    arguments: tuple[str, ...] = ()
    by_hand: str = ""
    rows: tuple[Row, ...] = Field(alias="row")

    @property
    def command(self) -> str:
        """As somebody types it."""
        return self.by_hand or " ".join(("python -m loadtest", *self.arguments))


class _Table(_Strict):
    source: tuple[Source, ...]


SOURCES = _Table.model_validate(tomllib.loads(TABLE.read_text())).source
BY_NAME = {source.name: source for source in SOURCES}
