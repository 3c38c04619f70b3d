//! Device strings: what a user writes after `device =`, and what it becomes.
//!
//! `KIND:NAME[,key=value…]`; the keys after a comma go to the driver as they are (see the DPDK "Network Interface
//! Controller Drivers" guide), except for `af_packet` and `af_xdp`, which have none. `loopback` names nothing.

use std::fmt;
use std::str::FromStr;

/// A device that a port can be opened on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// A network interface of the kernel, by packet sockets.
    AfPacket {
        /// The kernel's name for it.
        iface: String,
    },
    /// A network interface of the kernel, by AF_XDP sockets.
    AfXdp {
        /// The kernel's name for it.
        iface: String,
    },
    /// A new TAP device of the kernel, driven by DPDK.
    Tap {
        /// The kernel's name for it.
        iface: String,
        /// Further arguments of the driver, each with a comma before it.
        args: String,
    },
    /// Shared memory between two processes.
    Memif {
        /// Path of the socket over which they find each other.
        socket: String,
        /// Further arguments of the driver, each with a comma before it.
        args: String,
    },
    /// A NIC.
    Pci {
        /// Its address, in full: domain, bus, device, function.
        address: String,
        /// Further arguments of the driver, each with a comma before it.
        args: String,
    },
    /// No device at all: a place for addresses of the router that no link's failure takes away.
    Loopback,
    /// Anything else DPDK has: its device arguments, as they are.
    Dpdk {
        /// The arguments.
        args: String,
    },
}

/// What is wrong with a device string, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{device}: {what}")]
pub struct DeviceError {
    /// The device string.
    pub device: String,
    /// What is wrong with it, and what would be right.
    pub what: String,
}

impl FromStr for Device {
    type Err = DeviceError;

    /// Reads the string; whether there is such a device is found out when the port is opened.
    fn from_str(s: &str) -> Result<Self, DeviceError> {
        let err = |what: String| DeviceError {
            device: without_secret(s),
            what,
        };
        if s == LOOPBACK {
            return Ok(Self::Loopback);
        }
        let Some((kind, rest)) = s.split_once(':') else {
            return Err(err(format!("not a device; write {KINDS}")));
        };
        let (name, args) = match rest.find(',') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (name, args) = (name.to_owned(), args.to_owned());
        match kind {
            "af_packet" | "af_xdp" | "tap" => {
                check_iface(&name).map_err(err)?;
                Ok(match kind {
                    "af_packet" | "af_xdp" if !args.is_empty() => {
                        return Err(err(format!(
                            "it takes no arguments: write \"{kind}:{name}\""
                        )));
                    }
                    "af_packet" => Self::AfPacket { iface: name },
                    "af_xdp" => Self::AfXdp { iface: name },
                    _ => Self::Tap { iface: name, args },
                })
            }
            "memif" if name.is_empty() => {
                Err(err("no socket; write \"memif:/run/NAME.sock\"".into()))
            }
            "memif" if name.len() > 107 => Err(err(format!(
                "the path of the socket has {} bytes; 107 fit",
                name.len()
            ))),
            "memif" => Ok(Self::Memif { socket: name, args }),
            "pci" => {
                // "pci:0000:3b:00.0"; without the domain it is 0000.
                let address = full_address(&name).ok_or_else(|| {
                    err(
                        "not a PCI address; write \"pci:0000:3b:00.0\" (`lspci -D` lists them)"
                            .into(),
                    )
                })?;
                Ok(Self::Pci { address, args })
            }
            "dpdk" if rest.is_empty() => Err(err(
                "no arguments; write \"dpdk:net_NAME0,key=value\"".into(),
            )),
            "dpdk" => Ok(Self::Dpdk {
                args: rest.to_owned(),
            }),
            _ => Err(err(format!("unknown kind \"{kind}\"; write {KINDS}"))),
        }
    }
}

const KINDS: &str =
    "af_packet:IF, af_xdp:IF, tap:NAME, memif:SOCKET, pci:ADDRESS, dpdk:ARGUMENTS or loopback";

/// The one that names nothing.
pub(super) const LOOPBACK: &str = "loopback";

