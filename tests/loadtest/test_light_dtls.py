"""The light caller's DTLS: what a lossy network asks of it."""

from __future__ import annotations

import time

from loadtest.callers.dtls import Identity, LightDtls

PATIENCE_S = 20.0


def test_a_lost_last_flight_is_said_again() -> None:
    """A server whose Finished was lost says it again when the client repeats its own."""
    identity = Identity.make()
    client, server = LightDtls(identity, is_client=True), LightDtls(identity, is_client=False)
    to_server, lost = client.start(), False
    gives_up_s = time.monotonic() + PATIENCE_S
    while not client.connected:
        assert time.monotonic() < gives_up_s, "the client never heard the server's Finished"
        to_client = [answer for datagram in to_server for answer in server.receive(datagram)]
        if server.connected and not lost:
            lost, to_client = True, []
        to_server = [answer for datagram in to_client for answer in client.receive(datagram)]
        if not to_server:
            time.sleep(0.02)  # OpenSSL repeats by its own clock, after a second
            to_server = client.timed_out()
    assert lost
    assert server.connected
