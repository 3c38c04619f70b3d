//! Labels: which FEC has which label with whom, what of it is to be told, and what it means for forwarding. RFC 5036 2.6, 2.7,
//! 3.5.7 to 3.5.11 and appendix A, for this one mode: downstream unsolicited, independent control, liberal retention.
//!
//! [`Lib`] is told of routes, addresses and messages. It marks what may have changed, and [`Lib::drain`] works that off a
//! piece at a time: it asks for labels ([`Labels`]), says what is to be installed ([`Install`]), and queues FECs for
//! neighbours, who are then told by [`Lib::tell`].
//!
//! A label that was withdrawn stays ours until each neighbour that had it has released it; meanwhile it is told to nobody who
//! still owes a release of it, since that release could not be told from one of the new binding.
//!
//! Left out: ordered control, labels on demand (a Request is answered, none is made), conservative retention, loop detection
//! of our own (neighbours that look for loops are told hop counts). While a prefix turns from routed to connected, frames
//! that still come with its old label are dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::discovery::IfaceId;
use crate::types::{Families, Family, Label, LdpId};
use crate::wire::{Bindings, Body, Fec, Mapping, Status};

/// Where a route goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// The neighbour's address.
    pub addr: IpAddr,
    /// Out by this interface.
    pub iface: IfaceId,
}

/// How a prefix is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// It ends here: connected, or announced from elsewhere.
    Local,
    /// By these neighbours.
    Via(Vec<NextHop>),
}

/// What becomes of the label on one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutLabel {
    /// This one: swapped in, or pushed on a packet.
    Label(Label),
    /// The neighbour asked for none (implicit null): popped, or nothing is pushed.
    Pop,
    /// The neighbour told none: packets go plain, frames with more than this label must be dropped.
    Unlabelled,
}

/// One path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// To whom.
    pub next_hop: NextHop,
    /// With what.
    pub out: OutLabel,
    /// Whoever is at the end of it can deal with entropy labels (RFC 6790).
    pub entropy: bool,
}

/// A change of what is to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Install {
    /// Frames with this label: in place of what was said of it before. If any path has a label (or pops), all have.
    Ilm {
        /// Of ours.
        label: Label,
        /// For what it stands.
        fec: IpNet,
        /// At least one.
        paths: Vec<Path>,
    },
    /// Frames with this label are dropped from now on.
    NoIlm {
        /// Of ours.
        label: Label,
        /// For what it stood.
        fec: IpNet,
    },
    /// Packets to this prefix: at least one path has a label or pops.
    Ftn {
        /// To there.
        fec: IpNet,
        /// All of the route's.
        paths: Vec<Path>,
    },
    /// Packets to this prefix go plain, as routed.
    NoFtn {
        /// To there.
        fec: IpNet,
    },
}

/// Where labels come from.
pub trait Labels {
    /// A label for this FEC; `None` if there is none. The same FEC may get the same label again once it was released.
    fn allocate(&mut self, fec: IpNet) -> Option<Label>;
    /// No neighbour uses it any more.
    fn release(&mut self, fec: IpNet, label: Label);
}

/// What one neighbour knows of a FEC.
#[derive(Debug, Default)]
struct Told {
    sent: Option<Label>,
    /// It was told with that, that entropy labels can be dealt with.
    entropy: bool,
    /// Withdrawn, and not released yet.
    pending: Vec<Label>,
    /// To be told once more, since it asked.
    again: bool,
    /// The Request that is to be answered.
    answer: Option<u32>,
}

impl Told {
    fn holds(&self, label: Label) -> bool {
        self.sent == Some(label) || self.pending.contains(&label)
    }

    const fn is_empty(&self) -> bool {
        self.sent.is_none() && self.pending.is_empty() && !self.again
    }
}

#[derive(Debug, Default)]
struct Entry {
    route: Option<Route>,
    /// Given to us for it.
    label: Option<Label>,
    /// What neighbours are to be told.
    bound: Option<Label>,
    remote: BTreeMap<LdpId, Label>,
    /// Of these, who says that entropy labels can be dealt with.
    capable: BTreeSet<LdpId>,
    told: BTreeMap<LdpId, Told>,
    /// Neighbours are told that entropy labels can be dealt with.
    tells_capable: bool,
    ilm: Option<(Label, Vec<Path>)>,
    ftn: Vec<Path>,
}

#[derive(Debug)]
struct Peer {
    families: Families,
    /// FECs of which something is to be told.
    queue: BTreeSet<IpNet>,
    addresses: BTreeSet<IpAddr>,
    bindings: usize,
}

