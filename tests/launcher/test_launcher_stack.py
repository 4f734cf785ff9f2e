from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import NotRunningError, Stack, StackSettings, StartupError
from launcher.addresses import Binding
from launcher.child import Child
from launcher.keeper import Keeper
from launcher.part import Part
from launcher.probes import grpc_serving, redis_answers
from launcher.redis_server import redis_part
from tests.launcher.launcher_stand_ins import STAY, STUBBORN, Commands, ended, is_alive

FAST = StackSettings(ready_timeout_s=30, stop_timeout_s=10)


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


async def has_restarted(keeper: Keeper, old_pid: int) -> None:
    """Return when the part runs again under another pid."""
    while not await keeper.part.ready() or not keeper.running or keeper.pid == old_pid:
        await asyncio.sleep(0.01)


async def test_parts_start_after_those_they_build_on(commands: Commands) -> None:
    """A part starts only when the ones named in `after` are ready; all end at the exit."""
    check = (
        f"sys.exit(9) if not pathlib.Path({str(commands.directory / 'first')!r}).exists() else 0"
    )
    second = commands.part("second", f"{check}; {STAY}", after=("first",))
    first = commands.part("first", f"time.sleep(0.2); {STAY}")
    async with Stack(FAST, parts=[second, first]) as stack:
        pids = [keeper.pid for keeper in stack.parts.values()]
        assert all(map(is_alive, pids))
    assert not any(map(is_alive, pids))


async def test_output_of_parts_lands_in_the_log(commands: Commands) -> None:
    """What a part writes to either output is in the log under its name, one entry a line."""
    source = "print('to out'); print('to err', file=sys.stderr); " + STAY
    async with Stack(FAST, parts=[commands.part("talker", source)]) as stack:
        pass
    assert sorted(stack.log.lines) == ["talker      │ to err", "talker      │ to out"]


async def test_a_death_at_startup_ends_everything(commands: Commands) -> None:
    """The error is one line with the part's last words; the other parts are ended."""
    bad = commands.part(
        "bad", "print('bad: port 7 is already taken'); sys.exit(3)", after=("good",)
    )
    stack = Stack(FAST, parts=[commands.part("good", STAY), bad])
    with pytest.raises(StartupError, match=r"^bad: port 7 is already taken \(exit status 3\)$"):
        await stack.__aenter__()
    assert not stack.parts["good"].running


async def test_a_command_that_does_not_exist(commands: Commands) -> None:
    """A part whose program is missing is a startup error, not a hang."""
    part = Part("ghost", ("/nonexistent/program",), commands.part("ghost", "").ready)
    with pytest.raises(StartupError, match="ghost: cannot run /nonexistent/program"):
        await Stack(FAST, parts=[part]).__aenter__()


async def test_a_part_that_never_gets_ready(commands: Commands) -> None:
    """The wait for a part is bounded, and the part is ended."""
    settings = StackSettings(ready_timeout_s=0.2)
    stack = Stack(settings, parts=[commands.part("slow", "signal.pause()")])
    with pytest.raises(StartupError, match=r"^slow: not ready after 0\.2 s$"):
        await stack.__aenter__()
    assert not stack.parts["slow"].running


