//! VRFs, as BGP has them: RFC 4364. Each has labels ([`labels`]) under which packets of other PEs come into it; sockets in its
//! namespace, for its CEs; and routes of the router's own, connected and static.
//!
//! What comes in and goes out by route targets is the speaker's (`bgp::speaker`, `vpn`). Left out: sockets for VRFs that have no
//! interface.

mod labels;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use bgp::attrs::ExtCommunity;
use bgp::policy::{self, Protocol};
use bgp::speaker::{Speaker, Use, Vrf, VrfPolicies};
use bgp::types::{Label, Relation, VrfNo};
use ipnet::IpNet;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use net::VrfId;
use tracing::warn;

use super::labels::Source as Labels;
use super::leaks::Leaks;
use super::links::Links;
use super::{LISTENERS, Listener, is_no_ipv6, net as socket};
use crate::apply::translate;
use crate::config::bgp::{Bgp, Origin, PolicyName};
use crate::config::{self, LabelMode, Valid, VrfName};
use crate::labels::Manager;
use crate::rib::spec::{Discard, Hop, PathsSpec, Source, TtlMode};
use crate::rib::{LabeledHop, Rib};
use labels::{Bound, Mode, VrfLabels};

/// The tokens of sockets that listen in VRFs begin here.
pub(super) const FIRST: usize = LISTENERS + (1 << 17);
/// Routes of the router's own told in a turn.
const OWN: usize = 2048;
/// A socket that could not be had is tried for again after so long.
const AGAIN: Duration = Duration::from_secs(5);

/// A socket that listens in a VRF.
pub(super) struct In {
    pub(super) vrf: VrfName,
    pub(super) id: VrfId,
    /// The namespace that it is in.
    namespace: u64,
    pub(super) listener: Listener,
}

/// The VRFs.
#[derive(Default)]
pub(super) struct Vpns {
    /// What they follow from has changed: the configuration, interfaces, addresses, links.
    stale: bool,
    /// What the speaker was told.
    told: Vec<Vrf>,
    labels: VrfLabels,
    /// How labels that routes of a VRF push deal with the TTL, and whether an entropy label goes below them.
    push: BTreeMap<VrfId, (TtlMode, bool)>,
    own: BTreeMap<(VrfId, IpNet), Protocol>,
    /// Those that the speaker is still to hear of.
    queue: VecDeque<(VrfId, IpNet)>,
    /// Routes that stand on those that another table has of its own.
    pub(super) leaks: Leaks,
    /// What they are called.
    names: BTreeMap<VrfId, VrfName>,
    pub(super) listeners: Vec<In>,
    /// There is one that no keys were set on yet.
    pub(super) opened: bool,
    /// When to try for sockets again.
    retry: Option<Instant>,
}

impl Vpns {
    /// What VRFs follow from has changed.
    pub(super) fn changed(&mut self) {
        self.stale = true;
    }

