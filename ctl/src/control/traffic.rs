//! Frames on the control thread: from the workers to the kernel and the neighbours, from the kernel to the workers.
//!
//! Whoever takes a punted frame and cannot bring it anywhere counts it as injected and dropped, so that the sum of
//! DESIGN section 2 holds. Work per turn is bounded on every side.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use dataplane::drops::Drop as Reason;
use dataplane::punt::{Inject, PuntReason, Punted};
use ipnet::IpNet;
use net::eth::ethertype;
use net::icmp_error::{self, Error4, Error6, MAX_LEN4, MAX_LEN6};
use net::ip4::{Ip4, Ip4Mut};
use net::ip6::{Ip6, Ip6Mut};
use net::{IfaceId, VrfId};
use tracing::{debug, warn};

use super::router::Router;
use crate::host::frames::{self, FromKernel};
use crate::neigh::{self, Act, Held};

/// Punted frames taken in one turn.
const PUNTS: usize = 512;
/// Frames read from one TAP in one turn.
const TAP_FRAMES: usize = 64;

impl Router {
    /// Takes what workers have punted. True: there may be more.
    pub(crate) fn punts(&mut self, now: Instant) -> bool {
        let Some(dp) = &mut self.dp else { return false };
        let mut punted = Vec::new();
        let taken = dp.punts(PUNTS, |p| punted.push(p));
        for p in punted {
            self.punt(p, now);
        }
        self.carry_out(now);
        taken >= PUNTS
    }

    fn punt(&mut self, p: Punted, now: Instant) {
        match p.reason {
            PuntReason::Local => self.local(&p, now),
            PuntReason::Echo => self.lsp_asked(&p, now),
            PuntReason::Arp | PuntReason::Nd => self.neighbour_frame(&p, now),
            PuntReason::Glean | PuntReason::Incomplete => {
                let Some(next_hop) = p.next_hop else {
                    return self.give_up(p.iface, Reason::PuntUnwanted);
                };
                let held = Held {
                    ethertype: p.ethertype,
                    bytes: p.frame.data().to_vec(),
                    received_ttl: p.received_ttl,
                    vrf: p.vrf,
                };
                self.neigh
                    .resolve(now, p.iface, next_hop, Some(held), &mut self.acts);
            }
        }
    }

    /// ARP and neighbour discovery; what is malformed is dropped under its name.
    fn neighbour_frame(&mut self, p: &Punted, now: Instant) {
        let before = self.neigh.stats().malformed;
        let (iface, frame) = (p.rx_iface, p.frame.data());
        let why = if p.reason == PuntReason::Arp {
            self.neigh.arp_rx(now, iface, frame, &mut self.acts);
            Reason::BadArp
        } else {
            self.neigh.nd_rx(now, iface, frame, &mut self.acts);
            Reason::BadNd
        };
        if self.neigh.stats().malformed > before {
            self.give_up(iface, why);
        }
    }

    /// Gives the kernel a frame that is for the router; answers of LSP ping are taken here.
    fn local(&mut self, p: &Punted, now: Instant) {
        if p.ethertype == ethertype::IPV4 && self.lsp_answered(p, now) {
            return;
        }
        let Some(h) = self.host.as_ref().and_then(|h| h.get(p.iface)) else {
            return self.give_up(p.iface, Reason::PuntUnwanted);
        };
        match h.tap().send(p.frame.data()) {
            Ok(true) => {}
            Ok(false) => self.give_up(p.iface, Reason::TapFull),
            Err(e) => {
                debug!(
                    interface = self.name(p.iface),
                    "the kernel does not take a frame: {e}"
                );
                self.give_up(p.iface, Reason::TapFull);
            }
        }
    }

    pub(crate) fn give_up(&mut self, iface: IfaceId, why: Reason) {
        if let Some(dp) = &mut self.dp {
            dp.count_given_up(iface, why);
        }
    }

    pub(crate) fn inject(&mut self, what: Inject, frame: &[u8]) {
        if let Some(dp) = &mut self.dp {
            // A frame that is not taken has been counted.
            let _ = dp.inject(what, frame);
        }
    }

