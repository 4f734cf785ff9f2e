"""A healthy fleet for whoever asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.cli.kit import Patient, fleet


@pytest.fixture
async def patient(redis_url: str) -> AsyncIterator[Patient]:
    """A healthy fleet."""
    async with fleet(redis_url) as it:
        yield it
