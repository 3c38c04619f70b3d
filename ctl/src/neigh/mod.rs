//! Neighbours: ARP (RFC 826, RFC 5227) and neighbour discovery (RFC 4861 7, RFC 4862 5.4, RFC 4429).
//!
//! Sans-I/O: frames, events and the time go in, [`Act`]s come out. Nothing here sleeps, reads a clock or sends.
//! [`Neighbours::poll_at`] says when [`Neighbours::tick`] is due next.
//!
//! Bounds, as the other side may be hostile: entries in all, frames and bytes held, new questions per second and
//! interface, work per tick, changes of one neighbour's address per second. What is not on the link is not believed.
//!
//! Left out: proxy ARP and proxy ND, router advertisements, redirects (a router ignores them), SEND, the DELAY state (we learn of use by
//! polling the adjacency's flag, so a stale neighbour in use is probed within [`Params::stale_poll`]), MLD (the kernel
//! reports the solicited-node groups of the same addresses through the interface's TAP).
//!
//! Departures, with their reasons:
//! - IPv4 addresses are used and announced at once, while RFC 5227 2.1 probes first: a router must forward soon after
//!   its start. It probes beside, reports conflicts and keeps the address (RFC 5227 2.4(c)).
//! - A solicitation carries our link-layer address while duplicate address detection runs, against RFC 4429 3.2:
//!   Linux does not answer one without it.
//! - No random delay before the first message of an interface (RFC 4861 6.3.7 guards against hosts powered on together).

mod address;
mod arp;
mod cache;
mod nd;
mod resolve;
mod router;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use net::{IfaceId, Ip4Prefix, Ip6Prefix, MacAddr, VrfId, ip4, ip6};

use self::address::Own;
use self::cache::{Cache, Key};

/// How neighbours are looked for and kept: `[neighbor]` of the configuration, and bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// How long a confirmation is good for (RFC 4861 ReachableTime); an entry takes up to an eighth less.
    pub reachable: Duration,
    /// Between two questions (RetransTimer).
    pub retransmit: Duration,
    /// Questions without an answer until we give up.
    pub max_probes: u32,
    /// Frames held for one neighbour; the oldest goes first.
    pub queue: usize,
    /// How long a neighbour that did not answer is not asked again.
    pub hold_down: Duration,
    /// How often a stale entry is looked at for use.
    pub stale_poll: Duration,
    /// How long a stale entry is kept without use.
    pub keep_stale: Duration,
    /// Entries in all.
    pub max_entries: usize,
    /// Bytes of frames held in all.
    pub max_held_bytes: usize,
    /// New neighbours asked for, per second and interface; those that a route wants are not counted.
    pub new_per_second: u32,
}

impl Params {
    /// From what is configured; the rest follows from it.
    #[must_use]
    pub fn new(reachable: Duration, retransmit: Duration, max_probes: u32, queue: usize) -> Self {
        Self {
            reachable,
            retransmit,
            max_probes: max_probes.max(1),
            queue,
            hold_down: retransmit.saturating_mul(3),
            stale_poll: reachable.min(Duration::from_secs(5)),
            keep_stale: reachable.saturating_mul(10),
            max_entries: 32_768,
            max_held_bytes: 32 << 20,
            new_per_second: 500,
        }
    }
}

impl Default for Params {
    /// The values of RFC 4861 10.
    fn default() -> Self {
        Self::new(Duration::from_secs(30), Duration::from_secs(1), 3, 64)
    }
}

/// An interface as this module sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfaceCfg {
    /// Which.
    pub id: IfaceId,
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// IPv4 addresses and their prefix lengths.
    pub v4: Vec<(Ipv4Addr, u8)>,
    /// IPv6 addresses and their prefix lengths, link-local ones not among them.
    pub v6: Vec<(Ipv6Addr, u8)>,
    /// The link-local address; `None`: no IPv6 here.
    pub link_local: Option<Ipv6Addr>,
}

