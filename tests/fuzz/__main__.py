"""The long form: `python -m tests.fuzz --target all --count 10000000 --seed 1`.

A line for each lot says how far it is and what the process holds, so that a run that is cut short
says how far it came. It ends at the first exception that is not documented, and says the input.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys

import structlog

from tests.fuzz.campaign import Finding, Moment, Run
from tests.fuzz.targets import TARGETS

MAX_GROWTH_MIB = 24.0
"""In the second half of a run: arenas of the allocator come and go, a leak goes on."""


def main() -> int:
    """Run; 0 when nothing was found and memory was flat."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", default="all", choices=("all", *TARGETS), metavar="NAME")
    parser.add_argument("--count", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="say which targets there are")
    wanted = parser.parse_args()
    if wanted.list:
        print("\n".join(TARGETS))
        return 0
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    names = list(TARGETS) if wanted.target == "all" else [wanted.target]
    return asyncio.run(_run(names, wanted.count, wanted.seed))


async def _run(names: list[str], count: int, seed: int) -> int:
    campaigns = [TARGETS[name](seed) for name in names]
    run = Run(campaigns, _tell, lot=max(1000, min(250_000, count // 20)))
    gc.collect()
    gc.freeze()
    try:
        await run.throw(count)
    except Finding as found:
        print(f"seed {seed}: {found}", file=sys.stderr)
        raise
    finally:
        for campaign in campaigns:
            await campaign.close()
    print(f"{count} inputs, nothing found; the second half held {run.growth_mib:+.1f} MiB more")
    return int(run.growth_mib > MAX_GROWTH_MIB)


def _tell(moment: Moment) -> None:
    print(
        f"{moment.thrown} inputs, {moment.passed_s:.0f} s, {moment.blocks} blocks,"
        f" {moment.resident_mib:.1f} MiB resident",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
