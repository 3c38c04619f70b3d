//! What runs, in the words of the API. Each answer is bounded: tables are shown page by page.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::time::Instant;

use dataplane::worker::meter::Stage;
use ipnet::IpNet;
use net::{IfaceId, Label, VrfId};

use super::router::{Iface, Router};
use crate::config::bgp::PolicyName;
use crate::config::{GLOBAL, RouteTarget, Vrf, VrfName};
use crate::labels::{Fec, Owner, Usage};
use crate::request::{BgpCursor, BgpRouteQuery, Page, Protocol, Refused, RouteMatch, RouteQuery};
use crate::rib::resolve::{Resolved, Target};
use crate::rib::spec::{self, Hop, PathSpec, PathsSpec, Problem, Source, TtlMode};
use crate::rib::{LabelView, RouteView};

/// Prefixes looked at for one page, whether they are shown or not.
const LOOKED_AT: usize = 4096;

/// What one path comes down to, or why it carries nothing.
type Outcome = Result<Vec<Resolved>, Problem>;

// ---- routes and labels ----

impl Router {
    /// A page of the routes that `query` asks for.
    pub(crate) fn show_routes(
        &self,
        query: &RouteQuery,
        after: Option<IpNet>,
        limit: usize,
    ) -> Result<Page<api::Route, IpNet>, Refused> {
        self.check_vrf(&query.vrf)?;
        Ok(self.routes_page(query, after, limit))
    }

    /// Is it empty, or the name of a VRF?
    pub(crate) fn check_vrf(&self, name: &str) -> Result<(), Refused> {
        if name.is_empty() {
            return Ok(());
        }
        crate::config::vrf_exists(&self.running.vrfs, name).map_err(Into::into)
    }

    fn routes_page(
        &self,
        query: &RouteQuery,
        after: Option<IpNet>,
        limit: usize,
    ) -> Page<api::Route, IpNet> {
        let vrf = self.vrf_id(Some(query.vrf.as_str()).filter(|n| !n.is_empty()));
        let (first, last) = match query.matching {
            RouteMatch::All => (None, None),
            RouteMatch::Exact(p) => (Some(p), Some(p)),
            RouteMatch::Within(p) => (Some(p), IpNet::new(p.broadcast(), p.max_prefix_len()).ok()),
            RouteMatch::Longest(p) => {
                let found = self
                    .rib
                    .lookup(vrf, p.addr())
                    .filter(|v| is_shown(v.source, query.protocol));
                return Page {
                    rows: found.iter().map(|v| self.route(vrf, v, None)).collect(),
                    next: None,
                };
            }
        };
        let from = match (after, first) {
            (Some(a), _) => Bound::Excluded(a),
            (None, Some(f)) => Bound::Included(f),
            (None, None) => Bound::Unbounded,
        };
        let mut page = Page {
            rows: Vec::new(),
            next: None,
        };
        let (mut at, mut best, mut seen) = (None, None, 0);
        for view in self.rib.routes_from(vrf, from) {
            if last.is_some_and(|l| view.prefix > l) {
                return Page { next: None, ..page };
            }
            if at != Some(view.prefix) {
                page.next = at;
                seen += 1;
                if page.rows.len() >= limit || seen > LOOKED_AT {
                    return page;
                }
                (at, best) = (Some(view.prefix), None);
            }
            if view.installed {
                best = Some(view.source);
            }
            if is_shown(view.source, query.protocol) {
                page.rows.push(self.route(vrf, &view, best));
            }
        }
        Page { next: None, ..page }
    }

