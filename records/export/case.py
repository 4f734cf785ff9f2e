"""All that is known of one call, for an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from records.diagnosis.story import Story
from trunkline.v1 import record_pb2 as pb


@dataclass(frozen=True, slots=True)
class Case:
    """Events in the order of time, what was said by source and number, and the story of it."""

    call_id: str
    events: tuple[pb.Event, ...]
    contents: Mapping[tuple[str, int], str]
    story: Story
