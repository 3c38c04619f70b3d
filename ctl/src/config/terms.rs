//! The words of the configuration into types, with a plain sentence for each mistake. Used for the file, route files and commands.

use std::net::IpAddr;

use api::grammar::{Hop, nearest};
use ipnet::IpNet;
use net::{Label, LabelStack, MAX_PUSH};

use super::model::{Discard, NextHop, TtlMode};

/// Most next hops of one route.
pub(super) const MAX_HOPS: usize = 128;

pub(super) fn ttl(text: &str) -> Result<TtlMode, String> {
    match text {
        "uniform" => Ok(TtlMode::Uniform),
        "pipe" => Ok(TtlMode::Pipe),
        _ => Err(format!("{text:?} is not \"uniform\" or \"pipe\"")),
    }
}

pub(super) fn discard(text: &str) -> Result<Discard, String> {
    match text {
        "blackhole" => Ok(Discard::Blackhole),
        "unreachable" => Ok(Discard::Unreachable),
        "prohibit" => Ok(Discard::Prohibit),
        _ => Err(format!(
            "{text:?} is not \"blackhole\", \"unreachable\" or \"prohibit\""
        )),
    }
}

/// A prefix that may be routed.
pub(super) fn route_prefix(text: &str) -> Result<IpNet, String> {
    let prefix = api::grammar::prefix(text).map_err(|e| e.0)?;
    may_route(&prefix)?;
    Ok(prefix)
}

/// Whether a static route to `prefix` makes sense.
pub(super) fn may_route(prefix: &IpNet) -> Result<(), String> {
    if prefix.prefix_len() == 0 {
        return Ok(());
    }
    let address = prefix.addr();
    let link_local = matches!(address, IpAddr::V6(a) if a.is_unicast_link_local());
    let what = if address.is_multicast() {
        "multicast, which is not routed"
    } else if address.is_loopback() {
        "loopback, which never leaves a host"
    } else if link_local {
        "link-local, which never leaves a link"
    } else {
        return Ok(());
    };
    Err(format!("{prefix} is {what}"))
}

/// The stack of labels to push, outermost first. Implicit null alone pushes none (RFC 3032 2.1), and says that who is at the next
/// hop knows labels under it.
pub(super) fn stack(labels: &[u32]) -> Result<LabelStack, String> {
    if labels == [Label::IMPLICIT_NULL.get()] {
        return Ok(LabelStack::from_iter([Label::IMPLICIT_NULL]));
    }
    if labels.len() > MAX_PUSH {
        return Err(format!(
            "{} labels; a stack has at most {MAX_PUSH}",
            labels.len()
        ));
    }
    let mut out = LabelStack::new();
    for (i, &value) in labels.iter().enumerate() {
        let Some(label) = Label::new(value) else {
            return Err(format!("{value} is not a label: 0 to {}", Label::MAX.get()));
        };
        let under_indicator = i > 0 && labels[i - 1] == Label::ENTROPY_INDICATOR.get();
        if under_indicator && label.is_reserved() {
            return Err(format!(
                "entropy label {value} is reserved (RFC 6790); use 16 or more"
            ));
        }
        match label {
            Label::IMPLICIT_NULL => {
                return Err(
                    "implicit null (3) is never on the wire: it stands alone, for \"no label\""
                        .into(),
                );
            }
            Label::ENTROPY_INDICATOR if i == 0 || i + 1 == labels.len() => {
                return Err("7 announces an entropy label (RFC 6790): it stands below a label and above another".into());
            }
            Label::IPV4_EXPLICIT_NULL | Label::IPV6_EXPLICIT_NULL | Label::ENTROPY_INDICATOR => {}
            _ if label.is_reserved() => {
                return Err(format!(
                    "label {value} is reserved (RFC 3032); use 16 to {}",
                    Label::MAX.get()
                ));
            }
            _ => {}
        }
        out.push(label);
    }
    Ok(out)
}

/// A label that may arrive.
pub(super) fn incoming(value: u32) -> Result<Label, String> {
    match Label::new(value) {
        Some(label) if !label.is_reserved() => Ok(label),
        Some(_) => Err(format!(
            "label {value} is reserved (RFC 3032); use 16 to {}",
            Label::MAX.get()
        )),
        None => Err(format!(
            "{value} is not a label: 16 to {}",
            Label::MAX.get()
        )),
    }
}

