"""How predictions become signals: one TOML, hashed into every signal."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from qtfeat.errors import SchemaError
from qtfeat.labels import SIDES

FORMAT = 1
Source = Literal["model", "rule", "guard"]

_SELL, _HOLD, _BUY = range(len(SIDES))
_MOST_BYTES = 1 << 16

_POSITIVE = (1e-12, 1e12)
_SHARE = (0.0, 1.0)
# setting: kind and range; the one list of what a policy file may hold
_SETTINGS: dict[str, dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "side": {"buy": (float, (0.5, 1.0)), "sell": (float, (0.0, 0.5))},
    "confidence": {"kind": (None, ("probability", "legacy")), "filter": (float, _SHARE), "fallback": (float, _SHARE)},
    "rule": {
        "oversold": (float, (0.0, 50.0)),
        "overbought": (float, (50.0, 100.0)),
        "selectable": (bool, _SHARE),
    },
    "select": {"top": (int, (0, 100_000)), "positions": (int, (0, 100_000)), "hold_bars": (int, (1, 1_000_000))},
    "size": {
        "margin": (float, _POSITIVE),
        "notional_cap": (float, _POSITIVE),
        "leverage_min": (float, (1.0, 125.0)),
        "leverage_max": (float, (1.0, 125.0)),
        "leverage_mid": (float, (1.0, 125.0)),
        "reference_volatility": (float, (1e-9, 1.0)),
        "stop_loss": (float, (1e-6, 0.99)),
        "take_profit": (float, (1e-6, 100.0)),
    },
    "guard": {"drift_limit": (float, (0.0, 1e6))},
}


class Opinion(Struct, frozen=True, gc=False):
    """What is known of one symbol when its bar has closed.

    Attributes:
        symbol: its name.
        p: calibrated probabilities of SELL, HOLD, BUY; None where there is no prediction.
        score: the regressor's forecast, which ranks symbols.
        rsi: rsi(14), NaN where there is none.
        volatility: standard deviation of recent returns, NaN where there is none.
        close: close of the bar.
        drift: drift index of the inputs against training.
    """

    symbol: str
    p: tuple[float, float, float] | None
    score: float
    rsi: float
    volatility: float
    close: float
    drift: float = 0.0


class Decision(Struct, frozen=True, gc=False):
    """What the policy makes of an opinion.

    Attributes:
        symbol: its name.
        side: SELL, HOLD or BUY.
        confidence: on the scale of `source`, 0..1.
        source: `"model"`, `"rule"` (the model had no opinion) or `"guard"` (the model must not speak).
        reason: why it is HOLD, or not selected; empty otherwise.
        selected: one of the cycle's best signals.
        leverage: 0 where nothing is selected.
        notional: quote currency, 0 where nothing is selected.
        stop: price of the stop loss; None where nothing is selected.
        target: price of the take profit; None where nothing is selected.
    """

    symbol: str
    side: str
    confidence: float
    source: Source
    reason: str
    selected: bool = False
    leverage: float = 0.0
    notional: float = 0.0
    stop: float | None = None
    target: float | None = None


class Policy:
    """Side, confidence, filter, ranking and size, from one TOML.

    Attributes:
        settings: section to setting to value, complete.
        hash: sha256 over the settings, the first 16 hexadecimal digits; equal settings have equal hashes.
    """

    def __init__(self, settings: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Take the shipped settings, with `settings` over them."""
        self.settings = _merged(_shipped(), settings or {})
        text = json.dumps(self.settings, sort_keys=True, separators=(",", ":"), allow_nan=False)
        self.hash = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.fallback: float = self.settings["confidence"]["fallback"]
        self.filter: float = self.settings["confidence"]["filter"]
        self.legacy: bool = self.settings["confidence"]["kind"] == "legacy"
        self._buy: float = self.settings["side"]["buy"]
        self._sell: float = self.settings["side"]["sell"]
        self._drift_limit: float = self.settings["guard"]["drift_limit"]

    @classmethod
    def load(cls, path: str | Path | None = None) -> Policy:
        """Read a policy file; what it does not set is as shipped. None gives the shipped policy.

        Raises:
            SchemaError: not TOML, an unknown setting, a wrong type, a value outside its range.
        """
        return cls(None if path is None else _read(Path(path).read_bytes(), str(path)))

    def decide(
        self, opinions: Sequence[Opinion], *, open_symbols: frozenset[str] = frozenset(), halt: str = ""
    ) -> list[Decision]:
        """Decide one cycle.

        Args:
            opinions: one per symbol whose bar has just closed.
            open_symbols: symbols with an open position; they are not selected again and count against the maximum.
            halt: a reason why the model must not speak now (a stale model); every model signal is HOLD then.

        Returns:
            One decision per opinion, in their order.
        """
        decided = [self.side_of(opinion, halt) for opinion in opinions]
        return self._select(opinions, decided, open_symbols)

    def share(self, p: tuple[float, float, float]) -> float:
        """Return P(BUY) / (P(BUY) + P(SELL)); 0.5 where both are 0."""
        total = p[_BUY] + p[_SELL]
        return p[_BUY] / total if total > 0.0 else 0.5

    def side_of(self, opinion: Opinion, halt: str = "") -> Decision:
        """Decide one symbol by itself: side, confidence and source; nothing is selected or sized."""
        if opinion.p is None:
            return Decision(opinion.symbol, "HOLD", 0.0, "guard", "warm-up: no prediction yet")
        share = self.share(opinion.p)
        confidence = abs(share - 0.5) * 2.0 if self.legacy else max(opinion.p)
        if halt:
            return Decision(opinion.symbol, "HOLD", confidence, "guard", halt)
        if not opinion.drift <= self._drift_limit:
            reason = f"drift index {opinion.drift:.3f} is above {self._drift_limit:g}"
            return Decision(opinion.symbol, "HOLD", confidence, "guard", reason)
        if confidence < self.fallback:
            return self._rule(opinion)
        name = "BUY" if share >= self._buy else "SELL" if share <= self._sell else "HOLD"
        reason = ""
        if name == "HOLD":
            reason = f"share {share:.3f} is between {self._sell:g} and {self._buy:g}"
        elif confidence < self.filter:
            reason = f"confidence {confidence:.3f} is under the filter {self.filter:g}"
        return Decision(opinion.symbol, name, confidence, "model", reason)

    def _rule(self, opinion: Opinion) -> Decision:
        rule = self.settings["rule"]
        if math.isnan(opinion.rsi):
            return Decision(opinion.symbol, "HOLD", 0.0, "rule", "the model has no opinion, and there is no RSI")
        name = "BUY" if opinion.rsi <= rule["oversold"] else "SELL" if opinion.rsi >= rule["overbought"] else "HOLD"
        confidence = min(1.0, abs(opinion.rsi - 50.0) / 50.0)
        reason = "" if name != "HOLD" and rule["selectable"] else "the model has no opinion; the RSI rule speaks"
        return Decision(opinion.symbol, name, confidence, "rule", reason)

    def _select(
        self, opinions: Sequence[Opinion], decided: list[Decision], open_symbols: frozenset[str]
    ) -> list[Decision]:
        """Mark the best of the cycle and size them."""
        able = [i for i, d in enumerate(decided) if not d.reason and d.side != "HOLD"]
        if not able:
            return decided
        free = max(0, self.settings["select"]["positions"] - len(open_symbols))
        top = self.settings["select"]["top"]
        # The strongest forecast in the signal's own direction; the name breaks ties, so that order never matters.
        able.sort(key=lambda i: (-_forecast(opinions[i], decided[i]), decided[i].symbol))
        taken = 0
        for rank, i in enumerate(able):
            if decided[i].symbol in open_symbols:
                decided[i] = _because(decided[i], "a position is open")
            elif rank >= top:
                decided[i] = _because(decided[i], f"not among the {top} strongest")
            elif taken >= free:
                decided[i] = _because(decided[i], f"{self.settings['select']['positions']} positions are the maximum")
            else:
                decided[i] = self._sized(opinions[i], decided[i])
                taken += 1
        return decided

    def _sized(self, opinion: Opinion, decision: Decision) -> Decision:
        size = self.settings["size"]
        # No volatility counts as a very high one: the least leverage.
        calm = size["reference_volatility"] / opinion.volatility if opinion.volatility > 0.0 else 0.0
        sure = decision.confidence / self.filter if self.filter > 0.0 else 1.0
        leverage = min(size["leverage_max"], max(size["leverage_min"], size["leverage_mid"] * calm * sure))
        sign = 1.0 if decision.side == "BUY" else -1.0
        return Decision(
            decision.symbol,
            decision.side,
            decision.confidence,
            decision.source,
            "",
            selected=True,
            leverage=leverage,
            notional=min(size["notional_cap"], size["margin"] * leverage),
            stop=opinion.close * (1.0 - sign * size["stop_loss"]),
            target=opinion.close * (1.0 + sign * size["take_profit"]),
        )


