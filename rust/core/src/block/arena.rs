//! The memory of outputs: aligned to huge pages, and kept for the next call.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

/// Page size that the arena asks for.
const HUGE: usize = 2 << 20;
/// Largest freed arena that is kept for the next call.
const KEEP: usize = 2 << 30;

/// Output memory of one call. Large ones are 2 MiB aligned and backed by huge pages where the system
/// has them: touching fresh 4 KiB pages would cost three times the arithmetic.
#[derive(Debug)]
pub struct Arena {
    ptr: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the arena owns plain bytes; access goes through `&mut` or through `Columns`, whose writers
// are responsible for disjoint rows.
unsafe impl Send for Arena {}
// SAFETY: shared access only reads.
unsafe impl Sync for Arena {}

static FREED: Mutex<Option<Arena>> = Mutex::new(None);

impl Arena {
    /// At least `bytes` bytes, contents undefined; the arena freed last is reused where it fits.
    pub fn take(bytes: usize) -> Self {
        let bytes = bytes.max(64);
        if bytes >= HUGE {
            let mut freed = FREED.lock().unwrap_or_else(PoisonError::into_inner);
            if freed.as_ref().is_some_and(|a| a.layout.size() >= bytes && a.layout.size() / 4 <= bytes)
                && let Some(arena) = freed.take()
            {
                return arena;
            }
        }
        Self::fresh(bytes)
    }

    fn fresh(bytes: usize) -> Self {
        let align = if bytes >= HUGE { HUGE } else { 64 };
        let size = bytes.next_multiple_of(align);
        let Ok(layout) = Layout::from_size_align(size, align) else { handle_alloc_error(Layout::new::<u64>()) };
        // SAFETY: the size is not 0.
        let Some(ptr) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        #[cfg(target_os = "linux")]
        if align == HUGE && !cfg!(miri) {
            // SAFETY: the range was just allocated, whole and aligned; the advice changes no contents, and a
            // refusal only costs speed.
            unsafe { libc::madvise(ptr.as_ptr().cast(), size, libc::MADV_HUGEPAGE) };
        }
        Self { ptr, layout }
    }

    /// Gives the memory kept for the next call back to the system; returns its bytes.
    pub fn release() -> usize {
        let kept = FREED.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.map_or(0, |mut arena| {
            let size = arena.layout.size();
            arena.free();
            std::mem::forget(arena);
            size
        })
    }

    /// First byte.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.ptr
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.layout.size()
    }

    /// An arena is never empty.
    pub fn is_empty(&self) -> bool {
        false
    }

    fn free(&mut self) {
        // SAFETY: allocated with this layout, and freed once: `free` runs from drop, or before a forget.
        unsafe { dealloc(self.ptr.as_ptr(), self.layout) };
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let size = self.layout.size();
        if (HUGE..=KEEP).contains(&size) {
            let mut freed = FREED.lock().unwrap_or_else(PoisonError::into_inner);
            if freed.as_ref().is_none_or(|a| a.layout.size() < size) {
                let mine = Self { ptr: self.ptr, layout: self.layout };
                if let Some(mut old) = freed.replace(mine) {
                    old.free();
                    std::mem::forget(old);
                }
                return;
            }
        }
        self.free();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arena_is_reused_and_released() {
        Arena::release();
        let a = Arena::take(3 * HUGE);
        let at = a.as_ptr();
        drop(a);
        let b = Arena::take(2 * HUGE);
        assert_eq!(b.as_ptr(), at);
        drop(b);
        assert_eq!(Arena::release(), 3 * HUGE);
        assert_eq!(Arena::release(), 0);
    }
}
