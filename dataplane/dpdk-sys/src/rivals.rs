//! DPDK's own tables, RCU and rings behind safe types, for the benches to compare with.
//!
//! Read `rivals.h` first. Each value borrows the [`Dpdk`] that was started, so none outlives DPDK's memory. Where DPDK
//! itself would read past an end, the lengths are checked here. Left out: everything that no bench calls.

use std::ffi::{CStr, CString, c_char, c_void};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use crate as sys;

/// What DPDK did not do, and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RivalError(String);

impl fmt::Display for RivalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RivalError {}

/// That DPDK runs: on the calling thread, without devices.
#[derive(Debug)]
pub struct Dpdk {
    _on_its_thread: PhantomData<*const ()>,
}

/// The memory that DPDK's tables lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Hugepages that are free, as many as are needed.
    Huge,
    /// So many MiB of ordinary pages.
    Small(u32),
}

static STARTED: AtomicBool = AtomicBool::new(false);

impl Dpdk {
    /// Starts DPDK, once a process; the calling thread is pinned to `cpu`.
    ///
    /// # Errors
    /// It was started before, or refuses.
    pub fn start(pages: Pages, cpu: usize) -> Result<Self, RivalError> {
        // Relaxed: guards nothing but itself.
        if STARTED.swap(true, Ordering::Relaxed) {
            return Err(RivalError("DPDK starts once a process".into()));
        }
        let mut words = vec!["rivals", "--no-pci", "--no-telemetry", "--log-level=3"];
        let (mib, lcores) = match pages {
            Pages::Huge => (String::new(), format!("0@{cpu}")),
            Pages::Small(mib) => (mib.to_string(), format!("0@{cpu}")),
        };
        match pages {
            Pages::Huge => words.extend(["--in-memory", "--iova-mode=va"]),
            Pages::Small(_) => words.extend(["--no-huge", "--no-shconf", "-m", &mib]),
        }
        words.extend(["--lcores", &lcores]);
        // DPDK permutes and keeps the pointers, so they are left to it for good.
        let mut argv: Vec<*mut c_char> = words
            .into_iter()
            .map(|w| CString::new(w).expect("no NUL").into_raw())
            .collect();
        argv.push(std::ptr::null_mut());
        let argv = Box::leak(argv.into_boxed_slice());
        // SAFETY: the first call of DPDK in this process; `argv` lives for good and ends in NULL.
        let rc = unsafe { sys::rte_eal_init((argv.len() - 1) as i32, argv.as_mut_ptr()) };
        if rc < 0 {
            return Err(failed("rte_eal_init"));
        }
        Ok(Self {
            _on_its_thread: PhantomData,
        })
    }

    /// The name of the release.
    #[must_use]
    pub fn version() -> String {
        // SAFETY: returns a static string.
        let text = unsafe { CStr::from_ptr(sys::rte_version()) };
        text.to_string_lossy().into_owned()
    }

    /// Bytes that all tables have of DPDK's memory.
    #[must_use]
    pub fn heap_bytes(&self) -> u64 {
        // SAFETY: DPDK is up.
        unsafe { sys::tl_heap_bytes() }
    }
}

impl Drop for Dpdk {
    fn drop(&mut self) {
        // SAFETY: all that stands on its memory borrowed `self` and is gone.
        unsafe { sys::rte_eal_cleanup() };
    }
}

fn failed(what: &str) -> RivalError {
    // SAFETY: returns a static or per-thread string, for the errno of this thread.
    let why = unsafe { CStr::from_ptr(sys::tl_rival_error()) };
    RivalError(format!("{what}: {}", why.to_string_lossy()))
}

fn done(what: &str, code: i32) -> Result<(), RivalError> {
    match code {
        0.. => Ok(()),
        _ => Err(RivalError(format!(
            "{what}: {}",
            std::io::Error::from_raw_os_error(-code)
        ))),
    }
}

/// A type around a pointer that one C function gives and another one frees.
macro_rules! owned {
    ($(#[$doc:meta])* $name:ident, $new:ident($($arg:ident),*), $free:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<'d> {
            raw: NonNull<c_void>,
            _dpdk: PhantomData<&'d Dpdk>,
        }

        impl<'d> $name<'d> {
            /// An empty one.
            ///
            /// # Errors
            /// No memory.
            pub fn new(_: &'d Dpdk, $($arg: u32),*) -> Result<Self, RivalError> {
                // SAFETY: DPDK is up.
                let raw = NonNull::new(unsafe { sys::$new($($arg),*) }).ok_or_else(|| failed(stringify!($new)))?;
                Ok(Self { raw, _dpdk: PhantomData })
            }
        }

        impl Drop for $name<'_> {
            fn drop(&mut self) {
                // SAFETY: made by `new`, freed once.
                unsafe { sys::$free(self.raw.as_ptr()) };
            }
        }
    };
}

