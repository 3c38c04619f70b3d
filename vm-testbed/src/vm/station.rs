//! Hosts at the cables of a guest's cards: they answer ARP and neighbour solicitations, send packets, and look at what comes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::Vm;
use crate::frame::{self, ARP, IPV4, IPV6, Ip4, Ip6, Mac, arp, eth};

/// A host behind a card.
#[derive(Debug, Clone, Copy)]
pub struct Station {
    /// The card at the other end of its cable.
    pub card: &'static str,
    /// Its hardware address.
    pub mac: Mac,
    /// Its IPv4 address.
    pub ip4: &'static str,
    /// Its IPv6 address.
    pub ip6: &'static str,
}

impl Station {
    /// Answers a question for its own addresses; whether it was one.
    fn answer(&self, vm: &Vm, f: &[u8]) -> Result<bool> {
        let asks = |at: usize, what: &[u8]| f.get(at..at + what.len()) == Some(what);
        let (mac, wire) = (vm.card(self.card).mac, vm.wire(self.card));
        if asks(12, &ARP.to_be_bytes()) {
            if asks(20, &[0, 1]) && asks(38, &frame::ip4(self.ip4).octets()) {
                let asker = std::net::Ipv4Addr::new(f[28], f[29], f[30], f[31]).to_string();
                let reply = arp(frame::REPLY, self.mac, self.ip4, mac, &asker);
                wire.send(&eth(mac, self.mac, ARP, &reply))?;
            }
            return Ok(true);
        }
        if asks(12, &IPV6.to_be_bytes()) && asks(20, &[58]) && asks(54, &[135]) {
            let from: [u8; 16] = f[22..38].try_into()?;
            if asks(62, &frame::ip6(self.ip6).octets()) && from != [0; 16] {
                let asker = std::net::Ipv6Addr::from(from).to_string();
                let flags = 0x60; // solicited, override
                let reply = frame::advertise(mac, self.mac, self.ip6, &asker, self.ip6, flags);
                wire.send(&reply)?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// A frame with this packet, to the router.
    fn frame(&self, vm: &Vm, ethertype: u16, packet: &[u8]) -> Vec<u8> {
        eth(vm.card(self.card).mac, self.mac, ethertype, packet)
    }

    /// What the router makes of it for this host.
    fn receives(&self, vm: &Vm, ethertype: u16, packet: &[u8]) -> Vec<u8> {
        eth(self.mac, vm.card(self.card).mac, ethertype, packet)
    }
}

/// Sends a packet of each family from one host to another; each must come out once, its TTL one less, and nothing else
/// changed.
///
/// # Errors
/// When it does not, with what came instead.
pub fn cross(vm: &Vm, from: &Station, to: &Station, within: Duration) -> Result<()> {
    let p4 = Ip4::udp(from.ip4, to.ip4, 100);
    let p6 = Ip6::udp(from.ip6, to.ip6, 100);
    let (out4, out6) = (p4.clone().ttl(63).bytes(), p6.clone().hops(63).bytes());
    both(
        vm,
        from,
        to,
        [(IPV4, p4.bytes(), out4), (IPV6, p6.bytes(), out6)],
        within,
    )
}

/// The same with packets of 1,500 octets.
///
/// # Errors
/// As [`cross`].
pub fn cross_large(vm: &Vm, from: &Station, to: &Station, within: Duration) -> Result<()> {
    const MTU: usize = 1500;
    let p4 = Ip4::udp(from.ip4, to.ip4, MTU - 28);
    let p6 = Ip6::udp(from.ip6, to.ip6, MTU - 48);
    let (out4, out6) = (p4.clone().ttl(63).bytes(), p6.clone().hops(63).bytes());
    ensure!(out4.len() == MTU && out6.len() == MTU);
    both(
        vm,
        from,
        to,
        [(IPV4, p4.bytes(), out4), (IPV6, p6.bytes(), out6)],
        within,
    )
}

/// Sends a packet of each family; the second of each is what must come out.
fn both(
    vm: &Vm,
    from: &Station,
    to: &Station,
    packets: [(u16, Vec<u8>, Vec<u8>); 2],
    within: Duration,
) -> Result<()> {
    for (ethertype, sent, want) in packets {
        vm.wire(from.card).send(&from.frame(vm, ethertype, &sent))?;
        arrives(vm, from, to, &to.receives(vm, ethertype, &want), within)?;
    }
    Ok(())
}

/// Sends a packet of each of `count` flows from one host to another, which must know each other; all must come out.
///
/// # Errors
/// When one does not.
pub fn flows(vm: &Vm, from: &Station, to: &Station, count: u16, within: Duration) -> Result<()> {
    let mut wanted = BTreeSet::new();
    for n in 0..count {
        let p = Ip4::udp_ports(from.ip4, to.ip4, 10_000 + n * 7, 5000, 64);
        wanted.insert(to.receives(vm, IPV4, &p.clone().ttl(63).bytes()));
        vm.wire(from.card).send(&from.frame(vm, IPV4, &p.bytes()))?;
    }
    let deadline = Instant::now() + within;
    while !wanted.is_empty() {
        let Some(f) = vm.wire(to.card).next(deadline) else {
            bail!("{} of {count} flows did not come through", wanted.len());
        };
        if !wanted.remove(&f) {
            to.answer(vm, &f)?;
        }
    }
    Ok(())
}

/// Waits for a frame, answering what is asked meanwhile.
fn arrives(vm: &Vm, from: &Station, to: &Station, want: &[u8], within: Duration) -> Result<()> {
    let deadline = Instant::now() + within;
    let mut strange = vec![];
    while Instant::now() < deadline {
        for f in vm.wire(from.card).drain() {
            from.answer(vm, &f)?;
        }
        let soon = Instant::now() + Duration::from_millis(20);
        let Some(f) = vm.wire(to.card).next(soon.min(deadline)) else {
            continue;
        };
        if f == want {
            return Ok(());
        }
        if !to.answer(vm, &f)? {
            strange.push(frame::describe(&f));
        }
    }
    bail!(
        "{} -> {}: nothing came within {:.0} s of\n{}\nbut\n{}",
        from.card,
        to.card,
        within.as_secs_f64(),
        frame::describe(want),
        strange.join("\n")
    )
}
