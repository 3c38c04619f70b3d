//! BGP on the control thread: what drives the speaker of the crate `bgp`, which does no I/O itself.
//!
//! Read the crate's `speaker` first. A [`Driver`] has the sockets and the time; each of its turns does a bounded piece:
//! connections that come, octets that came, decisions, routes for the RIB; octets to be written come after the tables ([`Driver::write_out`]). What waits is in the kernel's
//! buffers (a neighbour that sends too much, or reads too little, is slowed down by TCP), or in the speaker, which keeps no
//! queue for who is slow; here it is one buffer a connection at most.
//!
//! - `net`: sockets. `conns`: connections and what comes and goes over them. `links`: addresses and interfaces.
//! - `rpki`: the caches that say who may originate what.
//! - `trial`: what a policy would do with a route.
//! - `labels`: labels of ours. `vpn`: VRFs.
//! - `routes`: next hops, best routes, routes of the router's own. `translate`: the configuration. `show`: the API.
//! - `restart`: what is known of a restart of ours.
//! - `watch`: who is told what is heard. `bmp`: stations. `mrt`: files.

mod bmp;
mod conns;
mod labels;
mod leaks;
mod links;
mod mrt;
mod net;
mod restart;
mod routes;
mod rpki;
mod show;
#[cfg(test)]
mod tests;
mod translate;
mod trial;
mod vpn;
mod watch;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp::speaker::{self, Action, Notice, PeerView, Speaker};
use bgp::types::VrfNo;
use ipnet::IpNet;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::net::if_::if_nametoindex;
use socket2::Socket;
use tracing::{debug, error, info, warn};

use crate::apply::translate::ttl;
use crate::config::bgp::{Bgp, Graceful, PeerKey};
use crate::config::{Valid, VrfName};
use crate::control::limit::{Limit, Pace};
use crate::labels::Manager;
use crate::rib::{Distances, FollowedHop, Rib};
use conns::Conns;
pub(crate) use links::Links;
use net::Wire;
use routes::{Hops, Own};
use rpki::Caches;
pub(crate) use show::{is_unreached, next_hop};
use translate::RESTART_TIME;

/// How long routes are chosen between two looks at everything else.
const SLICE: Duration = Duration::from_millis(2);
/// Prefixes in such a slice, at least and at most.
const PREFIXES: (usize, usize) = (256, 8192);

/// Between two router advertisements on a link with a neighbour at the other end.
const ADVERTS: Duration = Duration::from_secs(5);

/// How long at most others are not told of routes after a restart, RFC 4724 4.1, where nothing is said.
const DEFERRAL: u64 = 120;

/// A socket that listens.
struct Listener {
    at: SocketAddr,
    socket: Socket,
    ready: bool,
    /// Whose connections are signed on it.
    signed: Vec<hugepages::sock::Peers>,
}

/// What was made ready for a configuration: [`Driver::apply`] can't fail with it.
#[derive(Default)]
pub(crate) struct Prepared {
    listeners: Vec<Listener>,
}

/// Drives a speaker, if there is one.
pub(crate) struct Driver {
    registry: Registry,
    speaker: Option<Speaker>,
    told: Option<Arc<Bgp>>,
    /// It is to end when all of it has been taken back.
    ending: bool,
    wires: HashMap<speaker::PeerKey, Wire>,
    /// Of neighbours that come by themselves; the longest first.
    prefixes: Vec<(IpNet, Wire)>,
    listeners: Vec<Listener>,
    conns: Conns,
    hops: Hops,
    bound: labels::Bound,
    vpns: vpn::Vpns,
    own: Own,
    caches: Caches,
    pace: Pace,
    refusals: Limit,
    /// Paths that the speaker could not take, as far as the log has them.
    refused: u64,
    /// When the links with a neighbour at the other end are told again that a router is there.
    next_advert: Option<Instant>,
    watchers: watch::Watchers,
    marker: restart::Marker,
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("told", &self.told)
            .field("conns", &self.conns.len())
            .finish_non_exhaustive()
    }
}

/// The tokens of listening sockets begin here, those of connections at `CONNS`.
pub(crate) const LISTENERS: usize = 1 << 20;
/// Those of monitoring stations.
const STATIONS: usize = LISTENERS + (1 << 18);
/// See [`LISTENERS`].
const CONNS: usize = 1 << 21;
/// Those of connections to caches begin here.
const CACHES: usize = LISTENERS + (1 << 19);

