"""`trunkline keys`: what an operator types; the steps are in `cli.keys`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cli import keys as key_steps
from cli.keys import Ring
from cli.options import Why, fail, options, reason, run
from cli.reach import CliError
from wire.keys import KeyRing

app = typer.Typer(help="Rotate the keys of tokens and of the trunk.", no_args_is_help=True)

RingOption = Annotated[Ring, typer.Option("--ring", help="Which keys.")]


@app.command("rotate")
def rotate(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Where the new ring is written, 0600, first of all.")],
    ring: RingOption = Ring.TOKEN,
    why: Why = "",
) -> None:
    """Give every process a new key, then have every process use it; the old one stays valid.

    The ring of now is read from TRUNKLINE_TOKEN_KEYS or TRUNKLINE_TRUNK_KEYS. Put the new one into
    your Secret before anything restarts, and `retire` the old key when its calls have ended.
    """

    async def work() -> None:
        reach, known = options(context).reach, _ring_of_now(ring)
        await key_steps.check_same(reach, ring, known)
        wider = key_steps.with_new_key(known)
        final = key_steps.made_current(wider, known)
        key_steps.write_ring(out, final)
        await key_steps.push(reach, ring, wider, reason(why))
        count = await key_steps.push(reach, ring, final, reason(why))
        options(context).show(
            f"{count} processes use key {final.current}; the ring is in {out}: put it into "
            f"{ring.variable} now",
            {"processes": count, "key_id": final.current},
        )

    run(work())


@app.command("retire")
def retire(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Where the ring is written, 0600, first of all.")],
    ring: RingOption = Ring.TOKEN,
    why: Why = "",
) -> None:
    """Have every process forget all keys but the one in use."""

    async def work() -> None:
        reach, known = options(context).reach, _ring_of_now(ring)
        await key_steps.check_same(reach, ring, known)
        final = key_steps.without_old(known)
        key_steps.write_ring(out, final)
        count = await key_steps.push(reach, ring, final, reason(why))
        options(context).show(
            f"{count} processes know key {final.current} alone; the ring is in {out}",
            {"processes": count, "key_id": final.current},
        )

    run(work())


@app.command("push")
def push(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A ring that rotate or retire wrote.")],
    ring: RingOption = Ring.TOKEN,
    why: Why = "",
) -> None:
    """Give every process the ring in a file: to finish what was interrupted."""

    async def work() -> None:
        try:
            text = file.read_text().strip()
        except OSError as error:
            raise CliError(f"{file}: {(error.strerror or 'unreadable').lower()}") from None
        final = key_steps.read_ring(ring, text)
        count = await key_steps.push(options(context).reach, ring, final, reason(why))
        options(context).show(f"{count} processes use key {final.current}", {"processes": count})

    run(work())


def _ring_of_now(ring: Ring) -> KeyRing:
    text = os.environ.get(ring.variable, "")
    if not text:
        fail(f"set {ring.variable} to the ring that the fleet has now")
    return key_steps.read_ring(ring, text)