/// A frame without its link header, waiting for a neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What it is: IPv4, IPv6 or MPLS.
    pub ethertype: u16,
    /// The packet.
    pub bytes: Vec<u8>,
    /// The TTL or hop limit with which it came, if it is another by now.
    pub received_ttl: Option<u8>,
    /// Whose packet it is: an ICMP error about it is looked up there.
    pub vrf: VrfId,
}

/// Why a held frame is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nobody answers at that address, now or a moment ago; or nobody can (a group, an address of our own).
    Unresolved,
    /// A newer frame to the same neighbour took its place, or too many bytes are held in all.
    QueueFull,
    /// Too many neighbours are looked for at once.
    TableFull,
    /// Too many new neighbours were asked for in the last second: somebody scans.
    Throttled,
    /// The interface is down or gone.
    InterfaceDown,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Send this untagged Ethernet frame.
    Send {
        /// Where.
        iface: IfaceId,
        /// The frame, not padded.
        frame: Vec<u8>,
    },
    /// The neighbour is at this Ethernet address, for the first time or at a new one; send it these frames.
    /// May come again with what is known already.
    Resolved {
        /// Where.
        iface: IfaceId,
        /// Who.
        addr: IpAddr,
        /// Its Ethernet address.
        mac: MacAddr,
        /// Frames that waited, oldest first.
        release: Vec<Held>,
    },
    /// A neighbour that was resolved is no longer.
    Lost {
        /// Where.
        iface: IfaceId,
        /// Who.
        addr: IpAddr,
    },
    /// A frame that won't be sent. To be counted, and answered with "host unreachable" where that is allowed.
    GiveUp {
        /// Where.
        iface: IfaceId,
        /// For whom it was.
        addr: IpAddr,
        /// Why.
        reason: Reason,
        /// The frame.
        held: Held,
    },
    /// Somebody else uses an address of ours. At most once in ten seconds per address.
    Duplicate {
        /// Where.
        iface: IfaceId,
        /// Our address.
        addr: IpAddr,
        /// The other station.
        by: MacAddr,
    },
}

/// What is known of a neighbour (RFC 4861 7.3.2, without DELAY).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Asked for; frames wait.
    Incomplete,
    /// Answered us lately.
    Reachable,
    /// An address is known, but its confirmation is old, or it came unasked.
    Stale,
    /// In use and being asked whether it is still there.
    Probe,
    /// Did not answer; not asked again for a while.
    Failed,
    /// Configured.
    Permanent,
}

impl State {
    /// Its name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Reachable => "reachable",
            Self::Stale => "stale",
            Self::Probe => "probe",
            Self::Failed => "failed",
            Self::Permanent => "permanent",
        }
    }

    /// Whether frames can be sent to it.
    #[must_use]
    pub const fn is_resolved(self) -> bool {
        matches!(
            self,
            Self::Reachable | Self::Stale | Self::Probe | Self::Permanent
        )
    }
}

/// A neighbour, for showing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Where.
    pub iface: IfaceId,
    /// Who.
    pub addr: IpAddr,
    /// Its Ethernet address, when known.
    pub mac: Option<MacAddr>,
    /// What is known.
    pub state: State,
    /// When it last answered us.
    pub confirmed: Option<Instant>,
    /// Frames waiting for it.
    pub held: usize,
    /// It says that it is a router (IPv6 only).
    pub router: bool,
    /// A route leads to it, so it is kept resolved.
    pub wanted: bool,
}

/// Counts of what was ignored or refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames that are not valid ARP or neighbour discovery.
    pub malformed: u64,
    /// Messages for another interface, or for one that is down.
    pub not_for_us: u64,
    /// Our own frames, come back.
    pub looped: u64,
    /// Senders that are not on the link.
    pub off_link: u64,
    /// Uses of our addresses by others.
    pub conflicts: u64,
    /// Changes of an Ethernet address that came too soon after the last, or against a configured neighbour.
    pub refused_changes: u64,
    /// Entries that had to make room.
    pub evicted: u64,
    /// New neighbours not asked for, as too many were.
    pub throttled: u64,
}

