//! A TAP device: the kernel's end of an interface.
//!
//! Read Documentation/networking/tuntap.rst. One TAP per interface, without packet information, whole Ethernet frames;
//! it is gone when its file is closed, also by `kill -9`.
//!
//! Left out: addresses, routes and rules (`ctl` sets them over netlink), several queues, offloads.

use net::MacAddr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

/// Why a TAP could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The name can't be a device's.
    #[error("\"{0}\" can't be a device's name: 1 to 15 bytes, no '/', no blank, no '%'")]
    Name(String),
    /// The kernel refused.
    #[error("{name}: {what}: {cause}{}", remedy(cause))]
    Kernel {
        /// The device.
        name: String,
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        cause: io::Error,
    },
}

fn remedy(e: &io::Error) -> &'static str {
    match e.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => " (run as root, or give the process CAP_NET_ADMIN)",
        Some(libc::EBUSY) => " (another device has that name)",
        Some(libc::ENOENT | libc::ENODEV) => " (this kernel has no TUN/TAP: `modprobe tun`)",
        _ => "",
    }
}

/// A TAP device, non-blocking.
#[derive(Debug)]
pub struct Tap {
    file: File,
    name: String,
}

impl Tap {
    /// Makes a TAP of that name, hardware address and MTU, and sets it up with ARP off.
    ///
    /// # Errors
    /// When the name is taken or the kernel refuses.
    pub fn create(name: &str, mac: MacAddr, mtu: u16) -> Result<Self, TapError> {
        let bad = |b: u8| b == b'/' || b == b'%' || b.is_ascii_whitespace() || b == 0;
        if name.is_empty()
            || name.len() > 15
            || name == "."
            || name == ".."
            || name.bytes().any(bad)
        {
            return Err(TapError::Name(name.into()));
        }
        let fail = |what| {
            move |cause| TapError::Kernel {
                name: name.into(),
                what,
                cause,
            }
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/net/tun")
            .map_err(fail("can't open /dev/net/tun"))?;

        let mut request = request(name);
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_TUN_EXCL;
        request.ifr_ifru.ifru_flags = flags as i16;
        ioctl(file.as_raw_fd(), libc::TUNSETIFF, &mut request)
            .map_err(fail("can't make the TAP"))?;
        let tap = Self {
            file,
            name: name.into(),
        };

        let control = control_socket().map_err(fail("can't open a socket"))?;
        let control = control.as_raw_fd();
        let mut request = self::request(name);
        request.ifr_ifru.ifru_hwaddr = hardware_address(mac);
        ioctl(control, libc::SIOCSIFHWADDR, &mut request)
            .map_err(fail("can't set the hardware address"))?;
        tap.set_mtu(mtu)?;
        tap.set_up(true)?;
        Ok(tap)
    }

    /// Sets the device up (with ARP off) or down. Down, it loses its routes and its IPv6 addresses.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_up(&self, up: bool) -> Result<(), TapError> {
        let fail = |what| {
            move |cause| TapError::Kernel {
                name: self.name.clone(),
                what,
                cause,
            }
        };
        let control = control_socket().map_err(fail("can't open a socket"))?;
        let control = control.as_raw_fd();
        let mut request = request(&self.name);
        ioctl(control, libc::SIOCGIFFLAGS, &mut request).map_err(fail("can't read the flags"))?;
        // SAFETY: the call above wrote the flags.
        let flags = unsafe { request.ifr_ifru.ifru_flags } | libc::IFF_NOARP as i16;
        let (flags, what) = if up {
            (flags | libc::IFF_UP as i16, "can't set it up")
        } else {
            (flags & !(libc::IFF_UP as i16), "can't set it down")
        };
        request.ifr_ifru.ifru_flags = flags;
        ioctl(control, libc::SIOCSIFFLAGS, &mut request).map_err(fail(what))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its index in the kernel.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn index(&self) -> io::Result<u32> {
        let mut request = request(&self.name);
        ioctl(
            control_socket()?.as_raw_fd(),
            libc::SIOCGIFINDEX,
            &mut request,
        )?;
        // SAFETY: the call above wrote it.
        Ok(unsafe { request.ifr_ifru.ifru_ifindex } as u32)
    }

    /// Changes the MTU.
    ///
    /// # Errors
    /// When the kernel refuses that MTU.
    pub fn set_mtu(&self, mtu: u16) -> Result<(), TapError> {
        let mut request = request(&self.name);
        request.ifr_ifru.ifru_mtu = mtu.into();
        control_socket()
            .and_then(|s| ioctl(s.as_raw_fd(), libc::SIOCSIFMTU, &mut request))
            .map_err(|cause| TapError::Kernel {
                name: self.name.clone(),
                what: "can't set the MTU",
                cause,
            })
    }

    /// Gives the kernel a frame. False when its queue is full.
    ///
    /// # Errors
    /// When the kernel refuses the frame, or the device is down.
    pub fn send(&self, frame: &[u8]) -> io::Result<bool> {
        match (&self.file).write(frame) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Takes a frame that the kernel sends, into `buffer` (cut when that is too short). `None` when there is none.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.file).read(buffer) {
            Ok(n) => Ok(Some(n)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// A request about the device of that name (at most 15 bytes are taken).
pub(crate) fn request(name: &str) -> libc::ifreq {
    // SAFETY: all zeros is a valid `ifreq`.
    let mut r: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in r.ifr_name[..libc::IFNAMSIZ - 1]
        .iter_mut()
        .zip(name.bytes())
    {
        *to = from as libc::c_char;
    }
    r
}

pub(crate) fn hardware_address(mac: MacAddr) -> libc::sockaddr {
    let mut sa_data = [0; 14];
    for (to, from) in sa_data.iter_mut().zip(mac.0) {
        *to = from as libc::c_char;
    }
    libc::sockaddr {
        sa_family: libc::ARPHRD_ETHER,
        sa_data,
    }
}

pub(crate) fn ioctl(fd: RawFd, call: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: every call made here takes a pointer to an `ifreq`; what it may point to lives in the caller's frame.
    if unsafe { libc::ioctl(fd, call, std::ptr::from_mut(request)) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A socket to make requests on.
pub(crate) fn control_socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_device_can_have_are_refused() {
        for name in ["", "1234567890123456", "a/b", "a b", "tap%d", ".", ".."] {
            let e = Tap::create(name, MacAddr([2, 0, 0, 0, 0, 1]), 1500).unwrap_err();
            assert!(matches!(e, TapError::Name(_)), "{name:?}: {e}");
        }
    }
}
