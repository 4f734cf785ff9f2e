# ruff: noqa: RUF001  (ranges are written with an en dash, as in the documentation)
"""Types for fields of settings. Each names its rule in its error, and none quotes a secret."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainValidator, SecretStr

from fleet.admin.access import AdminToken
from fleet.api_key import ApiKey
from fleet.redis_url import is_sentinel, parse_sentinel
from trunkline.process.address import Address, shown
from wire.keys import KeyRing
from wire.token import MAX_CLUSTER

MAX_LIST_ITEMS = 16
MAX_ADMIN_TOKENS = 64

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")
_KEY = re.compile(r"[0-9]{1,2}:[0-9a-fA-F]{64}")


def within(noun: str, low: int, high: int) -> BeforeValidator:
    """A whole number from `low` to `high`; the error reads `70000 is not a port (1–65535)`."""

    def check(value: Any) -> int:
        text = str(value).strip()
        if not _WHOLE_NUMBER.fullmatch(text) or not low <= int(text) <= high:
            raise ValueError(f"{shown(text)} is not {noun} ({low}–{high})")
        return int(text)

    return BeforeValidator(check)


def _numeric_host(value: str) -> str:
    if not Address(value.strip(), 0).numeric:
        raise ValueError(f"{shown(value)} is not an IP address")
    return value.strip()


def _addresses(value: Any) -> tuple[Address, ...]:
    items = value.split(",") if isinstance(value, str) else tuple(value)
    addresses = tuple(a if isinstance(a, Address) else Address.parse(a) for a in items)
    if not 1 <= len(set(addresses)) == len(addresses) <= MAX_LIST_ITEMS:
        raise ValueError(f"1–{MAX_LIST_ITEMS} addresses, each once, separated by commas")
    for address in addresses:
        _check_reachable(address)
    return addresses


def _check_reachable(address: Address) -> None:
    if not address.numeric or address.port == 0:
        raise ValueError(f"{address} is not an IP address with a port (1–65535)")


def _key_ring(value: Any) -> KeyRing:
    if isinstance(value, KeyRing):
        return value
    # The shape is checked first: what stands left of a colon could be a key written backwards.
    if not all(_KEY.fullmatch(item.strip()) for item in str(value).split(",")):
        raise ValueError("each key is written ID:HEX, an id (0–15) and 64 hex digits")
    return KeyRing.parse(str(value))


def _redis_url(value: SecretStr) -> SecretStr:
    rule = (
        "not a Redis address (redis://host:port/0, rediss://user:password@host:port/0, "
        "redis+sentinel://host1:26379,host2:26379/service/0)"
    )
    try:
        if is_sentinel(value.get_secret_value()):
            parse_sentinel(value.get_secret_value())
            return value
        url = urlsplit(value.get_secret_value())
        good = url.scheme in {"redis", "rediss"} and bool(url.hostname) and url.port != 0
    except ValueError:
        # urlsplit's own words quote the port it could not read, which may be half a password.
        raise ValueError(rule) from None
    if not good or not re.fullmatch(r"/?[0-9]{0,4}", url.path):
        raise ValueError(rule)
    return value


def _api_keys(value: Any) -> tuple[ApiKey, ...]:
    items = value.split(",") if isinstance(value, str) else tuple(value)
    keys = tuple(i if isinstance(i, ApiKey) else ApiKey.parse(i) for i in items)
    if len({key.key for key in keys}) != len(keys):
        raise ValueError("a key stands twice")
    return keys


def _admin_tokens(value: Any) -> tuple[AdminToken, ...]:
    items = value.split(",") if isinstance(value, str) else tuple(value)
    tokens = tuple(i if isinstance(i, AdminToken) else AdminToken.parse(i) for i in items)
    if len(tokens) > MAX_ADMIN_TOKENS:
        raise ValueError(f"at most {MAX_ADMIN_TOKENS} tokens")
    return tokens


def _choice(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


Port = Annotated[int, within("a port", 1, 65535)]
"""A port somebody can be told; 1–65535."""

Cluster = Annotated[int, within("a cluster number", 0, MAX_CLUSTER)]
"""Which cluster tokens belong to; 0–4095."""

NumericHost = Annotated[str, AfterValidator(_numeric_host)]
"""An IP address to bind to, without brackets."""

AddressList = Annotated[tuple[Address, ...], PlainValidator(_addresses)]
"""1–16 different addresses as others are told them: numeric, with a port, separated by commas.
Names are refused because they end up in SDP candidates, which browsers read as numbers only."""

Keys = Annotated[KeyRing, PlainValidator(_key_ring)]
"""A key ring, `1:HEX64,2:HEX64`, the first one current."""

RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
"""Where Redis is; a secret as a whole, since it may hold a password."""

ApiKeyList = Annotated[tuple[ApiKey, ...], PlainValidator(_api_keys)]
"""`KEY` or `TENANT:KEY` separated by commas, at least one."""

AdminTokens = Annotated[tuple[AdminToken, ...], PlainValidator(_admin_tokens)]
"""`ROLE:NAME:TOKEN` separated by commas; what is kept opens nothing."""

AnyCase = BeforeValidator(_choice)
"""Put beside a Literal of lower-case words: `INFO` is read as `info`."""
