"""Trunkline's library: what the author of a model backend installs.

`trunkline.backend` serves calls, `trunkline.v1` is the wire format, `trunkline.process` is what
every process of ours starts with. It needs grpcio and protobuf, and nothing else.
"""

import os

# gRPC's C core writes to stderr by itself, peers' addresses included, past every log. It reads this
# when it is first imported, which is after this package.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
