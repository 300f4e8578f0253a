"""The limits of the gates: one TOML file, checked, hashed, and compared with the defaults."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from qtfeat.errors import SchemaError

VERSION = 1
_MAX_BYTES = 1 << 20

# What a limit may be at all: (whole number, least, most). Outside of it a gate would mean nothing.
_RANGES: dict[str, tuple[bool, float, float]] = {
    "integrity.min_rows": (True, 1, 1e12),
    "diversity.max_class_share": (False, 1 / 3, 1.0),
    "diversity.min_class_share": (False, 0.0, 0.5),
    "diversity.min_classes": (True, 1, 3),
    "spread.min_sd": (False, 0.0, 0.5),
    "spread.min_p10_p90": (False, 0.0, 1.0),
    "direction.min_slope": (False, 0.0, 1e3),
    "direction.max_slope": (False, 0.0, 1e3),
    "direction.min_t": (False, 0.0, 1e3),
    "skill.min_folds": (True, 1, 1e4),
    "skill.min_positive_folds": (False, 0.0, 1.0),
    "skill.min_t": (False, 0.0, 1e3),
    "baselines.min_margin": (False, 0.0, 1.0),
    "costs.min_fee": (False, 0.0, 0.1),
    "costs.min_slippage": (False, 0.0, 0.1),
    "costs.min_net": (False, 0.0, 1.0),
    "overfit.max_rank_ic_gap": (False, 0.0, 2.0),
    "overfit.max_r2_gap": (False, 0.0, 2.0),
    "stability.min_seeds": (True, 2, 1e4),
    "stability.max_sd_over_mean": (False, 0.0, 1e3),
    "calibration.max_ece": (False, 0.0, 1.0),
    "canary.min_permutations": (True, 1, 1e4),
    "canary.max_permuted": (False, 0.0, 100.0),
    "ceiling.max_r2": (False, 0.0, 1.0),
    "ceiling.max_hit": (False, 0.5, 1.0),
    "champion.min_t": (False, -100.0, 100.0),
    "signals.min_share": (False, 0.0, 1.0),
}


@dataclass(frozen=True)
class Limits:
    """Every limit by its dotted name, for example `skill.min_t`.

    Attributes:
        values: dotted name to number; complete, and not to be changed: the hash is of these.
        version: version of the gates that the limits belong to.
        source: where they were read from; not part of the hash.

    Raises:
        SchemaError: an unknown or missing limit, a wrong type, NaN, or a number outside what makes sense for it.
    """

    values: Mapping[str, float]
    version: int = VERSION
    source: str = field(default="qtfeat", compare=False)

    def __post_init__(self) -> None:
        _check_version(self.version, self.source)
        missing = sorted(_RANGES.keys() - self.values.keys())
        if missing:
            raise SchemaError(f"{self.source}: limit {missing[0]} is missing", column=missing[0])
        for name, value in self.values.items():
            _check(name, value, self.source)
        if self.values["direction.min_slope"] > self.values["direction.max_slope"]:
            raise SchemaError(f"{self.source}: direction.min_slope is above direction.max_slope")
        object.__setattr__(self, "values", MappingProxyType(dict(sorted(self.values.items()))))

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    @classmethod
    def load(cls, path: str | Path | None = None) -> Limits:
        """Read the shipped limits, or a file that says what differs from them.

        Args:
            path: a TOML file with `version = 1` and any of the limits; None for the shipped ones.

        Raises:
            SchemaError: not TOML, another version, an unknown limit, a wrong type, NaN, or nonsense (a share
                below 0, say). The message names file, limit and value.
            OSError: the file cannot be read.
        """
        shipped = resources.files("qtfeat.gates") / "gates.toml"
        default = cls(*_read(shipped.read_bytes(), "qtfeat gates.toml"), source="qtfeat gates.toml")
        if path is None:
            return default
        with Path(path).open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        values, version = _read(data, str(path))
        return cls({**default.values, **values}, version, source=str(path))

    @classmethod
    def from_dict(cls, stored: Any, source: str = "gates.json") -> Limits:
        """Return the limits that `as_dict` wrote; raises SchemaError where they are not."""
        if not isinstance(stored, dict) or not isinstance(stored.get("values"), dict):
            raise SchemaError(f"{source}: limits are missing")
        limits = cls(stored["values"], stored.get("version", 0), source)
        if stored.get("hash") != limits.hash:
            raise SchemaError(f"{source}: the limits hash to {limits.hash}, not to {stored.get('hash')!r}")
        return limits

    @cached_property
    def hash(self) -> str:
        """SHA-256 of version and values; comments, order and spelling of the file do not matter."""
        text = json.dumps([self.version, {name: float(v) for name, v in self.values.items()}], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def changes(self) -> tuple[str, ...]:
        """What differs from the shipped limits, as `skill.min_t: 2 -> 1 (looser)`."""
        default = Limits.load()
        return tuple(
            f"{name}: {default[name]:g} -> {value:g} ({_way(name, value, default[name])})"
            for name, value in self.values.items()
            if value != default[name]
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the limits as JSON values, with their hash and what differs from the shipped ones."""
        return {
            "version": self.version,
            "hash": self.hash,
            "values": dict(self.values),
            "changes": list(self.changes),
        }


def _read(data: bytes, source: str) -> tuple[dict[str, float], int]:
    """Return the limits of a TOML text by dotted name, and its version."""
    if len(data) > _MAX_BYTES:
        raise SchemaError(f"{source}: more than {_MAX_BYTES:,} bytes")
    try:
        parsed = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"{source}: not TOML ({error})") from error
    version = parsed.pop("version", None)
    _check_version(version, source)
    values = {}
    for table, limits in parsed.items():
        if not isinstance(limits, dict):
            raise SchemaError(f"{source}: {table} is not a table of limits", column=table)
        for name, value in limits.items():
            _check(f"{table}.{name}", value, source)
            values[f"{table}.{name}"] = value
    return values, version


def _check_version(version: Any, source: str) -> None:
    if type(version) is not int or version != VERSION:
        raise SchemaError(f"{source}: version = {VERSION} is expected, not {version!r}", column="version")


def _check(name: str, value: Any, source: str) -> None:
    """Refuse a limit that is unknown, of a wrong type, or outside what makes sense."""
    if name not in _RANGES:
        raise SchemaError(f"{source}: unknown limit {name}", column=name)
    whole, least, most = _RANGES[name]
    good = type(value) is int or (type(value) is float and math.isfinite(value) and not whole)
    if not good:
        kind = "whole number" if whole else "finite number"
        raise SchemaError(f"{source}: {name} must be a {kind}, not {str(value)[:80]!r}", column=name)
    if not least <= value <= most:
        # Not as a float: a TOML file can hold whole numbers beyond them.
        raise SchemaError(
            f"{source}: {name} = {str(value)[:40]} is outside {least:g}..{most:g}", column=name, value=value
        )


def _way(name: str, value: float, default: float) -> str:
    upper = name.partition(".")[2].startswith("max_")
    return "looser" if (value > default) == upper else "stricter"