    /// `best`: the source of the installed route of the same prefix, when that came before this one.
    pub(super) fn route(&self, vrf: VrfId, v: &RouteView, best: Option<Source>) -> api::Route {
        let discard = v.spec.paths.iter().find_map(|p| match p.hop {
            Hop::Discard(d) => Some(discard_name(d)),
            _ => None,
        });
        let problem = match (v.installed, v.paths.iter().find_map(|p| p.as_ref().err())) {
            (true, _) => String::new(),
            (false, _) if best.is_some() => "another route to this prefix is preferred".into(),
            (false, Some(p)) if v.paths.iter().all(Result::is_err) => self.problem(*p),
            _ => "not in the forwarding table yet".into(),
        };
        api::Route {
            prefix: v.prefix.to_string(),
            vrf: self.vrf_name(vrf).to_owned(),
            protocol: v.source.name().into(),
            distance: self.rib.distance(v.source).into(),
            installed: v.installed,
            discard: discard.unwrap_or_default().into(),
            mpls_ttl: ttl_name(&v.spec),
            via: self.next_hops((vrf, &v.spec), &v.paths, &v.active, v.installed),
            problem,
        }
    }

    fn next_hops(
        &self,
        (vrf, spec): (VrfId, &PathsSpec),
        outcomes: &[Outcome],
        active: &[bool],
        installed: bool,
    ) -> Vec<api::NextHop> {
        let paths = spec.paths.iter().zip(outcomes).zip(active);
        paths
            .filter(|((p, _), _)| !matches!(p.hop, Hop::Discard(_)))
            .map(|((p, o), active)| self.next_hop((vrf, p), o, installed && *active))
            .collect()
    }

    fn next_hop(
        &self,
        (vrf, p): (VrfId, &PathSpec),
        outcome: &Outcome,
        active: bool,
    ) -> api::NextHop {
        // A labelled one is another router of the core, whatever table it is for.
        let elsewhere = p.vrf != vrf && address_alone(p) && p.labels.is_empty();
        let table = match self.vrf_name(p.vrf) {
            _ if !elsewhere => "",
            "" => GLOBAL,
            name => name,
        };
        let (address, dev) = match p.hop {
            Hop::Via { address, dev } => (Some(address), dev),
            Hop::Bgp { address, .. } => (Some(address), None),
            Hop::Neighbor { dev, address } => (Some(address), Some(dev)),
            Hop::Dev(i) | Hop::Local(i) => (None, Some(i)),
            Hop::Discard(_) => (None, None),
        };
        let found = outcome.as_deref().unwrap_or_default();
        // Found by the address: the interface is told when there is but one.
        let only = match found {
            [r] => iface_of(r),
            _ => None,
        };
        let direct = |r: &Resolved| match r.target {
            Target::Neighbor(i, a) => Some(a) == address && dev.is_none_or(|d| d == i),
            _ => address.is_none(),
        };
        let resolved: Vec<String> = found
            .iter()
            .filter(|r| !direct(r))
            .map(|r| self.target(r))
            .collect();
        api::NextHop {
            address: address.map(|a| a.to_string()).unwrap_or_default(),
            interface: dev.or(only).map(|i| self.name(i)).unwrap_or_default(),
            label: p.pushed().map(Label::get).collect(),
            weight: p.weight.max(1),
            active,
            resolved: resolved.join(", "),
            backup: p.backup,
            table: table.into(),
            entropy_label: p.entropy,
        }
    }

    fn target(&self, r: &Resolved) -> String {
        let mut text = match r.target {
            Target::Neighbor(i, a) => format!("{a} dev {}", self.name(i)),
            Target::Glean(i) | Target::Local(i) => format!("dev {}", self.name(i)),
            Target::Discard(d) => discard_name(d).into(),
        };
        if !r.labels.is_empty() {
            let labels: Vec<String> = r.labels.iter().map(ToString::to_string).collect();
            text += &format!(" label {}", labels.join("/"));
        }
        text
    }

    fn problem(&self, p: Problem) -> String {
        match p {
            Problem::Down(i) if self.iface(i).is_none() => "the interface has gone".into(),
            Problem::Down(i) => format!("interface {} is down", self.name(i)),
            Problem::NoRoute(a) => format!("no route to next hop {a}"),
            Problem::NoLabel(a) => format!("no label to {a}"),
            Problem::OwnAddress(a) => format!("next hop {a} is this router's own address"),
            Problem::Loop(a) => format!("the way to next hop {a} leads through this route"),
            Problem::TooDeep(a) => {
                format!("too many routes stand on one another on the way to next hop {a}")
            }
            Problem::TooManyLabels => "more than 8 labels".into(),
            Problem::Overridden => "a more specific route is preferred".into(),
        }
    }

