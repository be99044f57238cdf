"""Protobuf <-> commands, and nothing else."""