async def test_a_taken_port_is_told_before_anything_starts(commands: Commands) -> None:
    """A port that somebody has is a startup error that names it, and no process is started."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as taken:
        taken.bind(("::", 0))
        port = taken.getsockname()[1]
        settings = StackSettings({"TRUNKLINE_RELAY_PORT": str(port)})
        stack = Stack(settings)
        with pytest.raises(StartupError, match=f"^relay: UDP port {port} is already taken$"):
            await stack.__aenter__()
    assert not any(keeper.running for keeper in stack.parts.values())


async def test_a_part_that_dies_is_restarted_and_its_death_is_told(commands: Commands) -> None:
    """The log says how the part ended and what it said last; then it runs again."""
    part = commands.part("phoenix", "print('last words'); " + STAY)
    async with Stack(FAST, parts=[part]) as stack:
        keeper, old_pid = stack.parts["phoenix"], stack.parts["phoenix"].pid
        (commands.directory / "phoenix").unlink()
        os.kill(old_pid, signal.SIGKILL)
        await has_restarted(keeper, old_pid)
        assert keeper.restarts == 1
    told = "\n".join(stack.log.lines)
    assert "phoenix died: killed by SIGKILL" in told
    assert "phoenix said: last words" in told


async def test_a_stopped_part_stays_down_until_it_is_started(commands: Commands) -> None:
    """stop_part() is not a death: nothing restarts it; start_part() does."""
    async with Stack(FAST, parts=[commands.part("one", STAY)]) as stack:
        old_pid = stack.parts["one"].pid
        await stack.stop_part("one")
        with pytest.raises(NotRunningError):
            _ = stack.parts["one"].pid
        (commands.directory / "one").unlink()
        await stack.start_part("one")
        assert stack.parts["one"].pid != old_pid
        assert stack.parts["one"].restarts == 0


async def test_a_part_that_ignores_sigterm_is_killed(commands: Commands) -> None:
    """Ending is bounded: after the deadline the group is killed."""
    settings = StackSettings(ready_timeout_s=30, stop_timeout_s=0.1)
    async with Stack(settings, parts=[commands.part("stubborn", STUBBORN)]) as stack:
        pid = stack.parts["stubborn"].pid
    assert not is_alive(pid)


async def test_grandchildren_end_with_their_part(commands: Commands, tmp_path: Path) -> None:
    """What a part started and left behind is killed with its group, also after a crash."""
    pid_file = tmp_path / "grandchild.pid"
    source = (
        "import subprocess; child = subprocess.Popen(['sleep', '1000'])\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(child.pid)); {STAY}"
    )
    async with Stack(FAST, parts=[commands.part("parent", source)]) as stack:
        os.kill(stack.parts["parent"].pid, signal.SIGKILL)
        await ended(int(pid_file.read_text()))


async def test_a_stack_that_crashed_still_ends(commands: Commands) -> None:
    """Leaving while a dead part waits for its restart ends all the same."""
    async with Stack(FAST, parts=[commands.part("a", STAY), commands.part("b", STAY)]) as stack:
        os.kill(stack.parts["a"].pid, signal.SIGKILL)
        await ended(stack.parts["a"].pid)
        b = stack.parts["b"].pid
    assert not is_alive(b)


async def test_children_do_not_survive_a_killed_launcher(tmp_path: Path) -> None:
    """SIGKILL to the process that runs a stack kills its parts, even stubborn ones."""
    script = (
        "import asyncio, pathlib, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from launcher_stand_ins import STUBBORN, Commands\n"
        "from launcher import Stack\n"
        "async def main():\n"
        f"    part = Commands(pathlib.Path({str(tmp_path)!r})).part('stubborn', STUBBORN)\n"
        "    async with Stack(parts=[part]) as stack:\n"
        "        print(stack.parts['stubborn'].pid, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    assert is_alive(pid)
    process.kill()
    await process.communicate()
    await ended(pid)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_child_is_read_to_its_last_byte() -> None:
    """Output that ends without a newline is not lost, and no descriptor stays open."""
    before = open_descriptors()
    lines: list[str] = []
    child = Child([sys.executable, "-c", "print('x\\n' * 50000 + 'end', end='')"], {}, lines.append)
    assert await child.wait() == 0
    assert (len(lines), lines[-1]) == (50001, "end")
    assert open_descriptors() == before


async def test_a_real_redis_from_the_wheel(tmp_path: Path) -> None:
    """The private Redis starts, asks for its password, takes it, and ends."""
    import redis.asyncio

    part, url = redis_part(tmp_path, dict(os.environ))
    assert not await part.ready()
    async with Stack(FAST, parts=[part]):
        async with redis.asyncio.from_url(url) as client:
            assert await client.ping()
        async with redis.asyncio.from_url(_without_password(url)) as out:
            with pytest.raises(redis.asyncio.AuthenticationError):
                await out.ping()


def _without_password(url: str) -> str:
    return "redis://" + url.rpartition("@")[2]


async def test_a_grpc_part_is_ready_when_its_health_says_so() -> None:
    """NOT_SERVING and nobody there are both "not yet"; SERVING is ready."""
    import grpc.aio
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_health.v1.health import aio  # type: ignore[attr-defined]

    server = grpc.aio.server()
    servicer = aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    probe = grpc_serving("127.0.0.1", port)
    await servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    await server.start()
    assert not await probe()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    assert await probe()
    await server.stop(None)
    assert not await probe()


async def test_a_server_that_is_no_redis_is_not_ready() -> None:
    """Something else on the port does not pass for Redis."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        assert not await redis_answers("127.0.0.1", server.sockets[0].getsockname()[1])()


async def test_the_binding_of_a_part_may_be_chosen_by_the_system(commands: Commands) -> None:
    """Port 0 is never taken."""
    part = commands.part("any", STAY)
    bound = Part(
        part.name,
        part.command,
        part.ready,
        part.environment,
        binds=(Binding("tcp", "127.0.0.1", 0),),
    )
    async with Stack(FAST, parts=[bound]) as stack:
        assert stack.parts["any"].running
