from __future__ import annotations

import io
import itertools
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher import redis_server
from launcher.addresses import Binding, free_ports, is_free, outward_host, require_free
from launcher.backend_choice import BACKENDS
from launcher.errors import StartupError
from launcher.keeper import exit_text
from launcher.lines import LineSplitter
from launcher.log import Log
from launcher.plan import plan
from launcher.redis_server import binary, configuration
from launcher.variables import Ports, fill, given_in, of_part, without
from trunkline.process.address import Address
from wire.keys import KeyRing


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6))
def test_lines_do_not_depend_on_how_the_bytes_arrive(data: bytes, cuts: list[int]) -> None:
    """A stream cut anywhere gives the lines it gives in one piece."""
    whole, pieces = LineSplitter(50), LineSplitter(50)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    got = [line for a, b in itertools.pairwise(edges) for line in pieces.feed(data[a:b])]
    assert got + pieces.flush() == whole.feed(data) + whole.flush()


def test_a_long_line_is_cut_and_the_next_one_is_whole() -> None:
    """What a line has beyond the bound is dropped up to its newline and no further."""
    assert LineSplitter(4).feed(b"abcdefgh\nij\n") == ["abcd…", "ij"]


def test_a_line_without_end_takes_bounded_memory() -> None:
    """A part that never writes a newline cannot make the splitter grow."""
    splitter = LineSplitter(16)
    for _ in range(1000):
        assert splitter.feed(b"x" * 100) == []
    assert splitter.flush() == ["x" * 16 + "…"]


def test_a_part_cannot_paint_the_terminal() -> None:
    """Escape sequences and control characters do not reach the log; tabs and letters do."""
    assert LineSplitter().feed("\x1b[31mré\x1b[0m\x07\tok\x1b[2J\r\n".encode()) == ["ré\tok"]


def test_log_keeps_a_bounded_tail_under_the_names_of_the_parts() -> None:
    """Every line carries its part's name, and only the newest are kept."""
    stream = io.StringIO()
    log = Log(stream, kept_lines=2)
    for number in range(3):
        log.write("relay", f"line {number}")
    assert stream.getvalue().splitlines()[0] == "relay       │ line 0"
    assert list(log.lines) == ["relay       │ line 1", "relay       │ line 2"]


def test_log_survives_a_reader_that_went_away() -> None:
    """A closed stream ends the writing, not the supervisor."""
    stream = io.StringIO()
    log = Log(stream)
    stream.close()
    log.say("one")
    log.say("two")
    assert len(log.lines) == 2


@pytest.mark.parametrize(
    ("status", "text"), [(0, "exit status 0"), (3, "exit status 3"), (-9, "killed by SIGKILL")]
)
def test_exit_text(status: int, text: str) -> None:
    """An exit status is named as a person would."""
    assert exit_text(status) == text


def test_free_ports_are_different_and_free() -> None:
    """Each port can be bound at once, for TCP and UDP."""
    ports = free_ports(5)
    assert len(set(ports)) == 5
    assert all(is_free(Binding("tcp", "127.0.0.1", port)) for port in ports)
    assert all(is_free(Binding("udp", "::", port)) for port in ports)


