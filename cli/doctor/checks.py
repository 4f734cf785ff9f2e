"""The checks of the doctor: each gets the surroundings and returns findings; none raises."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from cli.doctor import probe_call
from cli.doctor.finding import Finding, bad, fine, skipped
from cli.doctor.surroundings import Surroundings
from cli.fleet_view import Heard, ask_backends, ask_nodes, ask_relays
from cli.fleet_view import nodes as directory
from cli.reach import BackendView, CliError
from fleet.admin.tls import CERTIFICATE, BadCertificate, check_certificate
from fleet.errors import StoreUnavailable
from fleet.redis_link import RedisLink
from trunkline.v1 import admin_pb2

# Redis and the trunk allow more, but a clock that is off by this much is not kept right.
MOST_SKEW_S = 2.0
RENEW_WITHIN = timedelta(days=14)
_TOKEN_DROPS = ("drop_token_mac", "drop_token_key", "drop_stun_integrity")
_TRUNK_DROPS = ("drop_trunk_tag", "drop_trunk_key")

_TRUNK_REFUSED = re.compile(
    r'^trunkline_transceiver_events_total\{event="trunk_(?:tag|key|stale)"\} (\S+)$', re.M
)

# What the call's HTTP answer means: code or status → what was seen, what to do.
_NO_CALL: dict[str | int, tuple[str, str]] = {
    "backend_absent": (
        "the transceiver has no model backend",
        "start the backend, or correct TRUNKLINE_TRANSCEIVER_BACKEND(S)",
    ),
    "backend_full": ("every backend is full", "start more backends, or raise their max_calls"),
    "backend_refused": ("the backend refuses calls", "read the backend's log"),
    "draining": ("the transceiver drains", "take it back: trunkline drain NODE --undo"),
    "too_many_calls": (
        "the transceiver is full",
        "start more transceivers; trunkline nodes shows their load",
    ),
    "limit_calls": ("the key has all the calls it may have", "trunkline limits"),
    "limit_rate": ("the key places calls too fast", "trunkline limits"),
    "limit_tokens": ("the key has used up its budget", "trunkline limits"),
    401: (
        "the API key is not known there",
        "give --api-key one of TRUNKLINE_TRANSCEIVER_API_KEYS of the transceivers",
    ),
    0: ("no HTTP answer", "see the finding about ports; correct --url or TRUNKLINE_URL"),
}


async def redis(here: Surroundings) -> list[Finding]:
    """Whether Redis lets us in, and what time it thinks it is."""
    if not here.redis_url:
        return [skipped("redis", "TRUNKLINE_REDIS_URL is not set here")]
    link = RedisLink(here.redis_url, retries=0)
    try:
        with link.failures_named():
            seconds, micros = await link.client.time()
            await link.client.get(f"trunkline:{{{here.cluster}}}:doctor")
    except StoreUnavailable as error:
        return [bad("redis", str(error), _redis_cure(str(error)))]
    finally:
        await link.close()
    skew_s = seconds + micros / 1e6 - here.unix_s()
    return [fine("redis", f"{link.place} answers"), _clock("Redis", skew_s)]


def _redis_cure(saw: str) -> str:
    if "refused" in saw and "connection" not in saw:
        return "correct user and password in TRUNKLINE_REDIS_URL; an ACL user needs ~trunkline:*"
    return "start Redis, or correct host and port in TRUNKLINE_REDIS_URL (rediss:// for TLS)"


async def certificate(here: Surroundings) -> list[Finding]:
    """How long the admin certificate lasts."""
    if here.certificate is None:
        return [skipped("certificate", f"{CERTIFICATE} is not set here: admin ports without TLS")]
    now = datetime.fromtimestamp(here.unix_s(), UTC)
    try:
        pem = await asyncio.to_thread(here.certificate.read_bytes)
        found = check_certificate(CERTIFICATE, pem, now)
    except OSError:
        cure = f"correct {CERTIFICATE}"
        return [bad("certificate", f"{here.certificate} cannot be read", cure)]
    except BadCertificate as error:
        return [bad("certificate", str(error), "renew it; processes follow the file by themselves")]
    left = found.not_valid_after_utc - now
    if left < RENEW_WITHIN:
        return [bad("certificate", f"it expires in {left.days} days", "renew it now")]
    return [fine("certificate", f"good for {left.days} days")]


async def ports(here: Surroundings) -> list[Finding]:
    """Whether the HTTP port has a transceiver behind it."""
    timeout = aiohttp.ClientTimeout(5)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.get(f"{here.url}/healthz") as response,
        ):
            ours = "status" in await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, OSError):
        cure = "start a transceiver, or correct --url and TRUNKLINE_TRANSCEIVER_HTTP"
        return [bad("ports", f"nothing answers at {here.url}", cure)]
    except ValueError:
        ours = False
    if not ours:
        cure = "another program has the port: change TRUNKLINE_TRANSCEIVER_HTTP, or --url"
        return [bad("ports", f"{here.url} is not a transceiver", cure)]
    return [fine("ports", f"{here.url} answers")]


async def nodes(here: Surroundings) -> list[Finding]:
    """Whether there are transceivers that take calls, each with an index and an address alone."""
    try:
        known = [node for node in await directory(here.reach) if node.live]
    except CliError as error:
        cure = "correct --admin, start the transceiver, or see the finding about Redis"
        return [bad("nodes", str(error), cure)]
    if not known:
        return [bad("nodes", "no transceiver holds a lease", "start one, on the same cluster")]
    return [*_shared(known), _taking(known)]


def _taking(known: list[admin_pb2.Node]) -> Finding:
    draining = [node.name for node in known if node.draining]
    if len(draining) == len(known):
        cure = f"take it back: trunkline drain {draining[0]} --undo"
        return bad("nodes", "every transceiver drains, so nobody takes new calls", cure)
    return fine("nodes", f"{len(known) - len(draining)} of {len(known)} take calls")


def _shared(known: list[admin_pb2.Node]) -> list[Finding]:
    trunks = Counter(node.trunk for node in known)
    return [
        bad(
            "nodes",
            f"{count} transceivers say that they are at {trunk}",
            "give each its own TRUNKLINE_TRANSCEIVER_TRUNK_ADVERTISE; after a crash the old "
            "entry goes away by itself in ten seconds",
        )
        for trunk, count in trunks.items()
        if count > 1
    ]


async def relays(here: Surroundings) -> list[Finding]:
    """Whether the relays are up and know the transceivers."""
    heard = await ask_relays(here.reach, lambda process: process.nodes())
    findings = [_unreachable("relays", one) for one in heard if one.problem]
    try:
        wanted = {(n.index, n.epoch) for n in await directory(here.reach) if n.live}
    except CliError:
        return findings or [skipped("relays", "what they should know is not known")]
    for one in heard:
        if one.answer is not None:
            findings.append(_knows(one, wanted))
    return findings


def _unreachable(check: str, heard: Heard[Any]) -> Finding:
    cure = "start it, or correct --relays and TRUNKLINE_RELAY_ADMIN"
    return bad(check, heard.problem, cure)


def _knows(relay: Heard[list[admin_pb2.Node]], wanted: set[tuple[int, int]]) -> Finding:
    known = {(node.index, node.epoch) for node in relay.answer or () if node.live}
    if missing := wanted - known:
        saw = f"{relay.name} does not know {len(missing)} of {len(wanted)} transceivers"
        return bad("relays", saw, "give it the same TRUNKLINE_CLUSTER and TRUNKLINE_REDIS_URL")
    return fine("relays", f"{relay.name} knows all {len(wanted)} transceivers")


async def backends(here: Surroundings) -> list[Finding]:
    """Whether the backends that were named are up, and one of them takes calls."""
    heard = await ask_backends(here.reach, lambda process: process.backend())
    if not heard:
        return [skipped("backends", "none is named")]
    if all(one.answer is not None and one.answer.draining for one in heard):
        cure = f"take it back: trunkline drain {heard[0].name} --undo"
        return [bad("backends", "every backend drains, so nobody takes new calls", cure)]
    return [_backend(one) for one in heard]


def _backend(heard: Heard[BackendView]) -> Finding:
    if heard.answer is None:
        cure = 'start it, or correct --backends ("" if they serve no BackendAdmin)'
        return bad("backends", heard.problem, cure)
    does = "drains" if heard.answer.draining else "answers"
    return fine("backends", f"{heard.name} {does}; live calls: {len(heard.answer.calls)}")


async def clocks(here: Surroundings) -> list[Finding]:
    """Whether every process's clock is right, as far as this machine's is."""
    infos: list[Heard[admin_pb2.Info]] = await ask_relays(here.reach, lambda p: p.info())
    infos += await ask_backends(here.reach, lambda process: process.info())
    with suppress(CliError):  # said elsewhere
        infos += await ask_nodes(here.reach, lambda process: process.info())
    now_s = here.unix_s()
    skews = [(one.name, one.answer.now_unix_ms / 1000 - now_s) for one in infos if one.answer]
    return [_clock(name, skew_s) for name, skew_s in skews]


def _clock(name: str, skew_s: float) -> Finding:
    if abs(skew_s) <= MOST_SKEW_S:
        return fine("clock", f"{name}: right to {MOST_SKEW_S:g} s")
    ahead = "ahead of" if skew_s > 0 else "behind"
    saw = f"the clock of {name} is {abs(skew_s):.0f} s {ahead} this machine's"
    return bad("clock", saw, "run an NTP client (chrony) on both machines; see which one is wrong")


async def call(here: Surroundings) -> list[Finding]:
    """A real call and a real STUN check through every relay its answer names."""
    before = await _drops(here)
    try:
        async with probe_call.placed(here.url, here.api_key) as probe:
            checked = [(relay, await probe_call.check(probe, relay)) for relay in probe.relays]
    except probe_call.NoCall as refused:
        return [_no_call(refused)]
    found = [fine("call", "a call was taken")]
    gained = await _drops(here) - before
    return found + [_checked(str(relay), answered, gained) for relay, answered in checked]


def _no_call(refused: probe_call.NoCall) -> Finding:
    known = _NO_CALL.get(refused.code) or _NO_CALL.get(refused.status)
    saw, cure = known or (f"HTTP {refused.status} {refused.code}", "read the transceiver's log")
    return bad("call", saw, cure)


def _checked(relay: str, answered_ms: float | None, gained: Counter[str]) -> Finding:
    if answered_ms is not None:
        return fine("stun", f"{relay}: answered through the relay in {answered_ms:.1f} ms")
    if any(gained[name] for name in _TOKEN_DROPS):
        saw = f"{relay} refuses the token of a call that was just placed"
        return bad("stun", saw, _keys_cure("TOKEN"))
    if any(gained[name] for name in _TRUNK_DROPS) or gained["trunk_refused"]:
        saw = f"{relay} and the transceiver do not believe each other's trunk datagrams"
        return bad("stun", saw, _keys_cure("TRUNK"))
    if gained["drop_foreign_cluster"] or gained["drop_unknown_node"]:
        saw = f"{relay} belongs to another cluster, or has not heard of the transceiver"
        return bad("stun", saw, "give both the same TRUNKLINE_CLUSTER and TRUNKLINE_REDIS_URL")
    if gained["stun_requests"] or gained["up_forwarded"]:
        saw = f"{relay} forwards, but nothing comes back"
        cure = (
            "let UDP through between relay and transceiver: TRUNKLINE_TRANSCEIVER_TRUNK_ADVERTISE, "
            "TRUNKLINE_RELAY_TRUNK_HOST, network policies; compare TRUNKLINE_TRUNK_KEYS"
        )
        return bad("stun", saw, cure)
    cure = (
        "correct TRUNKLINE_TRANSCEIVER_RELAYS to the relays' public addresses, and open the UDP "
        "port in load balancers and firewalls"
    )
    return bad("stun", f"nothing that was sent to {relay} reached a relay", cure)


def _keys_cure(ring: str) -> str:
    return (
        f"give relays and transceivers the same TRUNKLINE_{ring}_KEYS (trunkline keys push), "
        "and the same clock"
    )


async def _drops(here: Surroundings) -> Counter[str]:
    """The counters of all relays that answer, added up, and what the transceiver refused."""
    heard = await ask_relays(here.reach, lambda process: process.stats())
    total = _sum(one.answer.total for one in heard if one.answer is not None)
    total["trunk_refused"] = await _trunk_refused(here)
    return total


async def _trunk_refused(here: Surroundings) -> int:
    """Trunk datagrams that the transceiver did not believe, from its metrics."""
    try:
        async with aiohttp.ClientSession() as http, http.get(f"{here.url}/metrics") as response:
            text = await response.text()
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return 0
    return sum(int(float(count)) for count in _TRUNK_REFUSED.findall(text))


def _sum(totals: Iterable[object]) -> Counter[str]:
    total: Counter[str] = Counter()
    for counters in totals:
        total.update(dict(counters))  # type: ignore[call-overload]
    return total


CHECKS = (redis, certificate, ports, nodes, relays, backends, clocks, call)
