//! From what four models say to probabilities and a forecast: the ensemble and its calibration.
//!
//! Training and serving both apply this one code. Each row is computed by itself with the pinned `libm`, so that the same
//! row gives the same bits alone, in a batch, and on every platform.

use crate::trees::{Iterations, Kind, Matrix, TreeModel};
use crate::{Error, Result};

/// Classes: SELL, HOLD, BUY.
pub const CLASSES: usize = 3;
const HOLD: usize = 1;

/// Probabilities are held this far from 0 and 1 before a logarithm.
pub const LEAST: f64 = 1e-6;

/// Three probabilities or margins: SELL, HOLD, BUY.
pub type Classes = [f64; CLASSES];

/// What the four models give for one row, before any transformation.
#[derive(Debug, Clone, Copy)]
pub struct Raw {
    /// Margins of the XGBoost classifier.
    pub xgb_cls: Classes,
    /// Raw scores of the LightGBM classifier.
    pub lgbm_cls: Classes,
    /// Forecast of the XGBoost regressor.
    pub xgb_reg: f64,
    /// Forecast of the LightGBM regressor.
    pub lgbm_reg: f64,
}

/// What is traded on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Combined {
    /// Probabilities before calibration.
    pub raw: Classes,
    /// Calibrated probabilities.
    pub p: Classes,
    /// The forecast.
    pub score: f64,
}

/// How the pairs become one.
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    /// Weighted mean, the weight being that of XGBoost.
    Mean(f64),
    /// The mean where both name the same side; else half of BUY's and SELL's probability goes to HOLD. The forecast is 0
    /// where the regressors differ in sign.
    Consensus(f64),
    /// Meta-learners: a multinomial logistic one over six log probabilities, a linear one over two forecasts.
    Stack(Box<Stack>),
}

/// Fitted meta-learners.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    /// Weights of the log probabilities, XGBoost's three and then LightGBM's, per class.
    pub coef: [[f64; 2 * CLASSES]; CLASSES],
    /// Constants of the classes.
    pub intercept: Classes,
    /// Weights of the two forecasts.
    pub reg_coef: [f64; 2],
    /// Constant of the forecast.
    pub reg_intercept: f64,
}

/// How the probability of one class is corrected.
#[derive(Debug, Clone, PartialEq)]
pub enum Map {
    /// 1 / (1 + exp(-(a * logit(p) + b))).
    Platt(f64, f64),
    /// Straight lines between knots (x rising, y not falling), constant outside.
    Isotonic(Vec<f64>, Vec<f64>),
}

impl Map {
    fn apply(&self, p: f64) -> f64 {
        match self {
            Self::Platt(a, b) => {
                let p = hold(p, LEAST, 1.0 - LEAST);
                let z = a * libm::log(p / (1.0 - p)) + b;
                1.0 / (1.0 + libm::exp(-hold(z, -700.0, 700.0)))
            }
            Self::Isotonic(x, y) => {
                let above = x.partition_point(|&knot| knot <= p);
                if above == 0 {
                    return y[0];
                }
                if above == x.len() {
                    return y[x.len() - 1];
                }
                let (x0, y0) = (x[above - 1], y[above - 1]);
                let slope = (y[above] - y0) / (x[above] - x0);
                // Rounding must not pass the next knot: the map never falls.
                hold(slope * (p - x0) + y0, y0, y[above])
            }
        }
    }
}

/// A method and, unless there is no calibration, a map per class.
#[derive(Debug, Clone, PartialEq)]
pub struct Combiner {
    /// How the pairs become one.
    pub method: Method,
    /// One per class, or none.
    pub maps: Option<[Map; CLASSES]>,
}

impl Combiner {
    /// Combine one row.
    #[must_use]
    pub fn apply(&self, row: &Raw) -> Combined {
        let (xgb, lgbm) = (softmax(row.xgb_cls), softmax(row.lgbm_cls));
        let (raw, score) = match &self.method {
            Method::Mean(w) => mean(row, xgb, lgbm, *w),
            Method::Consensus(w) => consensus(row, xgb, lgbm, *w),
            Method::Stack(stack) => stack.apply(row, xgb, lgbm),
        };
        Combined { raw, p: self.calibrate(raw), score }
    }