    /// When to turn again, if nothing happens before.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.retry
    }

    /// A piece of it. True: there is more.
    pub(super) fn turn(
        &mut self,
        speaker: &mut Speaker,
        from: &mut Labels<'_>,
        rib: &mut Rib,
        (valid, links): (&Valid, &Links<'_>),
        registry: &Registry,
    ) -> bool {
        if valid.bgp.is_none() {
            return false;
        }
        let now = from.now;
        let stale = std::mem::take(&mut self.stale);
        if stale {
            self.configure(speaker, from, rib, valid, links);
            let next = own(valid, links);
            let gone = self.own.keys().filter(|k| !next.contains_key(k));
            let come = next.iter().filter(|(k, p)| self.own.get(k) != Some(p));
            self.queue.extend(gone.chain(come.map(|(k, _)| k)).copied());
            self.own = next;
            self.leak_again(rib);
        }
        if stale || self.retry.is_some_and(|at| at <= now) {
            self.listen(valid, links, registry, now);
        }
        for _ in 0..OWN {
            let Some((vrf, net)) = self.queue.pop_front() else {
                return false;
            };
            let no = VrfNo(vrf.0);
            match self.own.get(&(vrf, net)) {
                Some(protocol) => speaker.originate_in_vrf(no, net, *protocol, None, now),
                None => speaker.withdraw_in_vrf(no, net),
            };
        }
        !self.queue.is_empty()
    }

    /// Tells the speaker of VRFs, each with its label.
    fn configure(
        &mut self,
        speaker: &mut Speaker,
        from: &mut Labels<'_>,
        rib: &mut Rib,
        valid: &Valid,
        links: &Links<'_>,
    ) {
        let mut whole = BTreeMap::new();
        let mut told = Vec::new();
        let before = std::mem::take(&mut self.push);
        let mut modes = BTreeMap::new();
        let mut telling = BTreeMap::new();
        self.names.clear();
        for (name, conf) in &valid.vrfs {
            let Some(id) = links.vrf(Some(name)) else {
                continue;
            };
            self.names.insert(id, name.clone());
            let ttl = translate::ttl(conf.mpls_ttl.unwrap_or(valid.dataplane.mpls_ttl));
            let push = (ttl, conf.entropy);
            if self.push.insert(id, push).is_none() && before.get(&id).is_some_and(|b| *b != push) {
                speaker.tell_again_in(VrfNo(id.0));
            }
            let exports = conf.rd.is_some() && !conf.export.is_empty();
            if exports {
                telling.insert(id, name.clone());
            }
            let per = conf.label_mode;
            let has_whole = exports && per != LabelMode::PerPrefix;
            let label = has_whole
                .then(|| labels::of_vrf(name, from.manager))
                .flatten();
            let vrf = || name.clone();
            if let Some(label) = label {
                let vrf = vrf();
                whole.insert(id, Bound { vrf, label, ttl });
            }
            let each_its_own = exports && per != LabelMode::PerVrf;
            if each_its_own {
                let mode = Mode {
                    vrf: vrf(),
                    ttl,
                    per,
                    whole: label,
                    links: links.links_in(id),
                };
                modes.insert(id, mode);
            }
            let target = |t: &crate::config::RouteTarget| ExtCommunity(t.0);
            let policy = |p: &Option<PolicyName>| p.as_ref().and_then(|n| valid.policy(&n.0));
            told.push(Vrf {
                number: VrfNo(id.0),
                rd: conf.rd,
                import: conf.import.iter().map(target).collect(),
                export: conf.export.iter().map(target).collect(),
                policy: VrfPolicies {
                    import: policy(&conf.import_policy),
                    export: policy(&conf.export_policy),
                },
                global: VrfPolicies {
                    import: policy(&conf.import_global),
                    export: policy(&conf.export_global),
                },
                label: label.and_then(|l| Label::new(l.get())),
                each_its_own,
            });
            speaker.set_own_addresses_in(VrfNo(id.0), links.addresses_in(id));
        }
        let with = (&mut *from.manager, from.now);
        self.labels.set_whole(telling, whole, with, rib);
        if self.told != told {
            self.told.clone_from(&told);
            speaker.set_vrfs(told);
        }
        let with = (&mut *from.manager, from.now);
        self.labels.set_modes(modes, speaker, with, rib);
    }

    /// The label of a route that is told from a VRF whose routes have not all the same. `hops`: those that packets take.
    pub(super) fn label_of(
        &mut self,
        (vrf, net): (VrfNo, IpNet),
        by: &[Use<'_>],
        hops: &[LabeledHop],
        from: &mut Labels<'_>,
        rib: &mut Rib,
    ) -> Option<net::Label> {
        self.labels.label_of((vrf, net), by, hops, from, rib)
    }

    /// Has a socket in each VRF that has a CE and an interface.
    fn listen(&mut self, valid: &Valid, links: &Links<'_>, registry: &Registry, now: Instant) {
        self.retry = None;
        let wanted = valid.bgp.as_deref().map(|bgp| with_ces(bgp, valid));
        let wanted = wanted.unwrap_or_default();
        let namespace = |id| links.host.and_then(|h| h.namespace_id(id));
        self.listeners.retain(|l| {
            let stays = wanted.contains(&l.vrf)
                && links.vrf(Some(&l.vrf)) == Some(l.id)
                && namespace(l.id) == Some(l.namespace);
            if !stays {
                let fd = l.listener.socket.as_raw_fd();
                let _ = registry.deregister(&mut SourceFd(&fd));
            }
            stays
        });
        let port = valid.bgp.as_deref().map_or(0, |b| b.speaker.port);
        for name in wanted {
            let Some(id) = links.vrf(Some(&name)) else {
                continue;
            };
            let (Some(host), Some(namespace)) = (links.host, namespace(id)) else {
                continue;
            };
            for at in [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()] {
                let at = SocketAddr::new(at, port);
                let there = |l: &In| l.vrf == name && l.listener.at == at;
                if self.listeners.iter().any(there) {
                    continue;
                }
                let opened = host.enter(id, || socket::listen(at)).and_then(|s| s);
                match opened.and_then(|s| self.watch(s, registry)) {
                    Ok(socket) => self.listeners.push(In {
                        vrf: name.clone(),
                        id,
                        namespace,
                        listener: Listener {
                            at,
                            socket,
                            ready: true,
                            signed: Vec::new(),
                        },
                    }),
                    Err(e) if at.is_ipv6() && is_no_ipv6(&e) => {}
                    Err(e) => {
                        warn!(vrf = %name, "bgp: can't listen on {at}: {e}; tried again");
                        self.retry = Some(now + AGAIN);
                    }
                }
            }
        }
    }

    /// Has the reactor tell of a socket; its token has the descriptor in it, which no other open one has.
    fn watch(
        &mut self,
        socket: socket2::Socket,
        registry: &Registry,
    ) -> std::io::Result<socket2::Socket> {
        let fd = socket.as_raw_fd();
        let token = Token(FIRST + usize::try_from(fd).unwrap_or_default());
        registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        self.opened = true;
        Ok(socket)
    }

    /// A descriptor is ready.
    pub(super) fn ready(&mut self, token: usize) {
        let of = |l: &&mut In| usize::try_from(l.listener.socket.as_raw_fd()) == Ok(token - FIRST);
        if let Some(l) = self.listeners.iter_mut().find(of) {
            l.listener.ready = true;
        }
    }

    /// A table, as operators call it.
    pub(super) fn name(&self, table: VrfNo) -> &str {
        match table {
            VrfNo::GLOBAL => config::GLOBAL,
            vrf => self.names.get(&VrfId(vrf.0)).map_or("", |name| name),
        }
    }

    /// Puts a route that the speaker has chosen for a VRF into its table, or takes it out.
    pub(super) fn install(
        &mut self,
        vrf: VrfNo,
        net: IpNet,
        by: &[Use<'_>],
        hops: Vec<LabeledHop>,
        rib: &mut Rib,
    ) {
        let id = VrfId(vrf.0);
        let source = by.first().and_then(|u| match (u.relation, u.table == vrf) {
            (Some(Relation::External), true) => Some(Source::Ebgp),
            (Some(_), _) => Some(Source::Ibgp),
            // Its own are in its table from elsewhere.
            (None, true) => None,
            (None, false) => Some(Source::Ibgp),
        });
        let (ttl, entropy) = self.push.get(&id).copied().unwrap_or_default();
        let discards = |u: &Use<'_>| u.next_hop.is_some_and(|h| policy::is_discard(&h));
        let spec = match (source, hops.is_empty(), by.first()) {
            (Some(_), _, Some(u)) if discards(u) => {
                Some(PathsSpec::single(Hop::Discard(Discard::Blackhole)))
            }
            (None, ..) | (_, _, None) => None,
            (Some(_), false, _) => {
                let mut spec = rib.labeled_paths(&hops, ttl);
                // Who is at the end of what has leaked from the global table has not been asked for it.
                let labelled = spec.paths.iter_mut().filter(|p| !p.labels.is_empty());
                labelled.for_each(|p| p.entropy = entropy);
                Some(spec)
            }
            // What another table has of its own: as it stands there.
            (Some(_), true, Some(u)) => {
                let paths = self.leaks.lead((id, net), VrfId(u.table.0), rib);
                return put(rib, id, net, source.zip(paths));
            }
        };
        self.leaks.end((id, net), rib);
        put(rib, id, net, source.zip(spec));
    }

    /// Takes up again what has leaked from routes of the router's own.
    fn leak_again(&mut self, rib: &mut Rib) {
        for ((id, net), of) in self.leaks.all() {
            let spec = self.leaks.lead((id, net), of, rib);
            put(rib, id, net, spec.map(|s| (Source::Ibgp, s)));
        }
    }

    /// All of it is taken back.
    pub(super) fn clear(
        &mut self,
        manager: &mut Manager,
        rib: &mut Rib,
        registry: &Registry,
        now: Instant,
    ) {
        self.labels.clear((manager, now), rib);
        for (at, _) in self.leaks.all() {
            self.leaks.end(at, rib);
        }
        self.stop_listening(registry);
        *self = Self::default();
    }

    pub(super) fn stop_listening(&mut self, registry: &Registry) {
        for l in self.listeners.drain(..) {
            let fd = l.listener.socket.as_raw_fd();
            let _ = registry.deregister(&mut SourceFd(&fd));
        }
    }
}

fn put(rib: &mut Rib, id: VrfId, net: IpNet, route: Option<(Source, PathsSpec)>) {
    let route = route.map(|(source, spec)| (source, rib.paths(&spec)));
    match id {
        VrfId::GLOBAL => rib.set_bgp(net, route),
        vrf => rib.set_bgp_in(vrf, net, route),
    }
}

/// The VRFs that neighbours are in.
fn with_ces(bgp: &Bgp, valid: &Valid) -> BTreeSet<VrfName> {
    let all = bgp.neighbors.iter();
    all.filter_map(|(key, n)| bgp.vrf_of(key, n, &valid.interfaces))
        .collect()
}

/// Routes of the router's own in VRFs that are told to CEs, and to other PEs: connected ones first, then static ones.
fn own(valid: &Valid, links: &Links<'_>) -> BTreeMap<(VrfId, IpNet), Protocol> {
    let mut out = BTreeMap::new();
    let told = |name: &VrfName, source| {
        valid
            .vrfs
            .get(name)
            .is_some_and(|v| v.redistributes(source))
    };
    for (dest, _) in valid.all_routes() {
        if let Some(name) = &dest.vrf
            && told(name, Origin::Static)
            && let Some(id) = links.vrf(Some(name))
        {
            out.insert((id, dest.prefix), Protocol::Static);
        }
    }
    for i in links.ifaces.values().filter(|i| i.up) {
        if let Some(name) = &i.conf.vrf
            && told(name, Origin::Connected)
        {
            let nets = i.conf.addresses.iter().map(IpNet::trunc);
            out.extend(nets.map(|net| ((i.vrf, net), Protocol::Connected)));
        }
    }
    out
}

#[cfg(test)]
mod tests;
