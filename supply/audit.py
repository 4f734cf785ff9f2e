"""`python -m supply.audit PIP_AUDIT`: known vulnerabilities of what constraints.txt names.

Exit status 0: none but those of audit-exceptions.toml; 1: others; 2: the advisories cannot be read
from here, so nothing is known. What could not be asked about never counts as sound.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
EXCEPTIONS = Path(__file__).with_name("audit-exceptions.toml")
SOUND, VULNERABLE, UNKNOWN = 0, 1, 2
MAX_NAMED = 8


@dataclass(frozen=True)
class Verdict:
    """What is said, and with which exit status."""

    status: int
    lines: tuple[str, ...]


def exceptions(text: str) -> dict[str, str]:
    """Accepted advisories by id, each with its reason. Raises ValueError for one without."""
    found: dict[str, str] = {}
    for entry in tomllib.loads(text).get("exception", []):
        if not entry.get("id") or not entry.get("reason"):
            raise ValueError("each exception has an id and a reason")
        found[entry["id"]] = entry["reason"]
    return found


def judge(report: Mapping[str, Any], accepted: Mapping[str, str]) -> Verdict:
    """What pip-audit's JSON report comes down to."""
    packages = report["dependencies"]
    unknown = [one["name"] for one in packages if "skip_reason" in one]
    found = [
        f"{one['name']} {one['version']}: {flaw['id']}, mended in {_versions(flaw)}"
        for one in packages
        for flaw in one.get("vulns", ())
        if not {flaw["id"], *flaw.get("aliases", ())} & set(accepted)
    ]
    if found:
        return Verdict(VULNERABLE, tuple(found))
    if unknown:
        some = ", ".join(unknown[:MAX_NAMED]) + (", …" if len(unknown) > MAX_NAMED else "")
        where = f"advisories cannot be read from here for {len(unknown)} of {len(packages)}"
        return Verdict(UNKNOWN, (f"{where} packages: {some}",))
    return Verdict(SOUND, (f"{len(packages)} packages, no known vulnerability",))


def _versions(flaw: Mapping[str, Any]) -> str:
    return ", ".join(flaw.get("fix_versions", ())) or "no version yet"


def run(pip_audit: str) -> Verdict:
    """Ask. A service that cannot be reached is a verdict, too."""
    command: Sequence[str] = (
        *(pip_audit, "-r", str(CONSTRAINTS), "--no-deps", "--disable-pip"),
        *("--vulnerability-service", "pypi", "--progress-spinner", "off", "-f", "json"),
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    try:
        report = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return Verdict(UNKNOWN, (f"pip-audit could not ask: {last}",))
    return judge(report, exceptions(EXCEPTIONS.read_text()))


if __name__ == "__main__":
    verdict = run(sys.argv[1])
    print("\n".join(verdict.lines))
    sys.exit(verdict.status)
