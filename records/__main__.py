"""`python -m records`: one recorder; several may run."""

from __future__ import annotations

import fleet.extras  # noqa: F401 - first: it says what to install when an import below fails

# isort: split
import sys
from functools import partial

from fleet import logs
from fleet.settings import load
from records import service
from records.settings import RecordsSettings
from trunkline.process import shell


def main() -> int:
    """Entry point; returns the exit status."""
    settings = load(RecordsSettings, "python -m records")
    logs.configure(settings.log_level, settings.log_format, process="records")
    return shell.run(partial(service.run, settings))


if __name__ == "__main__":
    sys.exit(main())
