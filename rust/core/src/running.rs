//! The series of record batches that follow each other, and their snapshot.

use std::collections::BTreeMap;

use crate::bars::Policy;
use crate::batch::Running;
use crate::error::{Error, Result};
use crate::features::FeatureSet;
use crate::snapshot::{BATCHES, Reader, Writer};

/// What `compute_batches` remembers between batches.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// By symbol; ordered, so that equal states are equal bytes. Without symbols, one series named "".
    pub series: BTreeMap<String, Running>,
    /// Rows of all batches so far.
    pub rows: usize,
}

impl Ledger {
    /// Everything needed to go on in another process, as checksummed bytes.
    pub fn snapshot(&self, fs: &FeatureSet, policy: &Policy) -> Vec<u8> {
        let begun = || self.series.iter().filter_map(|(symbol, r)| r.state.as_ref().map(|state| (symbol, r, state)));
        let mut w = Writer::new(BATCHES, fs.fingerprint_bytes(), policy);
        w.count(self.rows);
        w.symbols(&begun().map(|(symbol, ..)| symbol.clone()).collect::<Vec<_>>());
        for (_, running, state) in begun() {
            w.clocks(&[running.clock], &[running.rows as u64], &[true]);
            w.state(state);
        }
        w.finish()
    }

    /// Goes on where [`Ledger::snapshot`] was taken, with the same set and policies.
    pub fn restore(fs: &FeatureSet, policy: &Policy, bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(BATCHES, bytes, fs.fingerprint_bytes())?;
        if r.policy()? != *policy {
            return Err(Error::Snapshot("the snapshot was taken with another on_bad, on_gap or interval".into()));
        }
        let mut ledger = Self { rows: r.count(0)?, ..Self::default() };
        let mut machine = fs.machine();
        for symbol in r.symbols()? {
            let (clocks, rows, _) = r.clocks(1)?;
            let state = r.state()?;
            if !machine.load(&state) {
                return Err(Error::Snapshot("the state has another shape".into()));
            }
            let rows = usize::try_from(rows[0]).unwrap_or(usize::MAX);
            ledger.series.insert(symbol, Running { state: Some(state), clock: clocks[0], rows });
        }
        r.end()?;
        fs.done(machine);
        Ok(ledger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bars::OnBad;
    use crate::graph::Profile;
    use crate::stream::Stream;
    use sha2::{Digest, Sha256};
    use std::sync::Arc;

    fn set() -> FeatureSet {
        FeatureSet::new(&["rsi(14)".to_owned(), "bb(20,2)".to_owned()], Profile::Safe).unwrap()
    }

    fn ledger(fs: &FeatureSet) -> Ledger {
        let state = || Running { state: Some(fs.machine().save()), rows: 3, ..Running::default() };
        let series = ["B", "A"].map(|s| (s.to_owned(), state())).into_iter().collect();
        Ledger { series, rows: 6 }
    }

    #[test]
    fn restored_state_is_the_saved_one() {
        let (fs, policy) = (set(), Policy::default());
        let bytes = ledger(&fs).snapshot(&fs, &policy);
        let again = Ledger::restore(&fs, &policy, &bytes).unwrap();
        assert_eq!((again.rows, again.series.len(), again.series["A"].rows), (6, 2, 3));
        assert_eq!(again.snapshot(&fs, &policy), bytes);
    }

    #[test]
    fn other_policy_set_or_kind_is_refused() {
        let (fs, policy) = (set(), Policy::default());
        let bytes = ledger(&fs).snapshot(&fs, &policy);
        let other = Policy { on_bad: OnBad::Null, ..policy };
        assert!(matches!(Ledger::restore(&fs, &other, &bytes), Err(Error::Snapshot(_))));
        let foreign = FeatureSet::new(&["rsi(13)".to_owned()], Profile::Safe).unwrap();
        assert!(matches!(Ledger::restore(&foreign, &policy, &bytes), Err(Error::Fingerprint { .. })));
        let fs = Arc::new(fs);
        let stream = Stream::new(Arc::clone(&fs), policy).snapshot();
        assert!(matches!(Ledger::restore(&fs, &policy, &stream), Err(Error::Snapshot(_))));
        assert!(matches!(Stream::restore(Arc::clone(&fs), &bytes), Err(Error::Snapshot(_))));
    }

    #[test]
    fn damage_is_refused_even_under_a_sound_checksum() {
        let (fs, policy) = (set(), Policy::default());
        let bytes = ledger(&fs).snapshot(&fs, &policy);
        let body = &bytes[..bytes.len() - 16];
        for cut in 0..body.len() {
            assert!(Ledger::restore(&fs, &policy, &bytes[..cut]).is_err());
            let mut forged = body[..cut].to_vec();
            let sum = Sha256::digest(&forged);
            forged.extend(&sum[..16]);
            assert!(Ledger::restore(&fs, &policy, &forged).is_err(), "cut at {cut}");
        }
    }
}
