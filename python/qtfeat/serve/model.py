"""A model of the registry, evaluated in Rust: neither XGBoost nor LightGBM is needed to serve it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qtfeat import _core, registry
from qtfeat.errors import FingerprintMismatch, RegistryError
from qtfeat.features import FeatureSet
from qtfeat.gates import Verdicts
from qtfeat.registry import SavedModel
from qtfeat.serve.lane import Predicted, with_policy
from qtfeat.train.combine import Calibration, Meta, combiner
from qtfeat.train.scaler import Scaler

Floats = npt.NDArray[np.float64]

_TREES = ("xgb_cls.ubj", "lgbm_cls.txt", "xgb_reg.ubj", "lgbm_reg.txt")


class ServedModel:
    """Four tree models, what combines them, and the features they read. Immutable; threads may share it.

    Args:
        saved: a version as the registry loads it, every hash checked.

    Raises:
        RegistryError: a file is missing, damaged or of another kind, or a golden row has other bits.
        FingerprintMismatch: the features are not those that this version of the package computes.

    Attributes:
        name: name in the registry.
        version: version in the registry.
        features: the feature set it was trained on.
        columns: names of its columns.
        fingerprint: of the features.
        expires_after_ns: when it is stale, nanoseconds since 1970 UTC; None for never.
        trained_until_ns: end of the training data, nanoseconds since 1970 UTC; None if the manifest does not say.
        reference: deciles of the training inputs; None if it has none.
        manifest: what the manifest says.
        with_policy: the features followed by what the policy reads beside them.
        golden_rows: golden rows that were predicted again, bit for bit.
    """

    def __init__(self, saved: SavedModel) -> None:
        self.name, self.version, self.manifest = saved.name, saved.version, saved.manifest
        self.features = feature_set(saved.manifest)
        self.columns = tuple(self.features.columns)
        self.fingerprint: str = saved.manifest["fingerprint"]
        if self.features.fingerprint != self.fingerprint:
            raise FingerprintMismatch(
                f"{self.name}/{self.version} was trained on features {self.fingerprint}, here they are "
                f"{self.features.fingerprint}",
                expected=self.fingerprint,
                found=self.features.fingerprint,
            )
        expires = saved.expires_at
        self.expires_after_ns = None if expires is None else int(expires.astype("datetime64[ns]").astype(np.int64))
        self.trained_until_ns = _trained_until(saved)
        reference = saved.manifest.get("drift")
        if reference is not None and not isinstance(reference, dict):
            raise RegistryError(f"{self.name}/{self.version}: drift must be an object, not {reference!r}")
        self.reference: dict[str, Any] | None = reference
        self._ensemble, scaler = _parts(saved.files, f"{self.name}/{self.version}")
        self._scaler = None if scaler.is_identity else scaler
        if self._ensemble.n_features != len(self.columns):
            raise RegistryError(
                f"{self.name}/{self.version}: the trees read {self._ensemble.n_features} features, the set has "
                f"{len(self.columns)}"
            )
        self.with_policy = with_policy(self.features)
        self._verdicts = saved.verdicts
        self.golden_rows = registry.check_golden(saved.files, predict_files)

    @classmethod
    def load(
        cls, root: str | Path, name: str, version: str = "production", fingerprint: str | None = None
    ) -> ServedModel:
        """Load a version or an alias.

        Args:
            root: folder of all models.
            name: name of the model.
            version: a version, or `production`, `shadow`, `previous`.
            fingerprint: what the caller expects.
        """
        return cls(registry.load(root, name, version, fingerprint=fingerprint))

    @property
    def verdicts(self) -> Verdicts | None:
        """What the gates found of it."""
        return self._verdicts

    def predict(self, X: Floats) -> tuple[Floats, Floats]:
        """Return calibrated probabilities of SELL, HOLD, BUY (n, 3) and forecasts (n,).

        Args:
            X: (n, F) C-contiguous float64 rows, columns as in `features`.

        Raises:
            SchemaError: another number of columns.
        """
        _, p, score = self._ensemble.predict(X if self._scaler is None else self._scaler.apply(X))
        return p, score

    def predict_row(self, x: Floats) -> Predicted | None:
        """Return probabilities and forecast of one row (F,), contiguous float64; None where it holds a NaN.

        The bits are those of `predict`; it costs less than half.
        """
        return self._ensemble.predict_row(x if self._scaler is None else self._scaler.apply(x))


def predict_files(files: Mapping[str, bytes], X: Floats) -> tuple[Floats, Floats]:
    """Predict with the files of a version, as `registry.check_golden` and `registry.verify` want it."""
    models, scaler = _parts(files, "model")
    _, p, score = models.predict(scaler.apply(np.ascontiguousarray(X)))
    return p, score


def feature_set(manifest: Mapping[str, Any]) -> FeatureSet:
    """Return the features of a manifest: its specs, or the shipped set that it names.

    Raises:
        RegistryError: neither is there.
        FeatureSpecError: a spec that this version of the package does not know.
    """
    found = manifest.get("features")
    if isinstance(found, Mapping):
        try:
            return FeatureSet(list(found["specs"]), found["numerics"], float(found["eps"]), fill=None)
        except (KeyError, TypeError) as error:
            raise RegistryError(f"manifest: features: {error}") from error
    name = manifest.get("feature_set")
    if not isinstance(name, str):
        raise RegistryError("manifest: it names no feature set")
    return FeatureSet.load(name)


def _trained_until(saved: SavedModel) -> int | None:
    last = saved.manifest.get("data", {}).get("last")
    try:
        return None if last is None else int(np.datetime64(str(last).removesuffix("Z"), "ns").astype(np.int64))
    except ValueError as error:
        raise RegistryError(f"{saved.path}: data.last {str(last)[:40]!r} is no time") from error


def _parts(files: Mapping[str, bytes], where: str) -> tuple[_core.Ensemble, Scaler]:
    missing = [name for name in (*_TREES, "meta.json", "scaler.json", "calibration.json") if name not in files]
    if missing:
        raise RegistryError(f"{where}: {missing[0]} is missing")
    combined = combiner(Meta.from_json(files["meta.json"]), Calibration.from_json(files["calibration.json"]))
    xgb_cls, lgbm_cls, xgb_reg, lgbm_reg = (files[name] for name in _TREES)
    models = _core.Ensemble(xgb_cls, lgbm_cls, xgb_reg, lgbm_reg, combined)
    return models, Scaler.from_json(files["scaler.json"], models.n_features)
