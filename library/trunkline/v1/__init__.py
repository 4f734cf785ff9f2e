"""Generated from the .proto files in `proto/trunkline/v1`; `make proto` writes it again."""