/// A next hop that could be one; whether it is somebody else's address is checked with the whole configuration.
pub(super) fn next_hop(hop: Hop) -> Result<NextHop, String> {
    if let Some(address) = hop.address {
        let wrong = if address.is_unspecified() {
            "not an address of anybody"
        } else if address.is_multicast() || address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST) {
            "not the address of one neighbour"
        } else if address.is_loopback() {
            "the host's own"
        } else if matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
            && hop.interface.is_none()
        {
            return Err(format!(
                "next hop {address} is link-local, so it needs its interface: dev"
            ));
        } else {
            ""
        };
        if !wrong.is_empty() {
            return Err(format!(
                "next hop {address} is {wrong}; name a neighbour's address"
            ));
        }
    }
    if let (None, None) = (&hop.address, &hop.interface) {
        return Err("a next hop needs an address (via) or an interface (dev)".into());
    }
    Ok(NextHop {
        address: hop.address,
        interface: hop.interface,
        label: stack(&hop.label)?,
        weight: hop.weight.unwrap_or(1),
        backup: hop.backup,
    })
}

/// Those of a label: to swap it for the implicit null is to pop it, and nothing stands on that.
pub(super) fn swapped(mut hops: Vec<NextHop>) -> Vec<NextHop> {
    for hop in hops.iter_mut().filter(|hop| !hop.pushes()) {
        hop.label.clear();
    }
    hops
}

/// The next hops of one route together.
pub(super) fn next_hops(hops: Vec<Hop>) -> Result<Vec<NextHop>, String> {
    if hops.len() > MAX_HOPS {
        return Err(format!(
            "{} next hops; a route has at most {MAX_HOPS}",
            hops.len()
        ));
    }
    let mut out: Vec<NextHop> = Vec::with_capacity(hops.len());
    for hop in hops {
        let hop = next_hop(hop)?;
        if out
            .iter()
            .any(|have| have.address == hop.address && have.interface == hop.interface)
        {
            return Err(format!(
                "next hop {} is given twice; give it a weight instead",
                name(&hop)
            ));
        }
        out.push(hop);
    }
    not_backups_alone(&out)?;
    Ok(out)
}

/// A backup backs something up.
pub(super) fn not_backups_alone(hops: &[NextHop]) -> Result<(), String> {
    if hops.is_empty() || hops.iter().any(|hop| !hop.backup) {
        return Ok(());
    }
    Err(format!(
        "backup {} has nothing to back up; one next hop at least is no backup",
        name(&hops[0])
    ))
}

/// What to call a next hop in a sentence.
pub(super) fn name(hop: &NextHop) -> String {
    match (&hop.address, &hop.interface) {
        (Some(address), Some(interface)) => format!("{address} dev {interface}"),
        (Some(address), None) => address.to_string(),
        (None, interface) => format!("dev {}", interface.as_deref().unwrap_or("?")),
    }
}

/// A name for an interface and for its device in the kernel.
pub(super) fn interface_name(name: &str) -> Result<(), String> {
    let fits = (1..=15).contains(&name.len());
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if !fits {
        return Err(format!(
            "a name has 1 to 15 characters, this one {}",
            name.chars().count()
        ));
    }
    if !plain {
        return Err(
            "a name has letters, digits, \"_\" and \"-\", and a dot only before a VLAN's number"
                .into(),
        );
    }
    if matches!(name, "." | ".." | "lo" | "all" | "default") {
        return Err(format!(
            "{name:?} means something else to the kernel; choose another name"
        ));
    }
    Ok(())
}

/// For `wan0.100`: (`wan0`, 100). `None` for a name without a dot.
pub(super) fn vlan(name: &str) -> Result<Option<(String, u16)>, String> {
    let Some((parent, id)) = name.rsplit_once('.') else {
        return Ok(None);
    };
    if parent.contains('.') {
        return Err("a VLAN within a VLAN (QinQ) is not in this version".into());
    }
    let plain = !id.starts_with('0') && id.bytes().all(|b| b.is_ascii_digit());
    match id.parse::<u16>() {
        Ok(number) if plain && (1..=4094).contains(&number) && !parent.is_empty() => {
            Ok(Some((parent.to_owned(), number)))
        }
        _ => Err(format!(
            "{id:?} after the dot is not a VLAN: 1 to 4094, without leading zeros"
        )),
    }
}