    /// A page of the labels, or one.
    pub(crate) fn show_labels(
        &self,
        label: Option<Label>,
        after: Option<Label>,
        limit: usize,
    ) -> Page<api::LabelRoute, Label> {
        if let Some(l) = label {
            return Page {
                rows: self.rib.label(l).iter().map(|v| self.label(v)).collect(),
                next: None,
            };
        }
        let limit = limit.min(LOOKED_AT);
        let mut rows = Vec::new();
        let mut last = None;
        for v in self.rib.labels_after(after) {
            if rows.len() >= limit {
                return Page { rows, next: last };
            }
            rows.push(self.label(&v));
            last = Some(v.label);
        }
        Page { rows, next: None }
    }

    fn label(&self, v: &LabelView) -> api::LabelRoute {
        let vrf = v.spec.action.vrf().unwrap_or(VrfId::GLOBAL);
        let along = v.spec.action.paths();
        let mut paths = along.into_iter().flat_map(|p| &p.paths);
        let action = match paths.any(|p| p.pushed().next().is_some()) {
            true => "swap",
            false => "pop",
        };
        let via = along.map(|p| self.next_hops((vrf, p), &v.paths, &v.active, v.installed));
        let via = via.unwrap_or_default();
        let failed = v
            .paths
            .iter()
            .find_map(|p| p.as_ref().err())
            .filter(|_| !v.installed);
        let itself = Fec::Label(v.label);
        let held = self.labels.held(v.label);
        let held = held.filter(|_| self.rib.is_leaving(v.label));
        let user = self.labels.user(v.label);
        let user = user.or(held.map(|(owner, fec, _)| (owner, fec)));
        let (owner, fec) = user.unwrap_or((Owner::Static, &itself));
        let left = |end: Instant| end.saturating_duration_since(Instant::now());
        api::LabelRoute {
            label: v.label.get(),
            action: action.into(),
            vrf: self.vrf_name(vrf).to_owned(),
            mpls_ttl: mode_name(v.spec.ttl).into(),
            // Of BGP's several uses of labels one word is shown, as of its routes.
            protocol: match owner {
                Owner::Static => "static",
                Owner::Ldp => "ldp",
                _ => "bgp",
            }
            .into(),
            owner: owner.name().into(),
            fec: fec.to_string(),
            installed: v.installed,
            via,
            problem: failed.map(|p| self.problem(*p)).unwrap_or_default(),
            leaving_s: held.map(|(.., end)| left(end).as_secs_f64()),
        }
    }

    /// Which labels are for what, and how full those ranges are.
    pub(crate) fn show_label_ranges(&self) -> api::LabelRanges {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let one = |u: Usage| api::LabelRange {
            range: u.name.into(),
            first: u.range.first.get(),
            last: u.range.last.get(),
            used: number(u.used),
            held: number(u.held),
            free: u.range.size().saturating_sub(number(u.used + u.held)),
        };
        api::LabelRanges {
            ranges: self.labels.usage().into_iter().map(one).collect(),
            hold_s: self.labels.hold().as_secs_f64(),
        }
    }
}

pub(super) fn is_shown(source: Source, only: Option<Protocol>) -> bool {
    let protocol = match source {
        Source::Local => Protocol::Local,
        Source::Connected => Protocol::Connected,
        Source::Ldp => Protocol::Ldp,
        Source::Static => Protocol::Static,
        Source::LabeledEbgp
        | Source::Ebgp
        | Source::LabeledIbgp
        | Source::Ibgp
        | Source::LabeledBack => Protocol::Bgp,
        Source::Neighbor => return false,
    };
    only.is_none_or(|o| o == protocol)
}

/// Is a next hop looked up by its address?
fn address_alone(p: &PathSpec) -> bool {
    matches!(p.hop, Hop::Via { dev: None, .. } | Hop::Bgp { .. })
}

fn iface_of(r: &Resolved) -> Option<IfaceId> {
    match r.target {
        Target::Neighbor(i, _) | Target::Glean(i) | Target::Local(i) => Some(i),
        Target::Discard(_) => None,
    }
}

