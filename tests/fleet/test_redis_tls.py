"""A Redis behind TLS with a user of its own: what a `rediss://` URL promises is kept.

The redis-server of the wheel is built without TLS, so a TLS front stands before it, as stunnel or a
cloud provider's proxy would.
"""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from fleet.directory.directory import Snapshot
from fleet.directory.redis_store import RedisStore
from fleet.errors import StoreUnavailable
from fleet.fields import _redis_url
from relay.shared.nodes import FlowOwner
from relay.supervisor.flow_store import RedisFlowStore
from tests.conftest import RedisServer
from tests.rings import token_ring
from trunkline.process.address import Address
from wire.address import pack_address

ONE = pack_address("192.0.2.1", 4000)
PASSWORD = "hunter2:@/"
HOST = "localhost"  # what the certificate is for


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate of `HOST`, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "redis.pem"
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(secret + signed.public_bytes(pem))
    return file


@pytest.fixture
async def port(make_redis: Callable[..., RedisServer], certificate: Path) -> AsyncIterator[int]:
    """TLS before a Redis whose only user is `edge`, bound to our keys."""
    rights = ("~trunkline:*", "resetchannels", "&trunkline:*", "+@all")
    redis = make_redis("--user", "edge", "on", f">{PASSWORD}", *rights, "--user", "default", "off")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    pipes: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs_in, theirs_out = await asyncio.open_connection("127.0.0.1", redis.port)
        for source, sink in ((reader, theirs_out), (theirs_in, writer)):
            pipes.add(asyncio.create_task(pipe(source, sink)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    for task in pipes:
        task.cancel()
    await asyncio.gather(*pipes, return_exceptions=True)


async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        with suppress(ConnectionError, ssl.SSLError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
    finally:
        sink.close()


def url_of(port: int, certificate: Path, host: str = HOST) -> str:
    login = f"edge:{quote(PASSWORD, safe='')}"
    return f"rediss://{login}@{host}:{port}/0?ssl_ca_certs={certificate}"


async def test_flows_and_directory_work_over_tls_with_a_user(port: int, certificate: Path) -> None:
    """Cache, leases, and changes as they happen, by a URL that the settings take."""
    url = _redis_url(SecretStr(url_of(port, certificate))).get_secret_value()
    flows, store = (
        RedisFlowStore(url, 7, token_ring, answer_timeout_s=2),
        RedisStore(url, 7, token_ring),
    )
    await flows.put({ONE: FlowOwner(1, 2)}, 60)
    assert await flows.get([ONE]) == {ONE: FlowOwner(1, 2)}
    async with aclosing(store.watch()) as watch:
        assert await anext(watch) == Snapshot(())
        lease = await store.claim("n", Address("127.0.0.1", 5000))
        assert await anext(watch) == lease.node()
    await flows.close()
    await store.close()


@pytest.mark.parametrize("trusted", ["nobody", "another host"])
async def test_a_certificate_that_proves_nothing_is_refused(
    port: int, certificate: Path, trusted: str
) -> None:
    """Unknown issuer, or a certificate of another name: no command is sent, nothing is quoted."""
    url = url_of(port, certificate, host="127.0.0.1" if trusted == "another host" else HOST)
    url = url.partition("?")[0] if trusted == "nobody" else url
    flows = RedisFlowStore(url, 7, token_ring, answer_timeout_s=2)
    with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
        await flows.get([ONE])
    assert "hunter2" not in str(caught.value)
    await flows.close()


async def test_a_wrong_password_over_tls_is_one_clear_line(port: int, certificate: Path) -> None:
    """The user is refused by Redis itself, behind a good handshake."""
    url = url_of(port, certificate).replace("hunter2", "hunter3")
    flows = RedisFlowStore(url, 7, token_ring, answer_timeout_s=2)
    with pytest.raises(StoreUnavailable, match=r"refused the user or password$"):
        await flows.get([ONE])
    await flows.close()
