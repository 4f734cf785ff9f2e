"""What holds after every test that talks over the link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.backends.kit import tasks_left


@pytest.fixture(autouse=True)
async def _no_task_left() -> AsyncIterator[None]:
    """A test ends with the tasks it began with."""
    before = asyncio.all_tasks()
    yield
    assert not await tasks_left(before)
