"""Makes the library's `Address` a type for fields of settings."""

from __future__ import annotations

from typing import Any

from pydantic_core import core_schema

from trunkline.process.address import MAX_PORT, is_numeric, shown
from trunkline.process.address import Address as PlainAddress

__all__ = ["MAX_PORT", "Address", "is_numeric", "shown"]


class Address(PlainAddress):
    """A host and a port; a settings field of this type takes an Address or its text."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else cls.parse(str(value)),
            serialization=core_schema.to_string_ser_schema(),
        )