/// What came of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// It is kept.
    Kept,
    /// It is kept, and this label is used no more: it is to be released.
    InPlaceOf(Label),
    /// There are too many of that neighbour's: it is to be released, and not kept.
    Full,
}

/// The label information base.
#[derive(Debug)]
pub struct Lib {
    explicit_null: bool,
    entropy: bool,
    max_bindings: usize,
    entries: BTreeMap<IpNet, Entry>,
    dirty: BTreeSet<IpNet>,
    /// Prefixes by the next hops of their routes.
    via: BTreeMap<IpAddr, BTreeSet<IpNet>>,
    /// Who says that it has this address.
    owners: BTreeMap<IpAddr, BTreeSet<LdpId>>,
    /// Who sends Hellos from this address on this link.
    links: BTreeMap<(IfaceId, IpAddr), LdpId>,
    peers: BTreeMap<LdpId, Peer>,
}

/// A FEC and its labels, to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// What.
    pub fec: IpNet,
    /// What neighbours are told.
    pub local: Option<Label>,
    /// What they tell.
    pub remote: Vec<(LdpId, Label)>,
    /// What is installed for packets.
    pub ftn: Vec<Path>,
}

impl Lib {
    /// `explicit_null`: prefixes that end here are told with an explicit null. No neighbour may tell more than `max_bindings`.
    #[must_use]
    pub const fn new(explicit_null: bool, max_bindings: usize) -> Self {
        Self {
            explicit_null,
            entropy: false,
            max_bindings,
            entries: BTreeMap::new(),
            dirty: BTreeSet::new(),
            via: BTreeMap::new(),
            owners: BTreeMap::new(),
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
        }
    }

    /// Prefixes that end here are told with an explicit null from now on, or with an implicit one.
    pub fn set_explicit_null(&mut self, on: bool) {
        if std::mem::replace(&mut self.explicit_null, on) != on {
            let ends_here = |e: &Entry| e.route == Some(Route::Local);
            let all = self.entries.iter().filter(|(_, e)| ends_here(e));
            self.dirty.extend(all.map(|(net, _)| *net));
        }
    }

    /// Entropy labels are dealt with from now on (RFC 6790), or are not: neighbours are told so of what ends here, and of all else
    /// for which whoever is next says so.
    pub fn set_entropy(&mut self, on: bool) {
        if std::mem::replace(&mut self.entropy, on) != on {
            self.dirty.extend(self.entries.keys());
        }
    }

    /// The route of a prefix is this now.
    pub fn set_route(&mut self, net: IpNet, route: Option<Route>) {
        let net = net.trunc();
        if route.is_none() && !self.entries.contains_key(&net) {
            return;
        }
        let e = self.entries.entry(net).or_default();
        if e.route == route {
            return;
        }
        let old = std::mem::replace(&mut e.route, route.clone());
        for h in hops(old.as_ref()) {
            if let Some(set) = self.via.get_mut(&h.addr) {
                set.remove(&net);
                if set.is_empty() {
                    self.via.remove(&h.addr);
                }
            }
        }
        for h in hops(route.as_ref()) {
            self.via.entry(h.addr).or_default().insert(net);
        }
        self.dirty.insert(net);
    }

    /// A session is operational.
    pub fn peer_up(&mut self, peer: LdpId, families: Families) {
        let bound = self.entries.iter().filter(|(_, e)| e.bound.is_some());
        let p = Peer {
            families,
            queue: bound.map(|(net, _)| *net).collect(),
            addresses: BTreeSet::new(),
            bindings: 0,
        };
        self.peers.insert(peer, p);
        self.moved_links(peer);
    }

    /// The families that a neighbour is told have changed.
    pub fn set_families(&mut self, peer: LdpId, families: Families) {
        if let Some(p) = self.peers.get_mut(&peer)
            && p.families != families
        {
            p.families = families;
            p.queue.extend(self.entries.keys());
        }
    }

    /// Its session is over: what it told and was told is forgotten.
    pub fn peer_down(&mut self, peer: LdpId) {
        let Some(p) = self.peers.remove(&peer) else {
            return;
        };
        for a in p.addresses {
            self.disown(peer, a);
        }
        self.moved_links(peer);
        for (net, e) in &mut self.entries {
            let told = e.told.remove(&peer).is_some();
            e.capable.remove(&peer);
            if e.remote.remove(&peer).is_some() || told {
                self.dirty.insert(*net);
            }
        }
    }

