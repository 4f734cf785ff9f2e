"""A fleet of real processes for tests of the command line, and the command itself."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from cli.doctor.command import examine
from cli.doctor.finding import Finding
from cli.doctor.surroundings import Surroundings
from cli.reach import Reach
from launcher import Stack, StackSettings
from trunkline.process.address import Address


@dataclass
class Patient:
    """A fleet, and how the doctor would be told of it."""

    stack: Stack
    here: Surroundings

    async def examined(self, **changed: Any) -> list[Finding]:
        """All findings, with something about the surroundings changed."""
        return await examine(replace(self.here, **changed))


@asynccontextmanager
async def fleet(redis_url: str, **variables: str) -> AsyncIterator[Patient]:
    """Relay, transceiver and backend on free ports."""
    given = {"TRUNKLINE_REDIS_URL": redis_url, "TRUNKLINE_RELAY_WORKERS": "1", **variables}
    async with Stack(StackSettings(given)) as stack:
        reach = Reach(
            Address.parse(stack.transceiver_admin),
            (Address.parse(stack.relay_admin),),
            (Address.parse(stack.backend_admin),),
        )
        yield Patient(
            stack, Surroundings(reach, stack.console_url, stack.api_key, redis_url, cluster=0)
        )


async def trunkline(patient: Patient, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """The command as an operator runs it: exit status, stdout, stderr."""
    reach = patient.here.reach
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", *arguments),
        env={
            **os.environ,
            "TRUNKLINE_ADMIN": str(reach.transceiver),
            "TRUNKLINE_RELAY_ADMINS": ",".join(map(str, reach.relays)),
            "TRUNKLINE_BACKEND_ADMINS": ",".join(map(str, reach.backends)),
            "TRUNKLINE_URL": patient.here.url,
            "TRUNKLINE_API_KEY": patient.here.api_key,
            "TRUNKLINE_REDIS_URL": patient.here.redis_url,
            "COLUMNS": "200",
            **environment,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()