fn discard_name(d: spec::Discard) -> &'static str {
    match d {
        spec::Discard::Blackhole => "blackhole",
        spec::Discard::Unreachable => "unreachable",
        spec::Discard::Prohibit => "prohibit",
    }
}

fn mode_name(t: TtlMode) -> &'static str {
    match t {
        TtlMode::Uniform => "uniform",
        TtlMode::Pipe => "pipe",
    }
}

/// The TTL mode, where labels are pushed at all.
fn ttl_name(spec: &PathsSpec) -> String {
    let pushes = spec.paths.iter().any(|p| p.pushed().next().is_some());
    if pushes {
        mode_name(spec.ttl).into()
    } else {
        String::new()
    }
}

// ---- VRFs ----

impl Router {
    /// A page of BGP's routes.
    pub(crate) fn show_bgp_routes(
        &mut self,
        query: &BgpRouteQuery,
        after: Option<BgpCursor>,
        now: Instant,
    ) -> Result<Page<api::BgpRoute, BgpCursor>, Refused> {
        self.check_vrf(&query.vrf)?;
        let name = Some(query.vrf.as_str()).filter(|n| !n.is_empty());
        self.bgp_routes(self.vrf_id(name), query, after, now)
    }

    /// The same of a table by its number. Of routes that lack a label to their next hop that is said, and how long it takes until one
    /// that is back counts in full.
    pub(super) fn bgp_routes(
        &mut self,
        vrf: VrfId,
        query: &BgpRouteQuery,
        after: Option<BgpCursor>,
        now: Instant,
    ) -> Result<Page<api::BgpRoute, BgpCursor>, Refused> {
        let mut page = self.bgp.show_routes(vrf, query, after, now)?;
        for row in &mut page.rows {
            let Some(hop) = crate::bgp::next_hop(vrf, row) else {
                continue;
            };
            let left = self.bgp.counts_in(&hop, now);
            row.counts_in_s = left.map(|left| left.as_secs_f64());
            if crate::bgp::is_unreached(row)
                && let Some(why @ Problem::NoLabel(_)) = self.rib.hop_problem(hop)
            {
                row.problem = self.problem(why);
            }
        }
        Ok(page)
    }

    /// The VRFs, or the one of that name.
    pub(crate) fn show_vrfs(&mut self, name: &str) -> Result<Vec<api::Vrf>, Refused> {
        self.check_vrf(name)?;
        let running = std::sync::Arc::clone(&self.running);
        let heard = self.bgp.vpn_targets();
        let all = running.vrfs.iter();
        let chosen = all.filter(|(n, _)| name.is_empty() || ***n == *name);
        let row = |(name, conf): (&crate::config::VrfName, &crate::config::Vrf)| {
            let id = self.vrf_id(Some(name));
            let (ipv4, ipv6) = self.dp.as_mut().map_or((0, 0), |dp| dp.fib().len_vrf(id));
            let here = self.ifaces.values().filter(|i| i.vrf == id);
            let netns = self.host.as_ref().and_then(|h| h.namespace(id));
            let policy =
                |p: &Option<PolicyName>| p.as_ref().map(|p| p.0.clone()).unwrap_or_default();
            api::Vrf {
                name: name.to_string(),
                rd: conf.rd.map(|rd| rd.to_string()).unwrap_or_default(),
                import: conf.import.iter().map(ToString::to_string).collect(),
                export: conf.export.iter().map(ToString::to_string).collect(),
                interface: here.map(|i| i.conf.name.clone()).collect(),
                ipv4_routes: ipv4 as u64,
                ipv6_routes: ipv6 as u64,
                label: self.rib.labels_into(id).map(Label::get).collect(),
                netns: netns.unwrap_or_default(),
                unmatched_import: unmatched(&running.vrfs, name, &conf.import, &heard, |v| {
                    &v.export
                }),
                unmatched_export: unmatched(&running.vrfs, name, &conf.export, &heard, |v| {
                    &v.import
                }),
                import_global: policy(&conf.import_global),
                export_global: policy(&conf.export_global),
            }
        };
        Ok(chosen.map(row).collect())
    }
}

