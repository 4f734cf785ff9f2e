"""A transceiver's variables: defaults, rules, and what `--help` says."""

from __future__ import annotations

import pytest

from fleet.settings import load
from transceiver.settings import TransceiverSettings
from trunkline.process.address import Address

REQUIRED = {
    "TRUNKLINE_TOKEN_KEYS": "1:" + "11" * 32,
    "TRUNKLINE_TRUNK_KEYS": "1:" + "22" * 32,
    "TRUNKLINE_REDIS_URL": "redis://127.0.0.1:6379/0",
    "TRUNKLINE_TRANSCEIVER_RELAYS": "203.0.113.10:3478,[2001:db8::1]:3478",
    "TRUNKLINE_TRANSCEIVER_API_KEYS": "key-one, key-two",
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the required variables are set."""
    import os

    for name in [name for name in os.environ if name.startswith("TRUNKLINE_")]:
        monkeypatch.delenv(name)
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)


def loaded() -> TransceiverSettings:
    """The settings of this environment."""
    return load(TransceiverSettings, "python -m transceiver", [])


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """What stderr says when the environment is bad."""
    with pytest.raises(SystemExit) as left:
        loaded()
    assert left.value.code == 2
    return capsys.readouterr().err


def test_defaults() -> None:
    """With the required variables alone, everything listens on loopback and the console is off."""
    settings = loaded()
    assert settings.transceiver_http == Address("127.0.0.1", 8080)
    assert settings.transceiver_trunk == Address("127.0.0.1", 0)
    assert settings.transceiver_trunk_advertise is None
    assert settings.transceiver_admin == Address("127.0.0.1", 9201)
    assert [str(backend) for backend in settings.backends] == ["default=127.0.0.1:9301*1"]
    assert settings.transceiver_max_calls == 1000
    assert settings.transceiver_learn_capacity is True
    assert settings.trunk_mtu == 1400
    assert settings.transceiver_cors_origins == ("*",)
    assert settings.transceiver_console is False


def test_lists_are_read() -> None:
    """Relays and keys are comma lists."""
    settings = loaded()
    assert settings.transceiver_relays[1] == Address("2001:db8::1", 3478)
    assert [k.key for k in settings.transceiver_api_keys] == ["key-one", "key-two"]


def test_backends_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several backends have names and weights, and stand in for the single one."""
    monkeypatch.setenv("TRUNKLINE_TRANSCEIVER_BACKEND", "127.0.0.1:1")
    monkeypatch.setenv("TRUNKLINE_TRANSCEIVER_BACKENDS", "echo=127.0.0.1:9301*3, voice=[::1]:9302")
    assert [str(b) for b in loaded().backends] == ["echo=127.0.0.1:9301*3", "voice=[::1]:9302*1"]


def test_origins_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Origins are a comma list too."""
    monkeypatch.setenv(
        "TRUNKLINE_TRANSCEIVER_CORS_ORIGINS", "https://a.example, http://localhost:1"
    )
    assert loaded().transceiver_cors_origins == ("https://a.example", "http://localhost:1")


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("HTTP", "8080", "is not host:port"),
        ("TRUNK", "transceiver:0", "is not an IP address with a port"),
        ("TRUNK_ADVERTISE", "0.0.0.0:4000", "relays cannot send to"),
        ("BACKENDS", "127.0.0.1:9301", "is not NAME=host:port or NAME=host:port*WEIGHT"),
        ("BACKENDS", "a=127.0.0.1:9301*1001", "the weight 1001 is above 1000"),
        ("BACKENDS", "a=127.0.0.1:1,a=127.0.0.1:2", "each name once"),
        ("BACKENDS", "a=nowhere", "is not host:port"),
        ("TRUNK_ADVERTISE", "pod-name:4000", "relays cannot send to"),
        ("MAX_CALLS", "0", "is not a number of calls"),
        ("CORS_ORIGINS", "a.example", "is not * or an origin"),
        ("CORS_ORIGINS", "https://a.example/path", "is not * or an origin"),
        ("RELAYS", "relay.example:3478", "is not an IP address"),
        ("RELAYS", "203.0.113.10:0", "is not an IP address with a port"),
        ("API_KEYS", "a,,b", "none of them empty"),
        ("CONSOLE", "maybe", "is not true or false"),
    ],
)
def test_each_bad_value_names_its_variable_and_the_rule(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    rule: str,
) -> None:
    """A bad value is one line with the variable's name and what it must be."""
    monkeypatch.setenv(f"TRUNKLINE_TRANSCEIVER_{name}", value)
    (line,) = complaint(capsys).splitlines()
    assert line.startswith(f"TRUNKLINE_TRANSCEIVER_{name}: ")
    assert rule in line


@pytest.mark.parametrize("name", REQUIRED)
def test_each_required_variable_is_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Leaving out a required variable says so by name, and quotes no secret."""
    monkeypatch.delenv(name)
    text = complaint(capsys)
    assert text.startswith(f"{name}: required")
    assert "key-one" not in text


def test_a_wildcard_trunk_needs_an_address_to_advertise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Binding to every address leaves open where relays should send, so it must be said."""
    monkeypatch.setenv("TRUNKLINE_TRANSCEIVER_TRUNK", "0.0.0.0:4000")
    assert complaint(capsys).startswith("TRUNKLINE_TRANSCEIVER_TRUNK_ADVERTISE: ")
    monkeypatch.setenv("TRUNKLINE_TRANSCEIVER_TRUNK_ADVERTISE", "198.51.100.7:0")
    assert loaded().transceiver_trunk_advertise == Address("198.51.100.7", 0)


def test_help_lists_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` names each variable, and warns of the console."""
    with pytest.raises(SystemExit) as left:
        load(TransceiverSettings, "python -m transceiver", ["--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    for field in TransceiverSettings.model_fields:
        assert f"TRUNKLINE_{field.upper()} (" in text
    assert "development only" in text
