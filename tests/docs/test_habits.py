"""What helps people to change this repository works: hooks, templates, the workflow, versions."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import ROOT

GITHUB = ROOT / ".github"
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("[!c]*.yml"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_a_hook_runs_what_ci_runs(hook: dict[str, Any]) -> None:
    """Its program is in `.venv`, its tests are there, and the Makefile runs the same."""
    program, *arguments = shlex.split(hook["entry"])
    assert hook["language"] == "system"
    assert (ROOT / program).exists()
    recipe = (ROOT / "Makefile").read_text()
    if Path(program).name == "python":
        assert arguments[:2] == ["-m", "pytest"]
        assert all((ROOT / path).exists() for path in arguments[2:])
    else:
        words = [Path(program).name, *(word for word in arguments if not word.startswith("-"))]
        assert "$(BIN)/" + " ".join(words) in recipe


def test_hooks_see_a_file_that_is_not_formatted(tmp_path: Path) -> None:
    """The first two hooks change or refuse what CI would refuse."""
    bad = tmp_path / "bad.py"
    bad.write_text("import os\nx = {  'a':1 }\n")
    entries = {hook["id"]: shlex.split(hook["entry"]) for hook in HOOKS}
    refused = subprocess.run([*entries["rules"], bad], cwd=ROOT, capture_output=True, check=False)
    assert refused.returncode == 1
    assert b"F401" in refused.stdout
    subprocess.run([*entries["format"], bad], cwd=ROOT, capture_output=True, check=True)
    assert bad.read_text() == 'import os\n\nx = {"a": 1}\n'


def test_the_workflow_calls_what_anybody_can_run() -> None:
    """CI has no steps of its own: it runs `.ci/run` on a new machine, within a bound of time."""
    workflow = yaml.safe_load((GITHUB / "workflows/ci.yml").read_text())
    job = workflow["jobs"]["run"]
    assert [step["run"] for step in job["steps"] if step.get("run") == ".ci/run"]
    assert job["timeout-minutes"] <= 60
    assert workflow["permissions"] == {"contents": "read"}
    assert set(workflow[True]) == {"push", "pull_request"}  # YAML reads the key `on` as true


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_forms_ask_for_what_is_needed(form: Path) -> None:
    """A form is one that GitHub takes: known kinds, an id and a label for each, ids unique."""
    read = yaml.safe_load(form.read_text())
    assert {"name", "description", "body"} <= read.keys()
    ids = [field["id"] for field in read["body"]]
    assert len(set(ids)) == len(ids)
    assert {field["type"] for field in read["body"]} <= {"textarea", "input", "dropdown"}
    assert all(field["attributes"]["label"] for field in read["body"])
    assert any(field.get("validations", {}).get("required") for field in read["body"])


def test_holes_are_reported_in_private() -> None:
    """Who opens an issue about a hole is sent elsewhere, and SECURITY.md says the same place."""
    links = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE/config.yml").read_text())["contact_links"]
    assert any(link["url"].endswith("/security/advisories/new") for link in links)
    assert "Report a vulnerability" in (ROOT / "SECURITY.md").read_text()


def test_all_parts_have_one_version() -> None:
    """Distributions, manifests, Dockerfile and the install page name the same."""
    projects = [ROOT / "pyproject.toml", ROOT / "library/pyproject.toml"]
    versions = {tomllib.loads(path.read_text())["project"]["version"] for path in projects}
    assert len(versions) == 1
    (version,) = versions
    tags = re.findall(r"newTag: (\S+)", (ROOT / "k8s/base/kustomization.yaml").read_text())
    images = re.findall(
        r"ghcr\.io/trunkline/[^:\s]+:(\d[\w.]*)",
        (ROOT / "docker/Dockerfile").read_text()
        + (ROOT / "docs/operations/install.md").read_text(),
    )
    assert tags
    assert images
    assert {*tags, *images} == {version}


def test_the_changelog_has_a_place_for_the_next_change() -> None:
    """There is a heading for what is not released, with something under it."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[Unreleased\]\n### \w+\n(#### .+\n)?- ", changelog, re.MULTILINE)
