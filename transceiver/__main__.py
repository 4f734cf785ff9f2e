"""`python -m transceiver`: one transceiver, of one process or of several."""

from __future__ import annotations

import fleet.extras  # noqa: F401 - first: it says what to install when an import below fails

# isort: split
import sys
from functools import partial

from fleet import logs
from fleet.settings import load
from transceiver import service
from transceiver.pod import crew
from transceiver.settings import TransceiverSettings
from trunkline.process import shell


def main() -> int:
    """Entry point; returns the exit status."""
    settings = load(TransceiverSettings, "python -m transceiver")
    logs.configure(settings.log_level, settings.log_format, process="transceiver")
    several = settings.transceiver_processes > 1
    return shell.run(partial(crew.run if several else service.run, settings))


if __name__ == "__main__":
    sys.exit(main())
