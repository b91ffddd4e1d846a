"""Digests of content, and the seeds made from them. Standard library only.

The id of a cell, the fingerprint of a data set and the key of a cache entry are all made here, so that equal content
has equal names on every machine."""

from __future__ import annotations

import hashlib
import json


def canonical(value: object) -> str:
    """JSON text that is the same for equal values, whatever the order of their keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(*parts: str | bytes) -> str:
    """SHA-256 of length-prefixed parts, as 64 hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        total.update(len(raw).to_bytes(8, "big"))
        total.update(raw)
    return total.hexdigest()


def seed_for(*names: object) -> int:
    """A 32-bit seed made from names, so that adding a method never changes another one's draws."""
    return int(digest(*map(str, names))[:8], 16)
