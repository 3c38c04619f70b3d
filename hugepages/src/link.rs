//! Settings of a network interface of the kernel, as a port changes them and gives them back: netdevice(7), and the
//! kernel's `include/uapi/linux/ethtool.h`.
//!
//! An interface is named by its name and index, in the network namespace of the calling thread. Left out on purpose:
//! everything that ends with a descriptor (memberships, filters), which the kernel takes back by itself.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// What a setting was, or is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// A knob under `/proc/sys/net/FAMILY/conf/DEVICE`.
    Sysctl {
        /// `ipv4` or `ipv6`.
        family: String,
        /// Its name.
        key: String,
        /// Its value.
        value: String,
    },
    /// The MTU, bytes.
    Mtu(i32),
    /// Down.
    Down,
    /// A word of ethtool's.
    Ethtool {
        /// The command that sets it.
        set: u32,
        /// The word.
        value: u32,
    },
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sysctl { family, key, value } => write!(f, "{family} {key} {}", value.trim()),
            Self::Mtu(mtu) => write!(f, "MTU {mtu}"),
            Self::Down => f.write_str("down"),
            Self::Ethtool { set, value } => write!(f, "ethtool {set:#x} {value:#x}"),
        }
    }
}

/// An interface, wherever it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its network namespace, as [`namespace`] has it.
    pub namespace: u64,
    /// Its name.
    pub name: String,
    /// Its index: an interface that was made anew under the name has another.
    pub index: i32,
}

/// Where an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the namespace of the calling thread.
    Here,
    /// In another.
    Elsewhere,
    /// It, or its namespace, is no more.
    Gone,
}

impl Link {
    /// Where it is now.
    #[must_use]
    pub fn place(&self) -> Place {
        if namespace().ok() != Some(self.namespace) {
            return if namespaces().contains(&self.namespace) {
                Place::Elsewhere
            } else {
                Place::Gone
            };
        }
        let Ok(name) = CString::new(self.name.as_str()) else {
            return Place::Gone;
        };
        // SAFETY: a C string that lives throughout the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if i64::from(index) == i64::from(self.index) {
            Place::Here
        } else {
            Place::Gone
        }
    }

    /// Gives it a setting; it must be here.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set(&self, to: &Setting) -> io::Result<()> {
        match to {
            Setting::Sysctl { family, key, value } => {
                let path = format!("/proc/sys/net/{family}/conf/{}/{key}", self.name);
                fs::write(path, value)
            }
            Setting::Mtu(mtu) => {
                let mut r = self.request();
                r.ifr_ifru.ifru_mtu = *mtu;
                ioctl(libc::SIOCSIFMTU, &mut r)
            }
            Setting::Down => {
                let mut r = self.request();
                ioctl(libc::SIOCGIFFLAGS, &mut r)?;
                // SAFETY: written by the call above.
                let flags = i32::from(unsafe { r.ifr_ifru.ifru_flags });
                r.ifr_ifru.ifru_flags = (flags & !libc::IFF_UP) as i16;
                ioctl(libc::SIOCSIFFLAGS, &mut r)
            }
            Setting::Ethtool { set, value } => {
                let mut words = [*set, *value]; // `struct ethtool_value`
                let mut r = self.request();
                r.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
                ioctl(SIOCETHTOOL, &mut r)
            }
        }
    }

    fn request(&self) -> libc::ifreq {
        // SAFETY: all zeros is a valid `ifreq`.
        let mut r: libc::ifreq = unsafe { std::mem::zeroed() };
        let name = self.name.bytes();
        for (to, from) in r.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name) {
            *to = from as libc::c_char;
        }
        r
    }
}

fn ioctl(call: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor, ours alone.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the calls made here take a pointer to an `ifreq`; what it may point to lives in the caller's frame.
    if unsafe { libc::ioctl(fd.as_raw_fd(), call, std::ptr::from_mut(request)) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The network namespace of the calling thread: the number of its file.
///
/// # Errors
/// There is no `/proc`.
pub fn namespace() -> io::Result<u64> {
    fs::metadata("/proc/thread-self/ns/net").map(|m| m.ino())
}

/// The network namespaces that processes are in, or that have a name.
fn namespaces() -> BTreeSet<u64> {
    let listed = |dir: &str| fs::read_dir(dir).into_iter().flatten().flatten();
    let named = listed("/run/netns").map(|e| e.path());
    let used = listed("/proc").map(|e| e.path().join("ns/net"));
    let number = |p: &Path| fs::metadata(p).ok().map(|m| m.ino());
    named.chain(used).filter_map(|p| number(&p)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(namespace: u64, name: &str, index: i32) -> Link {
        Link {
            namespace,
            name: name.into(),
            index,
        }
    }

    #[test]
    fn an_interface_is_here_or_gone() {
        let here = namespace().unwrap();
        assert_eq!(link(here, "lo", 1).place(), Place::Here);
        assert_eq!(link(here, "lo", 77).place(), Place::Gone, "made anew");
        assert_eq!(link(here, "none0", 1).place(), Place::Gone);
        assert_eq!(link(1, "lo", 1).place(), Place::Gone, "no such namespace");
        assert!(namespaces().contains(&here));
    }
}
