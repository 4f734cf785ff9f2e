"""The text of `--help`, and one line for each variable that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined
from pydantic_settings import BaseSettings

from trunkline.process.address import shown


def help_text(settings_class: type[BaseSettings], program: str) -> str:
    """Every variable with its default and meaning, in the order of the class."""
    fields = settings_class.model_fields
    entries = (
        f"  {variable(settings_class, name)} ({_default(field)})\n      {field.description}\n"
        for name, field in fields.items()
    )
    return f"usage: {program} [--help]\n\nEnvironment variables:\n\n" + "\n".join(entries)


def complaints(settings_class: type[BaseSettings], error: ValidationError) -> list[str]:
    """One line per bad variable, `NAME: rule`; secrets are never quoted."""
    return list(_lines(settings_class, error))


def variable(settings_class: type[BaseSettings], field_name: str) -> str:
    """The environment variable that sets a field: its alias, or prefix and name in capitals."""
    field = settings_class.model_fields.get(field_name)
    alias = field.validation_alias if field else None
    prefix = settings_class.model_config.get("env_prefix", "")
    return alias if isinstance(alias, str) else f"{prefix}{field_name}".upper()


def _lines(settings_class: type[BaseSettings], error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        place = str(problem["loc"][0]) if problem["loc"] else ""
        name, field = _find(settings_class, place)
        yield f"{name}: {_rule(problem, field)}"


def _find(settings_class: type[BaseSettings], place: str) -> tuple[str, FieldInfo | None]:
    # pydantic names the alias where a field has one, the field otherwise.
    for field_name, field in settings_class.model_fields.items():
        if place in (field_name, field.validation_alias):
            return variable(settings_class, field_name), field
    return place, None


def _rule(problem: ErrorDetails, field: FieldInfo | None) -> str:
    context: dict[str, Any] = problem.get("ctx", {})
    match problem["type"]:
        case "missing":
            return f"required ({field.description})" if field else "required"
        case "value_error":
            return str(context["error"])
        case "literal_error":
            return (
                f"{shown(str(problem['input']))} is not {context['expected'].replace(chr(39), '')}"
            )
        case "bool_parsing" | "bool_type":
            return f"{shown(str(problem['input']))} is not true or false"
    # Whatever else pydantic finds is said without the value, which may be a secret.
    return problem["msg"]


def _default(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "default" in extra:
        return f"default {extra['default']}"
    if field.default is PydanticUndefined:
        return "required"
    return f"default {_written(field.default)}"


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)
