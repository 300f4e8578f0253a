"""`qtfeat.sklearn.Features` in scikit-learn's own terms."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import qtfeat as qf
from qtfeat.bars import simulate
from qtfeat.errors import BadBarError, FeatureSpecError, SchemaError

pytest.importorskip("sklearn", reason="the transformer needs scikit-learn")

from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_array, check_is_fitted

from qtfeat.sklearn import Features

SPECS = ["rsi(14)", "bb(20,2).pct", "ret"]
TABLE = simulate(symbols=2, bars=200, seed=1)
KEYS = {"by": "symbol", "time": "open_time"}


def expected(fs: Any = SPECS) -> np.ndarray:
    table = qf.compute(TABLE, fs, **KEYS)
    return np.column_stack([table.column(c).to_numpy() for c in table.column_names[2:]])


def as_kind(kind: str) -> Any:
    if kind == "pyarrow":
        return TABLE
    if kind == "dict":
        times = TABLE.column("open_time").to_numpy()
        return {c: TABLE.column(c).to_numpy() for c in TABLE.column_names if c != "open_time"} | {"open_time": times}
    if kind == "polars":
        return pytest.importorskip("polars").DataFrame(TABLE)
    pytest.importorskip("pandas")
    return TABLE.to_pandas()


# --- what comes out ---


@pytest.mark.parametrize("kind", ["pyarrow", "pandas", "polars", "dict"])
def test_same_bits_as_compute(kind: str) -> None:
    bars = as_kind(kind)
    found = Features(SPECS, **KEYS).fit(bars).transform(bars)
    assert found.shape == (400, 3)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, expected())


def test_any_arrow_table() -> None:
    class Capsule:
        def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
            return TABLE.__arrow_c_stream__(requested_schema)

    np.testing.assert_array_equal(Features(SPECS, **KEYS).fit_transform(Capsule()), expected())
    np.testing.assert_array_equal(Features(SPECS, **KEYS).transform(TABLE.to_reader()), expected())


def test_arrays_and_extra_columns() -> None:
    one = TABLE.slice(0, 200)
    bars = np.column_stack([one.column(c).to_numpy() for c in ("open", "high", "low", "close", "volume")])
    np.testing.assert_array_equal(Features(SPECS).fit_transform(bars), expected()[:200])
    funding = np.arange(200.0)
    found = Features(["f = mean(funding, 2)"]).fit_transform(np.column_stack([bars, funding]))
    np.testing.assert_array_equal(found[1:, 0], funding[1:] - 0.5)
    with pytest.raises(SchemaError, match=r"must be \(n, 5\)"):
        Features(SPECS).fit(bars[:, :4])


def test_dtype() -> None:
    found = Features(SPECS, dtype="float32", **KEYS).fit_transform(TABLE)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected().astype(np.float32))


@pytest.mark.parametrize(
    "fs", ["wide32", SPECS, tuple(SPECS), qf.FeatureSet(SPECS)], ids=["name", "list", "tuple", "set"]
)
def test_names_and_sets(fs: Any) -> None:
    features = Features(fs, **KEYS)
    columns = qf.FeatureSet.load("wide32").columns if fs == "wide32" else ["rsi", "bb_pct", "ret"]
    assert list(features.get_feature_names_out()) == columns
    features.fit(TABLE)
    assert list(features.get_feature_names_out()) == columns == features.feature_set_.columns
    assert features.n_features_in_ == len(features.feature_names_in_)
    assert {"symbol", "open_time", "close"} <= set(features.feature_names_in_)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_set_output(kind: str) -> None:
    bars = as_kind(kind)
    frame = Features(SPECS, **KEYS).set_output(transform=kind).fit_transform(bars)
    assert type(frame) is type(bars)
    assert list(frame.columns) == ["rsi", "bb_pct", "ret"]
    np.testing.assert_array_equal(frame.to_numpy(), expected())
    if kind == "pandas":
        moved = bars.set_index(bars.index + 1000)
        assert Features(SPECS, **KEYS).set_output(transform=kind).fit_transform(moved).index.equals(moved.index)


# --- clone, parameters, pipelines ---


@pytest.mark.parametrize(
    "fs", ["kline17", SPECS, qf.FeatureSet(SPECS, "talib", name="mine")], ids=["name", "list", "set"]
)
def test_clone_and_params(fs: Any) -> None:
    features = Features(fs, **KEYS, dtype="float32", on_bad="null", interval="1h", threads=1)
    twin = clone(features)
    assert twin is not features
    assert twin.get_params() == features.get_params()
    assert twin.fs == fs
    assert not hasattr(clone(features.fit(TABLE)), "feature_set_")
    np.testing.assert_array_equal(twin.fit_transform(TABLE), features.transform(TABLE))
    features.set_params(fs=["ret"], dtype="float64")
    assert features.fit_transform(TABLE).shape == (400, 1)


def test_the_constructor_checks_nothing_and_fit_everything() -> None:
    broken = Features(["rsi("])
    with pytest.raises(FeatureSpecError):
        broken.fit(TABLE)
    with pytest.raises(SchemaError, match="no feature set"):
        Features("nope").fit(TABLE)
    with pytest.raises(SchemaError, match="'sym' is missing"):
        Features(SPECS, by="sym").fit(TABLE)
    with pytest.raises(SchemaError, match="sparse"):
        Features(SPECS).fit(pytest.importorskip("scipy.sparse").csr_matrix(np.eye(5)))


def test_bad_bars_are_the_errors_of_compute() -> None:
    frame = as_kind("pandas")
    frame.loc[7, "close"] = -1.0
    with pytest.raises(BadBarError) as bad:
        Features(SPECS, **KEYS).fit_transform(frame)
    assert (bad.value.row, bad.value.column) == (7, "close")
    found = Features(SPECS, **KEYS, on_bad="null").fit_transform(frame)
    assert np.isnan(found[7]).all()


def test_stateless() -> None:
    features = Features(SPECS, **KEYS)
    check_is_fitted(features)
    np.testing.assert_array_equal(features.transform(TABLE), expected())


def test_pipeline_with_scaler_and_model() -> None:
    close = TABLE.column("close").to_numpy()
    y = np.zeros(400)
    y[:-1] = close[1:] / close[:-1] - 1
    scaled = make_pipeline(Features(SPECS, **KEYS), StandardScaler()).fit(TABLE, y)
    out = scaled.transform(TABLE)
    assert out.shape == (400, 3)
    np.testing.assert_allclose(np.nanmean(out, axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(np.nanstd(out, axis=0), 1, atol=1e-9)
    assert list(scaled.get_feature_names_out()) == ["rsi", "bb_pct", "ret"]
    neutral = FunctionTransformer(np.nan_to_num, feature_names_out="one-to-one")
    model = make_pipeline(Features(SPECS, **KEYS), StandardScaler(), neutral, LinearRegression())
    assert clone(model).fit(TABLE, y).predict(TABLE).shape == (400,)
    assert model.set_params(features__fs=["ret"]).fit(TABLE, y)[-1].coef_.shape == (1,)


# --- scikit-learn's own checks ---


class OnAnyMatrix(Features):
    """Scikit-learn's checks bring matrices of noise; this one reads their first column as a price."""

    def _table(self, X: Any, fs: Any) -> Any:
        if "sparse" in type(X).__module__:
            return super()._table(X, fs)
        price = 1.0 + np.abs(check_array(X, dtype="float64", ensure_all_finite=False)[:, 0])
        return dict.fromkeys(("open", "high", "low", "close", "volume"), price)


LEFT_OUT = {
    # A row of a time series depends on the rows before it: that is what features are.
    "check_methods_sample_order_invariance": "rows depend on the rows before them",
    "check_methods_subset_invariance": "rows depend on the rows before them",
}


def checks() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(estimator_checks_generator(OnAnyMatrix(["ret", "volume_ratio(3)"])))


def name_of(check: Any) -> str:
    return getattr(check, "func", check).__name__


@pytest.mark.parametrize(("estimator", "check"), checks(), ids=lambda x: name_of(x) if callable(x) else "")
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_check(estimator: Any, check: Any) -> None:
    if name_of(check) in LEFT_OUT:
        pytest.skip(LEFT_OUT[name_of(check)])
    check(estimator)


def test_enough_checks_ran() -> None:
    names = {name_of(check) for _, check in checks()}
    assert len(names - set(LEFT_OUT)) >= 25
    assert {"check_transformer_general", "check_estimator_cloneable", "check_dict_unchanged"} <= names
