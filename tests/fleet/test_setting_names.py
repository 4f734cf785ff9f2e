"""A number that has a unit has it in its name, so that nobody has to look it up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module

from pydantic.fields import FieldInfo

from fleet.settings import ProcessSettings

MODULES = (
    *("relay.settings", "transceiver.settings", "records.settings"),
    *("backends.settings", "backends.agent.settings"),
    *("backends.openai_pipeline.settings", "backends.openai_realtime.settings"),
)
# What a description says of its unit, and how a name ends then.
UNITS = {
    r"per second|a second\b": r"_(per_s|bps)$",
    r"\bseconds\b|how long": r"_(s|ms)$",
    r"\bHz\b": r"_hz$",
    r"^packets\b": r"_packets(_per_s)?$|_per_s$",
}
EXPLAINED = {
    "trunk_mtu",  # an MTU is in bytes wherever there is one
    "transceiver_limits",  # a text in which each amount has a name
}


def numbers() -> Iterator[tuple[str, FieldInfo]]:
    kinds = [ProcessSettings]
    for module in MODULES:
        import_module(module)
    for kind in kinds:  # which grows meanwhile
        kinds += [k for k in kind.__subclasses__() if not k.__module__.startswith("tests.")]
        for name, field in kind.model_fields.items():
            if re.search(r"\b(int|float)\b", str(field.annotation)):
                yield name, field


def test_a_number_with_a_unit_has_it_in_its_name() -> None:
    """Seconds end in `_s`, rates in `_per_s`, frequencies in `_hz`, counts of packets say so."""
    found = dict(numbers())
    assert len(found) > 15
    without = [
        name
        for name, field in found.items()
        for words, ending in UNITS.items()
        if name not in EXPLAINED
        and re.search(words, (field.description or "").split(";")[0])
        and not re.search(ending, name)
    ]
    assert without == []
