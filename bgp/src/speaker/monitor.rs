//! What monitoring stations are told: BMP, RFC 7854 and RFC 9069. Messages are written by `bmp`; connections are the caller's.
//!
//! A feed is what one station is to hear. At first a walk over the tables, a page at a time, tells what is there; then, what
//! changes. Changes are noted, not written: a route that changes a thousand times before the station reads is told once,
//! as it is by then, and what the walk has still before it is not even noted. Where more waits than a feed may hold, it begins anew
//! (a resync: its sessions go down and come up for the station, and the walk starts over), so a slow station costs bounded
//! memory and never holds up routing.
//!
//! Left out: routes with labels, Route Mirroring, Adj-RIB-Out (RFC 8671), statistics by cause. Routes kept of a neighbour that
//! restarts are not told while its session is down: for the station it has none then.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use ipnet::IpNet;

use super::families::Ours;
use super::routes::OWN;
use super::{ConnId, Core, Speaker};
use crate::attrs::View;
use crate::bmp::{self, Down, Rib, Stat, Up};
use crate::rib::{AttrId, Cursor, Path, Route, Table, V4, V6};
use crate::session::Cause;
use crate::types::{Family, FamilySet, NextHop, PathId, PeerId, Rd, Relation};
use crate::wire::{Capabilities, Context, Encoder, HEADER, Message, Nlri, Open, end_of_rib};

/// Prefixes of a page of the walk, and changes that are taken up at once.
const PAGE: usize = 128;
/// The name of the one table, RFC 9069 4.4.
const TABLE: &str = "global";

/// What a station is told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Monitored {
    /// Routes as they came.
    pub pre: bool,
    /// Routes as the import policies leave them.
    pub post: bool,
    /// The best routes.
    pub local: bool,
}

/// A feed; no number comes twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedId(u64);

/// How a feed does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedView {
    /// Changes that wait.
    pub waiting: usize,
    /// How often it began anew.
    pub resyncs: u64,
    /// All that was there has been told.
    pub complete: bool,
    /// Messages written.
    pub messages: u64,
}

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Item<K> {
    /// A neighbour's path.
    Path(PeerId, PathId, K),
    /// The best path.
    Best(K),
    /// A neighbour has told everything.
    End(PeerId),
    /// The best routes are all told.
    EndLocal,
}

/// One family of a feed.
#[derive(Debug)]
struct Side<K> {
    /// Where the walk goes on; the outer `None`: it is over.
    walk: Option<Option<Cursor<K>>>,
    queue: VecDeque<Item<K>>,
    queued: HashSet<Item<K>>,
}

impl<K: Ours + Hash> Side<K> {
    fn new() -> Self {
        Self {
            walk: Some(None),
            queue: VecDeque::new(),
            queued: HashSet::new(),
        }
    }

    /// A route of this prefix has changed.
    fn mark(&mut self, key: K, item: Item<K>) {
        let ahead = match &self.walk {
            Some(Some(at)) => key.order() >= at.key().order(),
            Some(None) => true,
            None => false,
        };
        if !ahead {
            self.push(item);
        }
    }

    fn push(&mut self, item: Item<K>) {
        if self.queued.insert(item) {
            self.queue.push_back(item);
        }
    }

    fn pop(&mut self) -> Option<Item<K>> {
        let item = self.queue.pop_front()?;
        self.queued.remove(&item);
        if self.queue.is_empty() && self.queue.capacity() > 4096 {
            (self.queue, self.queued) = Default::default();
        }
        Some(item)
    }
}

/// A session that the station was told is up.
#[derive(Clone, Debug)]
struct Told {
    line: ConnId,
    peer: bmp::Peer,
    context: Context,
}

/// What one station hears.
#[derive(Debug)]
pub(super) struct Feed {
    id: FeedId,
    what: Monitored,
    /// Changes that may wait.
    most: usize,
    v4: Side<V4>,
    v6: Side<V6>,
    told: BTreeMap<PeerId, Told>,
    /// Neighbours whose sessions came up or went down.
    changed: BTreeSet<PeerId>,
    local_told: bool,
    /// The station is to be told that what it was told of Loc-RIB is void.
    local_again: bool,
    resyncs: u64,
    messages: u64,
}

