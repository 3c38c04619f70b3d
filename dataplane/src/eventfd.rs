//! eventfd(2): a counter to poll(2) for. Ours are bells between threads; a device's interrupt arrives on one too.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// An eventfd of our own, non-blocking.
#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: plain system call; the descriptor it returns is ours alone.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` is open and owned by nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Makes it readable.
    pub(crate) fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: `one` is 8 readable bytes. A full counter (EAGAIN) is rung already.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Makes it unreadable. True when it was readable.
    pub(crate) fn clear(&self) -> bool {
        clear(self.0.as_raw_fd())
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Makes a non-blocking eventfd unreadable. True when it was readable.
pub(crate) fn clear(fd: RawFd) -> bool {
    let mut count = [0u8; 8];
    // SAFETY: `count` is 8 writable bytes. Nothing there (EAGAIN) is cleared already.
    let n = unsafe { libc::read(fd, count.as_mut_ptr().cast(), count.len()) };
    n == count.len() as isize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_add_up_and_are_cleared_at_once() {
        let e = EventFd::new().unwrap();
        assert!(!e.clear());
        e.ring();
        e.ring();
        assert!(e.clear());
        assert!(!e.clear());
    }
}