impl Driver {
    pub(crate) fn new(registry: Registry) -> Self {
        Self {
            registry,
            speaker: None,
            told: None,
            ending: false,
            wires: HashMap::new(),
            prefixes: Vec::new(),
            listeners: Vec::new(),
            conns: Conns::new(CONNS),
            hops: Hops::default(),
            bound: labels::Bound::default(),
            vpns: vpn::Vpns::default(),
            own: Own::default(),
            caches: Caches::new(CACHES),
            pace: Pace::new(SLICE, PREFIXES.0, PREFIXES.1),
            refusals: Limit::new(1, 5),
            refused: 0,
            next_advert: None,
            watchers: watch::Watchers::default(),
            marker: restart::Marker::default(),
        }
    }

    /// Has a file say that BGP is spoken here, for who starts after us.
    pub(crate) fn set_marker(&mut self, path: &std::path::Path) {
        self.marker = restart::Marker::new(path);
    }

    // ---- configuration ----

    /// Does what can fail of taking over a configuration.
    ///
    /// # Errors
    /// Cause and remedy; nothing has changed then.
    pub(crate) fn prepare(&mut self, next: &Valid) -> Result<Prepared, String> {
        let Some(bgp) = &next.bgp else {
            return Ok(Prepared::default());
        };
        for (key, neighbor) in &bgp.neighbors {
            let wire = translate::wire(bgp, &bgp.settings(neighbor), None);
            if let Some(ao) = wire.ao.first() {
                net::try_ao(ao).map_err(|e| format!("bgp.neighbor.\"{key}\".tcp-ao-file: {e}"))?;
            }
        }
        let wanted = listening(bgp);
        if self
            .listeners
            .iter()
            .map(|l| l.at)
            .eq(wanted.iter().copied())
        {
            return Ok(Prepared::default());
        }
        // Where one address is in another (any and one), the old has to go first.
        let before: Vec<SocketAddr> = self.listeners.iter().map(|l| l.at).collect();
        self.stop_listening();
        match self.listen(&wanted) {
            Ok(listeners) => Ok(Prepared { listeners }),
            Err(cause) => {
                match self.listen(&before) {
                    Ok(old) => self.listeners = old,
                    Err(e) => error!("a refused change could not be taken back in full: {e}"),
                }
                Err(cause)
            }
        }
    }

    fn listen(&self, wanted: &[SocketAddr]) -> Result<Vec<Listener>, String> {
        let mut out = Vec::new();
        for (n, at) in wanted.iter().enumerate() {
            let opened = net::listen(*at).and_then(|socket| {
                let fd = socket.as_raw_fd();
                let token = Token(LISTENERS + n);
                self.registry
                    .register(&mut SourceFd(&fd), token, Interest::READABLE)?;
                Ok(socket)
            });
            match opened {
                Ok(socket) => out.push(Listener {
                    at: *at,
                    socket,
                    ready: true,
                    signed: Vec::new(),
                }),
                // A host without IPv6 is one that listens on IPv4.
                Err(e) if at.ip() == Ipv6Addr::UNSPECIFIED && is_no_ipv6(&e) => {}
                Err(e) => {
                    return Err(format!(
                        "bgp: can't listen on {at}: {e}; end what listens there, or set listen or port in [bgp]"
                    ));
                }
            }
        }
        Ok(out)
    }

    fn stop_listening(&mut self) {
        for l in self.listeners.drain(..) {
            let _ = self
                .registry
                .deregister(&mut SourceFd(&l.socket.as_raw_fd()));
        }
    }

