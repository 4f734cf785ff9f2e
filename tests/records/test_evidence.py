"""Whatever somebody does to the store afterwards is found by who has the public key."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from fleet.record.chain import Chain
from records.evidence import merkle
from records.evidence.keys import BadKey, CheckingKey, SigningKey
from records.evidence.roots import make_root
from records.evidence.statement import BadStatement, Statement
from records.evidence.verify import check_call, check_roots
from records.store.database import Connection
from records.store.store import Store
from tests.records.kit import NOON_US, Teller
from trunkline.v1 import record_pb2 as pb

REMOVE = "DELETE FROM events WHERE call_id = 'rtc_1'"
OTHER_LEAVES = "its leaves are not those that were signed"
PRIVATE = Ed25519PrivateKey.generate()
KEY, CHECK = SigningKey(PRIVATE), CheckingKey(PRIVATE.public_key())


def sign(store: Store) -> bool:
    return store.sign(lambda connection, now_us: make_root(connection, KEY, now_us))


def findings(store: Store, *call_ids: str) -> list[str]:
    with store.reading() as connection:
        found = list(check_roots(connection, CHECK))
        for call_id in call_ids:
            found += check_call(connection, call_id)
    return [finding.what for finding in found]


def filled(store: Store) -> list[Teller]:
    """Three calls, signed while they grew: three roots."""
    tellers = [Teller(f"rtc_{number}") for number in range(3)]
    for teller in tellers:
        store.write(teller.whole_call())
        assert sign(store)
    store.write([tellers[0].tell(fault=pb.Fault(kind="A"))])
    assert sign(store)
    return tellers


def test_what_was_not_touched_holds(store: Store) -> None:
    """Every root, every call; without news there is no root."""
    calls = [teller.call_id for teller in filled(store)]
    assert not sign(store)
    assert findings(store, *calls) == []


def test_late_events_and_erased_content_are_no_harm(store: Store) -> None:
    """An event that comes after the root over later ones, and content that is gone."""
    teller = Teller("rtc_1")
    told = teller.whole_call()
    store.write([*told[:3], *told[4:]])
    assert sign(store)
    store.write(told[3:4])
    store.erase("rtc_1")
    assert findings(store, "rtc_1") == []
    assert sign(store)
    assert findings(store, "rtc_1") == []


def rebuild(connection: Connection) -> None:
    """Change an event and make the rest of its chain anew, as one who has the store can."""
    rows = connection.rows("SELECT * FROM events WHERE call_id = 'rtc_1' ORDER BY number")
    chain = Chain("rtc_1", rows[0]["source"])
    for row in rows:
        event = pb.Event.FromString(row["body"])
        kind = event.WhichOneof("body")
        assert kind
        body = getattr(event, kind)
        if kind == "placed":
            body.tenant = "umbrella"
        new = chain.add(event.origin, event.wall_us, event.monotonic_us, "", {kind: body})
        connection.run(
            "UPDATE events SET body = :body WHERE call_id = 'rtc_1' AND number = :number",
            {"body": new.event, "number": row["number"]},
        )


def statement(sql: str) -> Callable[[Connection], None]:
    def harm(connection: Connection) -> None:
        connection.run(sql)

    return harm


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (rebuild, "the chain was made anew"),
        (statement(f"{REMOVE} AND number = 5"), "1 events are missing"),
        (statement(f"{REMOVE} AND number = 16"), "1 events are missing"),
        (statement("DELETE FROM roots WHERE number = 2"), "it is missing"),
        (statement("DELETE FROM leaves WHERE root = 2"), OTHER_LEAVES),
        (
            statement("UPDATE leaves SET events = 1 WHERE root = 2"),
            OTHER_LEAVES,
        ),
        (
            statement("UPDATE roots SET statement = (SELECT statement FROM roots WHERE number = 3)"
                      " WHERE number = 2"),
            "the signature is not this key's over what stands there",
        ),
        (
            statement("UPDATE roots SET statement = (SELECT statement FROM roots WHERE number = 3),"
                      " signature = (SELECT signature FROM roots WHERE number = 3)"
                      " WHERE number = 2"),
            "it stands in the place of another",
        ),
    ],
)  # fmt: skip
def test_what_was_done_is_found(
    store: Store, harm: Callable[[Connection], None], found: str
) -> None:
    """Each way to harm the record, by its name."""
    filled(store)
    with store.writing() as connection:
        harm(connection)
    assert found in findings(store, "rtc_1")


def test_another_key_signs_nothing(store: Store) -> None:
    """A whole new history with a key of one's own."""
    store.write(Teller("rtc_1").whole_call())
    other = SigningKey(Ed25519PrivateKey.generate())
    store.sign(lambda connection, now_us: make_root(connection, other, now_us))
    assert findings(store) == ["the signature is not this key's over what stands there"]


@pytest.mark.parametrize("count", [*range(1, 10), 64, 65])
def test_a_tree_of_any_size(count: int) -> None:
    """As the definition in RFC 9162 says, which splits at the largest power of two."""

    def by_definition(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return hashlib.sha256(b"\0" + leaves[0]).digest()
        half = 1 << (len(leaves) - 1).bit_length() - 1
        both = by_definition(leaves[:half]) + by_definition(leaves[half:])
        return hashlib.sha256(b"\1" + both).digest()

    leaves = [str(number).encode() for number in range(count)]
    assert merkle.root(leaves) == by_definition(leaves)


def test_statements_are_read_as_written() -> None:
    """And nothing else is."""
    written = Statement(2, NOON_US, 7, b"r" * 32, b"p" * 32).write()
    assert Statement.read(written).write() == written
    for wrong in (b"", written[1:], written + b"\n", written.replace(b"7", b"x", 1)):
        with pytest.raises(BadStatement):
            Statement.read(wrong)


def test_keys_come_from_files(tmp_path: Path) -> None:
    """One that is none is named, and nothing of it is quoted."""
    pem = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)
    (tmp_path / "public.pem").write_bytes(public)
    signing, checking = (
        SigningKey.read(tmp_path / "key.pem"),
        CheckingKey.read(tmp_path / "public.pem"),
    )
    assert signing.id == checking.id
    assert checking.holds(b"x", signing.sign(b"x"))
    (tmp_path / "none.pem").write_bytes(b"secret")
    readers: list[Any] = [SigningKey.read, CheckingKey.read]
    for read in readers:
        for name in ("none.pem", "missing.pem"):
            with pytest.raises(BadKey) as caught:
                read(tmp_path / name)
            assert "secret" not in str(caught.value)
