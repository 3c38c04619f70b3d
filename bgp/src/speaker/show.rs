//! What operators see: neighbours, and routes page by page.
//!
//! A page is made in one call that looks at a bounded number of prefixes, so that a full table is shown without anybody
//! waiting for it. What is shown is owned: attributes are copied out as [`AttrBuf`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::config::{Neighbor, PeerKey};
use super::families::{Kind, Ours, of_kind};
use super::import::Refusal;
use super::routes::{ACROSS, OWN};
use super::{Core, Speaker, vpn};
use crate::attrs::AttrBuf;
use crate::rib::{AttrId, Fate, Path, Route, Staleness};
use crate::rpki::Validity;
use crate::session::{Conn, Counters, Negotiated, State, Timer};
use crate::types::{Asn, Family, Label, PathId, PeerId, Rd, RouterId, VrfNo};

/// A neighbour in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyView {
    /// Which.
    pub family: Family,
    /// Routes that it has announced.
    pub received: u32,
    /// Of those, so many passed the import policy.
    pub accepted: u32,
    /// Routes that it was told of.
    pub advertised: u32,
    /// It has sent all that it has (RFC 4724 2).
    pub complete: bool,
}

/// A neighbour.
#[derive(Clone, Debug)]
pub struct PeerView {
    /// Its name.
    pub key: PeerKey,
    /// It came by itself.
    pub dynamic: bool,
    /// Its AS number, if it is known.
    pub asn: Option<Asn>,
    /// Its BGP Identifier, while the session is up.
    pub router_id: Option<RouterId>,
    /// The state of the session.
    pub state: State,
    /// Administratively down.
    pub stopped: bool,
    /// How long the state is what it is.
    pub since: Option<Duration>,
    /// The families of the session, or those that are configured.
    pub families: Vec<FamilyView>,
    /// What ended the last session, and how long ago.
    pub last_reset: Option<(String, Duration)>,
    /// What went wrong last, whatever it was.
    pub last_error: Option<(String, Duration)>,
    /// Both ends of the connection.
    pub ends: Option<super::Ends>,
    /// What was agreed on.
    pub agreed: Option<Arc<Negotiated>>,
    /// What is configured.
    pub config: Arc<Neighbor>,
    /// The numbers.
    pub counters: Counters,
    /// UPDATEs with errors that were survived (RFC 7606).
    pub malformed: u64,
    /// Timers that run, and how long they still do.
    pub timers: Vec<(Timer, Duration)>,
    /// Octets that wait to be written.
    pub queued: usize,
    /// Families of which something is stale.
    pub stale: Vec<Family>,
}

/// A path, to be shown.
#[derive(Clone, Debug)]
pub struct PathView {
    /// The prefix.
    pub net: IpNet,
    /// Its route distinguisher, of a VPN's; in a VRF, that with which it came from a VPN.
    pub rd: Option<Rd>,
    /// Who it is from; `None`: a route of the router's own.
    pub from: Option<PeerKey>,
    /// The neighbour's address.
    pub address: Option<IpAddr>,
    /// The table that it has come from, by a policy for routes between a VRF and the global table.
    pub leaked_from: Option<VrfNo>,
    /// Its identifier; 0 without add-path.
    pub path_id: PathId,
    /// The attributes, and the labels.
    pub attrs: AttrBuf,
    /// The label of ours that packets for the prefix may come with.
    pub local_label: Option<Label>,
    /// It stands by for the best path.
    pub backup: bool,
    /// How long it is there.
    pub age: Duration,
    /// It is kept through a restart.
    pub stale: Staleness,
    /// What the RPKI says of it.
    pub rpki: Validity,
    /// It is the best.
    pub best: bool,
    /// What became of it in the decision, where that was asked for.
    pub fate: Option<Fate>,
    /// Why it is not used, where one of the checks says so.
    pub refusal: Option<Refusal>,
}