fn check_iface(name: &str) -> Result<(), String> {
    match name.len() {
        0 => Err("no interface's name after the colon".into()),
        1..=15 if !name.bytes().any(|b| b == b'/' || b.is_ascii_whitespace()) => Ok(()),
        1..=15 => Err(format!("\"{name}\" can't be an interface's name")),
        n => Err(format!("the interface's name has {n} bytes; 15 fit")),
    }
}

fn full_address(s: &str) -> Option<String> {
    let s = if s.matches(':').count() == 1 {
        format!("0000:{s}")
    } else {
        s.to_owned()
    };
    let (domain, rest) = s.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    let hex =
        |s: &str, digits: usize| s.len() == digits && s.bytes().all(|b| b.is_ascii_hexdigit());
    let good = hex(domain, 4)
        && hex(bus, 2)
        && hex(device, 2)
        && matches!(function, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7");
    good.then(|| s.to_ascii_lowercase())
}

/// A device string as errors and logs may have it: the secret of a memif is for the other end alone.
#[must_use]
pub fn without_secret(device: &str) -> String {
    let words = device.split(',').map(|w| match w.split_once('=') {
        Some(("secret", _)) => "secret=(not shown)",
        _ => w,
    });
    words.collect::<Vec<_>>().join(",")
}

/// For people: without a memif's secret.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AfPacket { iface } => write!(f, "af_packet:{iface}"),
            Self::AfXdp { iface } => write!(f, "af_xdp:{iface}"),
            Self::Tap { iface, args } => write!(f, "tap:{iface}{args}"),
            Self::Memif { socket, args } => write!(f, "memif:{socket}{}", without_secret(args)),
            Self::Pci { address, args } => write!(f, "pci:{address}{args}"),
            Self::Dpdk { args } => write!(f, "dpdk:{args}"),
            Self::Loopback => f.write_str(LOOPBACK),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_read_and_written() {
        for (s, out) in [
            ("af_packet:eth1", "af_packet:eth1"),
            ("af_xdp:eth1", "af_xdp:eth1"),
            ("tap:t0", "tap:t0"),
            (
                "memif:/run/m.sock,id=2,role=client",
                "memif:/run/m.sock,id=2,role=client",
            ),
            ("pci:0000:3B:00.0", "pci:0000:3b:00.0"),
            ("pci:3b:00.1,x=1", "pci:0000:3b:00.1,x=1"),
            ("dpdk:net_pcap0,rx_pcap=/a,b", "dpdk:net_pcap0,rx_pcap=/a,b"),
            ("loopback", "loopback"),
        ] {
            assert_eq!(
                s.parse::<Device>().map(|d| d.to_string()),
                Ok(out.to_owned())
            );
        }
    }

    #[test]
    fn a_secret_is_never_quoted() {
        let text = "memif:/run/m.sock,id=2,secret=geheim,role=client";
        let shown = "memif:/run/m.sock,id=2,secret=(not shown),role=client";
        assert_eq!(without_secret(text), shown);
        let device = text.parse::<Device>().unwrap();
        assert_eq!(device.to_string(), shown);
        let Device::Memif { args, .. } = device else {
            panic!("no memif");
        };
        assert_eq!(
            args, ",id=2,secret=geheim,role=client",
            "kept for the driver"
        );
        for mistaken in [
            text.replacen("memif", "mmif", 1),
            text.replacen(':', " ", 1),
        ] {
            let e = mistaken.parse::<Device>().unwrap_err().to_string();
            assert!(!e.contains("geheim") && e.contains("id=2"), "{e}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (s, what) in [
            ("eth1", "not a device"),
            ("af_paket:eth1", "unknown kind \"af_paket\""),
            ("af_packet:", "no interface's name"),
            ("af_packet:eth1,qpairs=2", "takes no arguments"),
            ("af_xdp:eth1,x=2", "write \"af_xdp:eth1\""),
            (
                "af_packet:sixteen-bytes-xx",
                "16 bytes; 15 fit".trim_start_matches("16 "),
            ),
            ("af_xdp:a/b", "can't be an interface's name"),
            ("pci:eth1", "not a PCI address"),
            ("pci:0000:3b:00.9", "not a PCI address"),
            ("memif:", "no socket"),
            ("dpdk:", "no arguments"),
        ] {
            let e = s.parse::<Device>().unwrap_err().to_string();
            assert!(e.starts_with(s) && e.contains(what), "{s}: {e}");
        }
    }
}