/// Of a VRF's route targets those that no other VRF has in its list, nor any VPN route that neighbours have sent.
fn unmatched(
    vrfs: &BTreeMap<VrfName, Vrf>,
    name: &VrfName,
    targets: &[RouteTarget],
    heard: &HashSet<RouteTarget>,
    list: impl Fn(&Vrf) -> &Vec<RouteTarget>,
) -> Vec<String> {
    let others = || vrfs.iter().filter(|(n, _)| *n != name);
    let known = |t: &&RouteTarget| heard.contains(t) || others().any(|(_, v)| list(v).contains(t));
    let nobody = targets.iter().filter(|t| !known(t));
    nobody.map(ToString::to_string).collect()
}

// ---- interfaces, neighbours, workers ----

impl Router {
    /// The interfaces, or the one of that name.
    pub(crate) fn show_interfaces(&mut self, name: &str) -> Result<Vec<api::Interface>, Refused> {
        self.check_name(name)?;
        let chosen: Vec<Iface> = self
            .ifaces
            .values()
            .filter(|i| name.is_empty() || i.conf.name == name)
            .cloned()
            .collect();
        Ok(chosen.iter().map(|i| self.interface(i)).collect())
    }

    fn check_name(&self, name: &str) -> Result<(), Refused> {
        if name.is_empty() || self.ifaces.contains_key(name) {
            return Ok(());
        }
        Err(format!("there is no interface {name}; `trunkctl interface show` lists them").into())
    }

    fn interface(&mut self, i: &Iface) -> api::Interface {
        let open = self.ports.get(i.conf.port_name()).copied();
        let own_port = i.conf.vlan.is_none();
        let tap = self
            .host
            .as_ref()
            .and_then(|h| h.get(i.id))
            .map(|h| h.tap().name().to_owned());
        let duplicate = self
            .neigh
            .duplicates()
            .filter(|d| d.0 == i.id)
            .map(|d| d.1.to_string())
            .collect();
        let mut row = api::Interface {
            name: i.conf.name.clone(),
            device: i
                .conf
                .device
                .clone()
                .unwrap_or_else(|| format!("vlan:{}", i.conf.port_name())),
            mac: i.mac.to_string(),
            mtu: i.conf.mtu.into(),
            link: match open {
                Some(p) if p.up => "up",
                _ if self.gone.contains_key(i.conf.port_name()) => "gone",
                _ => "down",
            }
            .into(),
            address: i.conf.addresses.iter().map(ToString::to_string).collect(),
            vrf: self.vrf_name(i.vrf).to_owned(),
            tap: tap.unwrap_or_default(),
            port: u32::from(i.port.0),
            vlan: i.conf.vlan.as_ref().map(|(_, v)| u32::from(*v)),
            mpls: i.conf.mpls,
            up: i.conf.up,
            speed_mbps: open.map_or(0, |p| p.speed),
            link_local: i.link_local.to_string(),
            duplicate,
            ..api::Interface::default()
        };
        let Some(dp) = &mut self.dp else { return row };
        if let Some(info) = dp.port_info(i.port) {
            row.numa = i32::try_from(info.node).unwrap_or(-1);
            row.queues = info.queues.rx.len() as u32;
        }
        let c = dp.counts(i.id);
        (row.rx_packets, row.rx_bytes) = (c.rx_packets, c.rx_bytes);
        (row.tx_packets, row.tx_bytes) = (c.tx_packets, c.tx_bytes);
        (row.injected, row.created, row.punted) = (c.injected, c.created, c.punted);
        row.drops = c
            .reasons()
            .map(|(why, n)| (why.name().to_owned(), n))
            .collect();
        if let Some(port) = dp.port_mut(i.port).filter(|_| own_port) {
            let s = port.stats();
            row.rx_missed = s.rx_missed;
            row.rx_errors = s.rx_errors + s.rx_oversize;
            row.rx_nombuf = s.rx_nombuf;
        }
        row
    }

