//! How the kernel's scheduler treats a thread: how long the pieces are that it gets of a core.
//!
//! Read first: sched_setattr(2) and the kernel's `Documentation/scheduler/sched-eevdf.rst`. Among threads that want the same
//! core the one whose piece ends first runs first; so who asks for short pieces waits less when it wakes up, and gets no
//! more of the core for it. Kernels before 6.12 take the wish, and do nothing.
//!
//! Left out: real-time classes. A control thread that is busy with a full table would starve what else is on its core.

use std::io;
use std::mem::{size_of, zeroed};
use std::time::Duration;

use libc::{SCHED_BATCH, SCHED_OTHER, sched_attr};

/// Threads that are made later do not inherit it (`SCHED_FLAG_RESET_ON_FORK`).
const RESET_ON_FORK: u64 = 1;

/// Asks for pieces of that length (the kernel takes 0.1 ms to 100 ms) for the calling thread, but not for those that it makes.
/// Returns whether it was asked: a thread of another scheduling class, which somebody has chosen, stays as it is.
///
/// # Errors
/// The kernel's.
pub fn set_slice(length: Duration) -> io::Result<bool> {
    let mut attr = get()?;
    if ![SCHED_OTHER, SCHED_BATCH].contains(&attr.sched_policy.cast_signed()) {
        return Ok(false);
    }
    attr.sched_runtime = length.as_nanos().try_into().unwrap_or(u64::MAX);
    // With a higher priority, threads made later would lose that as well.
    if attr.sched_nice >= 0 {
        attr.sched_flags |= RESET_ON_FORK;
    }
    // SAFETY: sched_setattr reads the struct of the size that it names.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    if done == 0 {
        Ok(true)
    } else {
        Err(io::Error::last_os_error())
    }
}

fn get() -> io::Result<sched_attr> {
    let size = size_of::<sched_attr>();
    // SAFETY: made of integers.
    let mut attr: sched_attr = unsafe { zeroed() };
    // SAFETY: sched_getattr writes into the struct, no more than the size that it is told.
    let done = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    attr.size = size as u32;
    Ok(attr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gets_short_slices_and_those_that_it_makes_do_not() {
        let of_thread = || {
            let a = get().unwrap();
            (a.sched_policy, a.sched_nice, a.sched_runtime)
        };
        let work = move || {
            let before = of_thread();
            assert!(set_slice(Duration::from_micros(100)).unwrap());
            let after = of_thread();
            assert_eq!((after.0, after.1), (before.0, before.1));
            let child = std::thread::spawn(of_thread).join().unwrap();
            (before.2, after.2, child.2)
        };
        let (before, after, child) = std::thread::spawn(work).join().unwrap();
        // Kernels before 6.12 do not tell.
        assert!(after == 100_000 || after == before, "{after} ns");
        assert_eq!(child, before);
    }
}
