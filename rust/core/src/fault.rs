//! Planted faults. Each breaks one promise on purpose, so that a test can show that `verify` finds it.
//! No feature set has one unless it was asked for by name.

/// A fault to plant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Batch reads the first column one row ahead, where there is a next row (breaks P3).
    Lookahead,
    /// A stream fuses a multiply and an add in the first column (breaks P1).
    Fused,
    /// Batch writes an infinity into the first column, at row 7 after its warm-up (breaks P2).
    Infinite,
    /// A restored snapshot is one row behind (breaks P1).
    StaleSnapshot,
}

impl Fault {
    /// By name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "lookahead" => Self::Lookahead,
            "fused" => Self::Fused,
            "infinite" => Self::Infinite,
            "stale_snapshot" => Self::StaleSnapshot,
            _ => return None,
        })
    }
}
