//! Looking at the RIB: routes and labels with what each of their paths comes down to.

use std::net::IpAddr;
use std::ops::Bound;

use ipnet::IpNet;
use net::{AdjId, IfaceId, Label, MacAddr, VrfId};

use super::resolve::{self, Resolved, Resolver, Target, View};
use super::sets::{self, SetId};
use super::spec::{LabelSpec, PathSpec, PathsSpec, Problem, Source};
use super::{Entry, FollowedHop, LabelEntry, Rib, Sizes};

/// A route as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteView {
    /// Its prefix.
    pub prefix: IpNet,
    /// Where it comes from.
    pub source: Source,
    /// What it asks for.
    pub spec: PathsSpec,
    /// Do frames take it?
    pub installed: bool,
    /// What each path of `spec` comes down to, or why it carries nothing.
    pub paths: Vec<Result<Vec<Resolved>, Problem>>,
    /// Which of them frames would be spread over: those that are alive, or the backups when none is.
    pub active: Vec<bool>,
}

/// A label as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelView {
    /// The label.
    pub label: Label,
    /// What it asks for.
    pub spec: LabelSpec,
    /// Do frames take it?
    pub installed: bool,
    /// What each path comes down to, or why it carries nothing.
    pub paths: Vec<Result<Vec<Resolved>, Problem>>,
    /// Which of them frames would be spread over.
    pub active: Vec<bool>,
}

impl Rib {
    /// The adjacency of a neighbour, if a route leads to it.
    #[must_use]
    pub fn adjacency(&self, iface: IfaceId, address: IpAddr) -> Option<AdjId> {
        self.adjs.get((iface, address))
    }

    /// The MAC address of a neighbour, if it is known.
    #[must_use]
    pub fn neighbor_mac(&self, iface: IfaceId, address: IpAddr) -> Option<MacAddr> {
        self.adjs.known.get(&(iface, address)).copied()
    }

    /// The static route of a prefix in a table.
    #[must_use]
    pub fn static_route(&self, vrf: VrfId, p: &IpNet) -> Option<&PathsSpec> {
        let e = &self.table[self.table.get_in(vrf, p)?];
        let (_, id) = e.routes.all().iter().find(|(s, _)| *s == Source::Static)?;
        Some(&self.sets.get(*id)?.spec)
    }

    /// The route that packets to `address` follow in a table (by way of a neighbour's own entry, or not).
    #[must_use]
    pub fn lookup(&self, vrf: VrfId, address: IpAddr) -> Option<RouteView> {
        let installed = |(p, e): (IpNet, &Entry)| {
            self.views(p, e)
                .find(|v| v.installed && v.source != Source::Neighbor)
        };
        self.table.covering_in(vrf, address).find_map(installed)
    }

    /// The route of the global table that packets with a label for `address` follow: mostly the same, but for one without labels of
    /// its own.
    #[must_use]
    pub fn lookup_labeled(&self, address: IpAddr) -> Option<RouteView> {
        let is_lsp = |v: &RouteView| v.paths.iter().flatten().flatten().any(|r| r.lsp);
        let mut all = self.covering(VrfId::GLOBAL, address).peekable();
        while all.next_if(|v| v.source == Source::Neighbor).is_some() {}
        let longest = all.peek()?.prefix;
        let mut there = all.take_while(|v| v.prefix == longest);
        let found = there.find(|v| v.source != Source::Neighbor && is_lsp(v));
        found.or_else(|| self.lookup(VrfId::GLOBAL, address))
    }

    /// Is a next hop in the subnet of an interface? Then it needs no label.
    #[must_use]
    pub fn is_on_link(&self, hop: FollowedHop) -> bool {
        resolve::is_on_link(self, hop.vrf, hop.address)
    }

    /// The interface of the next hop's own table that it is on, if packets go straight there, without labels and no other way.
    #[must_use]
    pub fn link_of(&self, hop: FollowedHop) -> Option<IfaceId> {
        let spec = PathsSpec::single_in(hop.vrf, self.bgp_hop(hop));
        let ways = self.explain(&spec).into_iter().flatten().flatten();
        let [one] = <[Resolved; 1]>::try_from(ways.collect::<Vec<_>>()).ok()?;
        match one.target {
            Target::Neighbor(i, a) if a == hop.address && one.labels.is_empty() => {
                (self.vrf_of(i) == hop.vrf).then_some(i)
            }
            _ => None,
        }
    }

    /// Why a next hop that BGP follows can't be reached now.
    #[must_use]
    pub fn hop_problem(&self, hop: FollowedHop) -> Option<Problem> {
        let spec = PathsSpec::single_in(hop.vrf, self.bgp_hop(hop));
        self.explain(&spec).into_iter().find_map(Result::err)
    }

    /// Every route of a table that covers `address`, those of the longest prefix first; the neighbours' own among them.
    pub fn covering(&self, vrf: VrfId, address: IpAddr) -> impl Iterator<Item = RouteView> {
        let all = self.table.covering_in(vrf, address);
        all.flat_map(|(p, e)| self.views(p, e))
    }