/// An interface that is up.
#[derive(Debug)]
struct Iface {
    mac: MacAddr,
    v4: Vec<(Ipv4Addr, Ip4Prefix)>,
    v6: Vec<Ip6Prefix>,
    link_local: Option<Ipv6Addr>,
    /// Every address of ours here, the link-local one too.
    own: BTreeMap<IpAddr, Own>,
    /// When the allowance for new questions is whole again (a leaky bucket of one second's worth).
    allowance: Instant,
}

impl Iface {
    /// Whether the address is on this link: in a connected prefix or link-local, and that of one host.
    fn on_link(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(a) => {
                let bits = u32::from(a);
                ip4::is_host_source(bits)
                    && self.v4.iter().any(|(_, p)| {
                        // The ends of a subnet are no hosts, but for RFC 3021's /31.
                        p.contains(bits) && (p.len() >= 31 || bits != p.addr() && bits != p.last())
                    })
            }
            IpAddr::V6(a) => {
                let bits = u128::from(a);
                ip6::is_host_source(bits)
                    && self.link_local.is_some()
                    && (ip6::is_link_local(bits) || self.v6.iter().any(|p| p.contains(bits)))
            }
        }
    }
}

/// All neighbours of the router, and how its own addresses are announced and defended.
#[derive(Debug)]
pub struct Neighbours {
    params: Params,
    ifaces: BTreeMap<IfaceId, Iface>,
    cache: Cache,
    /// Timers of our own addresses.
    own_timers: BTreeSet<(Instant, Key)>,
    /// Configured neighbours, of interfaces that are down too.
    statics: BTreeMap<Key, MacAddr>,
    /// Next hops of routes, likewise.
    wanted: BTreeSet<Key>,
    stats: Stats,
}

impl Neighbours {
    /// Nothing known, no interface up.
    #[must_use]
    pub fn new(params: Params) -> Self {
        Self {
            params,
            ifaces: BTreeMap::new(),
            cache: Cache::default(),
            own_timers: BTreeSet::new(),
            statics: BTreeMap::new(),
            wanted: BTreeSet::new(),
            stats: Stats::default(),
        }
    }

    /// Takes other parameters; timers that run keep their time.
    pub fn set_params(&mut self, params: Params) {
        self.params = params;
    }

    /// An interface is up, or its addresses have changed: new ones are announced and checked for duplicates,
    /// neighbours that are no longer on the link are lost, configured and wanted ones are taken up.
    pub fn interface_up(&mut self, now: Instant, cfg: &IfaceCfg, out: &mut Vec<Act>) {
        let id = cfg.id;
        let old = self.ifaces.remove(&id);
        let mut iface = Iface {
            mac: cfg.mac,
            v4: cfg
                .v4
                .iter()
                .filter_map(|&(a, len)| Some((a, Ip4Prefix::new(a.into(), len)?)))
                .collect(),
            v6: cfg
                .v6
                .iter()
                .filter_map(|&(a, len)| Ip6Prefix::new(a.into(), len))
                .collect(),
            link_local: cfg.link_local,
            own: BTreeMap::new(),
            allowance: old.as_ref().map_or(now, |o| o.allowance),
        };
        let same_mac = old.as_ref().is_some_and(|o| o.mac == cfg.mac);
        let mut before = old.map(|o| o.own).unwrap_or_default();
        let addrs = (cfg.v4.iter().map(|a| IpAddr::V4(a.0)))
            .chain(cfg.link_local.map(IpAddr::V6))
            .chain(
                cfg.link_local
                    .iter()
                    .flat_map(|_| cfg.v6.iter().map(|a| IpAddr::V6(a.0))),
            );
        let mut fresh = Vec::new();
        for addr in addrs {
            match before.remove(&addr) {
                Some(own) if same_mac => _ = iface.own.insert(addr, own),
                was => {
                    if let Some(at) = was.and_then(|own| own.at) {
                        self.own_timers.remove(&(at, (id, addr)));
                    }
                    if iface.own.insert(addr, Own::default()).is_none() {
                        fresh.push(addr);
                    }
                }
            }
        }
        for (addr, own) in before {
            if let Some(at) = own.at {
                self.own_timers.remove(&(at, (id, addr)));
            }
        }
        self.ifaces.insert(id, iface);
        for addr in fresh {
            self.advance_own(now, (id, addr), out);
        }
        self.sweep(id, out);
        self.take_up(now, id, out);
    }

