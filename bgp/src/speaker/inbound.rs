//! From an UPDATE to the Adj-RIB-In.
//!
//! What a route is after import depends mostly on its attributes alone. So it is found out once for an UPDATE, and once for
//! each kind of prefix where the policy asks about prefixes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;

use super::families::{Kind, Ours, is_public, of_kind, seen};
use super::import::{self, ImportRules, Refusal};
use super::{Action, Core, Local, Notice, PeerKey, journal};
use crate::attrs::{AttrBuf, ExtCommunity, View, code, flag};
use crate::policy::{Input, Peer, Policy, PrefixKey, Protocol};
use crate::rib::{Announce, AttrId, Common, Membership, V4, V6, Vrf4, Vrf6};
use crate::rpki::{RoaTable, Validity, route_origin};
use crate::session::{Handler, MaxPrefixes, Negotiated, State};
use crate::types::{Asn, Family, Label, PathId, PeerId, Relation, VrfNo};
use crate::wire::{Nlri, Notification, Update};

/// What is known of a neighbour when routes come from it, and when they go on to others.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) rules: ImportRules,
    pub(super) policy: Option<Arc<Policy>>,
    pub(super) address: IpAddr,
    /// Our end of the session.
    pub(super) local: IpAddr,
    pub(super) interface: Option<String>,
    pub(super) local_as: Asn,
    pub(super) group: Option<Arc<str>>,
    /// A client of ours (RFC 4456).
    pub(super) client: bool,
    pub(super) router_id: std::net::Ipv4Addr,
    pub(super) limits: Vec<(Family, MaxPrefixes)>,
    /// The VRF that it is in.
    pub(super) vrf: VrfNo,
    /// The site that its routes are of.
    pub(super) site: Option<ExtCommunity>,
    /// UPDATEs with errors that were survived, RFC 7606.
    pub(super) malformed: u64,
}

impl Source {
    /// As dumps see it.
    pub(super) fn ends(&self) -> journal::Ends {
        journal::Ends {
            peer_as: self.rules.peer_as,
            local_as: self.local_as,
            peer: self.address,
            local: self.local,
        }
    }

    /// As policies see it.
    pub(super) fn as_peer(&self) -> Peer<'_> {
        Peer {
            address: self.address,
            asn: self.rules.peer_as,
            local_as: self.local_as,
            relation: self.rules.relation,
            group: self.group.as_deref(),
        }
    }
}

/// Takes the UPDATEs of a neighbour.
pub(super) struct Inbound<'s> {
    pub(super) core: &'s mut Core,
    pub(super) peer: PeerId,
    pub(super) key: &'s PeerKey,
    pub(super) notices: &'s mut VecDeque<Action>,
    /// Families that are complete now.
    pub(super) ended: &'s mut Vec<Family>,
    pub(super) now: Instant,
}

impl Handler for Inbound<'_> {
    fn update(&mut self, body: &[u8], agreed: &Negotiated) -> Result<(), Notification> {
        if self.core.journal.is_some() {
            self.core.write_down(self.peer, body, agreed, self.now);
        }
        let u = Update::parse(body, &agreed.context)?;
        if u.action().is_some() {
            self.malformed(&u);
        }
        // Stations hear of the global table only.
        let global = self.core.gate.vrf(self.peer) == VrfNo::GLOBAL;
        for nlri in u.unreach() {
            self.core.withdraw(self.peer, &nlri);
            if self.core.feeds.any() && global {
                self.core.feeds.nlri(self.peer, &nlri);
            }
        }
        let mut read = false;
        for reach in u.reach() {
            if !read {
                u.canonical(&mut self.core.received);
                read = true;
            }
            self.core.received.next_hop = reach.next_hop;
            self.core.announce(self.peer, &reach.nlri, self.now);
            if self.core.feeds.any() && global {
                self.core.feeds.nlri(self.peer, &reach.nlri);
            }
        }
        self.ended.extend(u.end_of_rib());
        match read {
            true => self.core.within_limits(self.peer),
            false => Ok(()),
        }
    }
}

