"""Seeds and keys that depend on what they are for and on nothing else."""

import hashlib
import json
from typing import Any


def digest(*parts: Any) -> str:
    """Return the SHA-256, in hex, of the parts' JSON form."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def seed_of(*parts: Any) -> int:
    """Return a stable seed in [0, 2**63) for what the parts name."""
    return int(digest(*parts)[:16], 16) >> 1
