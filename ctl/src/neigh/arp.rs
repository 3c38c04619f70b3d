//! Received ARP: RFC 826 "Packet Reception", RFC 5227 2.4 (conflicts).

use std::net::IpAddr;
use std::time::Instant;

use net::arp::{Arp, Op};
use net::eth::{Eth, HEADER_LEN, ethertype};
use net::{IfaceId, MacAddr};

use super::resolve::Evidence;
use super::{Act, Neighbours};

impl Neighbours {
    /// Takes a whole untagged Ethernet frame with ARP in it.
    pub fn arp_rx(&mut self, now: Instant, iface: IfaceId, frame: &[u8], out: &mut Vec<Act>) {
        let parsed = Eth::new(frame)
            .and_then(|eth| Ok((eth, Arp::parse(frame.get(HEADER_LEN..).unwrap_or(&[]))?)));
        let Ok((eth, arp)) = parsed else {
            self.stats.malformed += 1;
            return;
        };
        if eth.ethertype() != ethertype::ARP {
            self.stats.malformed += 1;
            return;
        }
        let Some(here) = self.ifaces.get(&iface) else {
            self.stats.not_for_us += 1;
            return;
        };
        let mac = here.mac;
        if arp.sender_mac == mac || eth.src() == mac {
            self.stats.looped += 1;
            return;
        }
        if !(eth.dst().is_multicast() || eth.dst() == mac) {
            self.stats.not_for_us += 1;
            return;
        }
        let (sender, target) = (IpAddr::V4(arp.sender), IpAddr::V4(arp.target));
        let for_us = here.own.contains_key(&target);
        if here.own.contains_key(&sender) {
            self.conflict(now, (iface, sender), arp.sender_mac, out);
            return;
        }
        if arp.is_probe() {
            // Somebody else checks an address; ours is defended by an ordinary answer (RFC 5227 2.1.1). While we
            // check it ourselves, that is a conflict as well.
            if for_us && arp.op == Op::Request {
                self.probed(now, (iface, target), arp.sender_mac, out);
                self.answer_arp(iface, mac, &arp, out);
            }
            return;
        }
        let known = self.cache.get((iface, sender)).is_some();
        if !here.on_link(sender) && !known {
            self.stats.off_link += 1;
            return;
        }
        let tells = Evidence {
            mac: Some(arp.sender_mac),
            solicited: arp.op == Op::Reply && for_us && eth.dst() == mac,
            override_: true,
            router: None,
            create: arp.op == Op::Request && for_us,
        };
        self.learn(now, (iface, sender), tells, out);
        if arp.op == Op::Request && for_us {
            self.answer_arp(iface, mac, &arp, out);
        }
    }

    fn answer_arp(&self, iface: IfaceId, mac: MacAddr, asked: &Arp, out: &mut Vec<Act>) {
        let frame = asked.reply(mac, asked.target).frame(asked.sender_mac);
        out.push(Act::Send {
            iface,
            frame: frame.to_vec(),
        });
    }
}