    fn moved_links(&mut self, peer: LdpId) {
        for (_, addr) in self.links.iter().filter(|l| *l.1 == peer).map(|l| l.0) {
            self.dirty.extend(self.via.get(addr).into_iter().flatten());
        }
    }

    /// The addresses from which a neighbour's Hellos come, with the links.
    pub fn set_links(&mut self, peer: LdpId, now: &BTreeSet<(IfaceId, IpAddr)>) {
        let before = self.links.iter().filter(|l| *l.1 == peer);
        let before: BTreeSet<_> = before.map(|l| *l.0).collect();
        for link in before.symmetric_difference(now) {
            if now.contains(link) {
                self.links.insert(*link, peer);
            } else {
                self.links.remove(link);
            }
            self.dirty
                .extend(self.via.get(&link.1).into_iter().flatten());
        }
    }

    /// A neighbour has this address. False: it has more than it may have.
    pub fn own(&mut self, peer: LdpId, addr: IpAddr, max: usize) -> bool {
        let Some(p) = self.peers.get_mut(&peer) else {
            return true;
        };
        if p.addresses.len() >= max && !p.addresses.contains(&addr) {
            return false;
        }
        p.addresses.insert(addr);
        self.owners.entry(addr).or_default().insert(peer);
        self.dirty.extend(self.via.get(&addr).into_iter().flatten());
        true
    }

    /// A neighbour has this address no more.
    pub fn disown(&mut self, peer: LdpId, addr: IpAddr) {
        if let Some(p) = self.peers.get_mut(&peer) {
            p.addresses.remove(&addr);
        }
        if let Some(set) = self.owners.get_mut(&addr) {
            set.remove(&peer);
            if set.is_empty() {
                self.owners.remove(&addr);
            }
        }
        self.dirty.extend(self.via.get(&addr).into_iter().flatten());
    }

    /// A Label Mapping; `entropy`: with an entropy label capability.
    pub fn mapping(&mut self, peer: LdpId, net: IpNet, label: Label, entropy: bool) -> Mapped {
        let Some(p) = self.peers.get_mut(&peer) else {
            return Mapped::Full;
        };
        let known = self.entries.get(&net).and_then(|e| e.remote.get(&peer));
        if known.is_none() {
            if p.bindings >= self.max_bindings {
                return Mapped::Full;
            }
            p.bindings += 1;
        }
        let e = self.entries.entry(net).or_default();
        self.dirty.insert(net);
        match entropy {
            true => e.capable.insert(peer),
            false => e.capable.remove(&peer),
        };
        match e.remote.insert(peer, label) {
            Some(old) if old != label => Mapped::InPlaceOf(old),
            _ => Mapped::Kept,
        }
    }

    /// A Label Withdraw: of that label, or of any.
    pub fn withdrawn(&mut self, peer: LdpId, fec: Fec, label: Option<Label>) {
        let Some(p) = self.peers.get_mut(&peer) else {
            return;
        };
        let mut gone = |net: IpNet, e: &mut Entry| {
            let old = e.remote.get(&peer);
            if old.is_some_and(|l| label.is_none_or(|x| x == *l)) {
                e.remote.remove(&peer);
                e.capable.remove(&peer);
                p.bindings -= 1;
                self.dirty.insert(net);
            }
        };
        match fec {
            Fec::Prefix(net) => {
                if let Some(e) = self.entries.get_mut(&net) {
                    gone(net, e);
                }
            }
            _ => {
                for (net, e) in self.entries.iter_mut().filter(|(n, _)| stands_for(fec, n)) {
                    gone(*net, e);
                }
            }
        }
    }

    /// A Label Release: what was withdrawn is ours again.
    pub fn released(&mut self, peer: LdpId, fec: Fec, label: Option<Label>) {
        let Some(p) = self.peers.get_mut(&peer) else {
            return;
        };
        let mut freed = |net: IpNet, e: &mut Entry| {
            if let Some(t) = e.told.get_mut(&peer) {
                let before = t.pending.len();
                t.pending.retain(|l| label.is_some_and(|x| x != *l));
                if t.pending.len() != before {
                    p.queue.insert(net);
                    self.dirty.insert(net);
                }
            }
        };
        match fec {
            Fec::Prefix(net) => {
                if let Some(e) = self.entries.get_mut(&net) {
                    freed(net, e);
                }
            }
            _ => {
                for (net, e) in self.entries.iter_mut().filter(|(n, _)| stands_for(fec, n)) {
                    freed(*net, e);
                }
            }
        }
    }

