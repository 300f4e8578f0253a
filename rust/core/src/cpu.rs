//! Which build of the kernels runs: chosen once, at first use, by what the CPU has.

use std::sync::OnceLock;

use crate::block::Slab;
use crate::kernels::{Sink, Span, block_baseline};
#[cfg(target_arch = "x86_64")]
use crate::kernels::{block_avx2, block_avx512};
use crate::plan::Plan;
use crate::primitives::recursive::ChainState;

/// A build of the kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every CPU of the target has (SSE2 on x86-64, NEON on aarch64).
    Baseline,
    /// AVX2.
    Avx2,
    /// AVX-512 F, DQ, VL and BW.
    Avx512,
}

impl Level {
    /// Name, as `QTFEAT_CPU` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline if cfg!(target_arch = "x86_64") => "sse2",
            Self::Baseline => "baseline",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

/// The best level of this CPU.
pub fn best() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let has512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw");
        if has512 {
            return Level::Avx512;
        }
        if is_x86_feature_detected!("avx2") {
            return Level::Avx2;
        }
    }
    Level::Baseline
}

/// The level in use: the best one, or a lower one named by the environment variable `QTFEAT_CPU`.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let best = best();
        let wanted = match std::env::var("QTFEAT_CPU").as_deref() {
            Ok("sse2" | "baseline") => Level::Baseline,
            Ok("avx2") => Level::Avx2,
            _ => best,
        };
        // A level that the CPU lacks cannot run; the nearest one below does.
        if wanted > best { best } else { wanted }
    })
}

/// Runs a block with the kernels of the level in use.
#[inline]
pub(crate) fn dispatch(
    plan: &Plan,
    slab: &mut Slab,
    states: &mut [ChainState],
    span: Span<'_>,
    sink: Sink<'_>,
) -> bool {
    // SAFETY: `level` never passes `best`, which asks the CPU for exactly these features.
    unsafe { dispatch_to(level(), plan, slab, states, span, sink) }
}

/// As [`dispatch`], with the kernels of one level.
///
/// # Safety
/// The CPU must have the level.
#[inline]
pub(crate) unsafe fn dispatch_to(
    level: Level,
    plan: &Plan,
    slab: &mut Slab,
    states: &mut [ChainState],
    span: Span<'_>,
    sink: Sink<'_>,
) -> bool {
    match level {
        // SAFETY: the caller's promise.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { block_avx512(plan, slab, states, span, sink) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { block_avx2(plan, slab, states, span, sink) },
        _ => block_baseline(plan, slab, states, span, sink),
    }
}

/// Copies values and makes NaN canonical; true if there is any.
///
/// # Safety
/// `dst` must be valid for `values.len()` writes.
#[inline]
pub(crate) unsafe fn store(dst: *mut f64, values: &[f64], past_cache: bool) -> bool {
    // SAFETY: the caller's promise; AVX is part of the level.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if level() != Level::Baseline {
            return if past_cache && !cfg!(miri) {
                crate::block::store_f64_past_cache(dst, values)
            } else {
                store_avx2(dst, values)
            };
        }
        let _ = past_cache;
        crate::block::store_f64(dst, values)
    }
}

/// # Safety
/// As [`store`]; the CPU must have AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn store_avx2(dst: *mut f64, values: &[f64]) -> bool {
    // SAFETY: the caller's promise.
    unsafe { crate::block::store_f64(dst, values) }
}

/// See [`crate::bars::all_good`].
pub(crate) fn all_good(bars: [&[f64]; 5]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if level() != Level::Baseline {
        // SAFETY: every level above the baseline has AVX2.
        return unsafe { all_good_avx2(bars) };
    }
    crate::bars::all_good_rows(bars)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn all_good_avx2(bars: [&[f64]; 5]) -> bool {
    crate::bars::all_good_rows(bars)
}

/// Asks for memory that will be read soon. Any address will do; nothing is read.
#[inline(always)]
pub(crate) fn prefetch(at: *const f64) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint; it faults on no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(at.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}

/// Makes writes past the caches visible before anything written after them: call it before other threads
/// learn that outputs are finished.
#[inline]
pub(crate) fn settle() {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: SSE is part of every x86-64; a fence has no other effect.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}