    /// Correct three probabilities, each by its own map, and divide by their sum; three zeros become thirds.
    #[must_use]
    pub fn calibrate(&self, raw: Classes) -> Classes {
        let Some(maps) = &self.maps else { return raw };
        let p = [maps[0].apply(raw[0]), maps[1].apply(raw[1]), maps[2].apply(raw[2])];
        let total = p[0] + p[1] + p[2];
        if total > 0.0 { p.map(|x| x / total) } else { [1.0 / 3.0; CLASSES] }
    }
}

impl Stack {
    fn apply(&self, row: &Raw, xgb: Classes, lgbm: Classes) -> (Classes, f64) {
        let mut logs = [0.0; 2 * CLASSES];
        for (log, p) in logs.iter_mut().zip(xgb.into_iter().chain(lgbm)) {
            *log = libm::log(hold(p, LEAST, 1.0));
        }
        let mut margins = self.intercept;
        for (margin, coef) in margins.iter_mut().zip(&self.coef) {
            for (c, log) in coef.iter().zip(&logs) {
                *margin += c * log;
            }
        }
        let score = self.reg_intercept + self.reg_coef[0] * row.xgb_reg + self.reg_coef[1] * row.lgbm_reg;
        (softmax(margins), score)
    }
}

/// Four models and what combines them.
#[derive(Debug, Clone)]
pub struct Ensemble {
    xgb_cls: TreeModel,
    lgbm_cls: TreeModel,
    xgb_reg: TreeModel,
    lgbm_reg: TreeModel,
    combiner: Combiner,
}

impl Ensemble {
    /// Load the four files, classifiers and regressors of XGBoost and LightGBM.
    ///
    /// # Errors
    /// [`Error::Model`] for a file that is damaged, not supported, of another kind, or of another number of features.
    pub fn load(xgb_cls: &[u8], lgbm_cls: &[u8], xgb_reg: &[u8], lgbm_reg: &[u8], combiner: Combiner) -> Result<Self> {
        let xgb_cls = part("xgb_cls", xgb_cls, "xgboost", CLASSES)?;
        let lgbm_cls = part("lgbm_cls", lgbm_cls, "lightgbm", CLASSES)?;
        let xgb_reg = part("xgb_reg", xgb_reg, "xgboost", 1)?;
        let lgbm_reg = part("lgbm_reg", lgbm_reg, "lightgbm", 1)?;
        let features = xgb_cls.features();
        for other in [&lgbm_cls, &xgb_reg, &lgbm_reg] {
            if other.features() != features {
                return Err(refused(format!("the models read {features} and {} features", other.features())));
            }
        }
        Ok(Self { xgb_cls, lgbm_cls, xgb_reg, lgbm_reg, combiner })
    }

    /// Columns of an input.
    #[must_use]
    pub fn features(&self) -> usize {
        self.xgb_cls.features()
    }

    /// Combined outputs of every row.
    ///
    /// # Panics
    /// Where the input has another number of columns than the models.
    #[must_use]
    pub fn predict(&self, x: Matrix<'_, f64>) -> Vec<Combined> {
        let (a, b) = (self.xgb_cls.raw(x).into_f64(), self.lgbm_cls.raw(x).into_f64());
        let (c, d) = (self.xgb_reg.raw(x).into_f64(), self.lgbm_reg.raw(x).into_f64());
        let classes =
            |values: &[f64], i: usize| [values[CLASSES * i], values[CLASSES * i + 1], values[CLASSES * i + 2]];
        (0..x.rows())
            .map(|i| Raw { xgb_cls: classes(&a, i), lgbm_cls: classes(&b, i), xgb_reg: c[i], lgbm_reg: d[i] })
            .map(|row| self.combiner.apply(&row))
            .collect()
    }
}

/// Load one of the four, and refuse what is of another kind.
fn part(name: &str, bytes: &[u8], library: &str, outputs: usize) -> Result<TreeModel> {
    let model = TreeModel::load(bytes, Iterations::All).map_err(|e| refused(format!("{name}: {e}")))?;
    let kind = if outputs == 1 { Kind::Regression } else { Kind::Multiclass };
    if model.library() != library || model.kind() != kind || model.outputs() != outputs {
        let (found, is) = (model.library(), model.kind().name());
        return Err(refused(format!(
            "{name}: a {} model of {library} is expected, found {is} of {found}",
            kind.name()
        )));
    }
    Ok(model)
}

