"""`trunkline`: look at a fleet and act on it.

Exit status: 0 done, 1 not done (one line on stderr says why), 2 wrong usage.
"""

from __future__ import annotations

import fleet.extras  # noqa: F401 - first: it says what to install when an import below fails

# isort: split
from pathlib import Path
from typing import Annotated

import typer

from cli import act, key_commands, limits, look, moves, top
from cli.calls import commands as call_commands
from cli.calls import tax
from cli.doctor import command as doctor
from cli.options import Options
from cli.reach import Reach
from trunkline.process.address import Address

DEFAULT_TRANSCEIVER = "127.0.0.1:9201"
DEFAULT_RELAYS = "127.0.0.1:9101"
DEFAULT_BACKENDS = "127.0.0.1:9401"

app = typer.Typer(
    help="Look at a Trunkline fleet and act on it, over its admin ports.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("doctor")(doctor.doctor)
app.command("top")(top.top)
app.command("nodes")(look.nodes_command)
app.command("backends")(look.backends_command)
app.command("flows")(look.flows)
app.command("info")(look.info)
app.command("events")(look.events)
app.command("call")(act.call)
app.command("rebalance")(moves.rebalance)
app.command("drain")(act.drain)
app.command("tax")(tax.tax)
app.command("log-level")(act.log_level)
app.add_typer(call_commands.app, name="calls")
app.add_typer(limits.app, name="limits")
app.add_typer(key_commands.app, name="keys")


@app.callback()
def configure(
    context: typer.Context,
    admin: Annotated[
        str,
        typer.Option(envvar="TRUNKLINE_ADMIN", help="Admin port of any transceiver."),
    ] = DEFAULT_TRANSCEIVER,
    relays: Annotated[
        str,
        typer.Option(envvar="TRUNKLINE_RELAY_ADMINS", help="Admin ports of the relays, by commas."),
    ] = DEFAULT_RELAYS,
    backends: Annotated[
        str,
        typer.Option(
            envvar="TRUNKLINE_BACKEND_ADMINS",
            help='Admin ports of the backends, by commas; "" for backends that have none.',
        ),
    ] = DEFAULT_BACKENDS,
    token: Annotated[
        str, typer.Option(envvar="TRUNKLINE_ADMIN_TOKEN", help="Your bearer token.")
    ] = "",
    ca: Annotated[
        Path | None, typer.Option(envvar="TRUNKLINE_ADMIN_CA", help="PEM of the servers' CA: TLS.")
    ] = None,
    cert: Annotated[Path | None, typer.Option(help="Your client certificate (mTLS).")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at a Trunkline fleet and act on it."""
    try:
        reach = Reach(
            Address.parse(admin), _places(relays), _places(backends), token, ca, cert, key
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    for path in (ca, cert, key):
        if path is not None and not path.is_file():
            raise typer.BadParameter(f"{path} is not a file")
    context.obj = Options(reach, as_json)


def _places(text: str) -> tuple[Address, ...]:
    return tuple(map(Address.parse, filter(None, text.split(","))))


def main() -> None:
    """Entry point of the `trunkline` script."""
    app()


if __name__ == "__main__":
    main()