    /// The interface by which packets to `address` leave, or one of them.
    #[must_use]
    pub fn egress(&self, vrf: VrfId, address: IpAddr) -> Option<IfaceId> {
        let live = |id: SetId| self.sets.get(id).filter(|s| s.live());
        let installed = self
            .table
            .covering_in(vrf, address)
            .find_map(|(_, e)| live(e.installed?))?;
        match installed.resolved.first()?.target {
            Target::Neighbor(i, _) | Target::Glean(i) | Target::Local(i) => Some(i),
            Target::Discard(_) => None,
        }
    }

    /// The routes of a prefix in a table, best first.
    pub fn routes_at(&self, vrf: VrfId, p: IpNet) -> impl Iterator<Item = RouteView> {
        let slot = self.table.get_in(vrf, &p);
        slot.into_iter()
            .flat_map(move |slot| self.views(p, &self.table[slot]))
    }

    /// The routes of all prefixes of a table from `from` on, in order, the best of each first.
    pub fn routes_from(&self, vrf: VrfId, from: Bound<IpNet>) -> impl Iterator<Item = RouteView> {
        self.table
            .range_in(vrf, from)
            .flat_map(|(p, e)| self.views(p, e))
    }

    /// The labels after `after`, in order.
    pub fn labels_after(&self, after: Option<Label>) -> impl Iterator<Item = LabelView> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.labels
            .range((from, Bound::Unbounded))
            .filter_map(|(l, e)| self.label_view(*l, e))
    }

    /// The labels that lead into a VRF.
    pub fn labels_into(&self, vrf: VrfId) -> impl Iterator<Item = Label> {
        let into = move |e: &LabelEntry| match &e.spec {
            Some(spec) => spec.action.vrf() == Some(vrf),
            None => false,
        };
        self.labels
            .iter()
            .filter(move |(_, e)| into(e))
            .map(|(l, _)| *l)
    }

    /// One label's entry.
    #[must_use]
    pub fn label(&self, label: Label) -> Option<LabelView> {
        self.label_view(label, self.labels.get(&label)?)
    }

    /// How much there is of everything.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        Sizes {
            prefixes: self.table.len(),
            labels: self.labels.len(),
            groups: self.sets.iter().filter(|s| s.group.is_some()).count(),
            adjacencies: self.adjs.len(),
        }
    }

    fn views(&self, p: IpNet, e: &Entry) -> impl Iterator<Item = RouteView> {
        let installed = e.installed;
        e.routes.all().iter().filter_map(move |(source, id)| {
            let spec = self.sets.get(*id)?.spec.clone();
            let paths = self.explain(&spec);
            Some(RouteView {
                prefix: p,
                source: *source,
                spec,
                installed: installed == Some(*id),
                active: self.active(&paths),
                paths,
            })
        })
    }

    fn label_view(&self, label: Label, e: &LabelEntry) -> Option<LabelView> {
        let spec = e.spec.clone()?;
        let paths = spec.action.paths();
        let paths = paths.map(|p| self.explain(p)).unwrap_or_default();
        let live = e
            .set
            .is_none_or(|id| self.sets.get(id).is_some_and(sets::Set::live));
        Some(LabelView {
            label,
            spec,
            installed: live && e.installed.is_some(),
            active: self.active(&paths),
            paths,
        })
    }

    /// As the writer of the forwarding tables chooses: see `fib::FibWriter::add_group_backed`.
    fn active(&self, paths: &[Result<Vec<Resolved>, Problem>]) -> Vec<bool> {
        let alive = |r: &Resolved| match r.target {
            Target::Neighbor(i, address) => {
                self.adjs.known.contains_key(&(i, address)) && View::is_up(self, i)
            }
            Target::Glean(i) | Target::Local(i) => View::is_up(self, i),
            Target::Discard(_) => true,
        };
        let choices: [&dyn Fn(&Resolved) -> bool; 4] = [
            &|r| !r.backup && alive(r),
            &|r| r.backup && alive(r),
            &|r| !r.backup,
            &|_| true,
        ];
        let any = |choice: &dyn Fn(&Resolved) -> bool| -> Vec<bool> {
            let has = |p: &Result<Vec<Resolved>, Problem>| p.iter().flatten().any(choice);
            paths.iter().map(has).collect()
        };
        let found = choices.into_iter().map(any).find(|a| a.contains(&true));
        found.unwrap_or_else(|| vec![false; paths.len()])
    }

    fn explain(&self, spec: &PathsSpec) -> Vec<Result<Vec<Resolved>, Problem>> {
        let one = |p: &PathSpec| {
            let mut r = Resolver::new(self);
            let found = r.paths(std::slice::from_ref(p));
            if found.is_empty() {
                Err(r.problem.unwrap_or(Problem::TooManyLabels))
            } else {
                Ok(found)
            }
        };
        spec.paths.iter().map(one).collect()
    }
}