impl Feed {
    fn waiting(&self) -> usize {
        self.v4.queue.len() + self.v6.queue.len()
    }

    /// Too much waits: all of it is forgotten, and told anew.
    fn limit(&mut self) {
        if self.waiting() > self.most {
            self.begin_anew();
        }
    }

    fn begin_anew(&mut self) {
        self.local_again = self.local_told;
        self.resyncs += 1;
        (self.v4, self.v6) = (Side::new(), Side::new());
        // Their sessions are told anew: of another connection than before.
        for (id, told) in &mut self.told {
            told.line = ConnId(0);
            self.changed.insert(*id);
        }
    }
}

/// A key whose side a feed has.
trait Fed: Ours {
    fn fed(feed: &mut Feed) -> &mut Side<Self>;
}

impl Fed for V4 {
    fn fed(feed: &mut Feed) -> &mut Side<Self> {
        &mut feed.v4
    }
}

impl Fed for V6 {
    fn fed(feed: &mut Feed) -> &mut Side<Self> {
        &mut feed.v6
    }
}

/// All feeds.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    all: Vec<Feed>,
    last: u64,
}

/// Are stations told of that table?
fn is_fed<K: Ours>() -> bool {
    !K::LABELED && K::FAMILY != Family::RouteTarget
}

impl Feeds {
    /// Does anybody want to hear of routes?
    #[inline]
    pub(super) fn any(&self) -> bool {
        !self.all.is_empty()
    }

    /// A neighbour's path came, went or changed.
    #[cold]
    pub(super) fn path<K: Ours>(&mut self, peer: PeerId, path_id: PathId, key: K) {
        if !is_fed::<K>() {
            return;
        }
        for feed in self.all.iter_mut().filter(|f| f.what.pre || f.what.post) {
            match key.net() {
                IpNet::V4(n) => feed.v4.mark(n.into(), Item::Path(peer, path_id, n.into())),
                IpNet::V6(n) => feed.v6.mark(n.into(), Item::Path(peer, path_id, n.into())),
            }
            feed.limit();
        }
    }

    /// The same of every prefix in a part of an UPDATE.
    #[cold]
    pub(super) fn nlri(&mut self, peer: PeerId, nlri: &Nlri<'_>) {
        match nlri.family {
            Family::Ipv4Unicast => {
                for (id, net) in nlri.ipv4() {
                    self.path(peer, id, V4::from(net));
                }
            }
            Family::Ipv6Unicast => {
                for (id, net) in nlri.ipv6() {
                    self.path(peer, id, V6::from(net));
                }
            }
            _ => {}
        }
    }

    /// Another path is the best, or has other attributes.
    #[cold]
    pub(super) fn best<K: Ours>(&mut self, key: K) {
        if !is_fed::<K>() {
            return;
        }
        for feed in self.all.iter_mut().filter(|f| f.what.local) {
            match key.net() {
                IpNet::V4(n) => feed.v4.mark(n.into(), Item::Best(n.into())),
                IpNet::V6(n) => feed.v6.mark(n.into(), Item::Best(n.into())),
            }
            feed.limit();
        }
    }

    /// A neighbour's session came up or went down.
    pub(super) fn session(&mut self, peer: PeerId) {
        for feed in &mut self.all {
            feed.changed.insert(peer);
        }
    }

    /// A neighbour has told everything of a family.
    pub(super) fn ended(&mut self, peer: PeerId, family: Family) {
        for feed in self.all.iter_mut().filter(|f| f.what.pre || f.what.post) {
            match family {
                Family::Ipv4Unicast => feed.v4.push(Item::End(peer)),
                Family::Ipv6Unicast => feed.v6.push(Item::End(peer)),
                _ => {}
            }
        }
    }
}

/// A route to be written: in which table, whose, with which attributes (`None`: withdrawn), when it came.
struct Entry<K> {
    post: bool,
    local: bool,
    peer: PeerId,
    attrs: Option<AttrId>,
    path_id: PathId,
    key: K,
    learnt: u32,
}

impl<K> Entry<K> {
    /// What may be told together is alike in this.
    fn alike(&self) -> (bool, bool, PeerId, Option<u32>) {
        (self.local, self.post, self.peer, self.attrs.map(|a| a.0))
    }
}

