//! Tree models of XGBoost and LightGBM, evaluated without either library: the same bits as their raw outputs.
//!
//! ```text
//! bytes -> json.rs, ubjson.rs -> xgboost.rs \
//!          text               -> lightgbm.rs -> forest.rs (checked) -> rows.rs   one row
//!                                                                  \-> blocks.rs 64 rows at a time
//! ```
//!
//! Equal bits follow from doing what the libraries do: the same element type (f32 or f64), the same comparison at a
//! threshold, and one sum per output over the trees in their order. What is not supported is refused at load.

mod blocks;
mod forest;
mod json;
mod lanes;
mod lightgbm;
mod link;
mod predict;
mod rows;
mod source;
#[cfg(test)]
mod tests;
mod ubjson;
mod xgboost;

pub use forest::{MAX_FEATURES, MAX_LEAVES, MAX_LEVELS, MAX_OUTPUTS, MAX_USED};
pub use link::Kind;
pub use predict::{Input, Matrix};

use crate::error::Result;
use link::Link;
use predict::Plan;
use source::refused;

/// Which iterations of a model are evaluated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Iterations {
    /// All that the file holds, as `Booster.inplace_predict` and `Booster.predict` do.
    #[default]
    All,
    /// Up to the best one that early stopping found, as XGBoost's scikit-learn interface does; all where the file
    /// names none (a LightGBM file ends at the best one).
    Best,
    /// The first ones.
    First(usize),
}

impl Iterations {
    /// Number of trees, from how many there are after each iteration.
    fn trees(self, ends: &[usize], best: Option<usize>) -> Result<usize> {
        let all = ends.last().copied().unwrap_or(0);
        let asked = match (self, best) {
            (Self::All, _) | (Self::Best, None) => return Ok(all),
            (Self::Best, Some(best)) => best.saturating_add(1),
            (Self::First(n), _) => n,
        };
        if asked == 0 || asked > ends.len() {
            return Err(refused(format!("iteration {asked} is asked for, and the model has {}", ends.len())));
        }
        Ok(ends[asked - 1])
    }
}

/// What a reader found in a file.
struct Loaded<T> {
    forest: forest::Forest<T>,
    kind: Kind,
    link: Link,
    names: Vec<String>,
    best_iteration: Option<usize>,
    iterations: usize,
}

/// The evaluators, one for each library's arithmetic.
#[derive(Debug, Clone)]
enum Library {
    Xgboost(Plan<f32>),
    Lightgbm(Plan<f64>),
}

/// A loaded model. It is immutable and can be shared between threads.
#[derive(Debug, Clone)]
pub struct TreeModel {
    library: Library,
    kind: Kind,
    link: Link,
    names: Vec<String>,
    best_iteration: Option<usize>,
    iterations: usize,
    features: usize,
    trees: usize,
}

/// Raw outputs, row after row, in the type that the library computes in.
#[derive(Debug, Clone, PartialEq)]
pub enum Raw {
    /// XGBoost.
    F32(Vec<f32>),
    /// LightGBM.
    F64(Vec<f64>),
}

impl Raw {
    /// Widened to f64, which is exact.
    pub fn into_f64(self) -> Vec<f64> {
        match self {
            Self::F32(raw) => raw.into_iter().map(f64::from).collect(),
            Self::F64(raw) => raw,
        }
    }
}

impl TreeModel {
    /// Reads a model file: XGBoost's JSON or UBJSON, or LightGBM's text. The first bytes tell which.
    ///
    /// # Errors
    /// [`crate::Error::Model`] for a file that is damaged, or holds what is not supported.
    pub fn load(bytes: &[u8], iterations: Iterations) -> Result<Self> {
        match bytes {
            [b'{', next, ..] if next.is_ascii_whitespace() || matches!(next, b'"' | b'}') => {
                Self::from_xgboost(xgboost::load(json::Json::new(bytes), iterations)?)
            }
            [b'{', ..] => Self::from_xgboost(xgboost::load(ubjson::Ubjson::new(bytes), iterations)?),
            [b't', b'r', b'e', b'e', ..] => {
                let text = std::str::from_utf8(bytes).map_err(|_| refused("a text model is not UTF-8"))?;
                Self::from_lightgbm(lightgbm::load(text, iterations)?)
            }
            [0x80, ..] => {
                Err(refused("this looks like a pickle, which is never loaded: save the model with save_model"))
            }
            _ => Err(refused("neither XGBoost JSON or UBJSON nor LightGBM text")),
        }
    }

    fn from_xgboost(loaded: Loaded<f32>) -> Result<Self> {
        let plan = Plan::new(&loaded.forest)?;
        Ok(Self::new(Library::Xgboost(plan), loaded))
    }

    fn from_lightgbm(loaded: Loaded<f64>) -> Result<Self> {
        let plan = Plan::new(&loaded.forest)?;
        Ok(Self::new(Library::Lightgbm(plan), loaded))
    }

    fn new<T>(library: Library, loaded: Loaded<T>) -> Self {
        let Loaded { forest, kind, link, names, best_iteration, iterations } = loaded;
        let (features, trees) = (forest.features, forest.trees.len());
        Self { library, kind, link, names, best_iteration, iterations, features, trees }
    }

    /// `"xgboost"` or `"lightgbm"`.
    pub fn library(&self) -> &'static str {
        match self.library {
            Library::Xgboost(_) => "xgboost",
            Library::Lightgbm(_) => "lightgbm",
        }
    }

    /// What the model predicts.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Columns of an input.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Raw outputs per row.
    pub fn outputs(&self) -> usize {
        match &self.library {
            Library::Xgboost(plan) => plan.outputs(),
            Library::Lightgbm(plan) => plan.outputs(),
        }
    }

    /// Names of the columns; empty where the file has none.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The best iteration, from 0, where the file names one.
    pub fn best_iteration(&self) -> Option<usize> {
        self.best_iteration
    }

    /// Iterations in the file.
    pub fn iterations(&self) -> usize {
        self.iterations
    }

    /// Trees that are evaluated.
    pub fn trees(&self) -> usize {
        self.trees
    }

    /// Raw outputs (margins, raw scores), bit for bit those of the library. NaN is a missing value.
    ///
    /// # Panics
    /// Where the input has another number of columns than the model.
    pub fn raw<E: Input>(&self, x: Matrix<'_, E>) -> Raw {
        assert_eq!(x.columns(), self.features, "columns of the input");
        match &self.library {
            Library::Xgboost(plan) => Raw::F32(plan.eval(x)),
            Library::Lightgbm(plan) => Raw::F64(plan.eval(x)),
        }
    }

    /// Predictions: raw outputs transformed as the objective says. Probabilities for classes.
    ///
    /// # Panics
    /// As [`raw`](Self::raw).
    pub fn predict<E: Input>(&self, x: Matrix<'_, E>) -> Vec<f64> {
        let mut values = self.raw(x).into_f64();
        values.chunks_exact_mut(self.outputs()).for_each(|row| self.link.apply(row));
        values
    }
}