/// Which routes are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Every prefix.
    All,
    /// This one.
    Exactly(IpNet),
    /// The longest that covers it and has a best route.
    Longest(IpNet),
    /// It and those within it.
    Longer(IpNet),
}

impl Wanted {
    /// Is a prefix meant, where those of several spaces are?
    fn holds(&self, net: IpNet) -> bool {
        match self {
            Self::All => true,
            Self::Exactly(n) => *n == net,
            Self::Longest(n) => net.contains(n),
            Self::Longer(n) => n.contains(&net),
        }
    }
}

/// A prefix of a table, with what tells it from the same of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The route distinguisher of a VPN's, the number of a VRF; else zero.
    pub space: [u8; 8],
    /// The prefix.
    pub net: IpNet,
}

/// Which side of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// All paths, and what became of them.
    Table,
    /// What this neighbour has sent, before policy.
    Received(PeerKey),
    /// What this neighbour was told.
    Advertised(PeerKey),
}

/// A page and where the next one begins.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In order of prefixes.
    pub paths: Vec<PathView>,
    /// Ask again from here; `None`: that was all.
    pub next: Option<Place>,
}

/// Prefixes that are looked at for a page.
pub(super) const LOOKED_AT: usize = 512;

impl Speaker {
    /// Every neighbour, in the order of their names.
    #[must_use]
    pub fn neighbors(&mut self, now: Instant) -> Vec<PeerView> {
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        let mut all: Vec<PeerView> = ids
            .into_iter()
            .filter_map(|id| self.peer_view(id, now))
            .collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }

    /// One neighbour.
    #[must_use]
    pub fn neighbor(&mut self, key: &PeerKey, now: Instant) -> Option<PeerView> {
        self.peer_view(*self.names.get(key)?, now)
    }

    /// How many prefixes have paths and best paths, and how many paths there are: of IPv4, of IPv6.
    #[must_use]
    pub fn sizes(&self) -> [(usize, usize, usize); 2] {
        let rib = &self.core.rib;
        let (a, b) = rib.v4.len();
        let (c, d) = rib.v6.len();
        [(a, b, rib.v4.paths()), (c, d, rib.v6.paths())]
    }

