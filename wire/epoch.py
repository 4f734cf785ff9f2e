"""Epochs in serial arithmetic (RFC 1982): 16 bits that rise with each owner of a node index."""

from __future__ import annotations

from wire.token import MAX_EPOCH

_EPOCHS = MAX_EPOCH + 1


def next_epoch(epoch: int) -> int:
    """The epoch of the next owner; 65535 is followed by 0."""
    return (epoch + 1) % _EPOCHS


def is_older(epoch: int, than: int) -> bool:
    """Whether `epoch` precedes `than` (RFC 1982 §3.2)."""
    return 0 < (than - epoch) % _EPOCHS < _EPOCHS // 2