impl Speaker {
    /// Begins a feed; at most so many changes wait in it.
    pub fn begin_feed(&mut self, what: Monitored, most: usize) -> FeedId {
        let feeds = &mut self.core.feeds;
        feeds.last += 1;
        let id = FeedId(feeds.last);
        let up = self.peers.values().filter(|p| p.up.is_some());
        feeds.all.push(Feed {
            id,
            what,
            most,
            v4: Side::new(),
            v6: Side::new(),
            told: BTreeMap::new(),
            changed: up.map(|p| p.id).collect(),
            local_told: false,
            local_again: false,
            resyncs: 0,
            messages: 0,
        });
        id
    }

    /// Ends a feed.
    pub fn end_feed(&mut self, id: FeedId) {
        self.core.feeds.all.retain(|f| f.id != id);
    }

    /// How a feed does.
    #[must_use]
    pub fn feed_view(&self, id: FeedId) -> FeedView {
        let feed = self.core.feeds.all.iter().find(|f| f.id == id);
        feed.map_or_else(FeedView::default, |f| FeedView {
            waiting: f.waiting(),
            resyncs: f.resyncs,
            complete: f.v4.walk.is_none() && f.v6.walk.is_none(),
            messages: f.messages,
        })
    }

    /// Appends whole messages until `out` has `room` octets, or some more, or nothing is left to be told. True: there is more.
    pub fn feed(&mut self, id: FeedId, room: usize, now: Instant, out: &mut Vec<u8>) -> bool {
        let all = &mut self.core.feeds.all;
        let Some(at) = all.iter().position(|f| f.id == id) else {
            return false;
        };
        let mut feed = all.swap_remove(at);
        let mut more = true;
        while more && out.len() < room {
            more = self.feed_some(&mut feed, now, out);
        }
        self.core.feeds.all.push(feed);
        more
    }

    /// One step. False: nothing was left to do.
    fn feed_some(&mut self, feed: &mut Feed, now: Instant, out: &mut Vec<u8>) -> bool {
        // Sessions first: routes that wait may be of a new one.
        if let Some(id) = feed.changed.pop_first() {
            self.feed_session(feed, id, now, out);
            return true;
        }
        if std::mem::take(&mut feed.local_again) {
            bmp::peer_down(&self.core.loc_rib(now), &Down::Table(TABLE), out);
            feed.messages += 1;
            feed.local_told = false;
            return true;
        }
        if feed.what.local && !feed.local_told {
            feed.local_told = true;
            self.feed_local_up(feed, now, out);
            return true;
        }
        self.feed_side::<V4>(feed, now, out) || self.feed_side::<V6>(feed, now, out)
    }

    /// A session came up or went down since the station was told.
    fn feed_session(&mut self, feed: &mut Feed, id: PeerId, now: Instant, out: &mut Vec<u8>) {
        if !(feed.what.pre || feed.what.post) {
            return;
        }
        let peer = self.peers.get(&id);
        let up = peer.and_then(|p| p.up.as_ref().map(|u| (p, u)));
        if let Some(told) = feed.told.get(&id)
            && up.is_none_or(|(_, u)| u.line != told.line)
        {
            let mut octets = Vec::new();
            let cause = peer.and_then(|p| p.session.last_reset()).map(|r| &r.cause);
            let again = told.line == ConnId(0);
            let why = match cause {
                Some(cause) if !again => down(cause, &mut octets),
                _ => Down::Deconfigured,
            };
            let header = bmp::Peer {
                time: self.core.time(now),
                ..told.peer
            };
            bmp::peer_down(&header, &why, out);
            feed.messages += 1;
            feed.told.remove(&id);
        }
        let Some((peer, up)) = up.filter(|_| !feed.told.contains_key(&id)) else {
            return;
        };
        let ends = peer.lines.iter().find(|l| l.id == up.line);
        let (Some(ends), Some((sent, received))) =
            (ends.and_then(|l| l.ends.as_ref()), peer.session.opens())
        else {
            return;
        };
        let told = Told {
            line: up.line,
            peer: bmp::Peer {
                rib: Rib::In,
                distinguisher: Rd::default(),
                address: ends.remote.ip(),
                asn: up.agreed.peer_as,
                id: up.agreed.peer_id,
                short_as: false,
                time: self.core.time(now),
            },
            context: Context {
                // As the neighbour writes to us, but for AS numbers, which have four octets here.
                add_path_send: up.agreed.context.add_path_receive,
                extended_message: up.agreed.context.extended_message,
                ..context(up.agreed.context.relation)
            },
        };
        let message = Up {
            local: (ends.local.ip(), ends.local.port()),
            remote_port: ends.remote.port(),
            sent: &sent,
            received: &received,
            table: None,
        };
        bmp::peer_up(&told.peer, &message, out);
        feed.messages += 1;
        feed.told.insert(id, told);
    }