    /// Octets that routes and attributes take.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.core.rib.memory()
    }

    fn peer_view(&mut self, id: PeerId, now: Instant) -> Option<PeerView> {
        let advertised = Family::ALL.map(|f| self.advertised_count(id, f));
        let p = self.peers.get(&id)?;
        let ago = |at: Instant| now.saturating_duration_since(at);
        let agreed = p.up.as_ref().map(|u| u.agreed.clone());
        let configured = p.config.session.families.iter().map(|f| f.family);
        let families: Vec<Family> = match &agreed {
            Some(a) => a.context.families.iter().collect(),
            None => configured.collect(),
        };
        let asn = agreed
            .as_ref()
            .map(|a| a.peer_as)
            .or(match p.config.session.peer_as {
                crate::session::PeerAs::Is(a) => Some(a),
                crate::session::PeerAs::External | crate::session::PeerAs::Any => None,
            });
        let line =
            p.up.as_ref()
                .and_then(|u| p.lines.iter().find(|l| l.id == u.line));
        let timers = p.session.timers().into_iter();
        Some(PeerView {
            key: p.key.clone(),
            dynamic: p.dynamic.is_some(),
            asn,
            router_id: agreed.as_ref().map(|a| a.peer_id),
            state: p.session.state(),
            stopped: p.session.is_stopped(),
            since: p.session.since().map(ago),
            families: families
                .into_iter()
                .map(|f| self.family_view(p, f, advertised[f as usize]))
                .collect(),
            last_reset: p.session.last_reset().map(|r| (r.to_string(), ago(r.at))),
            last_error: p.session.last_error().map(|r| (r.to_string(), ago(r.at))),
            ends: line.and_then(|l| l.ends.clone()),
            agreed,
            config: p.config.clone(),
            counters: *p.session.counters(),
            malformed: self.core.gate.source(p.id).map_or(0, |s| s.malformed),
            timers: timers
                .map(|(at, t, _): (_, _, Option<Conn>)| (t, at.saturating_duration_since(now)))
                .collect(),
            queued: p.lines.iter().map(|l| l.queue.len()).sum(),
            stale: p.helper.stale().map(|(f, _)| f).collect(),
        })
    }

    fn family_view(&self, p: &super::peer::Peer, family: Family, advertised: u32) -> FamilyView {
        let rib = &self.core.rib;
        let counts = match Kind::of(p.config.vrf, family) {
            Some(kind) => of_kind!(kind, K => K::table_ref(rib).counts(p.id)),
            None => Default::default(),
        };
        FamilyView {
            family,
            received: counts.received,
            accepted: counts.accepted,
            advertised,
            complete: p.ended.contains(family),
        }
    }

    /// A page of routes, from `from` on. `None`: there is no such neighbour, or the family has no table.
    #[must_use]
    pub fn routes(
        &mut self,
        family: Family,
        wanted: &Wanted,
        side: &Side,
        from: Option<Place>,
        now: Instant,
    ) -> Option<Page> {
        self.routes_in(VrfNo::GLOBAL, family, wanted, side, from, now)
    }

    /// The same of a VRF. What a neighbour has sent or was told is of the VRF that it is in.
    #[must_use]
    pub fn routes_in(
        &mut self,
        vrf: VrfNo,
        family: Family,
        wanted: &Wanted,
        side: &Side,
        from: Option<Place>,
        now: Instant,
    ) -> Option<Page> {
        let vrf = match side {
            Side::Table => vrf,
            Side::Received(key) | Side::Advertised(key) => {
                self.peers.get(self.names.get(key)?)?.config.vrf
            }
        };
        let kind = Kind::of(vrf, family)?;
        of_kind!(kind, K => self.page::<K>(vrf, wanted, side, from, now))
    }

    fn page<K: Ours>(
        &mut self,
        vrf: VrfNo,
        wanted: &Wanted,
        side: &Side,
        from: Option<Place>,
        now: Instant,
    ) -> Option<Page> {
        let peer = match side {
            Side::Table => None,
            Side::Received(key) | Side::Advertised(key) => Some(*self.names.get(key)?),
        };
        if let (Side::Advertised(_), Some(id)) = (side, peer) {
            return Some(self.advertised_views::<K>(id, wanted, from, vrf, now));
        }
        let mut page = Page::default();
        let mut found: Vec<Route<K>> = Vec::new();
        let table = K::table(&mut self.core.rib).0;
        let cursor = from.and_then(K::at).map(crate::rib::Table::cursor);
        let next = match wanted {
            // Of all VRFs' routes those of this one.
            Wanted::All if vrf != VrfNo::GLOBAL => {
                let all = K::NONE.in_vrf(vrf);
                table.longer(all, cursor, LOOKED_AT, |r| found.push(r))
            }
            Wanted::All => table.walk(cursor, LOOKED_AT, |r| found.push(r)),
            // Whatever distinguisher a VPN's prefix has.
            Wanted::Exactly(net) | Wanted::Longest(net) | Wanted::Longer(net)
                if vrf == VrfNo::GLOBAL && K::within(vrf, *net).is_none() =>
            {
                table.walk(cursor, LOOKED_AT, |r| {
                    if wanted.holds(r.key.net()) {
                        found.push(r);
                    }
                })
            }
            Wanted::Exactly(net) => {
                found.extend(K::within(vrf, *net).and_then(|k| table.get(k)));
                None
            }
            Wanted::Longest(net) => {
                let key = K::within(vrf, *net);
                found.extend(key.and_then(|k| table.longest(k, |r| r.best)));
                None
            }
            Wanted::Longer(net) => {
                let key = K::within(vrf, *net)?;
                table.longer(key, cursor, LOOKED_AT, |r| found.push(r))
            }
        };
        page.next = next.map(|c| c.key().place());
        let one = matches!(wanted, Wanted::Exactly(_) | Wanted::Longest(_));
        for route in found {
            match (side, peer) {
                (Side::Table, _) => self.of_table(&route, one, now, &mut page.paths),
                (Side::Received(_), Some(id)) => {
                    let of_peer = route.paths.iter().filter(|p| p.peer == id);
                    page.paths
                        .extend(of_peer.map(|p| self.received_view(&route, p, now)));
                }
                (Side::Advertised(_), Some(_)) | (_, None) => {}
            }
        }
        Some(page)
    }

    fn of_table<K: Ours>(
        &mut self,
        route: &Route<K>,
        explain: bool,
        now: Instant,
        out: &mut Vec<PathView>,
    ) {
        let (table, common) = K::table(&mut self.core.rib);
        let backup = table.in_use(route.key).1;
        let backup = backup.map(|p| (p.peer, p.path_id));
        let fates = if explain {
            table.explain(common, route.key)
        } else {
            Vec::new()
        };
        for (n, path) in route.paths.iter().enumerate() {
            let fate = fates
                .iter()
                .find(|(p, _)| p.peer == path.peer && p.path_id == path.path_id);
            let mut view = self.path_view(route.key, path, path.post.unwrap_or(path.pre), now);
            view.best = route.best && n == 0;
            view.backup = backup == Some((path.peer, path.path_id));
            view.local_label = K::side_ref(&self.core.sides).locals.get(route.key);
            view.fate = fate.map(|(_, f)| *f);
            if path.post.is_none() {
                view.refusal = self.core.refusal(path.peer, path.pre);
            }
            out.push(view);
        }
    }

    fn received_view<K: Ours>(&self, route: &Route<K>, path: &Path, now: Instant) -> PathView {
        let mut view = self.path_view(route.key, path, path.pre, now);
        view.best = route.best && route.paths.first() == Some(path);
        if path.post.is_none() {
            view.fate = Some(Fate::Rejected);
            view.refusal = self.core.refusal(path.peer, path.pre);
        }
        view
    }

    pub(super) fn path_view<K: Ours>(
        &self,
        key: K,
        path: &Path,
        attrs: AttrId,
        now: Instant,
    ) -> PathView {
        let net = key.net();
        let vpn = matches!(K::FAMILY, Family::Vpnv4 | Family::Vpnv6);
        let origin = vpn::origin(path);
        let from = self.peers.get(&origin).filter(|_| origin != OWN);
        let view = self.core.rib.common.store.view(attrs);
        let seconds = self.core.seconds(now).saturating_sub(path.learnt);
        PathView {
            net,
            rd: match vpn {
                true => Some(Rd(key.place().space)),
                false => self.core.came_as(key, path),
            },
            from: from.map(|p| p.key.clone()),
            address: self.core.gate.source(origin).map(|s| s.address),
            leaked_from: vpn::leaked_from(&self.core.rib.common, path),
            // Of what has leaked it is ours alone.
            path_id: match path.peer {
                ACROSS => 0,
                _ => path.path_id,
            },
            attrs: AttrBuf::from_view(view),
            local_label: None,
            backup: false,
            rpki: {
                let of = (K::FAMILY, key.vrf().unwrap_or(VrfNo::GLOBAL));
                self.core.gate.validity(of, &net, view)
            },
            age: Duration::from_secs(seconds.into()),
            stale: path.stale,
            best: false,
            fate: None,
            refusal: None,
        }
    }
}

impl Core {
    fn refusal(&self, peer: PeerId, pre: AttrId) -> Option<Refusal> {
        self.gate.refusal(&self.rib.common, peer, pre)
    }
}
