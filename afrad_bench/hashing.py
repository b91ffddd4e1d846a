"""Content digests, and seeds derived from them. Standard library only.

Cell ids, data set fingerprints and cache keys are all computed here, so that equal content has an equal name on every
machine."""

from __future__ import annotations

import hashlib
import json


def canonical(value: object) -> str:
    """JSON text that is the same for equal values, regardless of key order. `ValueError` for NaN and infinity."""
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
    """A 32-bit seed derived from names, so that adding a method never changes the random numbers of another one."""
    return int(digest(*map(str, names))[:8], 16)