    /// Takes over a configuration.
    pub(crate) fn apply(
        &mut self,
        next: &Valid,
        prepared: Prepared,
        rib: &mut Rib,
        links: &Links<'_>,
        now: Instant,
    ) {
        if !prepared.listeners.is_empty() {
            self.listeners = prepared.listeners;
        }
        let policies = |name: &str| next.policy(name);
        self.own.changed();
        self.vpns.changed();
        let vrfs = |name: &VrfName| {
            let id = links.vrf(Some(name));
            id.map_or(VrfNo::GLOBAL, |id| VrfNo(id.0))
        };
        let Some(config) = translate::speaker(next, &policies, &vrfs) else {
            self.told = None;
            if let (Some(speaker), Some(last)) = (&mut self.speaker, self.hops.last.take()) {
                info!("BGP ends: it is no longer configured");
                let none = speaker::Config {
                    neighbors: Vec::new(),
                    dynamic: Vec::new(),
                    ..last
                };
                speaker.reconfigure(none, now);
                // What has leaked between VRFs goes, too.
                speaker.set_vrfs(Vec::new());
                self.ending = true;
            }
            self.marker.keep(false, now);
            self.stop_listening();
            self.vpns.stop_listening(&self.registry);
            self.wires.clear();
            self.prefixes.clear();
            self.next_advert = None;
            self.carry_out(links, rib, now);
            return;
        };
        let Some(bgp) = &next.bgp else { return };
        self.ending = false;
        let s = &bgp.speaker;
        rib.set_distances(Distances {
            ebgp: s.distance.ebgp,
            ibgp: s.distance.ibgp,
        });
        rib.set_next_hop_by_default(s.next_hop_by_default);
        self.hops.install = s.install;
        self.hops.delay = Duration::from_secs(s.label_delay.into());
        self.hops.last = Some(config.clone());
        let before = self.wires_in_use(now);
        self.wires(bgp, next);
        let over_link = |k: &speaker::PeerKey| matches!(k, speaker::PeerKey::Interface(_));
        self.next_advert = self.wires.keys().any(over_link).then_some(now);
        self.sign(links);
        self.told = Some(Arc::clone(bgp));
        match &mut self.speaker {
            Some(speaker) => speaker.reconfigure(config, now),
            None => {
                info!(
                    "BGP begins: AS {}, {} neighbours",
                    s.asn,
                    bgp.neighbors.len()
                );
                let seed =
                    u64::from(std::process::id()) << 32 | u64::from(now.elapsed().subsec_nanos());
                let mut speaker = Speaker::new(config, seed, now);
                let time = Duration::from_secs(s.restart_time.map_or(RESTART_TIME, |n| n.0.into()));
                let deferral = s.restart_deferral.map_or(DEFERRAL, |n| n.0.into());
                if self.marker.is_fresh(time) {
                    speaker.restarted(!s.install, Duration::from_secs(deferral), now);
                }
                if speaker.is_restarting() {
                    info!(
                        "BGP was spoken here before: neighbours are told of routes when all that wait for us have told theirs, or after {deferral} s"
                    );
                }
                self.speaker = Some(speaker);
            }
        }
        self.reset_rewired(&before, now);
        if let Some(speaker) = &mut self.speaker {
            speaker.set_own_addresses(links.addresses());
            let labelled = next.interfaces.values().any(|i| i.mpls) || !next.vrfs.is_empty();
            self.hops.need_labels(s.install && labelled, speaker, rib);
            if speaker.set_srgb(next.label_ranges.srgb.map(translate::srgb)) {
                self.own.srgb_changed();
            }
        }
        self.with_caches(links, rib, now, |caches, around| {
            caches.configure(next.rpki.as_deref(), around);
        });
        self.apply_watch(next, now);
        let full = |n| bgp.settings(n).graceful_restart == Some(Graceful::Full);
        self.marker.keep(bgp.neighbors.values().any(full), now);
        self.carry_out(links, rib, now);
    }

