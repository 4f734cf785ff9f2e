"""The long form: `python -m tests.fuzz --packets 10000000`.

It prints a line for each quarter of a million packets, so that a run that is cut short says how far
it came. The first of them fill what is bounded; what rises after that is growth.
"""

from __future__ import annotations

import argparse
import gc
import resource
import time
from pathlib import Path

from tests.fuzz.relay_engine import Attack, objects

PIECE = 250_000


def main() -> None:
    """Run until so many packets were thrown; any exception ends it, and names its seed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--packets", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    attack, began_s = Attack(wanted.seed), time.monotonic()
    gc.collect()
    gc.freeze()
    gc.disable()  # as a worker does
    try:
        while attack.packets < wanted.packets:
            attack.run(min(PIECE, wanted.packets - attack.packets))
            _report(attack, time.monotonic() - began_s)
    except BaseException:
        print(f"seed {wanted.seed}, after {attack.packets} packets", flush=True)
        raise
    print(attack.figures())
    attack.close()


def _report(attack: Attack, passed_s: float) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print(
        f"{attack.packets} packets, {passed_s:.0f} s, {objects()} blocks,"
        f" {pages * resource.getpagesize() / 2**20:.1f} MiB resident",
        flush=True,
    )


if __name__ == "__main__":
    main()
