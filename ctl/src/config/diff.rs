//! The difference of two configurations, as a plan in the order in which it can be carried out.
//!
//! What is to go goes before what takes its place (an address may move from one interface to another), and what stands on something
//! comes after it: interfaces before neighbours, labels and routes. [`Plan::steps`] gives that order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use net::{Label, MacAddr};

use super::bgp::{self, BgpStep};
use super::labels::RangeStep;
use super::ldp::{self, LdpStep};
use super::model::{
    Dataplane, Interface, LabelRoute, NeighborParams, RouteFile, System, Target, Valid,
};
use super::policy::{self, PolicyStep};
use super::vrf::{Dest, Vrf, VrfName};
use super::watch::{self, WatchStep};

/// How one entry of a table changes. Never both `None`, never equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit<K, V> {
    /// Which entry.
    pub key: K,
    /// What it was; `None`: it is new.
    pub from: Option<V>,
    /// What it becomes; `None`: it goes.
    pub to: Option<V>,
}

/// A learned neighbour to forget: no part of a configuration, but ordered in a commit like what is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forget {
    /// Where; `None`: on the only interface that has it.
    pub interface: Option<String>,
    /// Which.
    pub address: IpAddr,
}

/// A setting that can't change while the appliance runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// As in the file: `dataplane.workers`.
    pub key: &'static str,
    /// What runs.
    pub from: String,
    /// What was asked for.
    pub to: String,
}

/// What to do to get from one configuration to another.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The new `[system]`, if it changes.
    pub system: Option<System>,
    /// The new `[dataplane]`, if it changes; then `restart` says why it can't, unless this is the plan of a start.
    pub dataplane: Option<Dataplane>,
    /// What would need a restart. Empty in every plan that reaches the control thread.
    pub restart: Vec<Restart>,
    /// The new `[neighbor]`, if it changes.
    pub neighbor: Option<NeighborParams>,
    /// Interfaces to remove, VLANs before their parents. One that is made anew is here and in `interfaces_added`.
    pub interfaces_removed: Vec<Interface>,
    /// Interfaces to make, parents before their VLANs.
    pub interfaces_added: Vec<Interface>,
    /// Interfaces whose addresses, MTU, `mpls` or `up` change in place: (as it is, as it becomes).
    pub interfaces_changed: Vec<(Interface, Interface)>,
    /// Static neighbours by interface and address.
    pub neighbors: Vec<Edit<(String, IpAddr), MacAddr>>,
    /// Learned neighbours to forget. Refused with the rest of the plan when there is no such neighbour.
    pub forgotten: Vec<Forget>,
    /// The new `[label-range]`, if it changes.
    pub label_ranges: Option<RangeStep>,
    /// Static labels.
    pub labels: Vec<Edit<Label, Arc<LabelRoute>>>,
    /// VRFs by name. One that goes is named by nothing else any more.
    pub vrfs: Vec<Edit<VrfName, Vrf>>,
    /// Static routes, by table and prefix.
    pub routes: Vec<Edit<Dest, Arc<Target>>>,
    /// What changes in `[bgp]`; `next` has the whole of it.
    pub bgp: Vec<BgpStep>,
    /// `[ldp]`, if it changes.
    pub ldp: Option<LdpStep>,
    /// What changes in policies, their sets, and `[rpki]`; `next` has the whole of it.
    pub policy: Vec<PolicyStep>,
    /// What changes in `[bmp.*]` and `[mrt]`; `next` has the whole of it.
    pub watch: Vec<WatchStep>,
    /// All of it, once the plan is carried out.
    pub next: Arc<Valid>,
}

