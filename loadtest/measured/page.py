"""The page of measurements and the README's six, written from what was kept. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from loadtest.measured.record import Measurement, Record
from loadtest.measured.table import SOURCES, Row, Source

Records = Mapping[str, Record]
TEXT_ONLY = "†"
BUSY_LOAD = 0.5
"""Above it, something else ran in the minute before."""
NONE_YET = "not measured yet"
BEGIN = "<!-- Written by `python -m loadtest measured render`. -->"
END = "<!-- End of what is written. -->"

INTRODUCTION = f"""\
# What was measured

{BEGIN}

Each figure on this page comes from a command. Callers, relay, transceiver, backend and Redis all
run on the one machine that the row names, unless the row says otherwise. A cloud machine is not
equally fast at all times. So a ratio to a peer in the same run says more than an absolute figure.

These commands measure rows again, and write this page and the README's table anew:

```console
$ python -m loadtest measured list              # the names
$ python -m loadtest measured run relay-kill    # or `make measured ROWS="relay-kill capacity"`
```

The results are kept in [`docs/measured/`](measured/) as the commands printed them, with the
machine, the date and the commit. A plus behind a commit means that files differed from it.

The mark {TEXT_ONLY} means that only the text of a figure was kept. It stood in the README at that
commit, and the output of the command was not saved.
"""


def page(records: Records) -> str:
    """All of `docs/measured.md`."""
    groups = dict.fromkeys(source.group for source in SOURCES)
    parts = [INTRODUCTION, *(_group(group, records) for group in groups), _earlier(records)]
    return "\n".join(parts)


def readme_table(records: Records) -> str:
    """The README's six figures, between the lines that mark them."""
    rows = [
        f"| {row.in_readme} | {shown(row, source, records)} | {_machine(row, source, records)} |"
        for source in SOURCES
        for row in source.rows
        if row.in_readme
    ]
    return "\n".join([BEGIN, "| what | figure | machine |", "|---|---|---|", *rows, END])


def with_table(readme: str, records: Records) -> str:
    """The README with its table written anew. Raises ValueError if the marks are not there."""
    before, after = readme.index(BEGIN), readme.index(END) + len(END)
    return readme[:before] + readme_table(records) + readme[after:]


def shown(row: Row, source: Source, records: Records) -> str:
    """The newest figure of a row."""
    newest = next(_of(row, records[source.name]), None)
    return newest[1] if newest else NONE_YET


def _machine(row: Row, source: Source, records: Records) -> str:
    newest = next(_of(row, records[source.name]), None)
    return newest[0].machine.partition(", Linux")[0] if newest else ""


def _where(row: Row, source: Source, records: Records) -> str:
    newest = next(_of(row, records[source.name]), None)
    return origin(newest[0]) if newest else ""


def _of(row: Row, record: Record) -> Iterator[tuple[Measurement, str]]:
    """The measurements that say something of a row, and what they say; the newest first."""
    for measurement in record.measurements:
        if figure := figure_of(row, measurement):
            yield measurement, figure


def figure_of(row: Row, measurement: Measurement) -> str | None:
    """What a measurement says of a row; None if it says nothing. Raises KeyError for a bad row."""
    if row.name in measurement.text:
        return f"{measurement.text[row.name]} {TEXT_ONLY}"
    if measurement.result is None or not row.figure:
        return None
    return row.figure.format_map(_readable(measurement.result)) + _missed(measurement.result)


def _missed(result: Mapping[str, Any]) -> str:
    missed = [name for name, held in result.get("checks", {}).items() if not held]
    return f"; **missed: {', '.join(missed)}**" if missed else ""


def _group(group: str, records: Records) -> str:
    rows = [
        f"| {row.what} | {shown(row, source, records)} | {_where(row, source, records)} "
        f"| `{source.command}` |"
        for source in SOURCES
        if source.group == group
        for row in source.rows
    ]
    head = ["| what | figure | where and when | command |", "|---|---|---|---|"]
    return "\n".join([f"## {group}", *head, *rows, ""])


def origin(measurement: Measurement) -> str:
    """Machine, date, commit, and whether other work ran beside it."""
    busy = measurement.load is not None and measurement.load > BUSY_LOAD
    beside = f", beside other work (load {measurement.load:g})" if busy else ""
    return f"{measurement.machine}; {measurement.date}, {measurement.commit}{beside}"


def _earlier(records: Records) -> str:
    rows = [
        f"| {row.what} | {figure} | {origin(measurement)} |"
        for source in SOURCES
        for row in source.rows
        for measurement, figure in islice(_of(row, records[source.name]), 1, None)
    ]
    text = "These show how much a figure moves from one machine, or one day, to another.\n"
    head = ["| what | figure | where and when |", "|---|---|---|"]
    return "\n".join(["## Earlier measurements", text, *head, *rows, ""])


class _Object(dict[Any, Any]):
    """A JSON object whose members a template may name by number, too."""

    def __missing__(self, key: object) -> object:
        if isinstance(key, int):
            return self[str(key)]
        raise KeyError(key)


class _Unknown:
    """JSON's null: a dash, whatever the format."""

    def __format__(self, spec: str) -> str:
        return "–"  # noqa: RUF001


def _readable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _Object((name, _readable(member)) for name, member in value.items())
    if isinstance(value, list):
        return [_readable(member) for member in value]
    return _Unknown() if value is None else value