    /// Reads from the TAPs that have something. True: there is more.
    pub(crate) fn taps(&mut self, now: Instant) -> bool {
        let ready: Vec<IfaceId> = self.readable.iter().copied().collect();
        for id in ready {
            if !self.tap(id, now) {
                self.readable.remove(&id);
            }
        }
        self.carry_out(now);
        !self.readable.is_empty()
    }

    /// Reads from one TAP. True: there may be more.
    fn tap(&mut self, id: IfaceId, now: Instant) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut more = true;
        for _ in 0..TAP_FRAMES {
            let Some(h) = self.host.as_ref().and_then(|h| h.get(id)) else {
                more = false;
                break;
            };
            match h.tap().recv(&mut buffer) {
                Ok(Some(n)) => self.kernel_frame(id, &mut buffer[..n], now),
                Ok(None) => {
                    more = false;
                    break;
                }
                Err(e) => {
                    warn!(interface = self.name(id), "can't read from the TAP: {e}");
                    more = false;
                    break;
                }
            }
        }
        self.buffer = buffer;
        more
    }

    /// Sends on what the kernel has sent by the TAP of an interface.
    fn kernel_frame(&mut self, id: IfaceId, frame: &mut [u8], now: Instant) {
        let Some(i) = self.iface(id) else { return };
        let (addresses, vrf) = (&i.conf.addresses, i.vrf);
        match frames::from_kernel(frame, addresses) {
            FromKernel::Route(packet) => {
                let way = Inject::Route { vrf, iface: id };
                if let Some(dp) = &mut self.dp {
                    let _ = dp.inject(way, packet);
                }
            }
            FromKernel::Link(to) => {
                if frames::set_destination(frame, to) {
                    self.inject(Inject::Raw { iface: id }, frame);
                }
            }
            FromKernel::Neighbor(address, ethertype, packet) => {
                let held = Held {
                    ethertype,
                    bytes: packet.to_vec(),
                    received_ttl: None,
                    vrf,
                };
                self.neigh
                    .resolve(now, id, address, Some(held), &mut self.acts);
            }
            FromKernel::Drop => {}
        }
    }

    /// Runs the timers of the neighbours.
    pub(crate) fn tick(&mut self, now: Instant) {
        let Self {
            neigh,
            rib,
            dp,
            acts,
            ..
        } = self;
        let mut used = |iface, address| match (rib.adjacency(iface, address), dp.as_mut()) {
            (Some(adj), Some(dp)) => dp.fib().adj_used_take(adj),
            _ => false,
        };
        neigh.tick(now, &mut used, acts);
        self.carry_out(now);
    }

    /// Does what the neighbours want done.
    pub(crate) fn carry_out(&mut self, now: Instant) {
        for act in std::mem::take(&mut self.acts) {
            match act {
                Act::Send { iface, frame } => self.inject(Inject::Raw { iface }, &frame),
                Act::Resolved {
                    iface,
                    addr,
                    mac,
                    release,
                } => {
                    self.rib.neighbor(iface, addr, mac);
                    self.release(iface, mac, &release);
                }
                Act::Lost { iface, addr } => {
                    debug!(interface = self.name(iface), %addr, "neighbour lost");
                    self.rib.neighbor_lost(iface, addr);
                }
                Act::GiveUp {
                    iface,
                    addr,
                    reason,
                    held,
                } => self.given_up(iface, addr, reason, held, now),
                Act::Duplicate { iface, addr, by } => {
                    warn!(interface = self.name(iface), %addr, %by, "another host on the link uses our address");
                }
            }
        }
    }

    /// Sends frames that waited for a neighbour.
    fn release(&mut self, id: IfaceId, mac: net::MacAddr, held: &[Held]) {
        let Some(source) = self.iface(id).map(|i| i.mac) else {
            for _ in held {
                self.give_up(id, Reason::InterfaceDown);
            }
            return;
        };
        let mut frame = std::mem::take(&mut self.scratch);
        for h in held {
            frames::to_neighbor(&mut frame, mac, source, h.ethertype, &h.bytes);
            self.inject(Inject::Raw { iface: id }, &frame);
        }
        self.scratch = frame;
    }

    /// Counts a frame that nobody takes, and tells its sender where that is due (RFC 1812 4.3.3.1, RFC 4443 3.1).
    fn given_up(
        &mut self,
        iface: IfaceId,
        addr: IpAddr,
        why: neigh::Reason,
        mut held: Held,
        now: Instant,
    ) {
        let counted = match why {
            neigh::Reason::Unresolved | neigh::Reason::Throttled => Reason::Unresolved,
            neigh::Reason::QueueFull | neigh::Reason::TableFull => Reason::QueueFull,
            neigh::Reason::InterfaceDown => Reason::InterfaceDown,
        };
        self.give_up(iface, counted);
        if why != neigh::Reason::Unresolved || !self.icmp_limit.take(now) {
            return;
        }
        debug!(interface = self.name(iface), %addr, "neighbour does not answer");
        as_received(&mut held);
        let mut out = [0; MAX_LEN6];
        let made = match held.ethertype {
            ethertype::IPV4 => {
                self.unreachable4((held.vrf, iface), &mut out[..MAX_LEN4], &held.bytes)
            }
            ethertype::IPV6 => self.unreachable6((held.vrf, iface), &mut out, &held.bytes),
            _ => None,
        };
        if let Some(n) = made {
            let vrf = held.vrf;
            self.inject(Inject::Route { vrf, iface }, &out[..n]);
        }
    }

    fn unreachable4(&self, from: (VrfId, IfaceId), out: &mut [u8], packet: &[u8]) -> Option<usize> {
        let to = Ip4::new(packet).ok()?.src();
        let source = self.source4(IpAddr::V4(to), from)?;
        icmp_error::build_error4(out, source, Error4::HOST_UNREACHABLE, packet, None)
    }

    fn unreachable6(&self, from: (VrfId, IfaceId), out: &mut [u8], packet: &[u8]) -> Option<usize> {
        let to = Ip6::new(packet).ok()?.src();
        let source = self.source6(IpAddr::V6(to), from)?;
        icmp_error::build_error6(out, source, Error6::ADDRESS_UNREACHABLE, packet, None)
    }

    /// The addresses of a VRF to send from to `to`: those of the interface that leads there, then those of `other`, then any.
    fn sources(&self, to: IpAddr, (vrf, other): (VrfId, IfaceId)) -> impl Iterator<Item = IpNet> {
        let first = self.rib.egress(vrf, to).and_then(|id| self.iface(id));
        let second = self.iface(other);
        let all = first.into_iter().chain(second).chain(self.ifaces.values());
        let all = all.filter(move |i| i.vrf == vrf);
        all.flat_map(|i| i.conf.addresses.iter().copied())
    }

    pub(crate) fn source4(&self, to: IpAddr, other: (VrfId, IfaceId)) -> Option<Ipv4Addr> {
        self.sources(to, other).find_map(|a| match a {
            IpNet::V4(a) => Some(a.addr()),
            IpNet::V6(_) => None,
        })
    }

    fn source6(&self, to: IpAddr, other: (VrfId, IfaceId)) -> Option<Ipv6Addr> {
        self.sources(to, other).find_map(|a| match a {
            IpNet::V4(_) => None,
            IpNet::V6(a) => Some(a.addr()),
        })
    }
}

/// Gives a packet the TTL back with which it came: an error quotes its header as received (RFC 1812 4.3.2.3).
fn as_received(held: &mut Held) {
    let Some(ttl) = held.received_ttl.take() else {
        return;
    };
    match held.ethertype {
        ethertype::IPV4 => {
            if let Ok(mut h) = Ip4Mut::new(&mut held.bytes) {
                h.set_ttl(ttl);
            }
        }
        ethertype::IPV6 => {
            if let Ok(mut h) = Ip6Mut::new(&mut held.bytes) {
                h.set_hop_limit(ttl);
            }
        }
        _ => {}
    }
}