    /// The interface is down or gone: its neighbours are lost, frames for them given up. Configured and wanted
    /// neighbours are remembered.
    pub fn interface_down(&mut self, id: IfaceId, out: &mut Vec<Act>) {
        if let Some(iface) = self.ifaces.remove(&id) {
            for (addr, own) in iface.own {
                if let Some(at) = own.at {
                    self.own_timers.remove(&(at, (id, addr)));
                }
            }
        }
        for key in self.cache.keys_of(id) {
            self.forget(key, Reason::InterfaceDown, out);
        }
    }

    /// Takes out what is no longer on the link, or is an address of our own now.
    fn sweep(&mut self, id: IfaceId, out: &mut Vec<Act>) {
        let Some(iface) = self.ifaces.get(&id) else {
            return;
        };
        let gone: Vec<Key> = (self.cache.keys_of(id).into_iter())
            .filter(|key| {
                let kept = self.wanted.contains(key) || self.statics.contains_key(key);
                iface.own.contains_key(&key.1) || !kept && !iface.on_link(key.1)
            })
            .collect();
        for key in gone {
            self.forget(key, Reason::Unresolved, out);
        }
    }

    /// Enters configured and wanted neighbours of an interface.
    fn take_up(&mut self, now: Instant, id: IfaceId, out: &mut Vec<Act>) {
        let range = cache::range_of(id);
        let statics: Vec<_> = self
            .statics
            .range(range.clone())
            .map(|(k, m)| (*k, *m))
            .collect();
        for (key, mac) in statics {
            self.enter_static(now, key, mac, out);
        }
        let wanted: Vec<_> = self.wanted.range(range).copied().collect();
        for key in wanted {
            self.enter_wanted(now, key, out);
        }
    }

    /// When [`Self::tick`] has something to do next; may be past.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        let own = self.own_timers.first().map(|t| t.0);
        [own, self.cache.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Every neighbour, by interface and address.
    pub fn entries(&self) -> impl Iterator<Item = Neighbour> + '_ {
        self.cache.iter().map(|(&(iface, addr), e)| Neighbour {
            iface,
            addr,
            mac: e.mac,
            state: e.state,
            confirmed: e.confirmed,
            held: e.held.len(),
            router: e.router,
            wanted: e.wanted,
        })
    }

    /// The interfaces on which `addr` is a neighbour that is not a static one.
    pub fn learned(&self, addr: IpAddr) -> impl Iterator<Item = IfaceId> + '_ {
        let learned = move |id: &IfaceId| {
            let entry = self.cache.get((*id, addr));
            entry.is_some_and(|e| e.state != State::Permanent)
        };
        self.ifaces.keys().copied().filter(learned)
    }

    /// The Ethernet address of a neighbour, when it is resolved.
    #[must_use]
    pub fn lookup(&self, iface: IfaceId, addr: IpAddr) -> Option<MacAddr> {
        self.cache
            .get((iface, addr))
            .filter(|e| e.state.is_resolved())
            .and_then(|e| e.mac)
    }

    /// Addresses of ours that somebody else was seen to use, and who.
    pub fn duplicates(&self) -> impl Iterator<Item = (IfaceId, IpAddr, MacAddr)> + '_ {
        self.ifaces.iter().flat_map(|(&id, iface)| {
            iface
                .own
                .iter()
                .filter_map(move |(&addr, own)| Some((id, addr, own.duplicate?)))
        })
    }

    /// What was ignored and refused since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }
}

#[cfg(test)]
mod tests;
