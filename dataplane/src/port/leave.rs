//! Cards that are asked to leave while a port is on them: the button of their slot, `echo 1 >/sys/bus/pci/devices/ADDRESS/remove`.
//!
//! Read DPDK's guide on device hot-plug, and the kernel's `vfio_pci_core_request`. The kernel does not take a card from vfio-pci that is in
//! use: it signals, waits, and signals again every ten seconds. DPDK's interrupt thread hears it and calls what is registered here,
//! which only notes the address; whoever owns the port closes it, and the card goes.

use dpdk_sys as sys;
use std::collections::BTreeSet;
use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, Once, PoisonError};

/// PCI addresses of those that were asked and not yet taken note of.
static ASKED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Called by DPDK's interrupt thread.
unsafe extern "C" fn event(name: *const c_char, event: sys::rte_dev_event_type, _: *mut c_void) {
    if event != sys::RTE_DEV_EVENT_REMOVE || name.is_null() {
        return;
    }
    // SAFETY: DPDK gives the name of a device, which ends in NUL and stays for the call.
    let name = unsafe { CStr::from_ptr(name) };
    let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
    asked.insert(name.to_string_lossy().into_owned());
}

/// Has DPDK tell of all cards, from the first on.
pub(super) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: no name is any device; the function stays for as long as the process lives, and takes no argument.
        unsafe {
            sys::rte_dev_event_callback_register(
                std::ptr::null(),
                Some(event),
                std::ptr::null_mut(),
            )
        };
    });
}

/// PCI addresses of the cards that were asked to leave since this was asked last. Close their ports: the kernel waits.
#[must_use]
pub fn asked_to_leave() -> BTreeSet<String> {
    std::mem::take(&mut *ASKED.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_is_asked_is_told_once() {
        let tell = |what| {
            // SAFETY: as DPDK calls it.
            unsafe { event(c"0000:3b:00.0".as_ptr(), what, std::ptr::null_mut()) };
        };
        tell(sys::RTE_DEV_EVENT_ADD);
        assert!(asked_to_leave().is_empty());
        tell(sys::RTE_DEV_EVENT_REMOVE);
        tell(sys::RTE_DEV_EVENT_REMOVE);
        assert_eq!(asked_to_leave(), ["0000:3b:00.0".to_owned()].into());
        assert!(asked_to_leave().is_empty());
    }
}
