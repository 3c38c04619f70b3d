//! Bindings to the system's DPDK (22.11 or newer), made by bindgen when this crate is built.
//!
//! Three kinds of names are here: functions that DPDK exports (`rte_*`), the wrappers of `shim.c` for what it
//! defines inline (`tl_*`: one call a burst, never one a packet), and constants that only a C compiler can work
//! out (`TL_*`: offsets within an mbuf, flags). `shim.h` is the list to read.
//!
//! Left out: everything that Trunkline does not call. Nothing here is safe to call as it is; the crate
//! `trunkline-dataplane` wraps it (`eal`, `mempool`, `mbuf`, `port`), and nobody else should use it. The exception is
//! `rivals`, behind the feature of that name: DPDK's own tables in safe types, for the benches.
#![allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub
)]
#![allow(clippy::all, clippy::undocumented_unsafe_blocks)]

#[cfg(feature = "rivals")]
#[warn(missing_docs, clippy::all, clippy::undocumented_unsafe_blocks)]
pub mod rivals;

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_of_c_arrive() {
        assert_eq!(TL_MBUF_SIZE, 128);
        assert_eq!(TL_MBUF_BUF_ADDR, 0);
        assert!(TL_MBUF_DATA_OFF < TL_MBUF_SIZE);
        assert!(TL_HEADROOM >= 64);
        assert_eq!(TL_RX_VLAN, 1);
        assert_ne!(TL_RSS_TCP, 0);
    }

    #[test]
    fn the_library_that_runs_is_the_one_that_was_bound() {
        // SAFETY: takes nothing, returns a static string.
        let version = unsafe { std::ffi::CStr::from_ptr(rte_version()) };
        assert!(
            version.to_string_lossy().starts_with("DPDK "),
            "{version:?}"
        );
    }
}
