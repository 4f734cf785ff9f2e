"""A script that asks the kernel to end it with its parent, and then becomes the command.

    python -I -S leash.py PARENT_PID COMMAND [ARGUMENT …]

A launcher that is killed with SIGKILL cannot tidy up; PR_SET_PDEATHSIG (prctl(2)) does it for it
and survives execve(2). It is set here and not in a `preexec_fn`, because Python code between fork
and exec may deadlock in a process that has threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
EXIT_NOT_FOUND = 127


def main(parent_pid: int, command: list[str]) -> None:
    """Leash this process to `parent_pid` and replace it by `command`; returns only on failure."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # the parent died before the leash was on
        sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606 the command is the launcher's own, no shell
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
        sys.exit(EXIT_NOT_FOUND)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
