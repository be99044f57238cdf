"""A deletion receipt as its owner checks it: by docs/contracts.md, section 7, alone."""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def is_genuine(receipt: Mapping[str, Any], root: bytes) -> bool:
    """Say whether *root* (32 bytes) is the key that signed a receipt, as the API shows it."""
    if receipt["root_key"] != root.hex():
        return False
    fields = {
        "upload": receipt["upload"],
        "account": receipt["account"],
        "run": receipt["run"],
        "reason": receipt["reason"],
        "region": receipt["region"],
        "size": receipt["size"],
        "keys_destroyed_ms": _milliseconds(receipt["keys_destroyed_at"]),
        "removed_ms": _milliseconds(receipt["removed_at"]),
        "undelivered": receipt["undelivered"],
        "audit_sequence": receipt["audit_sequence"],
        "audit_hash": bytes.fromhex(receipt["audit_hash"]),
    }
    text = hashlib.sha256(msgpack.packb(fields)).digest()
    label = b"zentransfer deletion receipt, version 1\0"
    try:
        key = Ed25519PublicKey.from_public_bytes(root)
        key.verify(bytes.fromhex(receipt["signature"]), label + text)
    except InvalidSignature:
        return False
    return True


def forged(receipt: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the receipt with another value in one field, for each field."""
    for name, value in receipt.items():
        yield {**receipt, name: _another(name, value)}


def _another(name: str, value: Any) -> Any:
    match value:
        case None:
            return "rn_" + "a" * 26
        case int():
            return value + 1
        case list():
            return value[1:] if value else ["ds_" + "a" * 26]
        case _ if name.endswith("_at"):
            later = datetime.fromisoformat(value) + timedelta(milliseconds=1)
            return later.isoformat(timespec="milliseconds")
        case _:
            return value[:-1] + ("0" if value[-1] != "0" else "1")


def _milliseconds(time: str) -> int:
    since = datetime.fromisoformat(time) - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(milliseconds=1)
