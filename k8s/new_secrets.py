"""Prints fresh Secrets for a new Trunkline, and writes no file.

    python -m k8s.new_secrets --namespace trunkline | kubectl create -f -

`create`, because it refuses to replace what is there: with other keys all live calls would end.
Keys are changed without that by rotation (docs/operations/keys.md).
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from collections.abc import Sequence
from typing import Any

KEY_BYTES = 32  # what TRUNKLINE_TOKEN_KEYS and TRUNKLINE_TRUNK_KEYS ask for
PASSWORD_BYTES = 24


def new_secrets(namespace: str) -> dict[str, Any]:
    """A `List` of the Secrets that the manifests name, with random values."""
    # URL-safe: it becomes part of TRUNKLINE_REDIS_URL.
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    values = {
        "fleet-keys": {"token-keys": _key_ring(), "trunk-keys": _key_ring()},
        "api-keys": {"api-keys": f"tl-{secrets.token_urlsafe(PASSWORD_BYTES)}"},
        "redis": {"password": password, "redis.conf": _redis_auth(password)},
    }
    items = [_secret(name, namespace, strings) for name, strings in values.items()]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _key_ring() -> str:
    return f"1:{secrets.token_hex(KEY_BYTES)}"


def _redis_auth(password: str) -> str:
    """What servers ask for, and what replicas of them say."""
    return f"requirepass {password}\nmasterauth {password}\n"


def _secret(name: str, namespace: str, strings: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/part-of": "trunkline"},
        },
        "type": "Opaque",
        "stringData": strings,
    }


def main(arguments: Sequence[str]) -> int:
    """Print them; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m k8s.new_secrets", description=__doc__)
    parser.add_argument("--namespace", default="trunkline")
    json.dump(new_secrets(parser.parse_args(arguments).namespace), sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
