"""What the launcher shows when everything is up."""

from __future__ import annotations

from launcher.stack import Stack

COLUMNS = ("part", "pid", "address", "what it is")


def banner(stack: Stack, took_s: float, coloured: bool) -> str:
    """Return the table of parts and the address to open, ready to print."""
    bold, dim, plain = ("\x1b[1m", "\x1b[2m", "\x1b[0m") if coloured else ("", "", "")
    head, rule, *rows = _aligned(_rows(stack))
    lines = [
        "",
        f"  {bold}Trunkline is up{plain} {dim}({took_s:.1f} s){plain}",
        "",
        f"  {dim}{head}{plain}",
        f"  {dim}{rule}{plain}",
        *(f"  {row}" for row in rows),
        "",
        f"  Open {bold}{stack.console_url}{plain} and press Talk. Ctrl-C ends everything.",
        "",
    ]
    return "\n".join(lines)


def _rows(stack: Stack) -> list[tuple[str, ...]]:
    return [
        (keeper.part.name, str(keeper.pid), keeper.part.address, keeper.part.summary)
        for keeper in stack.parts.values()
    ]


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Return head, rule and rows with every column as wide as its widest cell."""
    widths = [max(len(row[column]) for row in [COLUMNS, *rows]) for column in range(len(COLUMNS))]
    rule = tuple("─" * width for width in widths)
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [COLUMNS, rule, *rows]
    ]
