"""`python -m relay.worker FD`: one worker of a relay, started by its supervisor."""

from __future__ import annotations

import sys

from relay.worker.loop import main

sys.exit(main())
