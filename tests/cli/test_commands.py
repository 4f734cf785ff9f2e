"""The command line as operators run it, against a fleet of real processes."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from cli.doctor import probe_call
from cli.doctor.surroundings import Surroundings
from cli.reach import Reach
from fleet.admin.server import AdminSecurity
from fleet.admin.tls import AdminTls
from tests.cli.kit import Patient, fleet, trunkline
from tests.conftest import free_port
from tests.fleet.admin.test_admin_access import served
from tests.fleet.certificates import Authority
from trunkline.process.address import Address


async def test_the_command_line(patient: Patient, tmp_path: Path) -> None:
    """Every command against a living fleet: it says what is there, and does what it says."""
    status, out, err = await trunkline(patient, "doctor")
    assert (status, err) == (0, ""), out
    node = json.loads((await trunkline(patient, "--json", "nodes"))[1])[0]["name"]
    async with probe_call.placed(patient.here.url, patient.here.api_key) as probe:
        assert await probe_call.check(probe, probe.relays[0]) is not None
        (call,) = json.loads((await trunkline(patient, "--json", "calls"))[1])
        call_id = call["call"]["call_id"]
        assert call["node"] == node
        assert call_id in (await trunkline(patient, "call", call_id))[1]
        assert "127.0.0.0/24" in (await trunkline(patient, "flows"))[1]
        assert "serving" in (await trunkline(patient, "top", "--rounds", "2"))[1]
        info = (await trunkline(patient, "info"))[1]
        assert "TRUNKLINE_TOKEN_KEYS" in info
        assert "TRUNKLINE_BACKEND_LISTEN" in info
        backends = json.loads((await trunkline(patient, "--json", "backends"))[1])
        (backend,) = backends.values()
        assert [found["call_id"] for found in backend["calls"]] == [call_id]
        drained = await trunkline(patient, "drain", node, "--deadline-s", "1", "--wait")
        assert drained == (0, f"{node} takes no new calls; live calls: 0\n", "")
    assert (await trunkline(patient, "call", call_id))[2] == f"trunkline: no live call {call_id}\n"
    assert (await trunkline(patient, "drain", node, "--undo"))[0] == 0
    changed = await trunkline(patient, "limits", "set", "key/*", "calls=5", "--why", "test")
    assert changed[1] == "key/*: calls=5 (was calls=0 rate=0 tokens=0)\n"
    assert "operator" in (await trunkline(patient, "limits"))[1]
    assert (await trunkline(patient, "limits", "reset", "key/*"))[0] == 0
    assert (await trunkline(patient, "log-level", "debug"))[1] == f"debug on {node}\n"
    backend_at = patient.here.reach.backends[0]
    drained = await trunkline(patient, "drain", str(backend_at), "--wait")
    assert drained == (0, f"{backend_at} takes no new calls; live calls: 0\n", "")
    assert "draining" in (await trunkline(patient, "backends"))[1]
    assert "every backend drains" in (await trunkline(patient, "doctor"))[1]
    assert (await trunkline(patient, "drain", str(backend_at), "--undo"))[0] == 0
    louder = await trunkline(patient, "log-level", "debug", "--of", "backend")
    assert louder[1] == f"debug on {backend_at}\n"


async def test_keys_rotate_without_losing_a_call(patient: Patient, tmp_path: Path) -> None:
    """Calls of before go on, calls of after work, the old key can be retired, files are private."""
    known = {"TRUNKLINE_TOKEN_KEYS": patient.stack.variables["TRUNKLINE_TOKEN_KEYS"]}
    ring, alone = tmp_path / "ring", tmp_path / "alone"
    async with probe_call.placed(patient.here.url, patient.here.api_key) as before:
        status, out, err = await trunkline(patient, "keys", "rotate", "--out", str(ring), **known)
        assert (status, err) == (0, ""), out
        assert ring.stat().st_mode & 0o777 == 0o600
        assert await probe_call.check(before, before.relays[0]) is not None
    async with probe_call.placed(patient.here.url, patient.here.api_key) as after:
        assert await probe_call.check(after, after.relays[0]) is not None
    stale = await trunkline(patient, "keys", "retire", "--out", str(alone), **known)
    assert stale[0] == 1
    assert "has other keys than TRUNKLINE_TOKEN_KEYS" in stale[2]
    now = {"TRUNKLINE_TOKEN_KEYS": ring.read_text().strip()}
    assert (await trunkline(patient, "keys", "retire", "--out", str(alone), **now))[0] == 0
    last_ring = {"TRUNKLINE_TOKEN_KEYS": alone.read_text().strip()}
    async with probe_call.placed(patient.here.url, patient.here.api_key) as last:
        assert await probe_call.check(last, last.relays[0]) is not None
    assert (
        "file exists"
        in (await trunkline(patient, "keys", "rotate", "--out", str(ring), **last_ring))[2]
    )


async def test_what_cannot_be_done_is_one_line() -> None:
    """No fleet there, a node nobody knows, a bad address."""
    nobody = Reach(Address("127.0.0.1", free_port()), (Address("127.0.0.1", free_port()),))
    patient = Patient(None, Surroundings(nobody, "http://127.0.0.1:1"))  # type: ignore[arg-type]
    for arguments in (["calls"], ["drain", "x"], ["limits"], ["nodes"]):
        status, out, err = await trunkline(patient, *arguments)
        assert (status, out) == (1, "")
        assert err.count("\n") == 1
        assert "cannot be reached" in err
    assert (await trunkline(patient, "--admin", "nowhere", "nodes"))[0] == 2


async def test_roles_reach_the_command_line(redis_url: str) -> None:
    """No token, a viewer's, an operator's: the refusal says what is missing."""
    viewer, operator = secrets.token_hex(16), secrets.token_hex(16)
    tokens = f"viewer:dashboard:{viewer},operator:alice:{operator}"
    async with fleet(redis_url, TRUNKLINE_ADMIN_TOKENS=tokens) as patient:
        nobody = await trunkline(patient, "nodes")
        assert nobody[0] == 1
        assert "TRUNKLINE_ADMIN_TOKEN" in nobody[2]
        seen = await trunkline(patient, "nodes", TRUNKLINE_ADMIN_TOKEN=viewer)
        assert (seen[0], seen[2]) == (0, "")
        listed = await trunkline(patient, "--json", "nodes", TRUNKLINE_ADMIN_TOKEN=viewer)
        node = json.loads(listed[1])[0]["name"]
        drained = await trunkline(patient, "drain", node, TRUNKLINE_ADMIN_TOKEN=viewer)
        assert "needs the role operator" in drained[2]
        assert (await trunkline(patient, "drain", node, TRUNKLINE_ADMIN_TOKEN=operator))[0] == 0
        actions = [line for line in patient.stack.log.lines if "operator_action" in line]
        assert any("alice" in line and "Drain" in line for line in actions)


async def test_tls_reaches_the_command_line(tmp_path: Path) -> None:
    """With the CA it works, without it the line names the way out."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    async with served(AdminSecurity(AdminTls(certificate, key))) as port:
        here = Reach(Address("localhost", port), ())
        patient = Patient(None, Surroundings(here, "http://127.0.0.1:1"))  # type: ignore[arg-type]
        plain = await trunkline(patient, "nodes")
        assert plain[0] == 1
        assert "--ca" in plain[2]
        seen = await trunkline(patient, "--ca", str(authority.certificate), "nodes")
        assert (seen[0], seen[2]) == (0, "")
        assert "127.0.0.1:9201" in seen[1]