fn refused(message: String) -> Error {
    Error::Model(message)
}

/// Probabilities of three margins.
#[must_use]
pub fn softmax(margins: Classes) -> Classes {
    let top = margins.into_iter().fold(f64::NEG_INFINITY, |a, b| if b > a { b } else { a });
    let e = margins.map(|m| libm::exp(m - top));
    let total = e[0] + e[1] + e[2];
    e.map(|x| x / total)
}

fn mean(row: &Raw, xgb: Classes, lgbm: Classes, w: f64) -> (Classes, f64) {
    let mut p = [0.0; CLASSES];
    for k in 0..CLASSES {
        p[k] = w * xgb[k] + (1.0 - w) * lgbm[k];
    }
    (p, w * row.xgb_reg + (1.0 - w) * row.lgbm_reg)
}

fn consensus(row: &Raw, xgb: Classes, lgbm: Classes, w: f64) -> (Classes, f64) {
    let (mut p, mut score) = mean(row, xgb, lgbm, w);
    if largest(xgb) != largest(lgbm) {
        p = p.map(|x| 0.5 * x);
        p[HOLD] = 1.0 - (p[0] + p[2]);
    }
    if sign(row.xgb_reg) != sign(row.lgbm_reg) {
        score = 0.0;
    }
    (p, score)
}

/// The first of the largest.
fn largest(p: Classes) -> usize {
    (1..CLASSES).fold(0, |best, k| if p[k] > p[best] { k } else { best })
}

fn sign(x: f64) -> i8 {
    i8::from(x > 0.0) - i8::from(x < 0.0)
}

fn hold(x: f64, low: f64, high: f64) -> f64 {
    if x < low {
        low
    } else if x > high {
        high
    } else {
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(a: Classes, b: Classes) -> Raw {
        Raw { xgb_cls: a, lgbm_cls: b, xgb_reg: 0.5, lgbm_reg: -0.25 }
    }

    #[test]
    fn a_mean_of_equal_models_is_the_model() {
        let combiner = Combiner { method: Method::Mean(0.25), maps: None };
        let out = combiner.apply(&row([0.0, 1.0, 2.0], [0.0, 1.0, 2.0]));
        let one = softmax([0.0, 1.0, 2.0]);
        for k in 0..CLASSES {
            assert!((out.p[k] - one[k]).abs() < 1e-15);
        }
        assert!((out.score - (0.25 * 0.5 - 0.75 * 0.25)).abs() < 1e-15);
    }

    #[test]
    fn models_that_disagree_hold() {
        let combiner = Combiner { method: Method::Consensus(0.5), maps: None };
        let out = combiner.apply(&row([3.0, 0.0, 0.0], [0.0, 0.0, 3.0]));
        assert_eq!(largest(out.p), HOLD);
        assert!((out.p.iter().sum::<f64>() - 1.0).abs() < 1e-15);
        assert_eq!(out.score.to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn an_isotonic_map_meets_its_knots_and_is_constant_outside() {
        let map = Map::Isotonic(vec![0.2, 0.4, 0.8], vec![0.1, 0.5, 0.5]);
        let found: Vec<f64> = [0.0, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0].into_iter().map(|p| map.apply(p)).collect();
        for (a, b) in found.iter().zip([0.1, 0.1, 0.3, 0.5, 0.5, 0.5, 0.5]) {
            assert!((a - b).abs() < 1e-15, "{found:?}");
        }
    }

    #[test]
    fn nothing_known_is_thirds() {
        let zero = || Map::Isotonic(vec![0.5], vec![0.0]);
        let combiner = Combiner { method: Method::Mean(0.5), maps: Some([zero(), zero(), zero()]) };
        assert_eq!(combiner.calibrate([0.2, 0.3, 0.5]).map(f64::to_bits), [(1.0_f64 / 3.0).to_bits(); 3]);
    }

    #[test]
    fn probabilities_are_probabilities_at_any_margin() {
        for m in [-1e300, -800.0, 0.0, 1e-300, 800.0, 1e300] {
            let p = softmax([m, 0.0, -m]);
            assert!(p.iter().all(|x| (0.0..=1.0).contains(x)), "{m}: {p:?}");
        }
    }
}
