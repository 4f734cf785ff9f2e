"""How many nodes there should be, as Kubernetes' horizontal autoscaler decides it. Pure.

wanted = ceil(calls / (calls of a full node · target share))      up: at once
down: only to the most that was wanted within the settling time
"""

from __future__ import annotations

import math
from collections import deque

TOLERANCE = 0.1
"""A change of less than a tenth is none (kube-controller-manager's default)."""


class Autoscaler:
    """Asked every so often; `settle` is how many answers a decrease waits."""

    def __init__(
        self, node_calls: int, target_share: float, settle: int, fewest: int, most: int
    ) -> None:
        self._full = node_calls * target_share
        self._recent: deque[int] = deque(maxlen=max(1, settle))
        self._fewest, self._most = fewest, most

    def wanted(self, calls: int, nodes: int) -> int:
        """Nodes there should be, for so many live calls on so many nodes."""
        ratio = calls / (self._full * max(1, nodes))
        exact = nodes if abs(ratio - 1) <= TOLERANCE else math.ceil(calls / self._full)
        bounded = min(self._most, max(self._fewest, exact))
        self._recent.append(bounded)
        return max(self._recent) if bounded < nodes else bounded
