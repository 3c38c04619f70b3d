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

    /// One that came from elsewhere; it is made non-blocking.
    pub(crate) fn of(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: no pointers.
        let rc = unsafe {
            let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
            libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)
        };
        if rc < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(fd))
    }

    /// The same counter by another descriptor.
    pub(crate) fn duplicate(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Makes this descriptor lead to what another leads to. Who waits for it goes on to wait for what it was.
    pub(crate) fn become_one_with(&self, other: RawFd) -> io::Result<()> {
        // SAFETY: no pointers; our descriptor stays open and ours.
        if unsafe { libc::dup3(other, self.0.as_raw_fd(), libc::O_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
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
