"""Settings: what an operator types, and what is said when it is wrong."""

# ruff: noqa: RUF001

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from fleet import unknown_variables
from fleet.api_key import ApiKey
from fleet.settings import (
    Address,
    AddressList,
    ApiKeyList,
    FleetSettings,
    NumericHost,
    Port,
    ProcessSettings,
    load,
    within,
)

HEX = "ab" * 32
REDIS = "redis://127.0.0.1:6379/0"
GOOD = {
    "TRUNKLINE_TOKEN_KEYS": f"1:{HEX}",
    "TRUNKLINE_TRUNK_KEYS": f"2:{HEX},1:{'cd' * 32}",
    "TRUNKLINE_REDIS_URL": REDIS,
}


class Everything(FleetSettings):
    """A process with one field of each kind."""

    relay_host: NumericHost = Field("::", description="where to listen")
    relay_port: Port = Field(3478, description="the public UDP port")
    admin: Address = Field(
        Address("127.0.0.1", 9101), description="admin", validation_alias="TRUNKLINE_RELAY_ADMIN"
    )
    relays: AddressList = Field((Address("192.0.2.1", 3478),), description="advertised")
    api_keys: ApiKeyList = Field((ApiKey.parse("k"),), description="keys of callers")
    console: bool = Field(False, description="serve the page")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def complaint(capsys: pytest.CaptureFixture[str], cls: type[ProcessSettings] = Everything) -> str:
    with pytest.raises(SystemExit) as exit_info:
        load(cls, "python -m relay", [])
    assert exit_info.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of field has its own notation."""
    monkeypatch.setenv("TRUNKLINE_CLUSTER", "4095")
    monkeypatch.setenv("TRUNKLINE_RELAY_PORT", " 1234 ")
    monkeypatch.setenv("TRUNKLINE_RELAY_ADMIN", "[::1]:0")
    monkeypatch.setenv("TRUNKLINE_RELAYS", "203.0.113.10:3478,[2001:db8::1]:3478")
    monkeypatch.setenv("TRUNKLINE_API_KEYS", "one, two")
    monkeypatch.setenv("TRUNKLINE_CONSOLE", "true")
    monkeypatch.setenv("TRUNKLINE_LOG_LEVEL", "DEBUG")
    settings = load(Everything, "python -m relay", [])
    assert settings.cluster == 4095
    assert settings.token_keys.keys == {1: bytes.fromhex(HEX)}
    assert settings.trunk_keys.current == 2
    assert settings.redis_url.get_secret_value() == REDIS
    assert settings.relay_port == 1234
    assert settings.admin == Address("::1", 0)
    assert settings.relays == (Address("203.0.113.10", 3478), Address("2001:db8::1", 3478))
    assert [key.key for key in settings.api_keys] == ["one", "two"]
    assert settings.console is True
    assert settings.log_level == "debug"


def test_given_by_name() -> None:
    """Tests and launchers construct settings without an environment."""
    settings = Everything(relay_port=1, admin=Address("::1", 5), relays=(Address("::1", 2),))
    assert (settings.relay_port, settings.admin.port, settings.relays[0].port) == (1, 5, 2)


def test_echo_backend_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without fleet settings starts with an empty environment."""
    for name in GOOD:
        monkeypatch.delenv(name)
    settings = load(ProcessSettings, "python -m backends.echo", [])
    assert settings.log_level == "info"
    assert settings.log_format == "json"  # stderr of a test is no terminal


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("TRUNKLINE_RELAY_PORT", "70000", "70000 is not a port (1–65535)"),
        ("TRUNKLINE_RELAY_PORT", "0", "0 is not a port (1–65535)"),
        ("TRUNKLINE_RELAY_PORT", "high\nport", "high?port is not a port (1–65535)"),
        ("TRUNKLINE_CLUSTER", "4096", "4096 is not a cluster number (0–4095)"),
        ("TRUNKLINE_TRUNK_MTU", "1279", "1279 is not a datagram size in bytes (1280–9000)"),
        ("TRUNKLINE_TRUNK_MTU", "9001", "9001 is not a datagram size in bytes (1280–9000)"),
        ("TRUNKLINE_CLUSTER", "-1", "-1 is not a cluster number (0–4095)"),
        ("TRUNKLINE_RELAY_HOST", "example.org", "example.org is not an IP address"),
        ("TRUNKLINE_RELAY_ADMIN", "9101", "9101 is not host:port or [IPv6]:port"),
        (
            "TRUNKLINE_RELAYS",
            "relay.example.org:3478",
            "relay.example.org:3478 is not an IP address with a port (1–65535)",
        ),
        (
            "TRUNKLINE_RELAYS",
            "192.0.2.1:3478,192.0.2.1:3478",
            "1–16 addresses, each once, separated by commas",
        ),
        ("TRUNKLINE_CONSOLE", "perhaps", "perhaps is not true or false"),
        ("TRUNKLINE_LOG_LEVEL", "loud", "loud is not debug, info, warning or error"),
        ("TRUNKLINE_REDIS_URL", "", "required (the Redis that all processes of a cluster use, "),
    ],
)
def test_bad_value_names_variable_and_rule(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    line: str,
) -> None:
    """One line: the variable, the value and the rule it breaks."""
    monkeypatch.setenv(name, value)
    text = complaint(capsys)
    assert text.startswith(f"{name}: {line}")
    assert text.count("\n") == 1


