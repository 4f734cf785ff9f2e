"""What every process of a fleet needs. It knows nothing of media."""

import os

# gRPC's C core writes to stderr by itself, peers' addresses included, past our redaction. It reads
# this when it is first imported, which for our processes is after this package.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
