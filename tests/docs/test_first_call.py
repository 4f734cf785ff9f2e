"""The program of the page about a first call is run as it stands there."""

from __future__ import annotations

import asyncio
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from launcher import Stack, StackSettings
from tests.docs.pages import ROOT, blocks

URL, KEY = "http://127.0.0.1:8080", "my-key"


@pytest.mark.slow
async def test_the_program_hears_what_it_says(tmp_path: Path) -> None:
    """With another address and key only, it records the echo of the speech that it plays."""
    (program,) = blocks((ROOT / "docs/first-call.md").read_text(), "python")
    speech = "loadtest/assets/speech.wav"
    assert all(part in program for part in (URL, KEY, speech))
    async with Stack(StackSettings({}, backend="echo")) as stack:
        changed = program.replace(URL, stack.console_url).replace(KEY, stack.api_key)
        changed = changed.replace(speech, str(ROOT / speech))
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", changed, cwd=tmp_path)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    with wave.open(str(tmp_path / "heard.wav"), "rb") as file:
        rate, channels = file.getframerate(), file.getnchannels()
        heard = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    assert len(heard) > 2 * rate * channels
    assert np.abs(heard.astype(int)).max() > 3000