def test_every_bad_variable_has_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything that is wrong is said at once, required ones in full."""
    monkeypatch.setenv("TRUNKLINE_RELAY_PORT", "x")
    for name in GOOD:
        monkeypatch.delenv(name)
    lines = complaint(capsys).splitlines()
    assert len(lines) == 4
    assert (
        "TRUNKLINE_REDIS_URL: required (the Redis that all processes of a cluster use, "
        "redis://host:port/0)" in lines
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRUNKLINE_TOKEN_KEYS", "5377483773"),
        ("TRUNKLINE_TOKEN_KEYS", "1:5377483773"),
        ("TRUNKLINE_TOKEN_KEYS", f"{'53774837' * 8}:1"),
        ("TRUNKLINE_TRUNK_KEYS", f"1:{'53774837' * 8},1:{'53774837' * 8}"),
        ("TRUNKLINE_TRUNK_KEYS", f"16:{'53774837' * 8}"),
        ("TRUNKLINE_REDIS_URL", "http://u:53774837@host:1/0"),
        ("TRUNKLINE_REDIS_URL", "redis://u:53774837/x@host:1/0"),
        ("TRUNKLINE_REDIS_URL", "redis://u:53774837"),
        ("TRUNKLINE_REDIS_URL", "redis://[53774837"),
        ("TRUNKLINE_API_KEYS", "53774837,,x"),
    ],
)
def test_a_secret_is_never_quoted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    """However a secret was mistyped, no part of it is printed."""
    monkeypatch.setenv(name, value)
    text = complaint(capsys)
    assert text.startswith(f"{name}: ")
    assert "53774837" not in text


def test_settings_print_no_secret() -> None:
    """Not by repr either, as a debugger or an f-string would."""
    settings = FleetSettings(redis_url=SecretStr("redis://u:hunter2@h:1/0"))
    assert "hunter2" not in repr(settings)
    assert HEX not in repr(settings)


def test_help_lists_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` works with nothing set and names default and meaning of all."""
    with pytest.raises(SystemExit) as exit_info:
        load(Everything, "python -m relay", ["--help"])
    text = capsys.readouterr().out
    assert exit_info.value.code == 0
    assert text.startswith("usage: python -m relay")
    for expected in (
        "TRUNKLINE_RELAY_PORT (default 3478)\n      the public UDP port",
        "TRUNKLINE_RELAY_ADMIN (default 127.0.0.1:9101)",
        "TRUNKLINE_REDIS_URL (required)",
        "TRUNKLINE_LOG_FORMAT (default console on a terminal, json otherwise)",
        "TRUNKLINE_CONSOLE (default false)",
        "TRUNKLINE_RELAYS (default 192.0.2.1:3478)",
    ):
        assert expected in text