    /// A Label Request: answered when its turn comes.
    ///
    /// # Errors
    /// The status to answer with: there is no route, or no label for it.
    pub fn requested(&mut self, peer: LdpId, fec: Fec, id: u32) -> Result<(), Status> {
        let Some(p) = self.peers.get_mut(&peer) else {
            return Ok(());
        };
        let Fec::Prefix(net) = fec else {
            for (net, e) in self.entries.iter_mut().filter(|(n, _)| stands_for(fec, n)) {
                if let Some(t) = e.told.get_mut(&peer) {
                    t.again = true;
                    p.queue.insert(*net);
                }
            }
            return Ok(());
        };
        let e = self.entries.get_mut(&net).filter(|e| e.route.is_some());
        let e = e.ok_or(Status::NoRoute)?;
        if e.bound.is_none() && !self.dirty.contains(&net) {
            return Err(Status::NoLabelResources);
        }
        let t = e.told.entry(peer).or_default();
        t.again = true;
        t.answer = Some(id);
        p.queue.insert(net);
        Ok(())
    }

    /// There are labels again: asks for those that could not be had.
    pub fn ask_again(&mut self) {
        let lacking = self
            .entries
            .iter()
            .filter(|(_, e)| matches!(e.route, Some(Route::Via(_))) && e.label.is_none());
        self.dirty.extend(lacking.map(|(net, _)| *net));
    }

    /// Works off what is marked, at most `budget` FECs; returns how many are left.
    pub fn drain(
        &mut self,
        budget: usize,
        labels: &mut dyn Labels,
        out: &mut Vec<Install>,
    ) -> usize {
        for _ in 0..budget {
            let Some(net) = self.dirty.pop_first() else {
                break;
            };
            self.settle(net, labels, out);
        }
        self.dirty.len()
    }

    fn settle(&mut self, net: IpNet, labels: &mut dyn Labels, out: &mut Vec<Install>) {
        let Some(mut e) = self.entries.remove(&net) else {
            return;
        };
        let bound = match &e.route {
            Some(Route::Via(_)) => {
                e.label = e.label.or_else(|| labels.allocate(net));
                e.label
            }
            Some(Route::Local) => Some(self.null(&net)),
            None => None,
        };
        if bound != e.bound {
            e.bound = bound;
            for p in self.peers.values_mut() {
                p.queue.insert(net);
            }
        }
        let paths = self.paths(&e);
        let capable = self.entropy && ends_all(&e, &paths);
        if capable != e.tells_capable {
            e.tells_capable = capable;
            for p in self.peers.values_mut() {
                p.queue.insert(net);
            }
        }
        install(&mut e, net, paths, out);
        e.told.retain(|_, t| !t.is_empty());
        let free = |l: &mut Label| bound != Some(*l) && !e.told.values().any(|t| t.holds(*l));
        if let Some(label) = e.label.take_if(free) {
            labels.release(net, label);
        }
        if e.route.is_some() || e.label.is_some() || !e.told.is_empty() || !e.remote.is_empty() {
            self.entries.insert(net, e);
        }
    }

    const fn null(&self, net: &IpNet) -> Label {
        match (self.explicit_null, net) {
            (false, _) => Label::IMPLICIT_NULL,
            (true, IpNet::V4(_)) => Label::EXPLICIT_NULL_V4,
            (true, IpNet::V6(_)) => Label::EXPLICIT_NULL_V6,
        }
    }

    /// Whose session a next hop is of: who sends Hellos from there, else who says that the address is its own.
    fn peer_at(&self, h: &NextHop) -> Option<LdpId> {
        let heard = self.links.get(&(h.iface, h.addr)).copied();
        heard
            .filter(|p| self.peers.contains_key(p))
            .or_else(|| self.owners.get(&h.addr)?.first().copied())
    }

    fn paths(&self, e: &Entry) -> Vec<Path> {
        let path = |h: &NextHop| {
            let peer = self.peer_at(h);
            Path {
                next_hop: *h,
                out: match peer.and_then(|p| e.remote.get(&p)) {
                    Some(&Label::IMPLICIT_NULL) => OutLabel::Pop,
                    Some(l) => OutLabel::Label(*l),
                    None => OutLabel::Unlabelled,
                },
                entropy: self.entropy && peer.is_some_and(|p| e.capable.contains(&p)),
            }
        };
        hops(e.route.as_ref()).iter().map(path).collect()
    }

