"""`python -m tests.simulation --seed N` sees one run again; `--seeds FIRST:LAST` tries many."""

from __future__ import annotations

import argparse
import time
from collections import Counter as Tally

from tests.simulation.run import simulate


def main() -> None:
    """Run the seeds that are asked for; the first that fails ends it."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--seeds", default="0:100")
    wanted = parser.parse_args()
    first, last = (int(number) for number in wanted.seeds.split(":"))
    seeds = range(first, last) if wanted.seed is None else [wanted.seed]
    began_s, total = time.monotonic(), Tally[str]()
    for seed in seeds:
        total.update(simulate(seed))
    print(f"{len(seeds)} seeds, {time.monotonic() - began_s:.1f} s")
    print({name: value for name, value in total.items() if value})


if __name__ == "__main__":
    main()
