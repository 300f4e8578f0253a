"""Bearer tokens: 256 random bits each, stored as SHA-256, compared in constant time."""

from __future__ import annotations

import hmac
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from qtfeat import _strict_json
from qtfeat.errors import SchemaError
from qtfeat.serve.state import write_atomically

FORMAT = 1
SCOPES = ("read", "predict", "admin")
"""What a token allows: to look, to send features and bars, to move aliases. Each is granted by itself."""

_MOST_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose token it is.

    Attributes:
        name: for the log.
        scopes: what it allows.
    """

    name: str
    scopes: frozenset[str]


class Tokens:
    """The tokens of a file. A random token of 256 bits needs no salt and no slow hash: it cannot be guessed.

    Args:
        holders: SHA-256 of the token to its holder.
    """

    def __init__(self, holders: dict[str, Holder] | None = None) -> None:
        self.holders = dict(holders or {})

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.holders)

    def find(self, token: str) -> Holder | None:
        """Return the holder of a token; every stored one is compared, whatever is found."""
        digest = _digest(token)
        found = None
        for known, holder in self.holders.items():
            if hmac.compare_digest(known, digest):
                found = holder
        return found

    def add(self, name: str, scopes: Iterable[str]) -> str:
        """Make a token and return it; it cannot be read again.

        Raises:
            SchemaError: a name that is taken or none, or an unknown scope.
        """
        if any(holder.name == name for holder in self.holders.values()):
            raise SchemaError(f"there is a token {name!r} already; remove it first")
        holder = _holder(name, scopes)
        token = f"qtf_{secrets.token_urlsafe(32)}"
        self.holders[_digest(token)] = holder
        return token

    def remove(self, name: str) -> None:
        """Forget a token.

        Raises:
            SchemaError: there is none of that name.
        """
        kept = {digest: holder for digest, holder in self.holders.items() if holder.name != name}
        if len(kept) == len(self.holders):
            raise SchemaError(f"there is no token {name!r}")
        self.holders = kept

    @classmethod
    def load(cls, path: str | Path) -> Tokens:
        """Read a file of tokens.

        Raises:
            SchemaError: unreadable, damaged, or of another format.
        """
        try:
            if Path(path).stat().st_size > _MOST_BYTES:
                raise ValueError(f"more than {_MOST_BYTES:,} bytes")  # noqa: TRY301 (one way out for all that is wrong)
            found = _strict_json.parse(Path(path).read_bytes())
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']!r}")  # noqa: TRY301
            entries = found["tokens"]
            holders = {str(entry["sha256"]): _holder(entry["name"], entry["scopes"]) for entry in entries}
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise SchemaError(f"{path}: not a file of tokens of format {FORMAT} ({error})") from error
        if not all(_DIGEST.fullmatch(digest) for digest in holders):
            raise SchemaError(f"{path}: a sha256 is not 64 hexadecimal digits")
        return cls(holders)

    def save(self, path: str | Path) -> None:
        """Replace the file whole, readable by its owner only."""
        entries = [
            {"name": holder.name, "scopes": sorted(holder.scopes), "sha256": digest}
            for digest, holder in self.holders.items()
        ]
        text = json.dumps({"format": FORMAT, "tokens": entries}, indent=1)
        write_atomically(Path(path), text.encode() + b"\n", mode=0o600)


def _digest(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _holder(name: object, scopes: object) -> Holder:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SchemaError(f"token name {name!r}: use letters, digits, '_', '.' and '-'")
    wanted = frozenset(scopes) if isinstance(scopes, Iterable) and not isinstance(scopes, str) else frozenset()
    if not wanted or not wanted <= set(SCOPES):
        raise SchemaError(f"token {name}: scopes are {', '.join(SCOPES)}; got {scopes!r}")
    return Holder(name, wanted)
