"""A process's bound follows what it measures of itself."""

from __future__ import annotations

import asyncio
import time
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transceiver.engine.capacity import BUSY, LATE_S, Capacity, LoadSample
from transceiver.engine.engine import Engine
from transceiver.engine.load_probe import LoadProbe
from transceiver.media import watch_load
from transceiver.settings import TransceiverSettings

SAMPLES = st.builds(
    LoadSample,
    st.integers(0, 5000),
    st.floats(0, 5),
    st.floats(0, 1, allow_nan=False),
    st.integers(0, 5000),
)


def test_a_process_at_ease_takes_what_it_was_allowed() -> None:
    """Nothing measured, or nothing wrong: the ceiling holds."""
    capacity = Capacity(500)
    assert capacity.calls == 500
    assert capacity.learn(LoadSample(calls=10, lateness_s=0.001, busy=0.1)) == 500


@pytest.mark.parametrize(
    "strain", [LoadSample(300, LATE_S, 0.1), LoadSample(300, 0.0, BUSY)], ids=["late", "busy"]
)
def test_a_strained_process_takes_no_more_calls(strain: LoadSample) -> None:
    """Once is a hiccup; twice in a row brings the bound below the calls that are there."""
    capacity = Capacity(1000)
    before = capacity.learn(strain)
    assert before > strain.calls or strain.busy >= BUSY
    assert capacity.learn(strain) <= strain.calls * 0.9


def test_hiccups_apart_change_nothing() -> None:
    """A pause every other sample is not an overload."""
    capacity = Capacity(1000)
    for _ in range(20):
        capacity.learn(LoadSample(10, 0.5, 0.1))
        capacity.learn(LoadSample(10, 0.0, 0.1))
    assert capacity.calls == 1000


def test_it_rises_again() -> None:
    """Within 40 s of ease a bound that fell to the floor is back at the ceiling."""
    capacity = Capacity(1000)
    for _ in range(2):
        capacity.learn(LoadSample(5, 1.0, 0.1))
    assert capacity.calls == 20
    for _ in range(81):
        capacity.learn(LoadSample(5, 0.0, 0.1))
    assert capacity.calls == 1000


def test_a_calls_share_of_the_core_is_learned() -> None:
    """100 calls that take 40 % mean that 200 fit into 80 %, long before anything is late."""
    capacity = Capacity(1000)
    for _ in range(50):
        capacity.learn(LoadSample(100, 0.0, 0.4))
    assert capacity.calls == 200
    for _ in range(100):  # calls became cheaper, say: another codec
        capacity.learn(LoadSample(100, 0.0, 0.2))
    assert 395 <= capacity.calls <= 400


def test_calls_that_begin_say_little_of_their_share() -> None:
    """A fresh process is given 60 calls a sample and has half a core to do: it takes more."""
    capacity = Capacity(1000)
    for calls in range(60, 400, 60):
        assert capacity.learn(LoadSample(calls, 0.002, 0.5, begun=60)) == 1000
    for _ in range(50):  # then they talk
        capacity.learn(LoadSample(400, 0.002, 0.4, begun=10))
    assert capacity.calls == 800


@given(st.lists(SAMPLES, max_size=200), st.integers(1, 3000))
def test_the_bound_stays_within_floor_and_ceiling(samples: list[LoadSample], ceiling: int) -> None:
    """Whatever is measured."""
    capacity = Capacity(ceiling)
    for sample in samples:
        assert min(20, ceiling) <= capacity.learn(sample) <= ceiling


def test_a_simulated_overload_settles_near_what_fits() -> None:
    """Ten times the load is offered to a process that can carry 300 calls of 20 s: it keeps close.

    The model: lateness explodes when calls need more than a core, and half the bound's room can be
    filled between two samples.
    """
    capacity, calls, held = Capacity(10_000), 0.0, []
    for step in range(400):
        calls += min(
            max(0.0, capacity.calls - calls), 75
        )  # 1500 a second offered, at most 150 set up
        calls -= calls * 0.5 / 20
        busy = min(1.0, calls / 300)
        capacity.learn(LoadSample(int(calls), 0.2 if calls > 300 else 0.002, busy))
        held.append(calls) if step > 100 else None
    assert min(held) > 0.6 * 300
    assert max(held) < 1.1 * 300


@pytest.mark.parametrize(("learns", "bound"), [(True, 270), (False, 500)])
async def test_a_process_learns_only_if_it_is_to(learns: bool, bound: int) -> None:
    """Strain lowers the engine's bound, or leaves it where the operator put it."""
    engine = Mock(spec=Engine, max_calls=500, begun=0)
    engine.calls.return_value = []
    settings = TransceiverSettings.model_construct(
        transceiver_max_calls=500, transceiver_learn_capacity=learns
    )
    probe = watch_load(engine, settings)
    probe.stop()
    for _ in range(2):
        probe._on_sample(LoadSample(300, 1.0, 0.1))
    assert engine.max_calls == bound


async def test_the_probe_sees_a_blocked_loop() -> None:
    """A loop that computes for a while is late and busy; one that waits is neither."""
    samples: asyncio.Queue[LoadSample] = asyncio.Queue()
    probe = LoadProbe(lambda: 7, iter(range(100)).__next__, samples.put_nowait)
    probe.start()
    idle = await samples.get()
    ends_s = time.thread_time() + 1.2
    while time.thread_time() < ends_s:
        blocked_until_s = time.thread_time() + 0.1
        while time.thread_time() < blocked_until_s:
            pass
        await asyncio.sleep(0)
    busy = samples.get_nowait()
    probe.stop()
    assert idle.calls == busy.calls == 7
    assert idle.begun == busy.begun == 1
    assert busy.lateness_s > LATE_S
    assert busy.busy > idle.busy


async def test_a_stopped_probe_says_nothing() -> None:
    """No timer is left, also when it is stopped twice."""
    probe = LoadProbe(lambda: 0, lambda: 0, lambda _sample: None)
    probe.stop()
    probe.start()
    probe.stop()
    probe.stop()
    assert probe._timer is None