impl Inbound<'_> {
    /// Errors that leave the session up: the operator hears of the first of each power of two.
    #[cold]
    fn malformed(&mut self, u: &Update<'_>) {
        let gate = &mut self.core.gate;
        let Some(Some(source)) = gate.sources.get_mut(usize::from(self.peer.0)) else {
            return;
        };
        source.malformed += 1;
        if source.malformed.is_power_of_two() {
            let errors: Vec<String> = u.errors().iter().map(ToString::to_string).collect();
            let what = format!(
                "malformed UPDATE number {}: {}",
                source.malformed,
                errors.join("; ")
            );
            let key = self.key.clone();
            self.notices
                .push_back(Action::Notice(key, Notice::Malformed(what)));
        }
    }
}

/// What every route passes on its way in.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) local: Local,
    /// By the neighbour's slot.
    pub(super) sources: Vec<Option<Source>>,
    /// The router's addresses, in each VRF.
    pub(super) own: HashMap<VrfNo, HashSet<IpAddr>>,
    /// What the RPKI says.
    pub(super) roas: RoaTable,
    /// Room for what import itself makes of attributes, and for what policies do.
    otc: AttrBuf,
    edited: AttrBuf,
}

/// What the last route of an UPDATE became, for those that follow.
struct Kept {
    key: PrefixKey,
    post: Option<AttrId>,
}

impl Gate {
    pub(super) fn new(local: Local) -> Self {
        Self {
            local,
            sources: Vec::new(),
            own: HashMap::new(),
            roas: RoaTable::new(),
            otc: AttrBuf::new(),
            edited: AttrBuf::new(),
        }
    }

    pub(super) fn source(&self, peer: PeerId) -> Option<&Source> {
        self.sources.get(usize::from(peer.0))?.as_ref()
    }

    /// The VRF that a neighbour is in.
    pub(super) fn vrf(&self, peer: PeerId) -> VrfNo {
        self.source(peer).map_or(VrfNo::GLOBAL, |s| s.vrf)
    }

    /// Is that an address of the router's in that VRF?
    pub(super) fn is_own(&self, vrf: VrfNo, address: IpAddr) -> bool {
        self.own.get(&vrf).is_some_and(|all| all.contains(&address))
    }

    /// What the RPKI says of a route of a family in a VRF (RFC 6811).
    pub(super) fn validity(&self, of: (Family, VrfNo), net: &IpNet, v: View<'_>) -> Validity {
        if self.roas.is_empty() || !is_public(of.0, of.1) {
            return Validity::NotFound;
        }
        self.roas
            .validate(net, route_origin(v.as_path(), self.local.asn))
    }

    pub(super) fn set_source(&mut self, peer: PeerId, source: Option<Source>) {
        let n = usize::from(peer.0);
        if n >= self.sources.len() {
            self.sources.resize(n + 1, None);
        }
        self.sources[n] = source;
    }

    /// What a route becomes, with a count that `kept` holds.
    fn kept(
        &mut self,
        common: &mut Common,
        peer: PeerId,
        family: Family,
        net: impl Fn() -> IpNet,
        pre: AttrId,
        kept: &mut Option<Kept>,
    ) -> Option<AttrId> {
        let policy = self.source(peer).and_then(|s| s.policy.as_ref());
        let asks = policy.is_some_and(|p| p.depends_on_prefix());
        let key = match (policy, asks) {
            (Some(p), true) => {
                let net = net();
                let of = (family, self.vrf(peer));
                let rpki = self.validity(of, &net, common.store.view(pre));
                p.prefix_key(seen(family, net), rpki)
            }
            _ => Some(PrefixKey::default()),
        };
        if let (Some(k), Some(key)) = (kept.as_ref(), key)
            && k.key == key
        {
            return k.post;
        }
        if let Some(old) = kept.take().and_then(|k| k.post) {
            common.store.release(old);
        }
        let post = self.import(common, peer, family, net(), pre);
        // Without a key nothing equals it: it is there to be released.
        *kept = Some(Kept {
            key: key.unwrap_or(PrefixKey(u64::MAX)),
            post,
        });
        post
    }

