"""The operator's guide names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backends.settings import BackendSettings
from fleet.usage import variable
from records.settings import RecordsSettings
from relay.settings import RelaySettings
from tests.k8s.manifests import ROOT
from tests.k8s.test_monitoring import label_values
from tests.pages import anchors
from transceiver.settings import TransceiverSettings
from transceiver.signaling.problem import PROBLEMS

GUIDE = sorted((ROOT / "docs/operations").glob("*.md"))
PAGES = [*GUIDE, ROOT / "docs/decisions/0010-kubernetes.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link is a file, and its anchor a heading there."""
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", page.read_text()):
        file = page.parent / target if target else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text()), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_variables_exist(page: Path) -> None:
    """Advice to set something names a setting; `…_*` stands for several."""
    kinds = (RelaySettings, TransceiverSettings, BackendSettings, RecordsSettings)
    known = {variable(kind, name) for kind in kinds for name in kind.model_fields}
    known |= _options_of_the_command_line()
    for name, family in re.findall(r"(TRUNKLINE_[A-Z0-9_]*[A-Z0-9])(_\*)?", page.read_text()):
        found = {k for k in known if k == name or (family and k.startswith(name + "_"))}
        assert found, name


def _options_of_the_command_line() -> set[str]:
    sources = (path.read_text() for path in (ROOT / "cli").rglob("*.py"))
    return {name for source in sources for name in re.findall(r'"(TRUNKLINE_[A-Z_]+)"', source)}


def test_failures_name_what_is_counted() -> None:
    """Each drop reason and each code of a refusal that a story names exists."""
    text = (ROOT / "docs/operations/failures.md").read_text()
    known = label_values()
    named = set(re.findall(r'`(?:reason=|event=)?"(\w+)"`', text))
    named |= set(re.findall(r'(?:reason|event)="(\w+)"', text))
    assert named <= known["reason"] | known["event"]
    assert len(named) > 15
    codes = {
        code for row in re.findall(r"^\| (`.+?) \|", text, re.MULTILINE) for code in row.split()
    }
    refusals = set(re.findall(r"`(\w+)`", " ".join(codes)))
    assert refusals <= PROBLEMS.keys()
    assert len(refusals) > 8


def test_there_are_ten_failures() -> None:
    """Each with what callers notice, what is counted and what to do."""
    stories = (ROOT / "docs/operations/failures.md").read_text().split("\n## ")[1:]
    assert len(stories) == 10
    for story in stories:
        assert "**Callers**" in story
        assert re.search(r"\*\*(Counters|Do)|\| do \|", story)
