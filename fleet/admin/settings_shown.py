"""The settings of a process as operators may see them, without secrets."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from fleet.admin.access import AdminToken
from fleet.admin.operator import key_ids
from fleet.api_key import ApiKey
from fleet.usage import variable
from wire.keys import KeyRing

HIDDEN = "***"


def shown_settings(settings: BaseSettings) -> dict[str, str]:
    """Every variable with its value; secrets as ***, key rings as their ids, tokens as names."""
    kind = type(settings)
    return {variable(kind, name): _shown(value) for name, value in settings}


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, KeyRing):
        return "ids " + ",".join(map(str, key_ids(value)))
    if isinstance(value, AdminToken | ApiKey):
        return f"{_holder(value)}:{HIDDEN}"
    if isinstance(value, tuple):
        return ",".join(map(_shown, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _holder(value: AdminToken | ApiKey) -> str:
    if isinstance(value, ApiKey):
        return value.tenant
    return f"{value.operator.role.value}:{value.operator.name}"
