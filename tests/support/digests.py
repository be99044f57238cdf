"""Digests of files, by the standard library and nothing of ours."""

import hashlib
from pathlib import Path


def digest(path: Path) -> str:
    """Return the SHA-256 of the file at *path*, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
