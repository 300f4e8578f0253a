//! Windows of bars.

use numpy::{
    PyArray2, PyArray3, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3, PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use qtfeat_core::block::Element;
use qtfeat_core::features as core;
use qtfeat_core::windows::{self as run, Cube, History, Windows};

use crate::compute::Options;
use crate::error::{OrRaise, column_error, schema_error};
use crate::features::FeatureSet;
use crate::output::Kind;

/// Features of windows (n, T, 5), as (n, F), or (n, T, F) with `all_rows`.
#[pyfunction]
#[pyo3(signature = (fs, bars, extras, times, options, all_rows))]
#[allow(clippy::needless_pass_by_value, reason = "the arguments of the Python function")]
pub fn windows<'py>(
    py: Python<'py>,
    fs: &FeatureSet,
    bars: PyReadonlyArray3<'py, f64>,
    extras: Option<PyReadonlyArray3<'py, f64>>,
    times: Option<PyReadonlyArray2<'py, i64>>,
    options: Options,
    all_rows: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let [n, rows, five] = *bars.shape() else { return Err(schema_error(py, "windows must be a 3-D array")) };
    if five != 5 {
        return Err(schema_error(
            py,
            format!("windows must be (n, T, 5): open, high, low, close, volume; the last axis has {five}"),
        ));
    }
    let e = extras.as_ref().map(|x| x.shape()[2]);
    if extras.as_ref().is_some_and(|x| x.shape()[..2] != [n, rows])
        || times.as_ref().is_some_and(|t| t.shape() != [n, rows])
    {
        return Err(schema_error(
            py,
            format!("extra must be ({n}, {rows}, E) and time ({n}, {rows}), as the windows are"),
        ));
    }
    run::fit(&fs.inner, rows, e, times.is_some(), &options.policy).or_raise(py)?;
    let source = Cube {
        bars: bars.as_slice()?,
        rows,
        extras: match (&extras, e) {
            (Some(x), Some(e)) => Some((x.as_slice()?, e)),
            _ => None,
        },
        times: times.as_ref().map(|t| t.as_slice()).transpose()?,
    };
    compute(py, &fs.inner, &source, n, &options, all_rows)
}

/// Features of windows of one history; window i ends with row `ends[i]`.
#[pyfunction]
#[allow(clippy::too_many_arguments, clippy::needless_pass_by_value, reason = "the arguments of the Python function")]
pub fn windows_at<'py>(
    py: Python<'py>,
    fs: &FeatureSet,
    bars: [PyReadonlyArray1<'py, f64>; 5],
    extras: Vec<PyReadonlyArray1<'py, f64>>,
    times: Option<PyReadonlyArray1<'py, i64>>,
    ends: Vec<i64>,
    length: usize,
    options: Options,
    all_rows: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let slices: Vec<&[f64]> = bars.iter().map(|b| b.as_slice()).collect::<Result<_, _>>()?;
    let columns: [&[f64]; 5] = std::array::from_fn(|k| slices[k]);
    let total = columns[0].len();
    let extras: Vec<&[f64]> = extras.iter().map(|x| x.as_slice()).collect::<Result<_, _>>()?;
    let times = times.as_ref().map(|t| t.as_slice()).transpose()?;
    if columns.iter().chain(&extras).any(|c| c.len() != total) || times.is_some_and(|t| t.len() != total) {
        return Err(schema_error(py, "all columns must have the same number of rows"));
    }
    run::fit(&fs.inner, length, Some(extras.len()), times.is_some(), &options.policy).or_raise(py)?;
    let end = |(i, &e): (usize, &i64)| {
        let row = usize::try_from(e).ok().filter(|&r| r < total);
        let row =
            row.ok_or_else(|| column_error(py, "ends", format!("ends[{i}] = {e} is no row: there are {total}")))?;
        if row + 1 < length {
            return Err(column_error(
                py,
                "ends",
                format!("ends[{i}] = row {row} has {} rows up to it, length={length} needs as many", row + 1),
            ));
        }
        Ok(row)
    };
    let ends = ends.iter().enumerate().map(end).collect::<PyResult<Vec<usize>>>()?;
    let source = History { bars: columns, extras, times, rows: length, ends: &ends };
    compute(py, &fs.inner, &source, ends.len(), &options, all_rows)
}

/// Features of windows from any source.
pub fn compute<'py>(
    py: Python<'py>,
    fs: &core::FeatureSet,
    source: &impl Windows,
    n: usize,
    options: &Options,
    all_rows: bool,
) -> PyResult<Bound<'py, PyAny>> {
    match options.kind {
        Kind::F64 => typed::<f64>(py, fs, source, n, options, all_rows),
        Kind::F32 => typed::<f32>(py, fs, source, n, options, all_rows),
    }
}

fn typed<'py, T: Element + numpy::Element>(
    py: Python<'py>,
    fs: &core::FeatureSet,
    source: &impl Windows,
    n: usize,
    options: &Options,
    all_rows: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let f = fs.columns().len();
    let rows = if n == 0 { 0 } else { source.rows() };
    let go = |out: &mut [T]| {
        if n == 0 {
            Ok(())
        } else {
            py.detach(|| run::compute(fs, source, &options.policy, all_rows, options.threads, out))
        }
    };
    if all_rows {
        let out = PyArray3::<T>::zeros(py, [n, rows, f], false);
        go(out.readwrite().as_slice_mut()?).or_raise(py)?;
        Ok(out.into_any())
    } else {
        let out = PyArray2::<T>::zeros(py, [n, f], false);
        go(out.readwrite().as_slice_mut()?).or_raise(py)?;
        Ok(out.into_any())
    }
}