    /// What a neighbour is to be told next, at most `budget` FECs. `hop_counts`: it wants them.
    pub fn tell(&mut self, peer: LdpId, budget: usize, hop_counts: bool) -> Vec<Body> {
        let mut bodies = vec![];
        let Some(p) = self.peers.get_mut(&peer) else {
            return bodies;
        };
        for _ in 0..budget {
            let Some(net) = p.queue.pop_first() else {
                break;
            };
            let Some(e) = self.entries.get_mut(&net) else {
                continue;
            };
            let wanted = e.bound.filter(|_| p.families.has(Family::of_net(&net)));
            let t = e.told.entry(peer).or_default();
            if let Some(old) = t.sent.take_if(|l| wanted != Some(*l)) {
                t.pending.push(old);
                bodies.push(Body::Withdraw(Bindings {
                    fecs: vec![Fec::Prefix(net)],
                    label: Some(old),
                }));
            }
            if !self.dirty.contains(&net) && wanted.is_none() {
                t.again = false;
            }
            let other = |l: &Label| t.sent != Some(*l) || t.entropy != e.tells_capable;
            let due = |l: &Label| !t.pending.contains(l) && (t.again || other(l));
            if let Some(label) = wanted.filter(due) {
                t.sent = Some(label);
                t.entropy = e.tells_capable;
                t.again = false;
                // The first of those that count, or who does not know (appendix A.2.8).
                let count = u8::from(e.route == Some(Route::Local));
                bodies.push(Body::Mapping(Mapping {
                    request: t.answer.take(),
                    hop_count: hop_counts.then_some(count),
                    entropy: e.tells_capable,
                    ..Mapping::new(net, label)
                }));
            }
            if t.is_empty() {
                e.told.remove(&peer);
            }
        }
        bodies
    }

    /// How many FECs a neighbour is still to be told of.
    #[must_use]
    pub fn queued(&self, peer: LdpId) -> usize {
        self.peers.get(&peer).map_or(0, |p| p.queue.len())
    }

    /// How many FECs wait for [`Self::drain`].
    #[must_use]
    pub fn marked(&self) -> usize {
        self.dirty.len()
    }

    /// The label that neighbours are told for a prefix.
    #[must_use]
    pub fn local(&self, net: &IpNet) -> Option<Label> {
        self.entries.get(net)?.bound
    }

    /// All FECs.
    pub fn show(&self) -> impl Iterator<Item = Shown> {
        self.entries.iter().map(|(net, e)| Shown {
            fec: *net,
            local: e.bound,
            remote: e.remote.iter().map(|(p, l)| (*p, *l)).collect(),
            ftn: e.ftn.clone(),
        })
    }
}

fn hops(route: Option<&Route>) -> &[NextHop] {
    match route {
        Some(Route::Via(hops)) => hops,
        _ => &[],
    }
}

/// Can whoever is at the end deal with entropy labels, whichever way frames go (RFC 6790 5.1.1)?
fn ends_all(e: &Entry, paths: &[Path]) -> bool {
    match e.route {
        Some(Route::Local) => true,
        Some(Route::Via(_)) => !paths.is_empty() && paths.iter().all(|p| p.entropy),
        None => false,
    }
}

fn stands_for(fec: Fec, net: &IpNet) -> bool {
    match fec {
        Fec::Wildcard => true,
        Fec::AllOf(family) => Family::of_net(net) == family,
        Fec::Prefix(one) => one == *net,
    }
}

/// Says what of a FEC has changed since it was said last.
fn install(e: &mut Entry, fec: IpNet, paths: Vec<Path>, out: &mut Vec<Install>) {
    let labelled: Vec<Path> = paths
        .iter()
        .filter(|p| p.out != OutLabel::Unlabelled)
        .copied()
        .collect();
    let in_by = e.label.filter(|l| e.bound == Some(*l) && !paths.is_empty());
    // A labelled frame takes a plain path only where there is no other.
    let ilm = in_by.map(|l| {
        (
            l,
            if labelled.is_empty() {
                paths.clone()
            } else {
                labelled.clone()
            },
        )
    });
    let ftn = if labelled.is_empty() { vec![] } else { paths };
    if ilm != e.ilm {
        let old = e.ilm.take().filter(|(l, _)| Some(*l) != in_by);
        out.extend(old.map(|(label, _)| Install::NoIlm { label, fec }));
        out.extend(
            ilm.clone()
                .map(|(label, paths)| Install::Ilm { label, fec, paths }),
        );
        e.ilm = ilm;
    }
    if ftn != e.ftn {
        out.push(if ftn.is_empty() {
            Install::NoFtn { fec }
        } else {
            Install::Ftn {
                fec,
                paths: ftn.clone(),
            }
        });
        e.ftn = ftn;
    }
}
