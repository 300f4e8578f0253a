"""Feature sets: what is computed, by name, from TOML, and what is known of it beforehand."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np

from qtfeat import _core
from qtfeat.errors import FeatureSpecError, SchemaError

__all__ = ["FILL", "FeatureSet", "Numerics", "as_feature_set"]

Numerics = Literal["safe", "talib", "legacy"]
FILL = "ffill_bfill_zero"


class FeatureSet:
    """A compiled, immutable set of features.

    Args:
        specs: features, each `indicator(args, key=value)`, `indicator(args).output` or `name = expression`.
        numerics: arithmetic profile: "safe" (finite by construction), "talib" (seeds and warm-up as TA-Lib)
            or "legacy" (the formulas of the engine this one replaces).
        eps: what the legacy profile adds to denominators.
        fill: "ffill_bfill_zero" or None; a step after the graph that only the legacy profile has, where it is
            the default. It is not causal: streams and record batches refuse a set that has it.
        name: a name for messages; not part of the fingerprint.

    Raises:
        FeatureSpecError: a spec that cannot be built; the message points at the character.
        SchemaError: an unknown profile or fill, or an argument of the wrong type.

    Example:
        >>> fs = FeatureSet(["rsi(14)", "trend = (close - ema(close,50)) / atr(14)"])
        >>> fs.columns
        ['rsi', 'trend']
        >>> fs.warmup
        {'rsi': 14, 'trend': 49}
    """

    __slots__ = ("_columns", "_core", "_describe", "_fault", "eps", "fill", "name", "numerics", "specs")

    eps: float
    fill: str | None
    name: str | None
    numerics: str
    specs: tuple[str, ...]
    _columns: tuple[str, ...]
    _core: _core.FeatureSet
    _describe: list[dict[str, Any]]
    _fault: str | None

    def __init__(
        self,
        specs: Iterable[str],
        numerics: Numerics = "safe",
        eps: float = 1e-8,
        *,
        fill: str | None = "default",
        name: str | None = None,
        _fault: str | None = None,
    ) -> None:
        listed = _texts(specs)
        eps = _eps(eps)
        if not isinstance(numerics, str):
            raise SchemaError(f"numerics must be 'safe', 'talib' or 'legacy', not {numerics!r}")
        if name is not None and not isinstance(name, str):
            raise SchemaError(f"name must be a text, not {name!r}")
        if fill == "default":
            fill = FILL if numerics == "legacy" else None
        if fill not in (None, FILL) or (fill and numerics != "legacy"):
            raise SchemaError(f"fill must be None, or {FILL!r} with numerics='legacy', not {fill!r}")
        compiled = _core.FeatureSet(listed, numerics, eps, fill is not None, _fault)
        fields: dict[str, object] = {
            "specs": tuple(listed),
            "numerics": numerics,
            "eps": eps,
            "fill": fill,
            "name": name,
        }
        fields |= {"_core": compiled, "_columns": tuple(compiled.columns), "_describe": [], "_fault": _fault}
        for field, value in fields.items():
            object.__setattr__(self, field, value)

    def __setattr__(self, field: str, value: object) -> None:
        raise AttributeError(f"a FeatureSet cannot be changed: make another one ({field} = {value!r})")

    def __delattr__(self, field: str) -> None:
        raise AttributeError(f"a FeatureSet cannot be changed ({field})")

    @classmethod
    def load(cls, name: str, **options: Any) -> FeatureSet:
        """A set shipped with the package: "kline17", "trade14", "seq8" or "wide32".

        Raises SchemaError for another name.
        """
        folder = resources.files("qtfeat") / "sets"
        names = sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml"))
        if name not in names:
            raise SchemaError(f"no feature set {name!r}; shipped are: {', '.join(names)}")
        return cls._parse((folder / f"{name}.toml").read_text(encoding="utf-8"), f"{name}.toml", options)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> FeatureSet:
        """A set from a TOML file with `features = [...]` and, if wanted, `name`, `numerics`, `eps`, `fill`.

        Raises SchemaError when the file is not such a TOML, FeatureSpecError for a bad spec.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise SchemaError(f"{path}: not UTF-8: {error}") from None
        return cls._parse(text, str(path), {})

    @classmethod
    def _parse(cls, text: str, where: str, options: dict[str, Any]) -> FeatureSet:
        try:
            toml = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
            raise SchemaError(f"{where}: not valid TOML: {error}") from None
        unknown = set(toml) - {"name", "description", "features", "numerics", "eps", "fill"}
        if unknown:
            raise SchemaError(f"{where}: unknown key {sorted(unknown)[0]!r}")
        features = toml.get("features")
        if not isinstance(features, list) or not all(isinstance(f, str) for f in features):
            raise SchemaError(f"{where}: features = [...] must be a list of texts")
        given: dict[str, Any] = {k: toml[k] for k in ("name", "numerics", "eps") if k in toml}
        if "fill" in toml:
            given["fill"] = toml["fill"] or None
        try:
            return cls(features, **(given | options))
        except SchemaError as error:
            raise SchemaError(f"{where}: {error}") from None

    def to_toml(self, path: str | os.PathLike[str] | None = None) -> str:
        """The set as TOML text that `from_toml` reads back to the same fingerprint; written to `path` if given."""
        lines = [f"name = {_quoted(self.name)}"] if self.name else []
        lines += [f"numerics = {_quoted(self.numerics)}", f"eps = {self.eps!r}"]
        if self.numerics == "legacy":
            lines.append(f"fill = {_quoted(self.fill or '')}")
        lines += ["features = [", *(f"    {_quoted(s)}," for s in self.specs), "]", ""]
        text = "\n".join(lines)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    @property
    def columns(self) -> list[str]:
        """Names of the features, in output order."""
        return list(self._columns)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the canonical set, the profile and the numerics version."""
        return self._core.fingerprint

    @property
    def warmup(self) -> dict[str, int]:
        """Leading null rows of each column, given valid bars."""
        return dict(zip(self._columns, self._core.warmup, strict=True))

    @property
    def extras(self) -> list[str]:
        """Names of the extra columns the set reads, in the order in which streams take them."""
        return self._core.extras

    @property
    def needs_time(self) -> bool:
        """True if the set has calendar features."""
        return self._core.needs_time

    @property
    def inputs(self) -> list[str]:
        """The bar columns the set reads."""
        return self._core.inputs

    def bars_for(self, digits: float = 4) -> int:
        """Bars until every feature has forgotten the start of its series to `digits` digits."""
        if isinstance(digits, bool) or not isinstance(digits, float | int | np.number) or not 0 < digits <= 16:
            raise SchemaError(f"digits must be in 0..16, not {digits}")
        return self._core.bars_for(float(digits))

    def describe(self) -> list[dict[str, Any]]:
        """One dict per column: name, canonical spec, unit, min, max, neutral, warmup, memory, scale_free, ..."""
        if not self._describe:
            self._describe.extend(self._core.describe())
        return [dict(row) for row in self._describe]

    def __len__(self) -> int:
        return len(self._columns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FeatureSet) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        name = f"{self.name!r}, " if self.name else ""
        return f"FeatureSet({name}{len(self)} columns, {self.numerics}, {self.fingerprint[:12]})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.specs, self.numerics, self.eps, self.fill, self.name)


def _rebuild(specs: Sequence[str], numerics: Numerics, eps: float, fill: str | None, name: str | None) -> FeatureSet:
    return FeatureSet(specs, numerics, eps, fill=fill, name=name)


def _texts(specs: Iterable[str]) -> list[str]:
    """Specs as a list; anything but texts is a FeatureSpecError."""
    try:
        listed = [specs] if isinstance(specs, str) else list(specs)
    except TypeError:
        raise FeatureSpecError(f"specs must be texts, such as 'rsi(14)', not {specs!r}") from None
    if not all(isinstance(s, str) for s in listed):
        raise FeatureSpecError(f"specs must be texts, such as 'rsi(14)', not {specs!r}")
    for spec in listed:
        if not spec.isascii() and any("\ud800" <= c <= "\udfff" for c in spec):
            raise FeatureSpecError(f"the spec {spec!r} is no valid Unicode", spec=spec)
    return listed


def _eps(eps: Any) -> float:
    try:
        value = float(eps) if isinstance(eps, float | int | np.number) and not isinstance(eps, bool) else math.nan
    except (OverflowError, TypeError):
        value = math.nan
    if not (math.isfinite(value) and value >= 0.0):
        raise SchemaError(f"eps must be a number >= 0, not {str(eps)[:40]}")
    return value


def _quoted(text: str) -> str:
    """A TOML basic string."""
    escaped: dict[str, str | int | None] = {chr(c): f"\\u{c:04X}" for c in (*range(0x20), 0x7F)}
    escaped |= {"\\": "\\\\", '"': '\\"'}
    return '"' + text.translate(str.maketrans(escaped)) + '"'


def as_feature_set(fs: FeatureSet | str | Iterable[str]) -> FeatureSet:
    """A feature set from one, from the name of a shipped one, or from specs."""
    if isinstance(fs, FeatureSet):
        return fs
    if isinstance(fs, str):
        return FeatureSet.load(fs)
    if fs is None or not hasattr(fs, "__iter__"):
        raise SchemaError(f"a FeatureSet, the name of a shipped one, or specs are needed, not {fs!r}")
    return FeatureSet(fs)