    /// Loc-RIB, as far as it is there: RFC 9069 4.4.
    fn feed_local_up(&mut self, feed: &mut Feed, now: Instant, out: &mut Vec<u8>) {
        let local = &self.core.gate.local;
        let families = FamilySet::from_iter([Family::Ipv4Unicast, Family::Ipv6Unicast]);
        let open = Open {
            asn: local.asn,
            hold_time: 0,
            id: local.router_id,
            capabilities: Capabilities {
                families,
                as4: Some(local.asn),
                extended_message: true,
                ext_next_hop: FamilySet::from_iter([Family::Ipv4Unicast]),
                ..Capabilities::default()
            },
        };
        let mut octets = Vec::new();
        Message::Open(open).emit(&mut octets);
        let up = Up {
            local: (Ipv4Addr::UNSPECIFIED.into(), 0),
            remote_port: 0,
            sent: &octets,
            received: &octets,
            table: Some(TABLE),
        };
        bmp::peer_up(&self.core.loc_rib(now), &up, out);
        feed.messages += 1;
    }

    /// A page of the walk, or some changes, of one family. False: there are none.
    fn feed_side<K: Fed>(&mut self, feed: &mut Feed, now: Instant, out: &mut Vec<u8>) -> bool {
        let mut entries: Vec<Entry<K>> = Vec::new();
        let mut end = None;
        let (what, told) = (feed.what, feed.told.clone());
        let side = K::fed(feed);
        if let Some(from) = side.walk {
            let table = K::table(&mut self.core.rib).0;
            let next = table.walk(from, PAGE, |route| there(&route, what, &told, &mut entries));
            side.walk = next.map(Some);
            if next.is_none() {
                self.ends::<K>(what, &told, side);
            }
        } else {
            for _ in 0..PAGE {
                let table = K::table(&mut self.core.rib).0;
                match side.pop() {
                    None => break,
                    Some(Item::Path(peer, path_id, key)) if told.contains_key(&peer) => {
                        changed(table, what, (peer, path_id, key), &mut entries);
                    }
                    Some(Item::Path(..)) => {}
                    Some(Item::Best(key)) => entries.push(best(table, key)),
                    Some(item @ (Item::End(_) | Item::EndLocal)) => {
                        end = Some(item);
                        break;
                    }
                }
            }
            if entries.is_empty() && end.is_none() {
                return !side.queue.is_empty();
            }
        }
        entries.sort_by_key(Entry::alike);
        for run in entries.chunk_by(|a, b| a.alike() == b.alike()) {
            feed.messages += self.feed_run(run, &told, now, out);
        }
        match end {
            Some(Item::End(peer)) => {
                if let Some(t) = told.get(&peer) {
                    let kinds = [(what.pre, Rib::In), (what.post, Rib::InPost)];
                    for (_, rib) in kinds.into_iter().filter(|(wanted, _)| *wanted) {
                        let peer = bmp::Peer {
                            rib,
                            time: self.core.time(now),
                            ..t.peer
                        };
                        feed.messages += end_message(&peer, K::FAMILY, out);
                    }
                }
            }
            Some(_) => feed.messages += end_message(&self.core.loc_rib(now), K::FAMILY, out),
            None => {}
        }
        true
    }

    /// The walk is over: what was complete before it is told to be.
    fn ends<K: Fed>(&self, what: Monitored, told: &BTreeMap<PeerId, Told>, side: &mut Side<K>) {
        for id in told.keys() {
            let peer = self.peers.get(id);
            if peer.is_some_and(|p| p.ended.contains(K::FAMILY)) {
                side.push(Item::End(*id));
            }
        }
        if what.local {
            side.push(Item::EndLocal);
        }
    }

