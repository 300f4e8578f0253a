//! From raw outputs to what a user asked for: the last step of a prediction, and of a base score the other way.

/// What a model is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One number.
    Regression,
    /// The probability of class 1 (or its raw score, or a decision, as the objective says).
    Binary,
    /// A probability per class.
    Multiclass,
    /// A number to sort by.
    Ranking,
}

impl Kind {
    /// Name, as Python has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Regression => "regression",
            Self::Binary => "binary",
            Self::Multiclass => "multiclass",
            Self::Ranking => "ranking",
        }
    }
}

/// The transformation of an objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Link {
    Identity,
    /// `1 / (1 + exp(-slope * x))`, for each output by itself.
    Sigmoid(f64),
    /// `exp(x)`.
    Exp,
    /// Over the outputs of a row.
    Softmax,
    /// 1 where x > 0, else 0.
    Hinge,
    /// `sign(x) * x^2`.
    SignedSquare,
}

impl Link {
    /// Transforms the outputs of one row in place.
    pub(crate) fn apply(self, row: &mut [f64]) {
        match self {
            Self::Identity => {}
            Self::Sigmoid(slope) => row.iter_mut().for_each(|x| *x = 1.0 / (1.0 + libm::exp(-slope * *x))),
            Self::Exp => row.iter_mut().for_each(|x| *x = libm::exp(*x)),
            Self::Hinge => row.iter_mut().for_each(|x| *x = f64::from(u8::from(*x > 0.0))),
            Self::SignedSquare => row.iter_mut().for_each(|x| *x *= x.abs()),
            Self::Softmax => softmax(row),
        }
    }
}

fn softmax(row: &mut [f64]) {
    let largest = row.iter().fold(f64::NEG_INFINITY, |a, &b| if b > a { b } else { a });
    let mut sum = 0.0;
    for x in row.iter_mut() {
        *x = libm::exp(*x - largest);
        sum += *x;
    }
    row.iter_mut().for_each(|x| *x /= sum);
}
