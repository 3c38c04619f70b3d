//! Received neighbour discovery: RFC 4861 7.2.3 to 7.2.5, 6.2.6 (router solicitations), RFC 4862 5.4.3 and 5.4.4.
//! [`net::nd::parse`] has checked what RFC 4861 6.1 and 7.1 ask for.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use net::eth::{Eth, HEADER_LEN, ethertype};
use net::nd::{self, AdvertFlags, Body, Message};
use net::{IfaceId, MacAddr};

use super::address::advert_all;
use super::resolve::Evidence;
use super::{Act, Neighbours};

impl Neighbours {
    /// Takes a whole untagged Ethernet frame with neighbour discovery in it.
    pub fn nd_rx(&mut self, now: Instant, iface: IfaceId, frame: &[u8], out: &mut Vec<Act>) {
        let parsed = Eth::new(frame)
            .and_then(|eth| Ok((eth, nd::parse(frame.get(HEADER_LEN..).unwrap_or(&[]))?)));
        let Ok((eth, message)) = parsed else {
            self.stats.malformed += 1;
            return;
        };
        if eth.ethertype() != ethertype::IPV6 || !eth.src().is_unicast() {
            self.stats.malformed += 1;
            return;
        }
        let Some(here) = self.ifaces.get(&iface) else {
            self.stats.not_for_us += 1;
            return;
        };
        if eth.src() == here.mac {
            self.stats.looped += 1;
            return;
        }
        if !(eth.dst().is_multicast() || eth.dst() == here.mac) || here.link_local.is_none() {
            self.stats.not_for_us += 1;
            return;
        }
        match message.body {
            Body::NeighborSolicit { target } => {
                self.solicited(now, iface, target, &message, eth.src(), out)
            }
            Body::NeighborAdvert { target, flags } => {
                self.advertised(now, iface, target, flags, &message, eth.src(), out);
            }
            Body::RouterSolicit => self.heard(now, iface, &message, None, out),
            Body::RouterAdvert { .. } => self.heard(now, iface, &message, Some(true), out),
            Body::Redirect => {}
        }
    }

    /// A neighbour solicitation (RFC 4861 7.2.3 and 7.2.4).
    fn solicited(
        &mut self,
        now: Instant,
        iface: IfaceId,
        target: Ipv6Addr,
        message: &Message,
        from: MacAddr,
        out: &mut Vec<Act>,
    ) {
        let Some(here) = self.ifaces.get(&iface) else {
            return;
        };
        let key = (iface, IpAddr::V6(target));
        let Some(own) = here.own.get(&key.1) else {
            self.stats.not_for_us += 1;
            return;
        };
        let (mac, tentative) = (here.mac, own.is_tentative());
        if message.src.is_unspecified() {
            // Duplicate address detection by another station. If ours has not ended, neither may have the address.
            self.probed(now, key, from, out);
            if !tentative {
                out.push(Act::Send {
                    iface,
                    frame: advert_all(mac, target, true),
                });
            }
            return;
        }
        let src = IpAddr::V6(message.src);
        if here.own.contains_key(&src) {
            self.conflict(now, (iface, src), from, out);
            return;
        }
        if !here.on_link(src) {
            self.stats.off_link += 1;
            return;
        }
        self.heard(now, iface, message, None, out);
        if self.answers_for(key) {
            let flags = AdvertFlags {
                router: true,
                solicited: true,
                override_: !tentative,
            };
            let to = message.source_mac.unwrap_or(from);
            let frame = nd::advert(mac, to, target, message.src, target, flags);
            out.push(Act::Send {
                iface,
                frame: frame.to_vec(),
            });
        }
    }

    /// A neighbour advertisement (RFC 4861 7.2.5, RFC 4862 5.4.4).
    #[allow(clippy::too_many_arguments)] // the parts of one message
    fn advertised(
        &mut self,
        now: Instant,
        iface: IfaceId,
        target: Ipv6Addr,
        flags: AdvertFlags,
        message: &Message,
        from: MacAddr,
        out: &mut Vec<Act>,
    ) {
        let Some(here) = self.ifaces.get(&iface) else {
            return;
        };
        let key = (iface, IpAddr::V6(target));
        if here.own.contains_key(&key.1) {
            if message.target_mac == Some(here.mac) {
                self.stats.looped += 1;
            } else {
                self.conflict(now, key, message.target_mac.unwrap_or(from), out);
            }
            return;
        }
        if message.target_mac == Some(here.mac) {
            self.stats.looped += 1;
            return;
        }
        let tells = Evidence {
            mac: message.target_mac,
            solicited: flags.solicited,
            override_: flags.override_,
            router: Some(flags.router),
            create: false,
        };
        self.learn(now, key, tells, out);
    }

    /// The source of a solicitation or of a router's message, which says where it is.
    fn heard(
        &mut self,
        now: Instant,
        iface: IfaceId,
        message: &Message,
        router: Option<bool>,
        out: &mut Vec<Act>,
    ) {
        let Some(mac) = message.source_mac else {
            return;
        };
        let Some(here) = self.ifaces.get(&iface) else {
            return;
        };
        let src = IpAddr::V6(message.src);
        if mac == here.mac || here.own.contains_key(&src) {
            self.stats.looped += 1;
            return;
        }
        if !here.on_link(src) {
            self.stats.off_link += 1;
            return;
        }
        let tells = Evidence {
            mac: Some(mac),
            solicited: false,
            override_: true,
            router,
            create: true,
        };
        self.learn(now, (iface, src), tells, out);
    }
}