    /// Writes routes that are alike; how many messages that took.
    fn feed_run<K: Fed>(
        &mut self,
        run: &[Entry<K>],
        told: &BTreeMap<PeerId, Told>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> u64 {
        let Some(first) = run.first() else { return 0 };
        let clock = self.core.seconds(now);
        let (mut peer, context) = match told.get(&first.peer) {
            _ if first.local => {
                let context = Context {
                    extended_message: true,
                    ..context(Relation::Internal)
                };
                (self.core.loc_rib(now), context)
            }
            Some(t) => {
                let rib = if first.post { Rib::InPost } else { Rib::In };
                (bmp::Peer { rib, ..t.peer }, t.context)
            }
            None => return 0,
        };
        let (seconds, micros) = self.core.time(now);
        let age = clock.saturating_sub(first.learnt);
        peer.time = if age == 0 || first.attrs.is_none() {
            (seconds, micros)
        } else {
            (seconds.saturating_sub(age), 0)
        };
        let view = first.attrs.map(|a| self.core.rib.common.store.view(a));
        let nets = run.iter().map(|e| (e.path_id, e.key.net()));
        let nets: Vec<(PathId, IpNet)> = if first.local {
            nets.map(|(_, net)| (0, net)).collect()
        } else {
            nets.collect()
        };
        // They have none; an address of ours is as good as any, and `::` would be none to many a station.
        let us = Ipv4Addr::from(self.core.gate.local.router_id.octets());
        let own = match K::FAMILY {
            Family::Ipv4Unicast => NextHop::V4(us),
            _ => NextHop::V6(us.to_ipv6_mapped()),
        };
        self.octets.clear();
        updates(
            &mut self.encoder,
            K::FAMILY,
            view,
            &nets,
            &context,
            own,
            &mut self.octets,
        );
        let (mut rest, mut n) = (&self.octets[..], 0);
        while let Some(len) = rest.get(HEADER - 3..HEADER - 1) {
            let len = usize::from(u16::from_be_bytes([len[0], len[1]]));
            let Some((message, behind)) = rest.split_at_checked(len.max(HEADER)) else {
                break;
            };
            bmp::route_monitoring(&peer, message, out);
            (rest, n) = (behind, n + 1);
        }
        n
    }

    /// Appends what there is to be counted, for each session that the station was told of.
    pub fn feed_statistics(&mut self, id: FeedId, now: Instant, out: &mut Vec<u8>) {
        let Some(feed) = self.core.feeds.all.iter_mut().find(|f| f.id == id) else {
            return;
        };
        feed.messages += feed.told.len() as u64 + u64::from(feed.local_told);
        let (told, local) = (feed.told.clone(), feed.local_told);
        let (v4, v6) = (&self.core.rib.v4, &self.core.rib.v6);
        let time = self.core.time(now);
        for (id, t) in &told {
            let all = [
                (Family::Ipv4Unicast, v4.counts(*id)),
                (Family::Ipv6Unicast, v6.counts(*id)),
            ];
            let sum = all.iter().map(|(_, c)| u64::from(c.received)).sum();
            let mut stats = vec![Stat::AdjRibIn(sum)];
            stats.extend(
                all.iter()
                    .map(|(f, c)| Stat::AdjRibInOf(*f, c.received.into())),
            );
            bmp::statistics(&bmp::Peer { time, ..t.peer }, &stats, out);
        }
        if local {
            let (n4, n6) = (v4.len().1 as u64, v6.len().1 as u64);
            let stats = [
                Stat::LocRib(n4 + n6),
                Stat::LocRibOf(Family::Ipv4Unicast, n4),
                Stat::LocRibOf(Family::Ipv6Unicast, n6),
            ];
            bmp::statistics(&self.core.loc_rib(now), &stats, out);
        }
    }
}

impl Core {
    /// Seconds since 1970, and microseconds.
    fn time(&self, now: Instant) -> (u32, u32) {
        let (at, time) = self.wall;
        let time = time + now.saturating_duration_since(at);
        let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        (seconds, time.subsec_micros())
    }

