//! Dimensions: the power of price and of volume that a value carries.
//!
//! They tell which features are scale-free, give `ratio` its scale, and catch nonsense such as
//! `close + volume`.

use std::fmt;

/// Exponents are kept in 64ths, so that square roots of square roots stay exact.
const UNIT: i32 = 64;

/// The dimension of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A literal or an extra column: takes whatever dimension its neighbour has.
    Any,
    /// price^(p/64) * volume^(v/64).
    Of {
        /// Power of price, in 64ths.
        p: i32,
        /// Power of volume, in 64ths.
        v: i32,
    },
}

impl Dim {
    /// A pure number.
    pub const NONE: Self = Self::Of { p: 0, v: 0 };
    /// A price.
    pub const PRICE: Self = Self::Of { p: UNIT, v: 0 };
    /// A volume.
    pub const VOLUME: Self = Self::Of { p: 0, v: UNIT };

    /// Dimension of a product (`sign` = 1) or a quotient (`sign` = -1).
    #[must_use]
    pub fn times(self, other: Self, sign: i32) -> Self {
        match (self, other) {
            (Self::Of { p, v }, Self::Of { p: q, v: w }) => Self::Of { p: p + sign * q, v: v + sign * w },
            _ => Self::Any,
        }
    }

    /// Dimension of a square root; `None` when the exponent cannot be halved exactly.
    pub fn sqrt(self) -> Option<Self> {
        match self {
            Self::Of { p, v } if p % 2 == 0 && v % 2 == 0 => Some(Self::Of { p: p / 2, v: v / 2 }),
            Self::Any => Some(Self::Any),
            Self::Of { .. } => None,
        }
    }

    /// True if the square root of a power of 2 of this dimension is a power of 2 again, for any power.
    pub fn is_square(self) -> bool {
        match self {
            Self::Of { p, v } => p % (2 * UNIT) == 0 && v % (2 * UNIT) == 0,
            Self::Any => true,
        }
    }

    /// The common dimension of two values that are added, compared or chosen between.
    pub fn unify(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, d) | (d, Self::Any) => Some(d),
            (a, b) if a == b => Some(a),
            _ => None,
        }
    }

    /// True for a price or volume dimension that is not 0.
    pub fn is_dimensional(self) -> bool {
        matches!(self, Self::Of { p, v } if p != 0 || v != 0)
    }

    /// Decimal exponent that bounds |x| for this dimension, given accepted bars.
    pub fn bound_exponent(self) -> f64 {
        match self {
            Self::Any => 100.0,
            Self::Of { p, v } => {
                let e = (110.0 * f64::from(p.abs()) + 30.0 * f64::from(v.abs())) / f64::from(UNIT);
                if e > 100.0 { e } else { 100.0 }
            }
        }
    }

    /// Power of price, where there is no power of volume: (whole part, rest in 64ths).
    pub fn price_power(self) -> Option<(u32, u32)> {
        match self {
            Self::Of { p, v: 0 } if p >= 0 => Some(((p / UNIT) as u32, (p % UNIT) as u32)),
            _ => None,
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Of { p, v } = *self else { return write!(f, "any dimension") };
        if (p, v) == (0, 0) {
            return write!(f, "a pure number");
        }
        let mut space = "";
        for (name, e) in [("price", p), ("volume", v)] {
            if e == UNIT {
                write!(f, "{space}{name}")?;
            } else if e != 0 {
                write!(f, "{space}{name}^{}", f64::from(e) / f64::from(UNIT))?;
            }
            if e != 0 {
                space = " ";
            }
        }
        Ok(())
    }
}
