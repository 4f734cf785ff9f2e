"""The settings of the API, and what the documentation says of it."""

from __future__ import annotations

import pytest

from fleet.settings import load
from records.api.app import ROUTES
from records.api.settings import RecordsApiSettings
from records.diagnosis.causes import Cause
from records.export.formats import FORMATS
from records.settings import RecordsSettings
from tests import pages


def test_every_setting_has_its_row() -> None:
    """With its default, in the order of --help."""
    found = [row[:2] for row in pages.rows("records.md", "### Settings")]
    assert found == pages.settings_rows(RecordsApiSettings)


def test_every_path_cause_and_format_has_its_row() -> None:
    """And no other has."""
    paths = {row[0].strip("`") for row in pages.rows("records.md", "## The API")}
    assert paths == {f"{one.operation.method} {one.operation.path}" for one in ROUTES}
    causes = " ".join(row[0] for row in pages.rows("records.md", "## The diagnosis"))
    assert set(causes.replace("`", "").replace(",", "").split()) == {one.value for one in Cause}
    assert {row[0].strip("`") for row in pages.rows("records.md", "## Exports")} == set(FORMATS)


def test_links_lead_somewhere() -> None:
    """Files and headings are there."""
    assert list(pages.dead_links("records.md")) == []


def test_recorder_and_api_share_an_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither takes the variables of the other for a mistake; each finds one of its own."""
    monkeypatch.setenv("TRUNKLINE_RECORDS_STORE", "sqlite:///records.db")
    monkeypatch.setenv("TRUNKLINE_RECORDS_ADMIN", "127.0.0.1:9501")
    monkeypatch.setenv("TRUNKLINE_RECORDS_API_HTTP", "127.0.0.1:0")
    monkeypatch.setenv("TRUNKLINE_REDIS_URL", "redis://127.0.0.1/0")
    monkeypatch.setenv("TRUNKLINE_TOKEN_KEYS", "1:" + "ab" * 32)
    assert load(RecordsApiSettings, "records.api", []).records_api_http.port == 0
    assert load(RecordsSettings, "records", []).records_admin.port == 9501
    monkeypatch.setenv("TRUNKLINE_RECORDS_API_HTPP", "127.0.0.1:0")
    with pytest.raises(SystemExit):
        load(RecordsApiSettings, "records.api", [])
