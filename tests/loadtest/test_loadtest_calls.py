from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import aiohttp
import pytest
from typer.testing import CliRunner

from launcher.addresses import free_ports
from loadtest import sound
from loadtest.__main__ import app
from loadtest.benchmark import Limits, Result
from loadtest.benchmarks import SCENARIOS
from loadtest.callers.aiortc_caller import AiortcCaller, CallRecord, utterance
from loadtest.callers.dtls import Identity
from loadtest.callers.light_caller import LightCaller
from loadtest.callers.opus_packets import encode
from loadtest.errors import CallFailedError
from loadtest.sound import SAMPLE_RATE_HZ, Samples
from loadtest.target import Target
from tests.loadtest.loadtest_echo_server import API_KEY, echo_server


class Silent:
    """Counts calls and shows nothing."""

    def __init__(self) -> None:
        self.done: list[bool] = []

    def stage(self, text: str) -> None:
        """Show nothing."""

    def call_done(self, ok: bool) -> None:
        self.done.append(ok)


@pytest.fixture(autouse=True)
def _quiet_ice() -> Iterator[None]:
    """Stock aioice logs every candidate pair; that is of no use here."""
    logging.getLogger("aioice").setLevel(logging.WARNING)
    yield


async def run_call(url: str, key: str = API_KEY, calls: int = 1, seconds: float = 40) -> Result:
    return await SCENARIOS["call"].run(Target(url, key), Limits(calls, calls, seconds), Silent())


async def place_short(target: Target, speech: Samples, timeout_s: float) -> CallRecord:
    async with aiohttp.ClientSession() as session:
        return await AiortcCaller(session, target, speech, timeout_s).place()


async def test_calls_that_are_echoed_pass() -> None:
    """Two real calls at once: all figures are there, every check holds, every call is hung up."""
    async with echo_server() as server:
        result = await run_call(server.url, calls=2)
        assert server.hung_up == 2
    assert result.passed, (result.failures, result.figures)
    assert (result.figures["calls"], result.figures["ok"], result.figures["lost"]) == (2, 2, 0)
    for name in ("setup_ms", "first_audio_ms", "message_rtt_ms"):
        assert isinstance(result.figures[name], dict)


async def test_a_call_that_hears_nothing_fails() -> None:
    """A target that sends no sound back is counted by reason, and the call is hung up."""
    async with echo_server(mute=True) as server:
        record = await place_short(Target(server.url, API_KEY), sound.silence(0.1), 2)
        assert record.failure == "timeout_first_packet"
        assert server.hung_up == 1


async def test_a_call_whose_message_is_not_echoed_fails() -> None:
    """A target that drops data channel messages is counted by reason."""
    async with echo_server(deaf=True) as server:
        speech = utterance(sound.silence(0.1))
        record = await place_short(Target(server.url, API_KEY), speech, 4)
    assert record.failure == "timeout_message"


@pytest.mark.parametrize(("key", "reason"), [("wrong", "http_401")])
async def test_a_refused_call_fails_with_its_status(key: str, reason: str) -> None:
    """The HTTP status is the reason; no check holds."""
    async with echo_server() as server:
        result = await run_call(server.url, key)
    assert result.failures == {reason: 1}
    assert not result.passed


async def test_nobody_there() -> None:
    """A target that does not answer is a failed call, not a traceback."""
    [port] = free_ports(1)
    result = await run_call(f"http://127.0.0.1:{port}")
    assert result.failures == {"http_error": 1}


async def test_a_light_call() -> None:
    """The light caller does ICE, DTLS and SRTP with a stock peer and hears packets back."""
    packets = encode(sound.tone(0.5, 300, 8000))
    async with echo_server() as server, aiohttp.ClientSession() as session:
        target = Target(server.url, API_KEY)
        caller = LightCaller(session, target, Identity.make(), packets, echoes=3)
        await caller.place(timeout_s=20)
        assert server.hung_up == 1
    assert caller.setup_ms is not None


async def test_a_light_call_without_echo_fails_and_hangs_up() -> None:
    """The reason names the step that took too long; nothing is left at the target."""
    async with echo_server(mute=True) as server, aiohttp.ClientSession() as session:
        target = Target(server.url, API_KEY)
        caller = LightCaller(session, target, Identity.make(), encode(sound.silence(0.1)), 1)
        with pytest.raises(CallFailedError, match="timeout_media"):
            await caller.place(timeout_s=2)
        assert server.hung_up == 1


async def test_a_sequence_out_of_time_is_bounded() -> None:
    """No call is placed when the time of the run is over; the rest count as failed."""
    limits = Limits(calls=5, concurrency=1, seconds=0)
    progress = Silent()
    result = await SCENARIOS["sequence"].run(Target("http://127.0.0.1:9", ""), limits, progress)
    assert result.failures == {"out_of_time": 5}
    assert progress.done == [False] * 5
    assert not result.passed


def test_help_lists_every_scenario() -> None:
    """--help names all scenarios."""
    output = CliRunner().invoke(app, ["--help"])
    assert output.exit_code == 0
    assert all(name in output.stdout for name in SCENARIOS)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such"],
        ["call", "--calls", "0"],
        ["call", "--calls", "201"],
        ["call", "--target", "x"],
    ],
)
def test_wrong_usage_is_exit_status_2(arguments: list[str]) -> None:
    """An unknown scenario, a bound out of range and a target that is no URL are usage errors."""
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_json_is_the_last_line_and_the_exit_status_tells() -> None:
    """One JSON object ends stdout; a run whose checks fail exits 1."""
    [port] = free_ports(1)
    arguments = ["call", "--target", f"http://127.0.0.1:{port}", "--calls", "1", "--json"]
    output = CliRunner().invoke(app, arguments)
    assert output.exit_code == 1
    last = json.loads(output.stdout.splitlines()[-1])
    assert (last["scenario"], last["passed"], last["failures"]) == (
        "call",
        False,
        {"http_error": 1},
    )


def test_the_utterance_starts_with_sound_and_ends_with_silence() -> None:
    """The lead-in is audible, so that the first audio back can be told."""
    speech = utterance(sound.silence(0))
    assert abs(speech[: SAMPLE_RATE_HZ // 10]).max() > 500
    assert not speech[-SAMPLE_RATE_HZ // 10 :].any()
