"""What the agent does reaches the client as OpenAI's events, in their order."""

from __future__ import annotations

import pytest

from backends.realtime import InputTokens, OutputTokens, RealtimeSession, Usage
from backends.realtime.speech import Speech
from tests.backends.realtime.kit import answering, ask, check, kinds

TRANSCRIBED = '{"audio":{"input":{"transcription":{"model":"whisper"}}}}'


def test_a_spoken_turn_from_voice_to_item() -> None:
    """Start, stop, commit and item bear one id, and each item names the one before it."""
    session = RealtimeSession(TRANSCRIBED)
    (started,) = check(session.speech_started(120))
    (stopped,) = check(session.speech_stopped(900))
    item_id, events = session.input_committed()
    assert started["item_id"] == stopped["item_id"] == item_id
    assert kinds(check(events)) == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    (delta,) = check(session.input_transcript_delta(item_id, "hel"))
    (completed,) = check(session.input_transcript(item_id, "hello", 0.78))
    assert (delta["delta"], completed["transcript"]) == ("hel", "hello")
    assert completed["usage"] == {"type": "duration", "seconds": 0.78}
    next_id, events = session.input_committed()
    assert events[0]["previous_item_id"] == item_id != next_id


def test_transcripts_are_told_to_those_who_want_them() -> None:
    """Without `transcription` no event comes, but the item has its words."""
    session = RealtimeSession()
    item_id, _ = session.input_committed()
    assert session.input_transcript_delta(item_id, "hel") == []
    assert session.input_transcript(item_id, "hello", 1.0) == []
    assert session.input_transcript_failed(item_id, "stt_down", "Not now.") == []
    (shown,) = ask(session, type="conversation.item.retrieve", item_id=item_id)
    assert shown["item"]["content"] == [{"type": "input_audio", "transcript": "hello"}]


def test_a_failed_transcription_names_its_item() -> None:
    """The event carries a code and a message, and no null that clients would refuse."""
    session = RealtimeSession(TRANSCRIBED)
    item_id, _ = session.input_committed()
    (failed,) = check(session.input_transcript_failed(item_id, "stt_down", "Not now."))
    assert failed["item_id"] == item_id
    assert None not in failed["error"].values()


def test_a_long_silence_is_a_turn() -> None:
    """An idle timeout names the item its silence becomes."""
    session = RealtimeSession()
    (timeout,) = check(session.idle_timeout(1000, 6000))
    assert timeout["item_id"] == session.input_committed()[0]


def test_a_spoken_response_from_created_to_done() -> None:
    """Every event of a response in OpenAI's order, with its ids and indexes."""
    session = RealtimeSession()
    events = check(session.response_created())
    item_id, started = session.message_started()
    events += started
    events += session.message_delta("Hello ", 0)
    session.audio_queued(item_id, 300)
    events += session.audio_sent(item_id, 20)
    events += session.message_delta("there.", 150)
    usage = Usage(InputTokens(text=10, cached=4), OutputTokens(text=2))
    events += session.response_done("completed", usage)
    events += session.audio_sent(item_id, 280)
    events += session.output_stopped()
    assert kinds(check(events)) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "output_audio_buffer.started",
        "response.output_audio_transcript.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "output_audio_buffer.stopped",
    ]
    done = events[-2]["response"]
    assert (done["status"], done["status_details"]) == ("completed", None)
    assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": "Hello there."}]
    assert (done["usage"]["total_tokens"], done["usage"]["input_tokens"]) == (12, 10)
    assert {event["response_id"] for event in events if "response_id" in event} == {done["id"]}
    assert len({event["event_id"] for event in events}) == len(events)


def test_what_was_shown_as_begun_stays_as_it_was() -> None:
    """An event already made does not change when the item is filled."""
    session = RealtimeSession()
    session.response_created()
    _, events = session.message_started()
    session.message_delta("Hello", 0)
    session.response_done()
    assert events[0]["item"]["content"] == events[1]["item"]["content"] == []
    assert events[0]["item"]["status"] == "in_progress"


