"""A process's own share of its pod's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from transceiver.pod.pod_place import ALONE, PodPlace
from transceiver.settings import TransceiverSettings


def settings(**others: object) -> TransceiverSettings:
    values: dict[str, Any] = {
        "token_keys": "1:" + "11" * 32,
        "trunk_keys": "1:" + "22" * 32,
        "redis_url": "redis://127.0.0.1:6379/0",
        "transceiver_relays": "203.0.113.10:3478",
        "transceiver_api_keys": "key-one",
    }
    return TransceiverSettings(**values | others)


def test_ports_follow_on_from_the_first() -> None:
    """Each process has its own trunk, advertised and admin port; HTTP is that of all."""
    pod = settings(
        transceiver_processes="3",
        transceiver_trunk="0.0.0.0:7000",
        transceiver_trunk_advertise="10.0.0.1:8000",
        transceiver_admin="127.0.0.1:9201",
    )
    third = PodPlace(2, 3).own(pod)
    assert str(third.transceiver_trunk) == "0.0.0.0:7002"
    assert str(third.transceiver_trunk_advertise) == "10.0.0.1:8002"
    assert str(third.transceiver_admin) == "127.0.0.1:9203"
    assert third.transceiver_http == pod.transceiver_http


def test_any_free_port_stays_any_free_port() -> None:
    """Port 0 is the kernel's choice for every process."""
    own = PodPlace(1, 2).own(settings(transceiver_trunk="127.0.0.1:0", transceiver_admin="[::1]:0"))
    assert (own.transceiver_trunk.port, own.transceiver_admin.port) == (0, 0)
    assert own.transceiver_trunk_advertise is None


def test_a_process_by_itself_has_no_neighbours() -> None:
    """It has no directory to ask them in; others have a socket each."""
    assert ALONE.socket_of(0) is None
    assert PodPlace(0, 2, directory=Path("pod")).socket_of(1) == Path("pod/1.http")


@pytest.mark.parametrize("count", ["0", "65", "two", ""])
def test_how_many_processes_there_may_be(count: str) -> None:
    """What is no number of processes is refused by the variable's name."""
    with pytest.raises(ValidationError, match="transceiver_processes"):
        settings(transceiver_processes=count)


def test_ports_that_do_not_fit_are_refused() -> None:
    """The last process's port must still be one."""
    assert settings(transceiver_processes="2", transceiver_admin="127.0.0.1:65534")
    with pytest.raises(ValidationError, match="no room above port 65535"):
        settings(transceiver_processes="2", transceiver_admin="127.0.0.1:65535")