/// One step of a [`Plan`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step<'a> {
    /// Take over `[system]`.
    System(&'a System),
    /// Take over `[dataplane]` (only at a start).
    Dataplane(&'a Dataplane),
    /// Take over `[neighbor]`.
    Neighbor(&'a NeighborParams),
    /// Remove a VRF.
    RemoveVrf(&'a Edit<VrfName, Vrf>),
    /// Add or change a VRF.
    SetVrf(&'a Edit<VrfName, Vrf>),
    /// Remove a route.
    RemoveRoute(&'a Edit<Dest, Arc<Target>>),
    /// Remove a label.
    RemoveLabel(&'a Edit<Label, Arc<LabelRoute>>),
    /// Remove a static neighbour.
    RemoveNeighbor(&'a Edit<(String, IpAddr), MacAddr>),
    /// Forget a learned neighbour.
    ForgetNeighbor(&'a Forget),
    /// Remove an interface.
    RemoveInterface(&'a Interface),
    /// Change an interface in place.
    ChangeInterface(&'a Interface, &'a Interface),
    /// Make an interface.
    AddInterface(&'a Interface),
    /// Add or replace a static neighbour.
    SetNeighbor(&'a Edit<(String, IpAddr), MacAddr>),
    /// Add or replace a label.
    SetLabel(&'a Edit<Label, Arc<LabelRoute>>),
    /// Add or replace a route.
    SetRoute(&'a Edit<Dest, Arc<Target>>),
    /// Change something of BGP.
    Bgp(&'a BgpStep),
    /// Change a policy, a set, or `[rpki]`.
    Policy(&'a PolicyStep),
    /// Change who is told what BGP hears.
    Watch(&'a WatchStep),
    /// Change LDP.
    Ldp(&'a LdpStep),
    /// Take over `[label-range]`.
    LabelRanges(&'a RangeStep),
}

impl Plan {
    /// From nothing to `next`: the plan of a start.
    #[must_use]
    pub fn initial(next: Arc<Valid>) -> Self {
        let mut plan = diff(&Valid::default(), next);
        plan.restart.clear();
        plan.dataplane = Some(plan.next.dataplane.clone());
        plan
    }

    /// True when nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many steps there are.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.system.is_some())
            + usize::from(self.dataplane.is_some())
            + usize::from(self.neighbor.is_some())
            + self.interfaces_removed.len()
            + self.interfaces_added.len()
            + self.interfaces_changed.len()
            + self.neighbors.len()
            + self.forgotten.len()
            + usize::from(self.label_ranges.is_some())
            + usize::from(self.ldp.is_some())
            + self.labels.len()
            + self.vrfs.len()
            + self.routes.len()
            + self.bgp.len()
            + self.policy.len()
            + self.watch.len()
    }

    /// The steps in the order in which they can be carried out one by one.
    pub fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let settings = [
            self.system.as_ref().map(Step::System),
            self.dataplane.as_ref().map(Step::Dataplane),
            self.neighbor.as_ref().map(Step::Neighbor),
            self.label_ranges.as_ref().map(Step::LabelRanges),
        ];
        settings
            .into_iter()
            .flatten()
            .chain(
                self.routes
                    .iter()
                    .filter(|e| e.to.is_none())
                    .map(Step::RemoveRoute),
            )
            .chain(
                self.labels
                    .iter()
                    .filter(|e| e.to.is_none())
                    .map(Step::RemoveLabel),
            )
            .chain(
                self.neighbors
                    .iter()
                    .filter(|e| e.to.is_none())
                    .map(Step::RemoveNeighbor),
            )
            .chain(self.forgotten.iter().map(Step::ForgetNeighbor))
            .chain(self.interfaces_removed.iter().map(Step::RemoveInterface))
            .chain(
                self.vrfs
                    .iter()
                    .filter(|e| e.to.is_some())
                    .map(Step::SetVrf),
            )
            .chain(
                self.interfaces_changed
                    .iter()
                    .map(|(from, to)| Step::ChangeInterface(from, to)),
            )
            .chain(self.interfaces_added.iter().map(Step::AddInterface))
            .chain(
                self.neighbors
                    .iter()
                    .filter(|e| e.to.is_some())
                    .map(Step::SetNeighbor),
            )
            .chain(
                self.labels
                    .iter()
                    .filter(|e| e.to.is_some())
                    .map(Step::SetLabel),
            )
            .chain(
                self.routes
                    .iter()
                    .filter(|e| e.to.is_some())
                    .map(Step::SetRoute),
            )
            .chain(
                self.vrfs
                    .iter()
                    .filter(|e| e.to.is_none())
                    .map(Step::RemoveVrf),
            )
            .chain(self.policy.iter().map(Step::Policy))
            .chain(self.bgp.iter().map(Step::Bgp))
            .chain(self.ldp.iter().map(Step::Ldp))
            .chain(self.watch.iter().map(Step::Watch))
    }
}

impl Valid {
    /// What to do to get from `running` to this configuration.
    #[must_use]
    pub fn diff(self: &Arc<Self>, running: &Valid) -> Plan {
        diff(running, Arc::clone(self))
    }
}

fn diff(from: &Valid, next: Arc<Valid>) -> Plan {
    let to = &*next;
    let changed = |differs: bool| differs.then_some(());
    let mut plan = Plan {
        system: changed(from.system != to.system).map(|()| to.system.clone()),
        dataplane: changed(from.dataplane != to.dataplane).map(|()| to.dataplane.clone()),
        restart: restarts(from, to),
        neighbor: changed(from.neighbor != to.neighbor).map(|()| to.neighbor),
        neighbors: edits(&from.neighbors, &to.neighbors),
        label_ranges: changed(from.label_ranges != to.label_ranges)
            .map(|()| RangeStep(to.label_ranges.clone())),
        labels: edits(&from.labels, &to.labels),
        vrfs: edits(&from.vrfs, &to.vrfs),
        routes: route_edits(from, to),
        bgp: bgp::steps(from.bgp.as_ref(), to.bgp.as_ref()),
        ldp: ldp::step(from.ldp.as_ref(), to.ldp.as_ref()),
        policy: policy::steps(from, to),
        watch: watch::steps(&from.watch, &to.watch),
        ..Plan::default()
    };
    interfaces(from, to, &mut plan);
    plan.next = next;
    plan
}

/// The differences of two maps, in the order of their keys.
fn edits<K: Ord + Clone, V: PartialEq + Clone>(
    from: &BTreeMap<K, V>,
    to: &BTreeMap<K, V>,
) -> Vec<Edit<K, V>> {
    merge(from.iter(), to.iter())
}

/// The differences of two tables sorted by key.
fn merge<'a, K: Ord + Clone + 'a, V: PartialEq + Clone + 'a>(
    from: impl Iterator<Item = (&'a K, &'a V)>,
    to: impl Iterator<Item = (&'a K, &'a V)>,
) -> Vec<Edit<K, V>> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let (mut from, mut to) = (from.peekable(), to.peekable());
    let mut out = Vec::new();
    loop {
        let order = match (from.peek(), to.peek()) {
            (None, None) => return out,
            (Some(_), None) => Less,
            (None, Some(_)) => Greater,
            (Some(a), Some(b)) => a.0.cmp(b.0),
        };
        let old = (order != Greater).then(|| from.next()).flatten();
        let new = (order != Less).then(|| to.next()).flatten();
        let same = order == Equal && old.map(|e| e.1) == new.map(|e| e.1);
        if let (false, Some((key, _))) = (same, old.or(new)) {
            out.push(Edit {
                key: key.clone(),
                from: old.map(|e| e.1.clone()),
                to: new.map(|e| e.1.clone()),
            });
        }
    }
}

/// The routes of the table and of the route file are one table, whichever of the two a route is written in.
fn route_edits(from: &Valid, to: &Valid) -> Vec<Edit<Dest, Arc<Target>>> {
    let file = |valid: &Valid| valid.route_file.clone();
    let (old, new) = (file(from), file(to));
    let unchanged = match (&old, &new) {
        (Some(old), Some(new)) => Arc::ptr_eq(old, new),
        (None, None) => true,
        _ => false,
    };
    if unchanged {
        // The usual case: an imperative change need not walk a million lines of file.
        return edits(&from.routes, &to.routes);
    }
    merge(
        both(&from.routes, old.as_deref()),
        both(&to.routes, new.as_deref()),
    )
}

/// The two sources of static routes as one sorted sequence.
fn both<'a>(
    table: &'a BTreeMap<Dest, Arc<Target>>,
    file: Option<&'a RouteFile>,
) -> impl Iterator<Item = (&'a Dest, &'a Arc<Target>)> {
    let mut table = table.iter().peekable();
    let mut file = file
        .map_or(&[][..], |file| &file.routes[..])
        .iter()
        .map(|(k, v)| (k, v))
        .peekable();
    std::iter::from_fn(move || match (table.peek(), file.peek()) {
        (Some(a), Some(b)) if b.0 < a.0 => file.next(),
        (Some(_), _) => table.next(),
        (None, _) => file.next(),
    })
}

fn interfaces(from: &Valid, to: &Valid, plan: &mut Plan) {
    // Made anew when what it stands on changes: its device, its queues, or its parent's.
    let anew = |old: &Interface, new: &Interface| {
        old.device != new.device || old.queues != new.queues || old.vlan != new.vlan
    };
    let ports: BTreeSet<&str> = from
        .interfaces
        .values()
        .filter(|old| {
            to.interfaces
                .get(&old.name)
                .is_none_or(|new| anew(old, new))
        })
        .map(|old| old.name.as_str())
        .collect();
    let lost =
        |old: &Interface| ports.contains(old.name.as_str()) || ports.contains(old.port_name());
    for old in from.interfaces.values() {
        match to.interfaces.get(&old.name) {
            Some(new) if !lost(old) => {
                if old != new {
                    plan.interfaces_changed.push((old.clone(), new.clone()));
                }
            }
            _ => plan.interfaces_removed.push(old.clone()),
        }
    }
    for new in to.interfaces.values() {
        if from.interfaces.get(&new.name).is_none_or(lost) {
            plan.interfaces_added.push(new.clone());
        }
    }
    plan.interfaces_removed.sort_by_key(|i| i.vlan.is_none());
    plan.interfaces_added.sort_by_key(|i| i.vlan.is_some());
}

fn restarts(from: &Valid, to: &Valid) -> Vec<Restart> {
    use super::print;
    let install = |v: &Valid| v.bgp.as_ref().map(|b| b.speaker.install);
    let installs = match (install(from), install(to)) {
        (Some(a), Some(b)) => (a.to_string(), b.to_string()),
        _ => Default::default(),
    };
    let (from, to) = (&from.dataplane, &to.dataplane);
    let rows = [
        (
            "dataplane.workers",
            print::workers(&from.workers),
            print::workers(&to.workers),
        ),
        (
            "dataplane.poll",
            print::poll(from.poll).into(),
            print::poll(to.poll).into(),
        ),
        (
            "dataplane.memory",
            print::memory(from.memory).into(),
            print::memory(to.memory).into(),
        ),
        (
            "dataplane.mpls-ttl",
            print::ttl(from.mpls_ttl).into(),
            print::ttl(to.mpls_ttl).into(),
        ),
        (
            "dataplane.mpls-tc",
            print::tc(from.mpls_tc).into(),
            print::tc(to.mpls_tc).into(),
        ),
        (
            "dataplane.icmp-rate",
            from.icmp_rate.to_string(),
            to.icmp_rate.to_string(),
        ),
        (
            "dataplane.frames",
            from.frames.to_string(),
            to.frames.to_string(),
        ),
        ("bgp.install", installs.0, installs.1),
    ];
    rows.into_iter()
        .filter(|(_, from, to)| from != to)
        .map(|(key, from, to)| Restart { key, from, to })
        .collect()
}
