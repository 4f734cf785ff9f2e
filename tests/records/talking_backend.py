"""A backend that echoes, and adds to the record of its call what an agent would."""

from __future__ import annotations

from backends.realtime.recording import Recording
from trunkline.backend import Audio, Call
from trunkline.v1 import record_pb2 as pb

EVENTS = (
    {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": "item_1",
        "transcript": "My number is 030 1234567, where is my parcel?",
    },
    {
        "type": "trunkline.turn",
        "turn": 1,
        "final": True,
        "item_id": "item_1",
        "response_id": "resp_1",
        "stages_ms": {"heard": 100.0, "first_words": 150.0, "first_sound": 300.0, "out": 305.0},
        "speculative": False,
        "discarded": 0,
        "tools": [],
        "interrupted": False,
        "failed": None,
        "network": {"rtt_ms": 12.0, "jitter_buffer_ms": 3.0},
    },
)


async def talk(call: Call) -> None:
    """Echo, and tell all of it with the first packet."""
    recording, told = Recording(), False
    async for event in call.events():
        if isinstance(event, Audio):
            if not told:
                told = True
                for server_event in EVENTS:
                    for recorded in recording.hear(server_event):
                        call.record(recorded)
                call.record(pb.Recorded(item=pb.Item(item_id="x" * 100_000)))  # too large
            await call.send_audio(event.payload, event.duration)