def test_a_written_response_has_text_events() -> None:
    """With the modality `text` the same happens with output_text, and nothing is heard."""
    session = RealtimeSession('{"output_modalities":["text"]}')
    item_id = answering(session)
    events = session.message_delta("Hi")
    events += session.audio_sent(item_id, 20)
    events += session.response_done()
    assert kinds(check(events)) == [
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    assert events[-1]["response"]["output"][0]["content"] == [{"type": "output_text", "text": "Hi"}]


def test_a_call_of_a_function() -> None:
    """Arguments come in pieces and whole, and the finished item is what clients act on."""
    session = RealtimeSession()
    check(session.response_created())
    call_id, events = session.function_call_started("get_time")
    events += session.function_call_delta('{"zone":')
    events += session.function_call_delta('"UTC"}')
    events += session.output_done()
    events += session.response_done()
    assert kinds(check(events)) == [
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    item = events[6]["item"]
    assert (item["call_id"], item["arguments"]) == (call_id, '{"zone":"UTC"}')
    assert (item["status"], item["name"]) == ("completed", "get_time")


def test_a_response_may_speak_and_then_call() -> None:
    """Beginning the next output completes the one before it; indexes count up."""
    session = RealtimeSession()
    answering(session)
    session.message_delta("One moment.", 0)
    _, events = session.function_call_started("get_time")
    assert kinds(check(events))[-3:] == [
        "response.output_item.done",
        "response.output_item.added",
        "conversation.item.added",
    ]
    assert events[-2]["output_index"] == 1
    done = check(session.response_done())[-1]["response"]
    assert [item["type"] for item in done["output"]] == ["message", "function_call"]


def test_an_interruption_cuts_the_item_at_what_was_heard() -> None:
    """Cleared, truncated, then the response is done as cancelled; only heard words are left."""
    session = RealtimeSession()
    item_id = answering(session)
    session.message_delta("one two three four", 0)
    session.audio_queued(item_id, 1000)
    session.audio_sent(item_id, 500)
    events = session.output_cleared({item_id: 500})
    events += session.message_delta(" five")
    events += session.response_done("cancelled", reason="turn_detected")
    assert kinds(check(events)) == [
        "output_audio_buffer.cleared",
        "conversation.item.truncated",
        "response.output_audio_transcript.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    done = events[-1]["response"]
    assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert done["output"][0]["status"] == "incomplete"
    assert done["output"][0]["content"][0]["transcript"] == "one two"


def test_an_interruption_after_the_response_cuts_its_item_too() -> None:
    """Sound outlives the response: what is cleared then is cut in the conversation."""
    session = RealtimeSession()
    item_id = answering(session)
    session.message_delta("one two", 0)
    session.audio_queued(item_id, 1000)
    session.audio_sent(item_id, 20)
    session.response_done()
    events = check(session.output_cleared({item_id: 600}))
    assert kinds(events) == ["output_audio_buffer.cleared", "conversation.item.truncated"]
    assert events[1]["audio_end_ms"] == 20, "no more can be heard than was sent"
    assert session.output_cleared({}) == [], "nothing is playing any more"


def test_a_failed_response_says_why() -> None:
    """Code and message of our side's failure are in status_details."""
    session = RealtimeSession()
    check(session.response_created())
    (done,) = check(session.response_done("failed", error=("llm_down", "Not now.")))
    assert done["response"]["status_details"]["error"]["code"] == "llm_down"


def test_a_response_outside_the_conversation_leaves_no_trace() -> None:
    """No conversation events, no item, and its sound is announced all the same."""
    session = RealtimeSession()
    ask(session, type="response.create", response={"conversation": "none"})
    item_id, events = session.message_started()
    session.message_delta("psst", 0)
    events += session.audio_sent(item_id, 20)
    events += session.response_done()
    assert not [kind for kind in kinds(check(events)) if kind.startswith("conversation.")]
    assert "output_audio_buffer.started" in kinds(events)
    assert len(session.conversation) == 0


def test_what_comes_too_late_says_nothing() -> None:
    """Words, calls and ends without a response make no event."""
    session = RealtimeSession()
    item_id = answering(session)
    session.response_done()
    assert session.message_started() == ("", [])
    assert session.function_call_started("f") == ("", [])
    assert session.message_delta("late") == session.function_call_delta("late") == []
    assert session.output_done() == session.response_done() == session.output_stopped() == []
    assert session.audio_sent("item_unknown", 20) == []
    assert item_id in [item["id"] for item in session.conversation.items]


def test_two_responses_at_once_are_a_mistake_of_the_agent() -> None:
    """An agent that begins twice is told so."""
    session = RealtimeSession()
    session.response_created()
    with pytest.raises(RuntimeError, match="active"):
        session.response_created()


def test_the_next_responses_sound_ends_the_one_before() -> None:
    """Started and stopped alternate, also when the agent forgot to say that sound ended."""
    session = RealtimeSession()
    for expected in (["output_audio_buffer.started"], ["output_audio_buffer.stopped"] * 1):
        item_id = answering(session)
        session.response_done()
        assert kinds(check(session.audio_sent(item_id, 20)))[:1] == expected


def test_the_conversation_is_bounded_and_says_so() -> None:
    """At the bound the oldest item leaves with an event; the newest stays whatever its size."""
    session = RealtimeSession(max_items=2, max_chars=1000)
    ids = [session.input_committed()[0] for _ in range(2)]
    _, events = session.input_committed()
    assert kinds(check(events))[-1] == "conversation.item.deleted"
    assert events[-1]["item_id"] == ids[0]
    content = [{"type": "input_text", "text": "x" * 2000}]
    item = {"type": "message", "role": "user", "content": content}
    events = ask(session, type="conversation.item.create", item=item)
    assert kinds(events)[2:] == ["conversation.item.deleted"] * 2
    assert len(session.conversation) == 1


def test_rate_limits_and_failures_of_ours_are_events() -> None:
    """Both have the published shape."""
    session = RealtimeSession()
    limit = {"name": "tokens", "limit": 10, "remaining": 9, "reset_seconds": 1.5}
    (limits,) = check(session.rate_limits([limit]))
    (failed,) = check(session.failed("stt_down", "Not now."))
    assert limits["rate_limits"] == [limit]
    assert failed["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("heard_ms", "left"),
    [
        (0, ""),
        (99, ""),
        (100, "a"),
        (399, "a b c"),
        (400, "a b c d "),
        (500, "a b c d e"),
        (900, None),
    ],
)
def test_words_are_cut_in_proportion_to_their_sound(heard_ms: int, left: str | None) -> None:
    """Whole words of each stretch are kept as far as it was heard."""
    speech = Speech(queued_ms=600, sent_ms=600)
    for text, start_ms in (("a b ", 0), ("c d ", 0), ("e f", 400)):
        speech.say(text, start_ms)
    assert speech.cut(heard_ms) == ("a b c d e f" if left is None else left)