owned!(
    /// `rte_fib`: DIR-24-8 with next hops of 4 bytes; 0 is "none".
    Fib, tl_fib_new(routes, tbl8), tl_fib_free
);
owned!(
    /// `rte_lpm`.
    Lpm, tl_lpm_new(routes, tbl8), tl_lpm_free
);
owned!(
    /// `rte_fib6`: a trie with next hops of 4 bytes; 0 is "none".
    Fib6, tl_fib6_new(routes, tbl8), tl_fib6_free
);
owned!(
    /// `rte_lpm6`.
    Lpm6, tl_lpm6_new(routes, tbl8), tl_lpm6_free
);

/// `n` addresses and room for as many answers.
fn same(ips: usize, out: usize) -> u32 {
    assert_eq!(ips, out, "an answer for each address");
    u32::try_from(ips).expect("a burst")
}

impl Fib<'_> {
    /// Looks up with AVX-512 from now on, or without.
    ///
    /// # Errors
    /// The processor has none, or DPDK was built without.
    pub fn select(&mut self, avx512: bool) -> Result<(), RivalError> {
        // SAFETY: a table of ours; it changes a pointer in it.
        let code = unsafe { sys::tl_fib_select(self.raw.as_ptr(), avx512.into()) };
        done("rte_fib_select_lookup", code)
    }

    /// Adds a prefix or changes it.
    ///
    /// # Errors
    /// The table is full.
    pub fn add(&mut self, ip: u32, len: u8, hop: u32) -> Result<(), RivalError> {
        // SAFETY: a table of ours.
        let code = unsafe { sys::tl_fib_add(self.raw.as_ptr(), ip, len, hop) };
        done("rte_fib_add", code)
    }

    /// Removes a prefix.
    ///
    /// # Errors
    /// It is not there.
    pub fn del(&mut self, ip: u32, len: u8) -> Result<(), RivalError> {
        // SAFETY: a table of ours.
        let code = unsafe { sys::tl_fib_del(self.raw.as_ptr(), ip, len) };
        done("rte_fib_delete", code)
    }

    /// The next hop of each address.
    pub fn lookup(&self, ips: &[u32], out: &mut [u64]) {
        let n = same(ips.len(), out.len());
        // SAFETY: a table of ours; both have n elements.
        unsafe {
            sys::tl_fib_lookup(self.raw.as_ptr(), ips.as_ptr(), out.as_mut_ptr(), n);
        }
    }
}

impl Lpm<'_> {
    /// Writes what `rte_lpm_add` would; shorter prefixes first.
    ///
    /// # Errors
    /// Not 1 to 24 bits.
    pub fn paint(&mut self, ip: u32, len: u8, hop: u32) -> Result<(), RivalError> {
        // SAFETY: a table of ours; 24 bits of an address are within it, and so is the end of a block that is aligned.
        let code = unsafe { sys::tl_lpm_paint(self.raw.as_ptr(), ip & mask(len), len, hop) };
        done("painting", code)
    }

    /// Adds a prefix, after having looked at all others of its length.
    ///
    /// # Errors
    /// The table is full.
    pub fn add(&mut self, ip: u32, len: u8, hop: u32) -> Result<(), RivalError> {
        // SAFETY: a table of ours.
        let code = unsafe { sys::tl_lpm_add(self.raw.as_ptr(), ip, len, hop) };
        done("rte_lpm_add", code)
    }

    /// Removes a prefix.
    ///
    /// # Errors
    /// It was not added (painted ones were not).
    pub fn del(&mut self, ip: u32, len: u8) -> Result<(), RivalError> {
        // SAFETY: a table of ours.
        let code = unsafe { sys::tl_lpm_del(self.raw.as_ptr(), ip, len) };
        done("rte_lpm_delete", code)
    }

    /// The next hop of each address; 0 is "none".
    pub fn lookup(&self, ips: &[u32], out: &mut [u32]) {
        let n = same(ips.len(), out.len());
        // SAFETY: a table of ours; both have n elements.
        unsafe {
            sys::tl_lpm_lookup(self.raw.as_ptr(), ips.as_ptr(), out.as_mut_ptr(), n);
        }
    }
}

fn mask(len: u8) -> u32 {
    u32::MAX
        .checked_shl(32 - u32::from(len.min(32)))
        .unwrap_or(0)
}

/// An IPv6 address as in a frame.
type Ip6 = [u8; 16];

