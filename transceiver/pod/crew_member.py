"""One process of a transceiver of several. Only `transceiver.pod.crew` starts it.

python -m transceiver.pod.crew_member INDEX COUNT DIRECTORY LEASH_FD HEARTBEAT_FD HTTP_FD …
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fleet import logs
from fleet.ending import ending
from fleet.settings import load
from transceiver.pod.heartbeat import Heartbeat
from transceiver.pod.pod_place import PodPlace
from transceiver.service import run
from transceiver.settings import TransceiverSettings
from trunkline.process import shell

UP = b"\n"


async def _run(
    settings: TransceiverSettings,
    pod_place: PodPlace,
    leash: socket.socket,
    heartbeat: Heartbeat,
    stop: asyncio.Event,
) -> None:
    async with asyncio.TaskGroup() as tasks, ending() as running:
        running.append(tasks.create_task(_follow(leash, stop)))
        running.append(tasks.create_task(heartbeat.run()))
        await run(pod_place.own(settings), stop, pod_place)


async def _follow(leash: socket.socket, stop: asyncio.Event) -> None:
    """Stop when the parent is gone."""
    await asyncio.get_running_loop().sock_recv(leash, 1)
    stop.set()


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit status."""
    index, count, directory, leash_fd, heartbeat_fd, *http_fds = arguments
    settings = load(TransceiverSettings, "python -m transceiver", argv=[])
    logs.configure(settings.log_level, settings.log_format, process=f"transceiver-{index}")
    leash = socket.socket(fileno=int(leash_fd))
    leash.setblocking(False)
    heartbeat = Heartbeat(int(heartbeat_fd))
    pod_place = PodPlace(
        index=int(index),
        count=int(count),
        http_sockets=[socket.socket(fileno=int(descriptor)) for descriptor in http_fds],
        directory=Path(directory),
        up=lambda: leash.sendall(UP),
        is_node=partial(setattr, heartbeat, "owner"),
    )
    return shell.run(partial(_run, settings, pod_place, leash, heartbeat))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