    /// What a route becomes by the checks and the policy of who sent it; the caller gets a count. `None`: it is not used.
    pub(super) fn import(
        &mut self,
        common: &mut Common,
        peer: PeerId,
        family: Family,
        net: IpNet,
        pre: AttrId,
    ) -> Option<AttrId> {
        let source = self.sources.get(usize::from(peer.0))?.as_ref()?;
        let store = &mut common.store;
        let view = store.view(pre);
        let own = self.own.get(&source.vrf);
        let own = |a| own.is_some_and(|all| all.contains(&a));
        import::check(view, &source.rules, &self.local, own).ok()?;
        let otc = import::wants_otc(view, &source.rules);
        if otc {
            self.otc.copy_from(view);
            import::set_otc(&mut self.otc, source.rules.peer_as);
        }
        let Some(policy) = &source.policy else {
            // RFC 8212: without a policy nothing comes in from another AS.
            if source.rules.relation == Relation::External {
                return None;
            }
            if otc {
                return Some(store.intern(self.otc.view()));
            }
            store.retain(pre);
            return Some(pre);
        };
        let hop = store.header(pre).hop();
        let input = Input {
            family,
            prefix: seen(family, net),
            view: if otc { self.otc.view() } else { view },
            peer: source.as_peer(),
            protocol: Protocol::Bgp,
            from: None,
            rpki: self.validity((family, source.vrf), &net, view),
            igp_metric: store.hops.metric(hop),
        };
        let outcome = policy.run(&input, &mut self.edited);
        if !outcome.accept {
            return None;
        }
        if outcome.changed {
            return Some(store.intern(self.edited.view()));
        }
        if otc {
            return Some(store.intern(self.otc.view()));
        }
        store.retain(pre);
        Some(pre)
    }

    /// Why a route is not used, if it is for one of the checks.
    pub(super) fn refusal(&self, common: &Common, peer: PeerId, pre: AttrId) -> Option<Refusal> {
        let source = self.source(peer)?;
        let view = common.store.view(pre);
        import::check(view, &source.rules, &self.local, |a| {
            self.is_own(source.vrf, a)
        })
        .err()
    }
}

impl Core {
    fn withdraw(&mut self, peer: PeerId, nlri: &Nlri<'_>) {
        let vrf = self.gate.vrf(peer);
        // Others are read, and kept by nobody yet.
        let Some(kind) = Kind::of(vrf, nlri.family) else {
            return;
        };
        of_kind!(kind, K => {
            let (table, common) = K::table(&mut self.rib);
            let keys = K::read(nlri).map(|(id, _, key)| (id, key.in_vrf(vrf)));
            table.withdraw_all(common, peer, keys);
            self.note_asked::<K>(peer, nlri);
        });
    }

    /// Takes in routes whose attributes are in `received`.
    fn announce(&mut self, peer: PeerId, nlri: &Nlri<'_>, now: Instant) {
        let learnt = self.seconds(now);
        match self.kind(peer, nlri.family) {
            Some(Kind::V4) => self.announce_plain::<V4>(peer, nlri, learnt),
            Some(Kind::V6) => self.announce_plain::<V6>(peer, nlri, learnt),
            Some(Kind::Vrf4) => self.announce_in_vrf::<Vrf4>(peer, nlri, learnt),
            Some(Kind::Vrf6) => self.announce_in_vrf::<Vrf6>(peer, nlri, learnt),
            Some(Kind::Targets) => {
                self.announce_plain::<Membership>(peer, nlri, learnt);
                self.note_asked::<Membership>(peer, nlri);
            }
            Some(kind) => of_kind!(kind, K => self.announce_labeled::<K>(peer, nlri, learnt)),
            None => {}
        }
    }

    /// Of a CE: the next hop is looked up in its VRF, and the routes are of its site (RFC 4364 7).
    fn announce_in_vrf<K: Ours>(&mut self, peer: PeerId, nlri: &Nlri<'_>, learnt: u32) {
        let source = self.gate.source(peer);
        let (vrf, site) = source.map_or((VrfNo::GLOBAL, None), |s| (s.vrf, s.site));
        self.received.set_inner(vrf.0.into(), &[]);
        if let Some(site) = site
            && !self.received.view().ext_communities().any(|c| c == site)
        {
            let flags = flag::OPTIONAL | flag::TRANSITIVE;
            self.received.append(flags, code::EXT_COMMUNITIES, &site.0);
        }
        self.announce_plain::<K>(peer, nlri, learnt);
        self.received.clear_inner();
    }

    /// Follows what a neighbour asks for by memberships.
    fn note_asked<K: Ours>(&mut self, peer: PeerId, nlri: &Nlri<'_>) {
        if K::FAMILY != Family::RouteTarget {
            return;
        }
        for (_, _, key) in K::read(nlri) {
            let route = K::table_ref(&self.rib).get(key);
            let mut paths = route.iter().flat_map(|r| &r.paths);
            let has = paths.any(|p| p.peer == peer && p.post.is_some());
            key.note(&mut self.asked, peer, has);
        }
    }