/// The kinds of devices, with an example each.
const KINDS: [(&str, &str); 6] = [
    ("pci", "pci:0000:3b:00.0"),
    ("af_packet", "af_packet:eth1"),
    ("af_xdp", "af_xdp:eth1"),
    ("tap", "tap:tap0"),
    ("memif", "memif:/run/memif.sock"),
    ("dpdk", "dpdk:net_pcap0,rx_pcap=in.pcap"),
];

/// The one that names nothing, and that any number of interfaces can have.
pub(crate) const LOOPBACK: &str = "loopback";

/// A device string whose kind is known and that names something.
pub(super) fn device(text: &str) -> Result<(), String> {
    let names: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    if text == LOOPBACK {
        return Ok(());
    }
    if nearest(kind, &[LOOPBACK]).is_some() {
        return Err(format!(
            "{text:?} is not a device; did you mean \"{LOOPBACK}\"?"
        ));
    }
    let known = KINDS.iter().find(|(name, _)| *name == kind);
    match known {
        Some(_) if !rest.trim().is_empty() && !rest.contains(char::is_whitespace) => Ok(()),
        Some((_, example)) => Err(format!(
            "{text:?} does not say which device; it is written like \"{example}\""
        )),
        None => {
            let hint = match nearest(kind, &names) {
                Some(near) if text.contains(':') => format!("did you mean \"{near}:{rest}\"?"),
                _ if !text.contains(':') => format!("did you mean \"af_packet:{text}\"?"),
                _ => format!("the kinds are {}, {LOOPBACK}", names.join(", ")),
            };
            Err(format!("{text:?} is not a device; {hint}"))
        }
    }
}

/// What a device string claims for itself alone: the kernel's interface for those that take one, else the string.
pub(super) fn claim(device: &str) -> String {
    match device.split_once(':') {
        Some(("af_packet" | "af_xdp", rest)) => format!(
            "the kernel's interface {}",
            rest.split(',').next().unwrap_or(rest)
        ),
        _ => format!("the device {device}"),
    }
}

/// An interface's address with the length of its subnet.
pub(super) fn address(text: &str) -> Result<IpNet, String> {
    let Ok(net) = text.parse::<IpNet>() else {
        return Err(match text.parse::<IpAddr>() {
            Ok(address) => {
                let (link, host) = if address.is_ipv4() {
                    (24, 32)
                } else {
                    (64, 128)
                };
                format!(
                    "{text:?} lacks the length of its subnet; write \"{address}/{link}\", or \"{address}/{host}\" for the address alone"
                )
            }
            Err(_) => format!(
                "{text:?} is not an address with a length, such as \"198.51.100.2/31\" or \"2001:db8::2/64\""
            ),
        });
    };
    let address = net.addr();
    let whole = net.prefix_len() + 1 >= net.max_prefix_len();
    let v4 = address.is_ipv4();
    let wrong = if net.prefix_len() == 0 {
        "has a subnet of everything; its length is 1 or more"
    } else if address.is_unspecified() {
        "is no address of a host"
    } else if address.is_multicast() || address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST) {
        "is a multicast or broadcast address, which no host has"
    } else if address.is_loopback() {
        "is a loopback address, which the kernel keeps for itself"
    } else if !whole && address == net.network() {
        "is the subnet's own address (all host bits zero); choose another"
    } else if !whole && v4 && address == net.broadcast() {
        "is the subnet's broadcast address; choose another"
    } else {
        return Ok(net);
    };
    Err(format!("{text:?} {wrong}"))
}

/// `2-5,18`, ascending and each once.
pub(super) fn cpu_list(text: &str) -> Result<Vec<usize>, String> {
    let wrong = || format!("{text:?} is not \"auto\" or a list of CPUs such as \"2-5,18\"");
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| -> Result<usize, String> {
            let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            text.parse()
                .ok()
                .filter(|n| plain && *n < 4096)
                .ok_or_else(wrong)
        };
        let (first, last) = (number(first.trim())?, number(last.trim())?);
        if first > last {
            return Err(format!("{text:?} counts down; write \"{last}-{first}\""));
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    match cpus.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("{text:?} has CPU {} twice", pair[0])),
        None => Ok(cpus),
    }
}