    /// The neighbours that `query` asks for.
    pub(crate) fn show_neighbors(
        &self,
        query: &api::NeighborQuery,
        now: Instant,
    ) -> Result<Vec<api::Neighbor>, Refused> {
        self.check_name(&query.interface)?;
        let address = match query.address.as_str() {
            "" => None,
            text => match text.parse::<IpAddr>() {
                Ok(a) => Some(a),
                Err(_) => {
                    return Err(format!(
                        "{text} is not an address; write 192.0.2.1 or 2001:db8::1"
                    )
                    .into());
                }
            },
        };
        let row = |n: crate::neigh::Neighbour| api::Neighbor {
            address: n.addr.to_string(),
            interface: self.name(n.iface),
            lladdr: n.mac.map(|m| m.to_string()).unwrap_or_default(),
            state: n.state.name().into(),
            age_s: n
                .confirmed
                .map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64()),
            held: u32::try_from(n.held).unwrap_or(u32::MAX),
            wanted: n.wanted,
        };
        let all = self
            .neigh
            .entries()
            .filter(|n| address.is_none_or(|a| a == n.addr))
            .map(row);
        Ok(all
            .filter(|n| query.interface.is_empty() || n.interface == query.interface)
            .collect())
    }

    /// The workers; `reset`: their longest loops begin anew afterwards.
    pub(crate) fn show_workers(&mut self, reset: bool) -> Vec<api::Worker> {
        let Some(dp) = &mut self.dp else {
            return Vec::new();
        };
        let ports = &self.ports;
        let port_name = |id| {
            ports
                .iter()
                .find(|(_, p)| p.id == id)
                .map_or("?", |(n, _)| n.as_str())
        };
        let row = |w: dataplane::stats::WorkerStats| api::Worker {
            worker: u32::from(w.worker.0),
            cpu: w.cpu as u32,
            numa: i32::try_from(w.numa).unwrap_or(-1),
            queues: w
                .queues
                .iter()
                .map(|q| format!("{}:{}", port_name(q.port), q.queue))
                .collect(),
            packets: w.packets,
            bursts: w.bursts,
            cycles_per_packet: w.cycles_per_packet,
            busy_ratio: w.busy_ratio,
            max_loop_us: w.max_loop_us,
            rcu_lag: w.rcu_lag,
            cycles: w.cycles,
            busy_cycles: w.busy_cycles,
            cycles_per_second: dataplane::stats::cycles_per_second(),
            stages: Stage::ALL
                .iter()
                .zip(w.stages)
                .map(|(s, cycles)| (s.name().to_owned(), cycles))
                .collect(),
            loop_p50_us: w.loop_p50_us,
            loop_p99_us: w.loop_p99_us,
        };
        let rows = dp.worker_stats().into_iter().map(row).collect();
        if reset {
            dp.reset_longest();
        }
        rows
    }

    /// What was dropped, where and why.
    pub(crate) fn show_drops(&self, name: &str) -> Result<Vec<api::Drop>, Refused> {
        self.check_name(name)?;
        let Some(dp) = &self.dp else {
            return Ok(Vec::new());
        };
        let mut rows = Vec::new();
        let mut add = |interface: &str, id| {
            rows.extend(dp.counts(id).reasons().map(|(why, packets)| api::Drop {
                interface: interface.to_owned(),
                reason: why.name().into(),
                packets,
            }));
        };
        for i in self
            .ifaces
            .values()
            .filter(|i| name.is_empty() || i.conf.name == name)
        {
            add(&i.conf.name, i.id);
        }
        if name.is_empty() {
            // Frames that could be attributed to no interface.
            add("", dataplane::interface::NO_IFACE);
        }
        Ok(rows)
    }

    /// What the tables take, on which node, and how full they are.
    pub(crate) fn show_memory(&mut self) -> api::Memory {
        match &mut self.dp {
            Some(dp) => memory(dp.fib()),
            None => api::Memory::default(),
        }
    }

    /// Where the readers of the tables are.
    pub(crate) fn show_rcu(&mut self) -> api::Rcu {
        let stalls = self.watchdog.stalled();
        let stalled = stalls.iter().map(|s| s.name.clone()).collect();
        let Some(dp) = &mut self.dp else {
            return api::Rcu::default();
        };
        let status = dp.rcu_status();
        let reader = |r: &_| {
            let r: &dataplane::ReaderStatus = r;
            api::RcuReader {
                name: r.name.clone(),
                seen: r.seen,
                lag: r.lag,
                online: r.online,
                stalled_s: stalls
                    .iter()
                    .find(|s| s.id == r.id)
                    .map_or(0.0, |s| s.since.as_secs_f64()),
            }
        };
        api::Rcu {
            epoch: status.epoch,
            readers: status.readers.iter().map(reader).collect(),
            pending: dp.fib().pending() as u64,
            pending_bytes: dp.fib().pending_bytes() as u64,
            stalled,
        }
    }
}