impl Fib6<'_> {
    /// Looks up with AVX-512 from now on, or without.
    ///
    /// # Errors
    /// The processor has none, or DPDK was built without.
    pub fn select(&mut self, avx512: bool) -> Result<(), RivalError> {
        // SAFETY: a table of ours; it changes a pointer in it.
        let code = unsafe { sys::tl_fib6_select(self.raw.as_ptr(), avx512.into()) };
        done("rte_fib6_select_lookup", code)
    }

    /// Adds a prefix or changes it.
    ///
    /// # Errors
    /// The table is full.
    pub fn add(&mut self, ip: Ip6, len: u8, hop: u32) -> Result<(), RivalError> {
        // SAFETY: a table of ours; it reads 16 bytes.
        let code = unsafe { sys::tl_fib6_add(self.raw.as_ptr(), ip.as_ptr().cast(), len, hop) };
        done("rte_fib6_add", code)
    }

    /// Removes a prefix.
    ///
    /// # Errors
    /// It is not there.
    pub fn del(&mut self, ip: Ip6, len: u8) -> Result<(), RivalError> {
        // SAFETY: a table of ours; it reads 16 bytes.
        let code = unsafe { sys::tl_fib6_del(self.raw.as_ptr(), ip.as_ptr().cast(), len) };
        done("rte_fib6_delete", code)
    }

    /// The next hop of each address.
    pub fn lookup(&self, ips: &[Ip6], out: &mut [u64]) {
        let n = same(ips.len(), out.len());
        // SAFETY: a table of ours; both have n elements.
        unsafe {
            sys::tl_fib6_lookup(self.raw.as_ptr(), ips.as_ptr().cast(), out.as_mut_ptr(), n);
        }
    }
}

impl Lpm6<'_> {
    /// Adds a prefix or changes it.
    ///
    /// # Errors
    /// The table is full.
    pub fn add(&mut self, ip: Ip6, len: u8, hop: u32) -> Result<(), RivalError> {
        // SAFETY: a table of ours; it reads 16 bytes.
        let code = unsafe { sys::tl_lpm6_add(self.raw.as_ptr(), ip.as_ptr().cast(), len, hop) };
        done("rte_lpm6_add", code)
    }

    /// Removes a prefix.
    ///
    /// # Errors
    /// It is not there.
    pub fn del(&mut self, ip: Ip6, len: u8) -> Result<(), RivalError> {
        // SAFETY: a table of ours; it reads 16 bytes.
        let code = unsafe { sys::tl_lpm6_del(self.raw.as_ptr(), ip.as_ptr().cast(), len) };
        done("rte_lpm6_delete", code)
    }

    /// The next hop of each address; -1 is "none".
    pub fn lookup(&self, ips: &[Ip6], out: &mut [i32]) {
        let n = same(ips.len(), out.len());
        // SAFETY: a table of ours; both have n elements.
        unsafe {
            sys::tl_lpm6_lookup(self.raw.as_ptr(), ips.as_ptr().cast(), out.as_mut_ptr(), n);
        }
    }
}

owned!(
    /// `rte_rcu_qsbr` with one thread.
    Qsbr, tl_qsbr_new(), tl_qsbr_free
);

impl Qsbr<'_> {
    /// Reports so many times.
    pub fn reports(&mut self, n: u64) {
        // SAFETY: ours, and its one thread is registered.
        unsafe { sys::tl_qsbr_reports(self.raw.as_ptr(), n) };
    }
}

owned!(
    /// `rte_ring` of 64-bit items, with one producer and one consumer: see [`Ring::split`].
    Ring, tl_ring_new(room), tl_ring_free
);

impl Ring<'_> {
    /// Its two ends, one for each thread.
    pub fn split(&mut self) -> (RingTx<'_>, RingRx<'_>) {
        let end = PhantomData;
        (RingTx { raw: self.raw, end }, RingRx { raw: self.raw, end })
    }
}

/// Where items go in.
#[derive(Debug)]
pub struct RingTx<'r> {
    raw: NonNull<c_void>,
    end: PhantomData<&'r mut ()>,
}

/// Where items come out.
#[derive(Debug)]
pub struct RingRx<'r> {
    raw: NonNull<c_void>,
    end: PhantomData<&'r mut ()>,
}

// SAFETY: the only producer, whichever thread it is on; the ring outlives it.
unsafe impl Send for RingTx<'_> {}
// SAFETY: the only consumer, whichever thread it is on; the ring outlives it.
unsafe impl Send for RingRx<'_> {}

impl RingTx<'_> {
    /// Puts in what there is room for; returns how many.
    pub fn push(&mut self, items: &[u64]) -> usize {
        let _ = self.end;
        // SAFETY: the only producer; it reads that many items at most.
        unsafe { sys::tl_ring_push(self.raw.as_ptr(), items.as_ptr(), items.len() as u32) as usize }
    }
}

impl RingRx<'_> {
    /// Takes out what is there and fits; returns how many.
    pub fn pop(&mut self, items: &mut [u64]) -> usize {
        let _ = self.end;
        let n = items.len() as u32;
        // SAFETY: the only consumer; it writes that many items at most.
        unsafe { sys::tl_ring_pop(self.raw.as_ptr(), items.as_mut_ptr(), n) as usize }
    }
}