@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
def test_a_taken_port_is_named(host: str) -> None:
    """The error names the part, the protocol and the port, also when IPv4 alone is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=f"^relay: UDP port {port} is already taken$"):
            require_free("relay", Binding("udp", host, port))


def test_keys_are_random_and_readable() -> None:
    """Two runs share no key, and the rings are what the processes parse."""
    first, second = (fill({}, Ports(), loopback_only=True) for _ in range(2))
    for name in ("TRUNKLINE_TOKEN_KEYS", "TRUNKLINE_TRUNK_KEYS"):
        assert first[name] != second[name]
        assert KeyRing.parse(first[name]).current == 1
    assert first["TRUNKLINE_TRANSCEIVER_API_KEYS"] != second["TRUNKLINE_TRANSCEIVER_API_KEYS"]


def test_given_variables_win_and_others_follow_them() -> None:
    """A given port or address is kept, and what is derived from it agrees."""
    given = {"TRUNKLINE_RELAY_PORT": "4000", "TRUNKLINE_BACKEND_LISTEN": "0.0.0.0:9999"}
    variables = fill(given, Ports(), loopback_only=True)
    assert variables["TRUNKLINE_TRANSCEIVER_RELAYS"] == "127.0.0.1:4000"
    assert variables["TRUNKLINE_TRANSCEIVER_BACKEND"] == "127.0.0.1:9999"
    assert variables["TRUNKLINE_BACKEND_LISTEN"] == "0.0.0.0:9999"


def test_a_relay_for_all_is_advertised_on_loopback_first() -> None:
    """A relay that binds every address is advertised on loopback, then where the machine is."""
    variables = fill({}, Ports(), loopback_only=False)
    assert variables["TRUNKLINE_RELAY_HOST"] == "::"
    hosts = [
        Address.parse(relay).host for relay in variables["TRUNKLINE_TRANSCEIVER_RELAYS"].split(",")
    ]
    assert hosts == list(dict.fromkeys(["127.0.0.1", outward_host() or "127.0.0.1"]))


def test_a_relay_on_one_host_is_advertised_there() -> None:
    """A relay bound to one address is reached at that address only."""
    variables = fill({"TRUNKLINE_RELAY_HOST": "::1"}, Ports(), loopback_only=False)
    assert variables["TRUNKLINE_TRANSCEIVER_RELAYS"] == "[::1]:3478"


@pytest.mark.parametrize(
    ("name", "value"),
    [("TRUNKLINE_RELAY_PORT", "x"), ("TRUNKLINE_BACKEND_LISTEN", "nowhere")],
)
def test_a_bad_setting_names_its_variable(name: str, value: str) -> None:
    """One line says which variable breaks which rule."""
    with pytest.raises(StartupError, match=f"^{name}: .* is not .*port"):
        fill({name: value}, Ports(), loopback_only=True)


def test_redis_url_is_taken_from_either_name() -> None:
    """REDIS_URL is the short name; the long one wins."""
    assert given_in({"REDIS_URL": "a"}) == {"TRUNKLINE_REDIS_URL": "a"}
    both = {"REDIS_URL": "a", "TRUNKLINE_REDIS_URL": "b"}
    assert given_in(both) == {"TRUNKLINE_REDIS_URL": "b"}
    assert without({**both, "HOME": "/"}) == {"HOME": "/"}


def test_each_part_gets_its_own_settings_only() -> None:
    """The backend sees no key, the relay no API key."""
    variables = fill({"TRUNKLINE_REDIS_URL": "redis://x"}, Ports(), loopback_only=True)
    backend, relay, transceiver = plan(variables, {"HOME": "/"}, after=("redis",))
    assert set(backend.environment) == {
        *("HOME", "TRUNKLINE_BACKEND_LISTEN", "TRUNKLINE_BACKEND_ADMIN"),
        "TRUNKLINE_BACKEND_DRAIN_S",
    }
    assert "TRUNKLINE_TRANSCEIVER_API_KEYS" not in relay.environment
    assert "TRUNKLINE_TOKEN_KEYS" in relay.environment
    assert "TRUNKLINE_TRANSCEIVER_API_KEYS" in transceiver.environment
    assert (backend.after, relay.after) == ((), ("redis",))


def test_the_transceiver_waits_for_a_backend_that_loads_models() -> None:
    """Who calls first finds it there."""
    variables = fill({}, Ports(), loopback_only=True)
    _, relay, transceiver = plan(variables, {}, BACKENDS["voice"], after=("redis",))
    assert (relay.after, transceiver.after) == (("redis",), ("redis", "backend"))


def test_a_part_never_shows_its_environment() -> None:
    """Keys in a part's environment are not in its repr."""
    variables = fill({}, Ports(), loopback_only=True)
    parts = plan(variables, {})
    assert variables["TRUNKLINE_TOKEN_KEYS"][2:] not in repr(parts)


def test_of_part_passes_how_to_log() -> None:
    """Every part is told how to log."""
    assert of_part({"TRUNKLINE_LOG_LEVEL": "debug", "TRUNKLINE_X": ""}) == {
        "TRUNKLINE_LOG_LEVEL": "debug"
    }


def test_redis_is_private(tmp_path: Path) -> None:
    """The configuration binds loopback, asks a password and writes nothing to disk."""
    text = configuration(1234, "secret", tmp_path)
    assert "bind 127.0.0.1\nport 1234\nrequirepass secret" in text
    assert 'save ""' in text
    assert binary().is_file()


def test_a_name_that_is_no_parts_is_said() -> None:
    """A part that never sees it could not."""
    with pytest.raises(StartupError, match=r"^TRUNKLINE_RELEY_PORT: no variable of "):
        given_in({"TRUNKLINE_RELEY_PORT": "1"})
    assert given_in({"TRUNKLINE_RELAY_ODD": "1"}) == {"TRUNKLINE_RELAY_ODD": "1"}


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_without_the_wheel_an_installed_server_is_taken(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis or Valkey, whichever the PATH has."""
    monkeypatch.setattr(redis_server, "_WHEEL", "no_such_package")
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / name).write_text("#!/bin/sh\n")
    (tmp_path / name).chmod(0o755)
    assert binary() == tmp_path / name


def test_without_any_server_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line with the three ways."""
    monkeypatch.setattr(redis_server, "_WHEEL", "no_such_package")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        StartupError, match=r"^redis: set REDIS_URL, .* no_such_package, .* redis-server$"
    ):
        binary()