/// The tables in the words of the API.
fn memory(fib: &fib::FibWriter) -> api::Memory {
    let (bytes, usage) = (fib.memory(), fib.usage());
    let node = |numa| api::NodeMemory {
        numa,
        ipv4_bytes: bytes.lookup4 as u64,
        ipv6_bytes: bytes.lookup6 as u64,
        vrf_bytes: bytes.lookup_vrf as u64,
        label_bytes: bytes.labels as u64,
        hop_bytes: bytes.hops as u64,
    };
    let room = |(table, t): (&str, fib::TableUse)| api::TableRoom {
        table: table.to_owned(),
        in_use: t.in_use as u64,
        capacity: t.capacity as u64,
    };
    let tables = [
        ("ipv4_words", usage.words4),
        ("ipv4_long", usage.long4),
        ("ipv6_lines", usage.lines6),
        ("vrf_lines", usage.vrf_lines),
        ("groups", usage.groups),
        ("adjacencies", usage.adjacencies),
    ];
    api::Memory {
        nodes: fib.nodes().map(node).collect(),
        writer_bytes: bytes.update as u64,
        tables: tables.into_iter().map(room).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_by_node() {
        let sizes = fib::Sizes {
            groups: 77,
            ..fib::Sizes::default()
        };
        let domain = fib::Domain::new();
        let mut fib = fib::FibWriter::with_sizes(&[0, 3], &domain, sizes).unwrap();
        let before = memory(&fib);
        let adj = fib::Adjacency::incomplete(
            IfaceId(1),
            net::PortId(1),
            1500,
            "192.0.2.1".parse().unwrap(),
        );
        let adj = fib.add_adj(adj).unwrap();
        let path = fib::Path::to(fib::Target::Adjacency(adj));
        let group = fib.add_group(&[(path, 1)]).unwrap();
        fib.set4("203.0.113.128/25".parse().unwrap(), group)
            .unwrap();
        let after = memory(&fib);
        let numa: Vec<u32> = after.nodes.iter().map(|n| n.numa).collect();
        assert_eq!(numa, [0, 3]);
        for (n, b) in after.nodes.iter().zip(&before.nodes) {
            assert_eq!(n.hop_bytes, b.hop_bytes + 128, "a group and an adjacency");
            assert!(n.ipv4_bytes > b.ipv4_bytes);
            assert_eq!(n.label_bytes, 4 << 20);
        }
        let sum: u64 = (after.nodes.iter())
            .map(|n| n.ipv4_bytes + n.ipv6_bytes + n.vrf_bytes + n.label_bytes + n.hop_bytes)
            .sum();
        assert_eq!(sum, fib.memory().lookup as u64, "of all replicas");
        let room = |name: &str| after.tables.iter().find(|t| t.table == name).unwrap();
        assert_eq!((room("groups").in_use, room("groups").capacity), (1, 77));
        assert_eq!(
            (room("adjacencies").in_use, room("ipv4_long").in_use),
            (1, 1)
        );
    }

    #[test]
    fn neighbours_are_no_routes() {
        assert!(!is_shown(Source::Neighbor, None));
        assert!(is_shown(Source::Local, None) && is_shown(Source::Local, Some(Protocol::Local)));
        assert!(!is_shown(Source::Static, Some(Protocol::Connected)));
    }
}
