"""The page of measurements says what the kept results say."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest
from typer.testing import CliRunner

from loadtest.measured.command import PAGE, README, kept, measured, printed
from loadtest.measured.machine import ROOT
from loadtest.measured.page import NONE_YET, TEXT_ONLY, figure_of, page, shown, with_table
from loadtest.measured.record import MAX_KEPT, Measurement, Record, RecordError, keep, read
from loadtest.measured.table import BY_NAME, SOURCES, Row
from loadtest.plan.figures import read_figures

ROWS = [row for source in SOURCES for row in source.rows]


def measurement(**members: object) -> Measurement:
    known = {"date": "2026-11-29", "commit": "abc", "machine": "m", "command": "c"}
    return Measurement.model_validate({**known, **members})


def test_the_page_is_what_the_results_say() -> None:
    """`python -m loadtest measured render` would change nothing."""
    assert PAGE.read_text() == page(kept())


def test_the_readmes_six_stand_on_the_page() -> None:
    """The README's table is written from the same results, and has six rows."""
    readme = README.read_text()
    assert readme == with_table(readme, kept())
    six = [(row, source) for source in SOURCES for row in source.rows if row.in_readme]
    assert len(six) == 6
    for row, source in six:
        assert f"| {shown(row, source, kept())} |" in PAGE.read_text()
        assert row.in_readme in readme


def test_names_are_unique() -> None:
    """A text goes by the name of its row, and a file by the name of its source."""
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert len(BY_NAME) == len(SOURCES)
    assert {file.stem for file in (ROOT / "docs/measured").glob("*.json")} <= set(BY_NAME)


def test_each_text_belongs_to_a_row_of_its_source() -> None:
    """No kept text is shown nowhere."""
    for source in SOURCES:
        for one in kept()[source.name].measurements:
            assert set(one.text) <= {row.name for row in source.rows}
            assert one.result is not None or one.text


def test_figures_name_what_benchmarks_print() -> None:
    """The first member that a template names is written somewhere in the harness."""
    code = "\n".join(path.read_text() for path in (ROOT / "loadtest").rglob("*.py"))
    for row in ROWS:
        for _, member, _, _ in Formatter().parse(row.figure):
            name = re.split(r"[\[.]", member or "")[0]
            bare = re.sub(r"^(aiortc_|pcm_)+|_p\d+$|^(c_)?(up|down)_|^added_us", "", name)
            assert not bare or bare in code, name


def test_rows_without_a_template_are_written_by_hand() -> None:
    """Only a figure that no program prints may lack one."""
    for source in SOURCES:
        assert bool(source.arguments) != bool(source.by_hand)
        assert all(bool(row.figure) == bool(source.arguments) for row in source.rows)


def test_a_measurement_is_kept_and_shown(tmp_path: Path) -> None:
    """A benchmark runs, its object is kept with machine, date, commit and command, and read."""
    done = CliRunner().invoke(measured, ["run", "simulate", "--into", str(tmp_path)])
    assert done.exit_code == 0, done.output
    kept_one = read("simulate", tmp_path).measurements[0]
    assert kept_one.command == "python -m loadtest simulate"
    assert kept_one.result is not None
    assert "Python 3." in kept_one.machine
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", kept_one.date)
    row = BY_NAME["simulate"].rows[0]
    assert figure_of(row, kept_one) == f"{kept_one.result['took_s']} s"


def test_what_is_measured_by_hand_is_not_run(tmp_path: Path) -> None:
    """Neither is a name that nobody knows; both are wrong usage, and nothing is kept."""
    for name in ("make-setup", "speed"):
        done = CliRunner().invoke(measured, ["run", name, "--into", str(tmp_path)])
        assert done.exit_code == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "output", ["", "no JSON", "[]", '{"scenario": "x", "passed": false, "error": "no Redis"}']
)
def test_a_run_without_a_result_is_not_kept(output: str) -> None:
    """An error is no measurement."""
    assert printed(output) is None


def test_the_last_line_is_the_result() -> None:
    """What is printed before it does not matter."""
    assert printed('a table\n{"checks": {}, "calls": 3}\n') == {"checks": {}, "calls": 3}


def test_templates_read_members_by_number_and_nulls() -> None:
    """Members whose name is a number, members of lists, and values that were not measured."""
    row = Row(name="r", what="w", figure="{by[20000][up]:.1f}, {all[1]}, {none:.0f}")
    result = {"by": {"20000": {"up": 1.25}}, "all": [1, 2], "none": None}
    assert figure_of(row, measurement(result=result)) == "1.2, 2, –"  # noqa: RUF001


def test_a_missed_bar_is_said() -> None:
    """Whoever reads the figure reads that its bar was not reached."""
    row = Row(name="r", what="w", figure="{ratio}")
    result = {"ratio": 16, "checks": {"ratio": False, "lost": True}}
    assert figure_of(row, measurement(result=result)) == "16; **missed: ratio**"


def test_a_text_is_marked() -> None:
    """A figure of which only the text is known says so; a row without any says that."""
    row = BY_NAME["make-setup"].rows[0]
    assert figure_of(row, measurement(text={"make-setup": "80 s"})) == f"80 s {TEXT_ONLY}"
    records = {source.name: Record() for source in SOURCES}
    assert shown(row, BY_NAME["make-setup"], records) == NONE_YET


def test_as_many_are_kept_as_the_bound_says(tmp_path: Path) -> None:
    """The newest stands in front, and the oldest goes."""
    for day in range(MAX_KEPT + 3):
        keep("one", measurement(date=f"{day}", result={}), tmp_path)
    dates = [one.date for one in read("one", tmp_path).measurements]
    assert dates == [str(day) for day in range(MAX_KEPT + 2, 2, -1)]


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    """A file that was edited wrongly is an error with its name."""
    (tmp_path / "one.json").write_text('{"measurements": [{}]}')
    with pytest.raises(RecordError, match=r"one\.json"):
        read("one", tmp_path)


PLANNED = {
    "relay-up": "relay_up_packets_per_core_s",
    "relay-down": "relay_down_packets_per_core_s",
}


@pytest.mark.parametrize("name", PLANNED)
def test_plans_do_not_promise_more_than_was_measured(name: str) -> None:
    """`loadtest plan` counts with a rate that the newest measurement reaches, within a tenth."""
    source = BY_NAME["relay-throughput"]
    row = next(row for row in source.rows if row.name == name)
    measured_pps = int(shown(row, source, kept()).partition(";")[0].replace(",", ""))
    planned_pps = getattr(read_figures(), PLANNED[name]).value
    assert planned_pps <= 1.1 * measured_pps