def _because(decision: Decision, reason: str) -> Decision:
    return Decision(decision.symbol, decision.side, decision.confidence, decision.source, reason)


def _forecast(opinion: Opinion, decision: Decision) -> float:
    score = opinion.score if decision.side == "BUY" else -opinion.score
    return score if math.isfinite(score) else -math.inf


def _shipped() -> dict[str, dict[str, Any]]:
    return _read(files("qtfeat.serve").joinpath("policy.toml").read_bytes(), "policy.toml")


def _read(data: bytes, name: str) -> dict[str, dict[str, Any]]:
    """Return the sections of a policy file, each value of its type and in its range."""
    if len(data) > _MOST_BYTES:
        raise SchemaError(f"{name}: {len(data)} bytes are more than the {_MOST_BYTES} that a policy may have")
    try:
        found = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SchemaError(f"{name}: {error}") from error
    version = found.pop("format", None)
    if type(version) is not int or version != FORMAT:
        raise SchemaError(f"{name}: format = {FORMAT} is expected, found {version!r}")
    return found


def _merged(base: Mapping[str, Mapping[str, Any]], over: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {section: dict(values) for section, values in base.items()}
    for section, values in over.items():
        if section not in _SETTINGS:
            raise SchemaError(f"policy: [{section}] is not a section; there are {', '.join(_SETTINGS)}")
        if not isinstance(values, Mapping):
            raise SchemaError(f"policy: {section} must be a section, not {values!r}")
        out[section].update(values)
    for section, values in out.items():
        for key, value in values.items():
            out[section][key] = _checked(section, key, value)
    size = out["size"]
    if not size["leverage_min"] <= size["leverage_mid"] <= size["leverage_max"]:
        raise SchemaError("policy: [size] leverage_min <= leverage_mid <= leverage_max is expected")
    return out


def _checked(section: str, key: str, value: Any) -> Any:
    allowed = _SETTINGS[section].get(key)
    if allowed is None:
        raise SchemaError(f"policy: [{section}] has no {key!r}; it has {', '.join(_SETTINGS[section])}")
    if allowed[0] is None:
        if value not in allowed[1]:
            raise SchemaError(f"policy: {section}.{key} = {value!r}: one of {', '.join(allowed[1])} is expected")
        return value
    kind, (low, high) = allowed
    wrong = isinstance(value, bool) if kind is not bool else not isinstance(value, bool)
    if wrong or not isinstance(value, (int, float) if kind is float else kind):
        raise SchemaError(f"policy: {section}.{key} = {value!r}: a {kind.__name__} is expected")
    if not low <= value <= high:
        raise SchemaError(f"policy: {section}.{key} = {value!r}: expected in {low:g}..{high:g}")
    return kind(value)
