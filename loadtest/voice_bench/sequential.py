"""The same models one after another: `python -m backends.voice.sequential`, asked by JSON lines."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Sequence

from launcher import StartupError
from loadtest.voice_bench.script import Utterance

LIMIT_BYTES = 16 * 1024 * 1024


async def run(utterances: Sequence[Utterance]) -> list[float]:
    """Milliseconds from the end of each utterance to the answer's first sound.

    Raises StartupError when the models cannot be loaded.
    """
    lines = [
        json.dumps({"pcm_48k": base64.b64encode(utterance.sound.tobytes()).decode()})
        for utterance in utterances
    ]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "backends.voice.sequential"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=LIMIT_BYTES,
    )
    out, _ = await process.communicate("".join(f"{line}\n" for line in lines).encode())
    if process.returncode:
        raise StartupError("the models could not be run one after another")
    return [float(json.loads(line)["total_ms"]) for line in out.splitlines()]
