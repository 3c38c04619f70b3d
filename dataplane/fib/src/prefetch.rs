//! Asking for a cache line before it is needed : a burst is gone over twice, once to prefetch and once to load.

/// Asks the CPU for the cache line of `at`. Where there is no such instruction, does nothing.
#[inline(always)]
pub(crate) fn prefetch<T>(at: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch accesses nothing; SSE is part of x86-64.
        unsafe { _mm_prefetch(std::ptr::from_ref(at).cast::<i8>(), _MM_HINT_T0) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
