//! The memory of outputs: aligned to huge pages, and kept for the next call.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

/// Page size that the arena asks for.
const HUGE: usize = 2 << 20;
/// Smallest freed arena that is kept for the next call: the allocator keeps what is smaller.
const SMALL: usize = 64 << 10;
/// Most bytes that are kept, and in how many arenas: calls of a few sizes in turn find their own again, one for
/// values and one for the bitmaps of Arrow columns.
const KEEP: usize = 2 << 30;
const SLOTS: usize = 8;

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

/// Freed arenas, oldest first.
static FREED: Mutex<Vec<Arena>> = Mutex::new(Vec::new());

impl Arena {
    /// At least `bytes` bytes, contents undefined; the smallest of the arenas freed last that fits is reused.
    pub fn take(bytes: usize) -> Self {
        let bytes = bytes.max(64);
        if bytes >= SMALL {
            let mut freed = FREED.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = |a: &Self| a.layout.size() >= bytes && a.layout.size() / 4 <= bytes;
            let best = (0..freed.len()).filter(|&i| fits(&freed[i])).min_by_key(|&i| freed[i].layout.size());
            if let Some(i) = best {
                return freed.remove(i);
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
        let kept = std::mem::take(&mut *FREED.lock().unwrap_or_else(PoisonError::into_inner));
        kept.into_iter().map(Self::give_back).sum()
    }

    /// Frees the memory for good; returns its bytes.
    fn give_back(mut self) -> usize {
        let size = self.layout.size();
        self.free();
        std::mem::forget(self);
        size
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
        if (SMALL..=KEEP).contains(&size) {
            let mut freed = FREED.lock().unwrap_or_else(PoisonError::into_inner);
            freed.push(Self { ptr: self.ptr, layout: self.layout });
            while freed.len() > SLOTS || freed.iter().map(|a| a.layout.size()).sum::<usize>() > KEEP {
                freed.remove(0).give_back();
            }
            return;
        }
        self.free();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test: the kept arenas are the process's.
    #[test]
    fn arenas_are_reused_and_released() {
        Arena::release();
        let a = Arena::take(3 * HUGE);
        let at = a.as_ptr();
        drop(a);
        let b = Arena::take(2 * HUGE);
        assert_eq!(b.as_ptr(), at);
        drop(b);
        assert_eq!(Arena::release(), 3 * HUGE);
        assert_eq!(Arena::release(), 0);
        // Sizes in turn find their own again; a large one is no home for a small one.
        let sizes = [32 * HUGE, SMALL, 4 * HUGE];
        let first: Vec<_> = sizes.map(Arena::take).iter().map(Arena::as_ptr).collect();
        for (size, at) in sizes.into_iter().zip(first) {
            assert_eq!(Arena::take(size).as_ptr(), at);
        }
        // More than are kept: the oldest go.
        let many: Vec<Arena> = (0..=SLOTS).map(|i| Arena::take((i + 5) * HUGE)).collect();
        let sizes: Vec<usize> = many.iter().map(Arena::len).collect();
        drop(many);
        assert_eq!(Arena::release(), sizes[1..].iter().sum::<usize>());
    }
}
