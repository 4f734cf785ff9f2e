"""The answer: right in every line, and taken by a stock client."""

from __future__ import annotations

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack
from aiortc.sdp import SessionDescription

from tests.transceiver.offers import NAMES, real_offer, replaced, without
from transceiver.signaling.answer import LocalIdentity, write_answer
from transceiver.signaling.offer_policy import read_offer
from trunkline.process.address import Address

RELAYS = (Address("203.0.113.10", 3478), Address("2001:db8::1", 3479))
LOCAL = LocalIdentity("U" * 24, "P" * 32, ":".join(["AB"] * 32), 4242, "cname-1", 77)


def answer_to(text: str) -> str:
    """Our answer to an offer."""
    return write_answer(read_offer(text), LOCAL, RELAYS)


def lines_of(text: str, prefix: str) -> list[str]:
    """The answer's lines that begin with `prefix`."""
    return [line for line in text.split("\r\n") if line.startswith(prefix)]


def test_answer_to_chromium_line_by_line() -> None:
    """The whole answer to one offer is exactly this."""
    transport = [
        "a=ice-ufrag:" + "U" * 24,
        "a=ice-pwd:" + "P" * 32,
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
        "a=setup:active",
    ]
    assert answer_to(real_offer()).split("\r\n") == [
        "v=0",
        "o=- 77 2 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=ice-lite",
        "a=group:BUNDLE 0 1",
        "a=msid-semantic: WMS trunkline",
        "m=audio 3478 UDP/TLS/RTP/SAVPF 111 63",
        "c=IN IP4 203.0.113.10",
        "a=mid:0",
        *transport,
        "a=sendrecv",
        "a=rtcp-mux",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1;stereo=0",
        "a=rtpmap:63 red/48000/2",
        "a=fmtp:63 111/111",
        "a=ptime:20",
        "a=msid:trunkline trunkline-voice",
        "a=ssrc:4242 cname:cname-1",
        "a=ssrc:4242 msid:trunkline trunkline-voice",
        "a=candidate:1 1 udp 2130706431 203.0.113.10 3478 typ host",
        "a=candidate:2 1 udp 2130706175 2001:db8::1 3479 typ host",
        "a=end-of-candidates",
        "m=application 3478 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 203.0.113.10",
        "a=mid:1",
        *transport,
        "a=sctp-port:5000",
        "a=max-message-size:262144",
        "",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_answer_reads_back(name: str) -> None:
    """An independent SDP reader finds ICE-lite, our identity and the sections in order."""
    text = real_offer(name)
    answer = SessionDescription.parse(answer_to(text))
    offer = SessionDescription.parse(text)
    assert [m.kind for m in answer.media] == [m.kind for m in offer.media]
    assert [m.rtp.muxId for m in answer.media] == [m.rtp.muxId for m in offer.media]
    accepted = [m for m in answer.media if m.port]
    ice = [m.ice for m in accepted if m.ice]
    assert [(i.iceLite, i.usernameFragment) for i in ice] == [(True, LOCAL.ufrag)] * len(accepted)
    assert [c.ip for c in accepted[0].ice_candidates] == ["203.0.113.10", "2001:db8::1"]
    assert [m.rtp.muxId for m in accepted] == answer.group[0].items


def test_video_is_rejected_in_its_place() -> None:
    """A video section has port 0, keeps its formats and leaves the BUNDLE group."""
    offer = real_offer("chromium_audio_video_data")
    answer = answer_to(offer)
    (offered,) = lines_of(offer, "m=video")
    assert lines_of(answer, "m=video") == [replaced(offered, "m=video 9", "m=video 0")]
    assert lines_of(answer, "a=group") == ["a=group:BUNDLE 0 2"]
    assert [line[:7] for line in lines_of(answer, "m=")] == ["m=audio", "m=video", "m=appli"]


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        ("sendrecv", "sendrecv"),
        ("sendonly", "recvonly"),
        ("recvonly", "sendonly"),
        ("inactive", "inactive"),
    ],
)
def test_direction_is_mirrored(offered: str, answered: str) -> None:
    """The direction is the caller's seen from our end, and a stream is announced if we send."""
    answer = answer_to(replaced(real_offer(), "a=sendrecv", f"a={offered}"))
    assert f"a={answered}" in answer.split("\r\n")
    assert bool(lines_of(answer, "a=ssrc")) == (answered in ("sendrecv", "sendonly"))


def test_setup_follows_the_role() -> None:
    """A caller that insists on being the DTLS client gets a passive server."""
    answer = answer_to(replaced(real_offer(), "a=setup:actpass", "a=setup:active"))
    assert set(lines_of(answer, "a=setup")) == {"a=setup:passive"}


def test_no_data_section_in_none_out() -> None:
    """An offer without a data channel gets an answer without one."""
    assert not lines_of(answer_to(real_offer("chromium_sendonly")), "m=application")


def test_an_ipv6_relay_is_the_default_destination_when_first() -> None:
    """The c= line names the family of the first relay."""
    answer = write_answer(read_offer(real_offer()), LOCAL, RELAYS[1:])
    assert set(lines_of(answer, "c=")) == {"c=IN IP6 2001:db8::1"}


def test_priorities_descend_and_foundations_differ() -> None:
    """Sixteen relays have sixteen foundations and priorities in the order given."""
    relays = [Address(f"203.0.113.{n}", 3478) for n in range(1, 17)]
    answer = write_answer(read_offer(real_offer()), LOCAL, relays)
    fields = [line.split() for line in lines_of(answer, "a=candidate")]
    priorities = [int(field[3]) for field in fields]
    assert priorities == sorted(set(priorities), reverse=True)
    assert len({field[0] for field in fields}) == len(relays)
    assert [field[4] for field in fields] == [relay.host for relay in relays]


@pytest.mark.parametrize("with_data", [True, False])
async def test_a_stock_client_takes_the_answer(with_data: bool) -> None:
    """aiortc's peer connection takes our answer to its own offer and is stable after."""
    client = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        client.addTrack(AudioStreamTrack())
        if with_data:
            client.createDataChannel("oai-events")
        await client.setLocalDescription(await client.createOffer())
        answer = answer_to(client.localDescription.sdp)
        await client.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
        assert client.signalingState == "stable"
        assert client.getTransceivers()[0].currentDirection == "sendrecv"
    finally:
        await client.close()


def test_a_bundle_whose_tagged_section_we_reject_keeps_its_transport() -> None:
    """With video first in the group, the credentials come from it and audio is answered."""
    offer = real_offer("chromium_audio_video_data")
    session, _, rest = offer.partition("m=audio")
    audio, _, rest = rest.partition("m=video")
    video, _, data = rest.partition("m=application")
    bare_audio = without(without(audio, "a=ice-"), "a=fingerprint")
    parts = ["m=video" + video, "m=audio" + bare_audio, "m=application" + data]
    text = replaced(session, "BUNDLE 0 1 2", "BUNDLE 1 0 2") + "".join(parts)
    assert lines_of(answer_to(text), "a=group") == ["a=group:BUNDLE 0 2"]
