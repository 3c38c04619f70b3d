//! Time is arithmetic here: `at(millis)` after an arbitrary start.

mod address;
mod arp;
mod hostile;
mod nd;
mod resolve;
mod wire;

use std::collections::HashSet;

use net::arp::Arp;
use net::eth::Eth;

use super::*;

pub(super) const IF: IfaceId = IfaceId(3);
pub(super) const US: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
pub(super) const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
pub(super) const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);

pub(super) fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

pub(super) fn v4(s: &str) -> Ipv4Addr {
    s.parse().unwrap()
}

pub(super) fn v6(s: &str) -> Ipv6Addr {
    s.parse().unwrap()
}

pub(super) fn cfg() -> IfaceCfg {
    IfaceCfg {
        id: IF,
        mac: US,
        v4: vec![(v4("192.0.2.1"), 24), (v4("198.51.100.0"), 31)],
        v6: vec![(v6("2001:db8::1"), 64)],
        link_local: Some(v6("fe80::1")),
    }
}

pub(super) fn frame(n: u8) -> Held {
    Held {
        ethertype: 0x0800,
        bytes: vec![n; 60],
        received_ttl: None,
        vrf: net::VrfId::GLOBAL,
    }
}

/// The machine and its surroundings.
pub(super) struct Lab {
    pub(super) n: Neighbours,
    start: Instant,
    pub(super) out: Vec<Act>,
    pub(super) used: HashSet<IpAddr>,
}

impl Lab {
    /// No interface yet.
    pub(super) fn bare(params: Params) -> Self {
        Self {
            n: Neighbours::new(params),
            start: Instant::now(),
            out: Vec::new(),
            used: HashSet::new(),
        }
    }

    /// One interface, its announcements over, a minute before time 0.
    pub(super) fn with(params: Params) -> Self {
        let mut lab = Self::bare(params);
        lab.n.interface_up(lab.start, &cfg(), &mut lab.out);
        for s in 0..10 {
            lab.n.tick(
                lab.start + Duration::from_secs(s),
                &mut |_, _| false,
                &mut lab.out,
            );
        }
        assert_eq!(lab.n.poll_at(), None);
        lab.out.clear();
        lab.start += Duration::from_secs(60);
        lab
    }

    pub(super) fn new() -> Self {
        Self::with(Params::default())
    }

    pub(super) fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    pub(super) fn take(&mut self) -> Vec<Act> {
        assert!(self.n.cache.is_consistent());
        std::mem::take(&mut self.out)
    }

    pub(super) fn up(&mut self, ms: u64, cfg: &IfaceCfg) -> Vec<Act> {
        self.n.interface_up(self.at(ms), cfg, &mut self.out);
        self.take()
    }

    pub(super) fn resolve(&mut self, ms: u64, addr: &str, held: Option<Held>) -> Vec<Act> {
        self.n
            .resolve(self.at(ms), IF, ip(addr), held, &mut self.out);
        self.take()
    }

    pub(super) fn want(&mut self, ms: u64, addr: &str) -> Vec<Act> {
        self.n.want(self.at(ms), IF, ip(addr), &mut self.out);
        self.take()
    }

    pub(super) fn tick(&mut self, ms: u64) -> Vec<Act> {
        let now = self.at(ms);
        let used = &mut self.used;
        self.n.tick(
            now,
            &mut |iface, addr| iface == IF && used.remove(&addr),
            &mut self.out,
        );
        self.take()
    }

    /// Goes to the next deadline; returns its time in milliseconds and what happened.
    pub(super) fn next(&mut self) -> (u64, Vec<Act>) {
        let ms = (self.n.poll_at().expect("a deadline") - self.start).as_millis() as u64;
        // A deadline may fall between two milliseconds.
        (ms, self.tick(ms + 1))
    }

    pub(super) fn arp(&mut self, ms: u64, arp: Arp, dst: MacAddr) -> Vec<Act> {
        let now = self.at(ms);
        self.n.arp_rx(now, IF, &arp.frame(dst), &mut self.out);
        self.take()
    }

    /// The answer of a neighbour to our question.
    pub(super) fn arp_reply(&mut self, ms: u64, from: &str, mac: MacAddr) -> Vec<Act> {
        let reply = Arp::request(US, v4("192.0.2.1"), v4(from)).reply(mac, v4(from));
        self.arp(ms, reply, US)
    }

    pub(super) fn nd(&mut self, ms: u64, frame: &[u8]) -> Vec<Act> {
        let now = self.at(ms);
        self.n.nd_rx(now, IF, frame, &mut self.out);
        self.take()
    }

    pub(super) fn entry(&self, addr: &str) -> Option<Neighbour> {
        self.n.entries().find(|e| e.addr == ip(addr))
    }

    pub(super) fn state(&self, addr: &str) -> Option<State> {
        self.entry(addr).map(|e| e.state)
    }

    /// A neighbour that has just answered at time 0.
    pub(super) fn with_neighbour(addr: &str) -> Self {
        let mut lab = Self::new();
        lab.resolve(0, addr, None);
        lab.arp_reply(0, addr, PEER);
        assert_eq!(lab.state(addr), Some(State::Reachable));
        lab
    }
}

/// What we say in ARP, and to whom.
pub(super) fn arps(acts: &[Act]) -> Vec<(Arp, MacAddr)> {
    let sent = acts.iter().filter_map(|a| {
        if let Act::Send { iface: IF, frame } = a {
            Some(frame)
        } else {
            None
        }
    });
    sent.filter_map(|f| Some((Arp::parse(f.get(14..)?).ok()?, Eth::new(f).ok()?.dst())))
        .collect()
}

/// What we say in neighbour discovery, and to whom.
pub(super) fn nds(acts: &[Act]) -> Vec<(net::nd::Message, MacAddr)> {
    let sent = acts.iter().filter_map(|a| {
        if let Act::Send { iface: IF, frame } = a {
            Some(frame)
        } else {
            None
        }
    });
    sent.filter_map(|f| Some((net::nd::parse(f.get(14..)?).ok()?, Eth::new(f).ok()?.dst())))
        .collect()
}

/// The numbers of frames that were given up, and why.
pub(super) fn given_up(acts: &[Act]) -> Vec<(u8, Reason)> {
    let given = |a: &Act| {
        if let Act::GiveUp { reason, held, .. } = a {
            Some((held.bytes[0], *reason))
        } else {
            None
        }
    };
    acts.iter().filter_map(given).collect()
}

/// The one resolution in `acts`: Ethernet address and numbers of the frames let go.
pub(super) fn resolved(acts: &[Act]) -> Option<(MacAddr, Vec<u8>)> {
    let mut all = acts.iter().filter_map(|a| match a {
        Act::Resolved { mac, release, .. } => {
            Some((*mac, release.iter().map(|h| h.bytes[0]).collect()))
        }
        _ => None,
    });
    let one = all.next();
    assert_eq!(all.next(), None);
    one
}