    /// The peer that Loc-RIB is.
    fn loc_rib(&self, now: Instant) -> bmp::Peer {
        bmp::Peer {
            rib: Rib::Local { filtered: false },
            distinguisher: Rd::default(),
            address: IpAddr::from(Ipv4Addr::UNSPECIFIED),
            asn: self.gate.local.asn,
            id: self.gate.local.router_id,
            short_as: false,
            time: self.time(now),
        }
    }
}

/// All families that there are tables of, every kind of next hop.
fn context(relation: Relation) -> Context {
    let families = FamilySet::from_iter([Family::Ipv4Unicast, Family::Ipv6Unicast]);
    Context {
        ext_next_hop: families,
        ..Context::new(relation, families)
    }
}

/// The paths of a prefix that the walk comes to.
fn there<K: Fed>(
    route: &Route<K>,
    what: Monitored,
    told: &BTreeMap<PeerId, Told>,
    out: &mut Vec<Entry<K>>,
) {
    let entry = |p: &Path, attrs, post, local| Entry {
        post,
        local,
        peer: p.peer,
        attrs,
        path_id: p.path_id,
        key: route.key,
        learnt: p.learnt,
    };
    for p in route.paths.iter().filter(|p| told.contains_key(&p.peer)) {
        if what.pre {
            out.push(entry(p, Some(p.pre), false, false));
        }
        if what.post && p.post.is_some() {
            out.push(entry(p, p.post, true, false));
        }
    }
    if let Some(p) = route.paths.first().filter(|_| what.local && route.best) {
        out.push(entry(p, p.post, false, true));
    }
}

/// A neighbour's path as it is now, or that there is none.
fn changed<K: Fed>(
    table: &Table<K>,
    what: Monitored,
    (peer, path_id, key): (PeerId, PathId, K),
    out: &mut Vec<Entry<K>>,
) {
    let route = table.get(key);
    let mut paths = route.iter().flat_map(|r| &r.paths);
    let path = paths.find(|p| p.peer == peer && p.path_id == path_id);
    let kinds = [
        (what.pre, false, path.map(|p| p.pre)),
        (what.post, true, path.and_then(|p| p.post)),
    ];
    for (_, post, attrs) in kinds.into_iter().filter(|k| k.0) {
        out.push(Entry {
            post,
            local: false,
            peer,
            attrs,
            path_id,
            key,
            learnt: path.map_or(0, |p| p.learnt),
        });
    }
}

/// The best path as it is now, or that there is none.
fn best<K: Fed>(table: &Table<K>, key: K) -> Entry<K> {
    let path = table.best(key);
    Entry {
        post: false,
        local: true,
        peer: OWN,
        attrs: path.and_then(|p| p.post),
        path_id: 0,
        key,
        learnt: path.map_or(0, |p| p.learnt),
    }
}

/// Writes UPDATEs for routes with these attributes, or withdrawals. `own`: the next hop of routes of the router's own.
fn updates(
    encoder: &mut Encoder,
    family: Family,
    view: Option<View<'_>>,
    nets: &[(PathId, IpNet)],
    context: &Context,
    own: NextHop,
    out: &mut Vec<u8>,
) {
    let Some(view) = view else {
        let mut packer = encoder.withdraw(family, context, out);
        // They are of the family, which is all that could be wrong.
        for (id, net) in nets {
            let _ = packer.net(*id, *net);
        }
        packer.finish();
        return;
    };
    let view = View {
        next_hop: view.next_hop.or(Some(own)),
        ..view
    };
    let long = Context {
        extended_message: true,
        ..*context
    };
    for context in [context, &long] {
        if let Ok(mut packer) = encoder.announce(view, family, context, out) {
            for (id, net) in nets {
                let _ = packer.net(*id, *net);
            }
            packer.finish();
            return;
        }
    }
}

fn end_message(peer: &bmp::Peer, family: Family, out: &mut Vec<u8>) -> u64 {
    let mut octets = Vec::new();
    end_of_rib(family, &mut octets);
    bmp::route_monitoring(peer, &octets, out);
    1
}

/// Why a session went down, RFC 7854 4.9; `octets` gets the NOTIFICATION.
fn down<'o>(cause: &Cause, octets: &'o mut Vec<u8>) -> Down<'o> {
    let Some(n) = cause.notification() else {
        return Down::Remote;
    };
    n.emit(octets);
    match cause {
        Cause::Received(_) => Down::RemoteNotification(octets),
        _ => Down::LocalNotification(octets),
    }
}

#[cfg(test)]
mod tests;
