"""The wire, version 1: generated from the .proto files beside it by `make proto`; do not edit."""