    /// The table of what a neighbour says of a family.
    pub(super) fn kind(&self, peer: PeerId, family: Family) -> Option<Kind> {
        Kind::of(self.gate.vrf(peer), family)
    }

    /// Of one set of attributes for all of them.
    fn announce_plain<K: Ours>(&mut self, peer: PeerId, nlri: &Nlri<'_>, learnt: u32) {
        let vrf = self.gate.vrf(peer);
        let pre = self.rib.common.store.intern(self.received.view());
        let mut kept = None;
        let keys = K::read(nlri).map(|(id, _, key)| (id, key.in_vrf(vrf)));
        self.take_all(peer, keys, pre, learnt, &mut kept);
        let post = kept.and_then(|k: Kept| k.post);
        post.into_iter()
            .for_each(|p| self.rib.common.store.release(p));
        self.rib.common.store.release(pre);
    }

    /// Each with labels of its own.
    fn announce_labeled<K: Ours>(&mut self, peer: PeerId, nlri: &Nlri<'_>, learnt: u32) {
        let mut labels: Vec<Label> = Vec::new();
        if matches!(K::FAMILY, Family::Ipv4Labeled | Family::Ipv6Labeled) {
            self.without_empty_sid();
        }
        for (path_id, stack, key) in K::read(nlri) {
            labels.clear();
            labels.extend(stack.iter().flat_map(|l| l.iter()));
            self.received.set_labels(&labels);
            let pre = self.rib.common.store.intern(self.received.view());
            let mut kept = None;
            self.take_all(
                peer,
                std::iter::once((path_id, key)),
                pre,
                learnt,
                &mut kept,
            );
            let post = kept.and_then(|k: Kept| k.post);
            post.into_iter()
                .for_each(|p| self.rib.common.store.release(p));
            self.rib.common.store.release(pre);
        }
        self.received.clear_inner();
    }

    /// RFC 8669 3.1 and 6: of labelled routes a prefix-SID without a label index counts as not there.
    fn without_empty_sid(&mut self) {
        let view = self.received.view();
        if view.get(code::PREFIX_SID).is_some() && view.label_index().is_none() {
            self.received.remove(code::PREFIX_SID);
        }
    }

    #[inline]
    fn take_all<K: Ours>(
        &mut self,
        peer: PeerId,
        keys: impl Iterator<Item = (PathId, K)>,
        pre: AttrId,
        now: u32,
        kept: &mut Option<Kept>,
    ) {
        let gate = &mut self.gate;
        let (table, common) = K::table(&mut self.rib);
        table.announce_all(common, keys, |common, path_id, key| Announce {
            peer,
            path_id,
            pre,
            post: gate.kept(common, peer, K::FAMILY, || key.net(), pre, kept),
            now,
        });
    }

    #[cold]
    fn write_down(&mut self, peer: PeerId, body: &[u8], agreed: &Negotiated, now: Instant) {
        let time = self.unix(now);
        let source = self.gate.source(peer);
        if let (Some(journal), Some(s)) = (&mut self.journal, source) {
            let c = &agreed.context;
            let add_path = !c.add_path_receive.is_empty();
            journal.update(time, &s.ends(), (c.as4, add_path), body);
        }
    }

    /// A session came up or went down.
    pub(super) fn write_state(&mut self, peer: PeerId, (old, new): (State, State), now: Instant) {
        let time = self.unix(now);
        let source = self.gate.source(peer);
        if let (Some(journal), Some(s)) = (&mut self.journal, source) {
            journal.state(time, &s.ends(), old, new);
        }
    }

    fn within_limits(&self, peer: PeerId) -> Result<(), Notification> {
        let Some(source) = self.gate.source(peer) else {
            return Ok(());
        };
        for (family, max) in &source.limits {
            if !max.warn_only && self.received(peer, *family) > max.limit {
                return Err(Notification::max_prefixes(*family, max.limit));
            }
        }
        Ok(())
    }

    /// How many routes of that family a neighbour has announced.
    pub(super) fn received(&self, peer: PeerId, family: Family) -> u32 {
        match self.kind(peer, family) {
            Some(kind) => of_kind!(kind, K => K::table_ref(&self.rib).counts(peer).received),
            None => 0,
        }
    }
}