    /// Does something with the caches, if there is a speaker that listens to them.
    fn with_caches<T>(
        &mut self,
        links: &Links<'_>,
        rib: &Rib,
        now: Instant,
        f: impl FnOnce(&mut Caches, &mut rpki::Around<'_>) -> T,
    ) -> Option<T> {
        let mut around = rpki::Around {
            registry: &self.registry,
            speaker: self.speaker.as_mut()?,
            links,
            rib,
            now,
        };
        Some(f(&mut self.caches, &mut around))
    }

    fn wires(&mut self, bgp: &Bgp, valid: &Valid) {
        self.wires.clear();
        self.prefixes.clear();
        for (key, neighbor) in &bgp.neighbors {
            let vrf = bgp.vrf_of(key, neighbor, &valid.interfaces);
            let wire = translate::wire(bgp, &bgp.settings(neighbor), vrf);
            match key {
                PeerKey::Address(a, dev) => {
                    let key = speaker::PeerKey::Address(*a, dev.clone());
                    self.wires.insert(key, wire);
                }
                PeerKey::Interface(dev) => {
                    let key = speaker::PeerKey::Interface(dev.clone());
                    self.wires.insert(key, wire);
                }
                PeerKey::Prefix(p) => self.prefixes.push((*p, wire)),
            }
        }
        self.prefixes
            .sort_by_key(|(p, _)| std::cmp::Reverse(p.prefix_len()));
    }

    /// What the sockets of each neighbour that there is were given.
    fn wires_in_use(&mut self, now: Instant) -> Vec<(speaker::PeerKey, Wire)> {
        let all = self.speaker.as_mut().map(|s| s.neighbors(now));
        let one = |v: PeerView| Some((v.key.clone(), self.wire_of_peer(&v.key)?.clone()));
        all.into_iter().flatten().filter_map(one).collect()
    }

    /// Ends the sessions whose sockets would be made in another way now, by another key say: what is configured is in force, and
    /// whoever is to have the new key shows that it has.
    fn reset_rewired(&mut self, before: &[(speaker::PeerKey, Wire)], now: Instant) {
        for (key, old) in before {
            let other = self.wire_of_peer(key).is_some_and(|new| new != old);
            if other && let Some(speaker) = &mut self.speaker {
                info!(neighbor = %key, "its connection is configured anew: the session is reset");
                // One that has gone with this configuration needs none.
                let _ = speaker.reset(key, "the connection is configured anew", now);
            }
        }
    }

    fn wire_of_peer(&self, key: &speaker::PeerKey) -> Option<&Wire> {
        match key {
            // A neighbour of a VRF is by its own name.
            speaker::PeerKey::Address(a, dev) => {
                let own = self.wires.get(key);
                own.or_else(|| self.wire_of(*a, dev.as_deref(), None))
            }
            speaker::PeerKey::Interface(_) => self.wires.get(key),
        }
    }

    /// Tells the listening sockets whose connections are to be signed.
    fn sign(&mut self, links: &Links<'_>) {
        let mut wanted: Vec<(hugepages::sock::Peers, &Wire)> = Vec::new();
        let link_local = |a: &IpAddr| matches!(a, IpAddr::V6(a) if a.is_unicast_link_local());
        let index = |dev: &str| if_nametoindex(links.device(dev).as_str()).ok();
        for (key, wire) in self.wires.iter().filter(|(_, w)| w.is_signed()) {
            let peers = match key {
                speaker::PeerKey::Address(a, dev) if dev.is_none() || !link_local(a) => {
                    Some(hugepages::sock::Peers::one(*a))
                }
                speaker::PeerKey::Address(_, None) => None,
                speaker::PeerKey::Address(a, Some(dev)) => {
                    index(dev).map(|i| hugepages::sock::Peers {
                        ifindex: Some(i),
                        ..hugepages::sock::Peers::one(*a)
                    })
                }
                speaker::PeerKey::Interface(dev) => index(dev).map(net::link_local),
            };
            wanted.extend(peers.map(|p| (p, wire)));
        }
        for (prefix, wire) in self.prefixes.iter().filter(|(_, w)| w.is_signed()) {
            let peers = hugepages::sock::Peers {
                address: prefix.network(),
                prefix_len: prefix.prefix_len(),
                ifindex: None,
            };
            wanted.push((peers, wire));
        }
        let global = self.listeners.iter_mut().map(|l| (l, None));
        let vrfs = self.vpns.listeners.iter_mut();
        let vrfs = vrfs.map(|l| (&mut l.listener, Some(&l.vrf)));
        for (l, vrf) in global.chain(vrfs) {
            let v4 = l.at.is_ipv4();
            let meant = |(p, w): &&(hugepages::sock::Peers, &Wire)| {
                p.address.is_ipv4() == v4 && w.vrf.as_ref() == vrf
            };
            for old in std::mem::take(&mut l.signed) {
                if !wanted.iter().filter(meant).any(|(p, _)| *p == old)
                    && let Err(e) = net::sign(&l.socket, &old, None)
                {
                    warn!("bgp: a key of {} stays on {}: {e}", old.address, l.at);
                }
            }
            for (peers, wire) in wanted.iter().filter(meant) {
                match net::sign(&l.socket, peers, Some(wire)) {
                    Ok(()) => l.signed.push(*peers),
                    Err(e) => error!(
                        "bgp: connections from {} can't be signed: {e}; they are refused",
                        peers.address
                    ),
                }
            }
        }
    }

    // ---- turns ----

    /// A descriptor is ready.
    pub(crate) fn event(&mut self, token: usize, readable: bool, writable: bool) {
        if token >= CONNS {
            self.conns.ready(token, readable, writable);
        } else if self.caches.owns(token) {
            self.caches.ready(token, readable || writable);
        } else if (vpn::FIRST..STATIONS).contains(&token) {
            self.vpns.ready(token);
        } else if token >= STATIONS {
            self.watchers.ready(token, readable, writable);
        } else if let Some(l) = self.listeners.get_mut(token - LISTENERS) {
            l.ready = true;
        }
    }

    /// When to turn again, if nothing happens before.
    pub(crate) fn poll_at(&self) -> Option<Instant> {
        let speaker = self.speaker.as_ref()?;
        let times = [
            speaker.poll_at(),
            self.conns.poll_at(),
            self.caches.poll_at(),
            self.next_advert,
            self.watchers.poll_at(),
            self.marker.poll_at(),
            self.vpns.poll_at(),
            self.hops.poll_at(),
        ];
        times.into_iter().flatten().min()
    }

    /// The links that are to be told now that a router is there: whoever is at the other end may find us by that only.
    pub(crate) fn adverts(&mut self, now: Instant) -> Vec<String> {
        if self.next_advert.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.next_advert = Some(now + ADVERTS);
        let name = |k: &speaker::PeerKey| match k {
            speaker::PeerKey::Interface(name) => Some(name.clone()),
            speaker::PeerKey::Address(..) => None,
        };
        self.wires.keys().filter_map(name).collect()
    }

    /// There may be labels for those that got none.
    pub(crate) fn labels_available(&mut self) {
        if let Some(speaker) = &mut self.speaker {
            speaker.labels_available();
            self.own.labels_available();
            self.vpns.changed();
        }
    }

    /// The addresses or links of the router have changed.
    pub(crate) fn links_changed(&mut self, links: &Links<'_>, now: Instant) {
        self.own.changed();
        self.vpns.changed();
        self.end_cut(links, now);
        if let Some(speaker) = &mut self.speaker {
            speaker.set_own_addresses(links.addresses());
        }
    }

    /// Does a piece of everything. True: there is more at once.
    pub(crate) fn turn(
        &mut self,
        now: Instant,
        rib: &mut Rib,
        manager: &mut Manager,
        valid: &Valid,
        links: &Links<'_>,
    ) -> bool {
        if self.speaker.is_none() {
            return false;
        }
        let mut more = self.accept(links, rib, now);
        more |= self.read(links, rib, now);
        let heard = self.with_caches(links, rib, now, |caches, around| caches.turn(around));
        more |= heard == Some(true);
        self.conns.drop_lingering(now, &self.registry);
        let Some(speaker) = &mut self.speaker else {
            return false;
        };
        let refused = speaker.refused_paths();
        if refused > self.refused && self.refusals.take(now) {
            error!(
                "bgp: {} paths were not taken: a table holds 67 million prefixes at most, and a prefix some 13,000 paths; who \
                 sends so many needs a max-prefix or another policy",
                refused - self.refused
            );
            self.refused = refused;
        }
        if speaker.poll_at().is_some_and(|at| at <= now) {
            speaker.tick(now);
        }
        self.hops.returned(speaker, now);
        let mut from = labels::Source {
            manager,
            ttl: ttl(valid.dataplane.mpls_ttl),
            now,
        };
        let mut labels = labels::Labels {
            bound: &mut self.bound,
            from: &mut from,
            rib,
        };
        more |= self.own.turn(speaker, &mut labels, valid, links);
        more |= self
            .vpns
            .turn(speaker, &mut from, rib, (valid, links), &self.registry);
        self.hops.events(speaker, rib, links);
        let (budget, start) = (self.pace.slice(), Instant::now());
        let labels = labels::Labels {
            bound: &mut self.bound,
            from: &mut from,
            rib,
        };
        let mut best = self.hops.best(labels, &mut self.vpns, links);
        let undecided = speaker.work(budget, &mut best, now);
        let done = best.finish();
        self.pace.took(
            if undecided { budget.max(done) } else { done },
            start.elapsed(),
        );
        self.hops.events(speaker, rib, links);
        more |= undecided;
        if std::mem::take(&mut self.vpns.opened) {
            self.sign(links);
        }
        self.carry_out(links, rib, now);
        more |= self.watch(links, rib, now);
        self.marker.turn(now);
        if self.ending && !more && self.conns.is_empty() {
            self.end(rib, manager, now);
        }
        more
    }

    /// Writes what neighbours are to hear, as far as sockets take it: once the labels that they are told are in the tables. True: there
    /// is more.
    pub(crate) fn write_out(&mut self, rib: &mut Rib, links: &Links<'_>, now: Instant) -> bool {
        self.write(links, rib, now)
    }

    /// What the RIB has found out about next hops goes to the speaker. True: there was something.
    pub(crate) fn resolved(&mut self, rib: &mut Rib, now: Instant) -> bool {
        match &mut self.speaker {
            Some(speaker) => self.hops.resolved(speaker, rib, now),
            None => false,
        }
    }

    /// How long it takes until a next hop that is back counts in full.
    pub(crate) fn counts_in(&self, hop: &FollowedHop, now: Instant) -> Option<Duration> {
        self.hops.counts_in(hop, now)
    }

    /// All of it is taken back.
    fn end(&mut self, rib: &mut Rib, manager: &mut Manager, now: Instant) {
        self.end_watch();
        self.speaker = None;
        self.refused = 0;
        self.caches.clear(&self.registry);
        self.ending = false;
        self.hops.clear(rib);
        self.bound.clear(manager, rib, now);
        self.vpns.clear(manager, rib, &self.registry, now);
        self.own = Own::default();
        info!("BGP has ended");
    }

    /// Tells all neighbours that the appliance goes down.
    pub(crate) fn shut_down(&mut self, rib: &mut Rib, links: &Links<'_>, now: Instant) {
        if let Some(speaker) = &mut self.speaker {
            // Who is asked to keep our routes until we are back is not told that we go.
            let keeps = |v: &PeerView| v.config.session.graceful.is_some_and(|g| !g.helper_only);
            let all = speaker.neighbors(now);
            for v in all.iter().filter(|v| !keeps(v)) {
                // It is there.
                let _ = speaker.shutdown(&v.key, "", now);
            }
        }
        self.carry_out(links, rib, now);
        self.end_watch();
        self.stop_listening();
    }

    /// Does what the speaker wants.
    fn carry_out(&mut self, links: &Links<'_>, rib: &mut Rib, now: Instant) {
        while let Some(action) = self.speaker.as_mut().and_then(Speaker::next_action) {
            match action {
                Action::Connect { conn, peer } => {
                    if let Err(why) = self.connect(conn, &peer, links, rib)
                        && let Some(speaker) = &mut self.speaker
                    {
                        debug!(neighbor = %peer, "can't connect: {why}");
                        speaker.failed(conn, &why, now);
                    }
                }
                Action::Close(conn) => self.close(conn, now),
                Action::Notice(peer, notice) => tell(&peer, &notice),
            }
        }
    }

    /// What is set on the sockets of whoever has that address there, in that VRF; `None`: nobody that may.
    fn wire_of(&self, address: IpAddr, dev: Option<&str>, vrf: Option<&VrfName>) -> Option<&Wire> {
        let dev = dev.map(str::to_owned);
        let names = [
            Some(speaker::PeerKey::Address(address, None)),
            dev.clone()
                .map(|d| speaker::PeerKey::Address(address, Some(d))),
            dev.map(speaker::PeerKey::Interface),
        ];
        let here = |w: &&Wire| w.vrf.as_ref() == vrf;
        let mut named = names.iter().flatten().filter_map(|k| self.wires.get(k));
        named.find(here).or_else(|| {
            let mut all = self.prefixes.iter().filter(|(_, w)| here(&w));
            let covering = all.find(|(p, _)| p.contains(&address));
            covering.map(|(_, wire)| wire)
        })
    }
}

/// Where to listen.
fn listening(bgp: &Bgp) -> Vec<SocketAddr> {
    let port = bgp.speaker.port;
    let every = [
        IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::from(Ipv6Addr::UNSPECIFIED),
    ];
    let listen = &bgp.speaker.listen;
    let all: &[IpAddr] = if listen.is_empty() { &every } else { listen };
    all.iter().map(|a| SocketAddr::new(*a, port)).collect()
}

fn is_no_ipv6(e: &std::io::Error) -> bool {
    e.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32)
}

/// Logs what operators want to know.
fn tell(peer: &speaker::PeerKey, notice: &Notice) {
    match notice {
        Notice::State(_) => debug!(neighbor = %peer, "{notice}"),
        Notice::Up => info!(neighbor = %peer, "{notice}"),
        Notice::Down(_) | Notice::Prefixes { .. } | Notice::Malformed(_) => {
            warn!(neighbor = %peer, "{notice}");
        }
    }
}
