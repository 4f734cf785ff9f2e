"""What a backend says again to a new owner of a call: nothing is lost, and no sound comes twice."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from trunkline.backend.sent_log import MAX_BYTES, MAX_EVENTS, SentLog
from trunkline.v1 import model_pb2


def _data(text: str) -> model_pb2.BackendEvent:
    return model_pb2.BackendEvent(data=model_pb2.Data(label="chat", text=text))


def _clear() -> model_pb2.BackendEvent:
    return model_pb2.BackendEvent(clear=model_pb2.Clear())


@dataclass
class Owner:
    """What an owner knows of a call: the value that goes to the next one."""

    taken: int = 0
    heard: list[str] = field(default_factory=list)
    queue: list[str] = field(default_factory=list)
    played: list[str] = field(default_factory=list)
    used: int = 0

    def take(self, event: model_pb2.BackendEvent) -> None:
        self.taken += 1
        if event.HasField("audio"):
            self.queue.append(event.audio.payload.decode())
        elif event.HasField("clear"):
            self.used += len(self.queue)
            self.queue.clear()
        else:
            self.heard.append(event.data.text)

    def play(self) -> str | None:
        if not self.queue:
            return None
        self.used += 1
        self.played.append(self.queue.pop(0))
        return self.played[-1]

    def go_on(self, played: int) -> None:
        """Forget the frames that are past, as PacedSender.carry_on does."""
        past = max(0, played - self.used)
        del self.queue[:past]
        self.used += past

    def copy(self) -> Owner:
        return Owner(self.taken, [*self.heard], [*self.queue], [*self.played], self.used)


class World:
    """A backend with its log, a stream that may be cut anywhere, and the owner of the moment."""

    def __init__(self) -> None:
        self.log = SentLog()
        self.owner, self.saved = Owner(), Owner()
        self.on_the_way: list[model_pb2.BackendEvent] = []
        self.said: list[str] = []
        self.frames = 0
        self.ear: list[str] = []  # what was played, by whichever owner

    def do(self, step: str) -> None:
        getattr(self, step)()

    def say(self) -> None:
        self.said.append(f"m{len(self.said)}")
        self._send(_data(self.said[-1]))

    def speak(self) -> None:
        payload = f"a{self.frames}".encode()
        self.frames += 1
        self.log.add_audio(payload, 960)
        audio = model_pb2.Audio(payload=payload, duration=960)
        self.on_the_way.append(model_pb2.BackendEvent(audio=audio))

    def clear(self) -> None:
        self._send(_clear())

    def arrive(self) -> None:
        if self.on_the_way:
            self.owner.take(self.on_the_way.pop(0))

    def play(self) -> None:
        frame = self.owner.play()
        if frame is not None:
            self.ear.append(frame)

    def report(self) -> None:
        self.log.note_played(self.owner.used)

    def save(self) -> None:
        self.saved = self.owner.copy()
        self.log.kept(self.saved.taken)

    def move(self) -> None:
        """The old owner stops and gives its state away; what is on the way is lost with it."""
        self._resume(self.owner.copy())

    def die(self) -> None:
        """The old owner had told what it played, then died: its last checkpoint goes on."""
        self.report()
        self._resume(self.saved.copy())

    def _resume(self, owner: Owner) -> None:
        self.owner, self.on_the_way = owner, []
        again = self.log.resume(owner.taken)
        assert again.hole == 0
        owner.go_on(again.played)
        self.on_the_way = [event for event, _ in again.events]

    def _send(self, event: model_pb2.BackendEvent) -> None:
        self.log.add(event, 10)
        self.on_the_way.append(event)

    def settle(self) -> None:
        while self.on_the_way:
            self.arrive()
        while self.owner.queue:
            self.play()


STEPS = ["say", "speak", "speak", "clear", "arrive", "arrive", "play", "report", "save"]


@given(st.lists(st.sampled_from([*STEPS, "move"]), max_size=80))
def test_moves_lose_nothing_and_repeat_nothing(steps: list[str]) -> None:
    """Wherever the cuts are, each message is heard once, and no frame is played twice."""
    world = World()
    for step in [*steps, "move"]:
        world.do(step)
    world.settle()
    assert world.owner.heard == world.said
    assert len(world.ear) == len(set(world.ear))
    assert world.owner.used == world.frames == world.log.frames


@given(st.lists(st.sampled_from([s for s in STEPS if s != "clear"] + ["move"]), max_size=80))
def test_moves_without_a_clear_play_every_frame(steps: list[str]) -> None:
    """Nobody cleared anything, so the ear hears everything, in order."""
    world = World()
    for step in [*steps, "move"]:
        world.do(step)
    world.settle()
    assert world.ear == [f"a{n}" for n in range(world.frames)]


@given(st.lists(st.sampled_from([*STEPS, "move", "die"]), max_size=80))
def test_crashes_lose_no_message_and_play_nothing_twice(steps: list[str]) -> None:
    """A checkpoint may be old: the owner after it has all messages, and plays what is left."""
    world = World()
    for step in [*steps, "die"]:
        world.do(step)
    world.settle()
    assert world.owner.heard == world.said
    assert len(world.ear) == len(set(world.ear))
    assert world.owner.used == world.frames


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 20), st.integers(1, 400))
def test_the_log_is_bounded_and_says_what_it_forgot(
    sizes: list[int], max_events: int, max_bytes: int
) -> None:
    """Beyond either bound the oldest events go; who needs them is told of a hole."""
    log = SentLog(max_events, max_bytes)
    for n, size in enumerate(sizes):
        if n % 3:
            log.add(_data(str(n)), size)
        else:
            log.add_audio(bytes(size), 960)
        assert len(log) <= max_events
        assert log.size_bytes <= max_bytes
    kept = len(log)
    again = log.resume(0)
    assert (again.hole, log.forgotten) == (len(sizes) - kept,) * 2
    assert len(again.events) == kept
    assert log.sent == kept  # counted on from what the new owner has


def test_what_is_kept_and_what_is_played_need_not_be_remembered() -> None:
    """The log is empty when a new owner would know all of it."""
    log = SentLog()
    for _ in range(3):
        log.add_audio(b"x", 960)
        log.add(_data("t"), 5)
    log.note_played(2)
    assert len(log) == 4
    log.kept(6)
    assert (len(log), log.size_bytes, log.resume(6).events) == (0, 0, [])


def test_sound_before_a_clear_is_not_said_again() -> None:
    """A new owner would play its beginning before it reads the Clear."""
    log = SentLog()
    log.add_audio(b"old", 960)
    log.add(_clear(), 0)
    log.add_audio(b"new", 960)
    again = log.resume(0)
    assert [event.WhichOneof("event") for event, _ in again.events] == ["clear", "audio"]
    assert (again.played, again.cleared) == (1, 1)


def test_a_claim_to_have_taken_more_than_was_sent() -> None:
    """Counting goes on from there: who says so hears nothing twice, and later events."""
    log = SentLog()
    log.add(_data("a"), 1)
    assert log.resume(10**6).events == []
    log.add(_data("b"), 1)
    assert [event.data.text for event, _ in log.resume(10**6).events] == ["b"]


def test_the_bounds_are_those_of_the_guide() -> None:
    """2,048 events, 512 KiB."""
    assert (MAX_EVENTS, MAX_BYTES) == (2048, 512 * 1024)
