"""The relay's benchmarks: what they send is what they say, and they lose nothing themselves."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher import StartupError
from loadtest.relay_bench import packets, peers, traffic
from loadtest.relay_bench.attacks import Strangers
from loadtest.relay_bench.benchmark import at_least, at_most
from loadtest.relay_bench.c_forwarder import c_forwarder
from loadtest.relay_bench.cores import cpu_s, waited_s
from loadtest.relay_bench.family import kill_family, leashed
from loadtest.relay_bench.load import Load, Sink, drain, running
from loadtest.relay_bench.peers import Peers
from loadtest.relay_bench.sockets import ANY, LOOPBACK, udp
from loadtest.relay_bench.spread import ends, middle, ratios
from loadtest.relay_bench.streams import Packet, Stream, stream_file
from loadtest.relay_bench.tally import HISTOGRAM_SLOTS, HISTOGRAM_STEP_US, quantile_us
from wire import stun, token, trunk
from wire.errors import WireError
from wire.keys import KeyRing
from wire.token import Route

KEYS = KeyRing(1, {1: b"t" * 32})
TAGGER = trunk.Tagger(KeyRing(2, {2: b"k" * 32}))
FRAMES = 40_000


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Peers:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler on the PATH")
    return peers.build(tmp_path_factory.mktemp("peers"))


@pytest.fixture
def callers() -> Iterator[socket.socket]:
    with udp(ANY) as sock:
        yield sock


@pytest.fixture
def node_sock() -> Iterator[socket.socket]:
    with udp(LOOPBACK) as sock:
        yield sock


# what is sent


def test_flows_have_addresses_and_networks_of_their_own() -> None:
    """A hundred thousand flows share no address, the first sixteen thousand no /24 network."""
    hosts = [packets.flow_host(flow) for flow in range(100_000)]
    assert len(set(hosts)) == len(hosts)
    assert len({host[:3] for host in hosts[: 1 << 14]}) == 1 << 14
    assert all(host[0] == 127 and 64 <= host[1] < 128 and host[3] for host in hosts)


@pytest.mark.parametrize("flow", [-1, packets.MAX_FLOWS])
def test_flows_are_bounded(flow: int) -> None:
    """A flow that has no address is refused."""
    with pytest.raises(ValueError, match="a flow is numbered"):
        packets.flow_host(flow)


def test_checks_are_what_a_relay_admits() -> None:
    """A check carries a token that holds and the integrity of its password; a bad one does not."""
    route = Route(3, 17, 5)
    for password, holds in ((None, True), ("another", False)):
        packet = packets.check(KEYS, route, password)
        message = stun.read(packet)
        ufrag, _ = stun.username(message)
        assert token.read(KEYS, ufrag) == route
        assert stun.has_integrity(message, packet, token.password(KEYS, ufrag)) is holds


def test_patched_trunk_datagrams_hold_and_are_all_different() -> None:
    """Every datagram to be sent has a valid tag, its own count and the frames of its template."""
    templates = packets.trunk_templates(TAGGER, flows=5, port=4000, count=3)
    patches = packets.trunk_patches(TAGGER, templates, 0xABC0001, 1_700_000_000, range(100, 110))
    for number in range(10):
        template = templates[number % 3]
        patch = patches[number * packets.PATCH_BYTES : (number + 1) * packets.PATCH_BYTES]
        read = trunk.read(TAGGER, packets.patched(template, patch))
        assert (read.sender, read.time_s, read.count) == (0xABC0001, 1_700_000_000, 100 + number)
        first = number % 3 * packets.FRAMES_A_DATAGRAM
        assert read.frames == tuple(
            (packets.flow_address(flow % 5, 4000), packets.voice(flow % 5))
            for flow in range(first, first + packets.FRAMES_A_DATAGRAM)
        )


def test_a_template_without_its_patch_is_refused() -> None:
    """The tag does not hold for another count: the patches are what makes datagrams valid."""
    [template] = packets.trunk_templates(TAGGER, flows=1, port=4000, count=1)
    [patch] = [packets.trunk_patches(TAGGER, [template], 1, 2, range(3, 4))]
    spoilt = packets.patched(template, patch[:-1] + b"\xff")
    with pytest.raises(WireError, match="trunk_tag"):
        trunk.read(TAGGER, spoilt)


def test_strangers_stay_in_their_networks() -> None:
    """An attack from four networks has four /24 prefixes, none of them a caller's."""
    with udp(ANY) as sock:
        stream = Strangers(sock, networks=4).stream((LOOPBACK, 1), [b"x"] * 1000, 10)
    networks = Counter(packet.source[:3] for packet in stream.packets)
    assert len(networks) == 4
    assert all(network[1] >= packets.STRANGERS for network in networks)


