"""A call as one JSON object: its story, and its events with what was said."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.json_format import MessageToDict
from pydantic import TypeAdapter

from records.diagnosis.story import Story
from records.export.case import Case
from trunkline.v1 import record_pb2 as pb

_STORY = TypeAdapter(Story)


def write_json(case: Case) -> bytes:
    """`call_id`, `story` and `events`; events have the fields of record.proto."""
    events = [_event(one, case) for one in case.events]
    story = _STORY.dump_python(case.story, mode="json")
    whole = {"call_id": case.call_id, "story": story, "events": events}
    return json.dumps(whole, indent=1).encode()


def _event(event: pb.Event, case: Case) -> dict[str, Any]:
    fields = MessageToDict(event, preserving_proto_field_name=True)
    said = case.contents.get((event.source, event.number))
    return fields if said is None else {**fields, "content": said}
