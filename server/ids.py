"""Public identifiers (UUIDv7) and secrets."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
import uuid
import zlib

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def new_id() -> str:
    """Make a UUIDv7: sortable by time, unguessable enough for a name, never a secret (RFC 9562, 5.7)."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (
        (milliseconds & (2**48 - 1)) << 80
        | 0x7 << 76
        | (random >> 62 & 0xFFF) << 64
        | 0b10 << 62
        | random & (2**62 - 1)
    )
    return str(uuid.UUID(int=value))


def new_token(kind: str) -> str:
    """Make a secret `lp_KIND_...` of 256 random bits with a checksum, so that a typo is found without the database."""
    body = _base62(int.from_bytes(secrets.token_bytes(32), "big"), 43)
    prefix = f"lp_{kind}_{body}"
    return prefix + _base62(zlib.crc32(prefix.encode()), 6)


def is_well_formed(token: str) -> bool:
    """Whether the token's checksum is right; says nothing about whether it is valid."""
    return (
        token.startswith("lp_")
        and len(token) > 16
        and token.isascii()
        and _base62(zlib.crc32(token[:-6].encode()), 6) == token[-6:]
    )


def hash_secret(secret: str) -> str:
    """SHA-256 in hex: enough for a secret of 256 random bits, and all that is stored of it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _base62(number: int, width: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return digits.rjust(width, "0")