def test_a_stream_file_is_as_long_as_its_head_says() -> None:
    """What load.c maps ends where the last packet ends."""
    with udp(ANY) as sock:
        stream = Stream(sock, (LOOPBACK, 9), [Packet(b"abc"), Packet(b"de")], patches=bytes(40))
        fd = stream_file(stream)
    data = os.pread(fd, 10_000, 0)
    os.close(fd)
    numbers = np.frombuffer(data[:48], np.uint64)
    assert numbers.tolist() == [2, 2, 64, 128, 168, len(data)]
    assert data[int(numbers[4]) :] == b"abcde"


# the C programs


def test_they_compile_without_a_warning(tmp_path: Path) -> None:
    """Both peers compile with all warnings on, as errors."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler on the PATH")
    for source in sorted(peers.SOURCES.glob("*.c")):
        command = ["cc", *peers.FLAGS, "-Werror", "-o", str(tmp_path / source.stem), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr


def test_without_a_compiler_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No compiler on the PATH is one clear line."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartupError, match="needs a C compiler"):
        peers.build(tmp_path)


async def settled(load: Load) -> None:
    """Return when all is back; a burst may still leave before the generator sees the stop."""
    sent_before = -1
    while load.received() < load.sent() or load.sent() != sent_before:
        sent_before = load.sent()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("segment", [1, 2, 8])
async def test_the_load_loses_nothing_itself(
    built: Peers, callers: socket.socket, node_sock: socket.socket, segment: int
) -> None:
    """Straight from generator to sink every packet arrives, stamped, each flow as often."""
    flows = 50
    stream = traffic.voice(callers, node_sock.getsockname(), flows, segment)
    async with running(built.load, [stream], [Sink(node_sock, "plain")]) as load:
        assert await load.until_done(FRAMES, 20)
        load.stop()
        await settled(load)
        assert load.tally.count("window_lost") == load.tally.count("unsent") == 0
        assert load.tally.count("stamped") == load.sent()
        by_flow = load.tally.counts("flow_frames")[:flows]
        assert by_flow.max() - by_flow.min() <= traffic.UP_BURST * segment
        sizes = {len(sample) for sample in load.tally.samples()}
        assert sizes == {packets.VOICE_BYTES}


async def test_a_steady_rate_is_held(
    built: Peers, callers: socket.socket, node_sock: socket.socket
) -> None:
    """At a set rate the stream does not end and does not wait for the sink."""
    stream = traffic.voice(callers, node_sock.getsockname(), 10).one_by_one(50_000)
    async with running(built.load, [stream], [Sink(node_sock, "plain")], window=1) as load:
        load.record()
        assert await load.until_done(5_000, 20)
        assert quantile_us(load.tally.counts("histogram"), 0.5) > 0


@pytest.mark.parametrize("sent_as", ["trunk", "trunk_singles"])
async def test_trunk_datagrams_arrive_as_they_were_made(
    built: Peers, node_sock: socket.socket, sent_as: str
) -> None:
    """Datagrams go out once each, patched; a sink reads every frame and its stamp."""

    class FakeNode:
        sock, tagger, sender = node_sock, TAGGER, 7

        def take_counts(self, count: int) -> range:
            return range(count)

    datagrams, flows = 1024, 20
    with udp(LOOPBACK) as relay_sock:
        make = getattr(traffic, sent_as)
        stream = make(FakeNode(), relay_sock.getsockname(), flows, 4000, datagrams)
        frames = datagrams * stream.packets[0].frames
        async with running(built.load, [stream], [Sink(relay_sock, "trunk")]) as load:
            assert await load.until_done(frames, 20)
            while not load.tally.count("exhausted"):
                await asyncio.sleep(0.001)
            assert load.sent() == load.received() == load.tally.count("stamped") == frames
            assert load.tally.count("datagrams") == datagrams
            samples = [trunk.read(TAGGER, sample) for sample in load.tally.samples()]
    assert len({sample.count for sample in samples}) == len(samples) == 64


async def test_the_c_forwarder_carries_both_ways(
    built: Peers, callers: socket.socket, node_sock: socket.socket
) -> None:
    """Packets of clients reach the node behind their key, and the node's reach each client."""
    flows, core = 30, max(os.sched_getaffinity(0))
    keyed_sink, port = Sink(node_sock, "keyed"), callers.getsockname()[1]

    class FakeNode:
        sock = node_sock

    with c_forwarder(built.forwarder, node_sock.getsockname(), core) as peer:
        up = traffic.voice(callers, (LOOPBACK, peer.port), flows)
        async with running(built.load, [up], [keyed_sink]) as load:
            assert await load.until_done(FRAMES, 20)
            assert load.tally.count("stamped") == load.received()
            keys = {sample[:8] for sample in load.tally.samples()}
        assert keys <= {packets.keyed(flow, port)[:8] for flow in range(flows)}
        assert peer.tally.count("flows") == flows
        drain(callers)
        down = traffic.keyed(FakeNode(), peer.upstream, flows, port)  # type: ignore[arg-type]
        async with running(built.load, [down], [Sink(callers, "plain")]) as load:
            assert await load.until_done(FRAMES, 20)
            assert load.tally.counts("flow_frames")[:flows].all()
            assert load.tally.count("unstamped") == 0
        assert peer.tally.count("unknown") == 0