def test_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody who types `--port 1` learns that this is not how it is done."""
    with pytest.raises(SystemExit) as exit_info:
        load(Everything, "python -m relay", ["--port", "1"])
    assert exit_info.value.code == 2
    assert "only environment variables" in capsys.readouterr().err


def test_lists_are_bounded() -> None:
    """The seventeenth address is refused."""
    addresses = tuple(Address("192.0.2.1", port) for port in range(1, 18))
    with pytest.raises(ValueError, match="relays"):
        Everything(relays=addresses)
    assert len(Everything(relays=addresses[:16]).relays) == 16


def test_within_is_for_everybody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process can bound its own numbers in the same words."""
    from typing import Annotated

    class Workers(ProcessSettings):
        relay_workers: Annotated[int, within("a number of workers", 1, 64)] = 2

    monkeypatch.setenv("TRUNKLINE_RELAY_WORKERS", "65")
    expected = "TRUNKLINE_RELAY_WORKERS: 65 is not a number of workers (1–64)\n"
    assert complaint(capsys, Workers) == expected


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("TRUNKLINE_RELAY_PORTT", "TRUNKLINE_RELAY_PORT"),
        ("TRUNKLINE_RELEY_PORT", "TRUNKLINE_RELAY_PORT"),
        ("TRUNKLINE_TOKEN_KEY", "TRUNKLINE_TOKEN_KEYS"),
        ("TRUNKLINE_RELAY_", "TRUNKLINE_RELAY_PORT"),
        ("TRUNKLINE_REDISURL", "TRUNKLINE_REDIS_URL"),
    ],
)
def test_a_variable_that_nobody_reads_is_said_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, nearest: str
) -> None:
    """One line each, whatever else is wrong, and its value is not quoted."""
    monkeypatch.setenv(name, "hunter2")
    line = f"{name}: no variable of this version; is {nearest} meant?"
    assert complaint(capsys, Relay).splitlines() == [line]
    monkeypatch.setenv("TRUNKLINE_CLUSTER", "-1")
    output = complaint(capsys, Relay)
    assert len(output.splitlines()) == 2
    assert "hunter2" not in output


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRUNKLINE_TRANSCEIVER_HTTP", "127.0.0.1:1"),
        ("TRUNKLINE_BACKEND_LISTEN", "127.0.0.1:1"),
        ("TRUNKLINE_BACKEND_ANYTHING", "of a backend of one's own"),
        ("TRUNKLINE_API_KEY", "of the command line"),
        ("TRUNKLINE_PORT", "tcp://10.0.0.1:8080"),
        ("TRUNKLINE_RELAY_SERVICE_HOST", "10.0.0.1"),
        ("TRUNKLINE_RELAY_SERVICE_PORT_MEDIA", "3478"),
        ("TRUNKLINE_RELAY_PORT_3478_UDP_ADDR", "10.0.0.1"),
        ("TRUNKLINES", "not ours"),
    ],
)
def test_variables_of_others_are_left_to_them(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Of other processes, of commands, and those that Kubernetes makes for Services."""
    monkeypatch.setenv(name, value)
    assert load(Relay, "python -m relay", []).relay_port == 3478


def test_a_line_about_a_name_is_short(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever its length and characters."""
    monkeypatch.setenv("TRUNKLINE_" + "\x1b[31m" + "X" * 5000, "1")
    (line,) = complaint(capsys, Relay).splitlines()
    assert len(line) < 200
    assert line.isprintable()


class Relay(FleetSettings):
    """A process with a family of names."""

    relay_port: Port = Field(3478, description="the public UDP port")
    relay_host: NumericHost = Field("::", description="where to listen")


SOURCES = Path(__file__).parents[2]


def test_the_variables_of_commands_are_all_known() -> None:
    """What the command line, its doctor, load tests and the launcher read is an error nowhere."""
    found = {
        name
        for folder in ("cli", "launcher", "loadtest", "fleet", "tests/fuzz")
        for file in (SOURCES / folder).rglob("*.py")
        for name in re.findall(r"[\"'](TRUNKLINE_[A-Z0-9_]*[A-Z0-9])[\"']", file.read_text())
    }
    strange = [
        name for name in found if unknown_variables.complaints({name: "x"}, {"TRUNKLINE_LOG_LEVEL"})
    ]
    assert len(found) > 20
    assert strange == []
