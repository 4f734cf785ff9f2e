"""Trunkline's library: what the author of a model backend installs.

`trunkline.backend` serves calls, `trunkline.v1` is the wire format, `trunkline.process` is what
every process of ours starts with. It needs grpcio and protobuf, and nothing else.
"""