async def test_a_load_with_bad_words_is_one_error(
    built: Peers, callers: socket.socket, node_sock: socket.socket
) -> None:
    """A stream that cannot be sent stops the benchmark before it starts."""
    stream = traffic.voice(callers, node_sock.getsockname(), 3, segment=1)
    with pytest.raises(StartupError, match="did not start"):
        async with running(built.load, [stream.at(1, burst=1000)], []):
            pass


# figures


@given(st.lists(st.integers(0, HISTOGRAM_SLOTS - 1), min_size=1, max_size=50), st.floats(0.01, 1))
def test_quantiles_are_those_of_the_sorted_list(slots: list[int], fraction: float) -> None:
    """A quantile of the histogram is that of the values in it, to one step."""
    histogram = np.bincount(slots, minlength=HISTOGRAM_SLOTS).astype(np.uint64)
    rank = max(1, int(np.ceil(fraction * len(slots))))
    assert quantile_us(histogram, fraction) == (sorted(slots)[rank - 1] + 1) * HISTOGRAM_STEP_US


def test_no_packet_has_no_quantile() -> None:
    """An empty histogram is an error, not a latency of nothing."""
    with pytest.raises(ValueError, match="at least one packet"):
        quantile_us(np.zeros(8, np.uint64), 0.5)


def test_runs_in_pairs_give_ratios() -> None:
    """What slows both of a pair leaves their ratio; the median of the ratios counts."""
    assert ratios([100, 50, 90], [50, 25, 30]) == [2, 2, 3]
    assert middle([3, 1, 2]) == 2
    assert ends([3, 1, 2]) == {"min": 1, "max": 3}


def test_bars_say_what_was_measured() -> None:
    """A check names the measured value and the bar, and includes the bar itself."""
    assert at_least("x", 1.3, 1.3).passed
    assert not at_least("x", 1.29, 1.3).passed
    assert not at_most("x", 81, 80).passed
    assert at_most("x", 81, 80).detail == "81, bar: at most 80"


def test_cpu_time_of_another_process_is_read() -> None:
    """The CPU clock of a child that has worked shows it, and a dead one's is an error."""
    with subprocess.Popen(
        [sys.executable, "-c", "sum(range(3_000_000)); print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        child.stdout.readline()  # type: ignore[union-attr]
        assert cpu_s(child.pid) > 0
        assert waited_s(child.pid) >= 0
        child.communicate(b"\n")
    with pytest.raises(OSError, match="Invalid argument"):
        cpu_s(child.pid)


def test_a_family_is_killed_whole() -> None:
    """A process and what it started are dead when the call returns."""
    script = (
        "import subprocess; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True);"
        "p.wait()"
    )
    command = leashed([sys.executable, "-c", script])
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())  # type: ignore[union-attr]
        kill_family(parent.pid, timeout_s=10)
        assert parent.wait() == -9
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


# the whole


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("relay-throughput", {"up_pps", "down_pps", "c_up_pps", "c_down_pps", "up_ratio"}),
        ("relay-latency", {"added_us_p50", "added_us_p99", "added_us_p999", "rates"}),
    ],
)
def test_a_short_run_ends_with_one_object(name: str, fields: set[str]) -> None:
    """A benchmark prints its fields as JSON, and its status says whether the bars were reached."""
    if shutil.which("cc") is None or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs a C compiler and two cores")
    command = [sys.executable, "-m", "loadtest", name, "--runs", "1", "--seconds", "0.2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    found = json.loads(done.stdout.splitlines()[-1])
    assert fields <= found.keys()
    assert done.returncode == (0 if found["passed"] else 1)
