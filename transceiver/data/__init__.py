"""The data channels of a call over SCTP."""
