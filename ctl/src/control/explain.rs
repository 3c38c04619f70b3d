//! `trunkctl explain`: the whole way of one packet, and why it is that one.
//!
//! The tables are asked by [`dataplane::trace`], so what is told is what workers do; the RIB and BGP are asked why the
//! tables say so. With `verify`, the packet goes through the stages themselves, and both must agree. Left out: groups and
//! broadcasts, packets with options, and what happens to the answer on its way back.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use bgp::types::Family;
use dataplane::runtime::explain::Seen;
use dataplane::trace::{Arrival, End, LabelAct, Step, Trace};
use fib::Path;
use ipnet::IpNet;
use net::ip4::{self, Ip4Mut, proto};
use net::ip6::{self, Ip6Mut};
use net::{IfaceId, Label, Lse, MacAddr, VrfId};

use super::router::Router;
use super::show::is_shown;
use crate::config;
use crate::request::{BgpRouteQuery, BgpSide, Page, Refused, RouteMatch};
use crate::rib::RouteView;
use crate::rib::spec::Source;
use crate::rib::table::prefix;

/// The longest stack that a worker reads.
const MAX_STACK: usize = 15;
/// VPN routes are found by looking at all of them; at most so many pages.
const PAGES: usize = 64;
/// As long as no `ttl` is given.
const TTL: u8 = 64;

/// The packet that is asked about.
struct Packet {
    from: Option<IfaceId>,
    vrf: VrfId,
    source: IpAddr,
    destination: IpAddr,
    labels: Vec<Label>,
    protocol: &'static str,
    ttl: u8,
    bytes: Vec<u8>,
}

impl Packet {
    fn arrival(&self) -> Arrival<'_> {
        Arrival {
            from: self.from,
            vrf: self.vrf,
            labelled: !self.labels.is_empty(),
            packet: &self.bytes,
        }
    }
}

impl Router {
    /// What becomes of a packet, and why.
    ///
    /// # Errors
    /// What of the question can't be understood, or is not there.
    pub(crate) fn explain(
        &mut self,
        q: &api::ExplainQuery,
        now: Instant,
    ) -> Result<api::Explanation, Refused> {
        let mut notes = Vec::new();
        let packet = self.packet(q, &mut notes)?;
        let Some(dp) = &mut self.dp else {
            return Err("no interface is configured, so nothing is forwarded; `trunkctl bgp route` shows what BGP has chosen".into());
        };
        let trace = dp.trace(packet.arrival());
        let found = match q.verify {
            true => Some(dp.probe(packet.arrival())?),
            false => None,
        };
        let mut answer = api::Explanation {
            destination: packet.destination.to_string(),
            source: packet.source.to_string(),
            interface: packet.from.map(|i| self.name(i)).unwrap_or_default(),
            label: packet.labels.iter().map(|l| l.get()).collect(),
            protocol: packet.protocol.into(),
            ..api::Explanation::default()
        };
        answer.steps.push(step("packet", self.tell_packet(&packet)));
        let (vrf, routes) = self.tell_steps(&packet, &trace, &mut answer, &mut notes);
        self.why_routes(vrf, routes, &mut answer, &mut notes, now);
        self.tell_end(&trace.end, &mut answer);
        if let Some(found) = found {
            self.compare(&trace.end, &found, &mut answer);
        }
        if !self.backlog.is_empty() || self.rib.is_dirty() {
            notes.push("the tables are being written: ask again in a moment".into());
        }
        answer.notes = notes;
        Ok(answer)
    }

    // ---- the packet ----

    fn packet(&self, q: &api::ExplainQuery, notes: &mut Vec<String>) -> Result<Packet, Refused> {
        let destination = unicast("the destination", &q.destination)?;
        let labels = labels(&q.label)?;
        let from = self.arrives(&q.interface, &labels, notes)?;
        let vrf = self.vrf_of(&q.vrf, from)?;
        let source = match q.source.as_str() {
            "" => self.source(from, vrf, destination),
            text => unicast("from", text)?,
        };
        if source.is_ipv4() != destination.is_ipv4() {
            return Err(format!("from {source} to {destination}: both of one family").into());
        }
        let protocol = match q.protocol.as_str() {
            "" | "udp" => "udp",
            "tcp" => "tcp",
            "icmp" => "icmp",
            other => return Err(format!("protocol {other:?} is not udp, tcp or icmp").into()),
        };
        let port = |name: &str, n: u32| {
            u16::try_from(n).map_err(|_| Refused(format!("{name} {n} is over 65535")))
        };
        let ports = [
            port("sport", q.source_port)?,
            port("dport", q.destination_port)?,
        ];
        let ttl = match q.ttl {
            0 => TTL,
            n => u8::try_from(n).map_err(|_| Refused(format!("ttl {n} is over 255")))?,
        };
        let mut bytes = Vec::new();
        for (i, &label) in labels.iter().enumerate() {
            let lse = Lse::new(label, 0, i + 1 == labels.len(), ttl);
            bytes.extend(lse.to_bytes());
        }
        bytes.extend(ip(source, destination, protocol, ports, ttl, q.size)?);
        Ok(Packet {
            from,
            vrf,
            source,
            destination,
            labels,
            protocol,
            ttl,
            bytes,
        })
    }

    /// The interface that it comes in by. Labelled packets only come from a wire.
    fn arrives(
        &self,
        name: &str,
        labels: &[Label],
        notes: &mut Vec<String>,
    ) -> Result<Option<IfaceId>, Refused> {
        if let Some(i) = self.ifaces.get(name) {
            return Ok(Some(i.id));
        }
        if !name.is_empty() {
            return Err(format!(
                "there is no interface {name}; `trunkctl interface show` lists them"
            )
            .into());
        }
        if labels.is_empty() {
            return Ok(None);
        }
        match self.ifaces.values().find(|i| i.up && i.conf.mpls) {
            Some(i) => {
                notes.push(format!(
                    "a labelled packet comes in by an interface, and none is named: {} is taken",
                    i.conf.name
                ));
                Ok(Some(i.id))
            }
            None => Err("a labelled packet comes in by an interface with mpls = true, and there is none that is up".into()),
        }
    }

    /// The table that it is looked up in: of the interface that it comes in by, or the one that is named.
    fn vrf_of(&self, name: &str, from: Option<IfaceId>) -> Result<VrfId, Refused> {
        self.check_vrf(name)?;
        let named = self.vrf_id(Some(name).filter(|n| !n.is_empty()));
        let Some(i) = from.and_then(|i| self.iface(i)) else {
            return Ok(named);
        };
        if !name.is_empty() && i.vrf != named {
            return Err(format!(
                "{} is not in VRF {name}; leave \"vrf\" out, its interface says in whose table a packet is looked up",
                i.conf.name
            )
            .into());
        }
        Ok(i.vrf)
    }

    /// A source for a packet of which none is given.
    fn source(&self, from: Option<IfaceId>, vrf: VrfId, to: IpAddr) -> IpAddr {
        let documentation: IpAddr = match to {
            IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
            IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        };
        if from.is_some() {
            return documentation;
        }
        let out = self.rib.egress(vrf, to).and_then(|i| self.iface(i));
        let here = self.ifaces.values().filter(|i| i.vrf == vrf);
        let all = out.into_iter().chain(here);
        let mut own = all.flat_map(|i| i.conf.addresses.iter().map(IpNet::addr));
        own.find(|a| a.is_ipv4() == to.is_ipv4())
            .unwrap_or(documentation)
    }

    fn tell_packet(&self, p: &Packet) -> String {
        let mut text = format!(
            "a packet from {} to {}, {}, TTL {}",
            p.source, p.destination, p.protocol, p.ttl
        );
        if !p.labels.is_empty() {
            let _ = write!(text, ", under label {}", stack(&p.labels));
        }
        match p.from {
            Some(i) => {
                let _ = write!(text, ", comes in by {}", self.name(i));
            }
            None => text.push_str(", is sent by the router itself"),
        }
        text
    }

    // ---- the way ----

    /// Tells each decision; returns the table that was looked up in, and the routes there that cover the address, the one in
    /// use first.
    fn tell_steps(
        &self,
        p: &Packet,
        trace: &Trace,
        answer: &mut api::Explanation,
        notes: &mut Vec<String>,
    ) -> (VrfId, Vec<RouteView>) {
        let (mut table, mut routes) = (VrfId::GLOBAL, Vec::new());
        for s in &trace.steps {
            match s {
                Step::Label { lse, act } => {
                    let text = format!(
                        "label {}, TTL {}: {}",
                        lse.label().get(),
                        lse.ttl(),
                        told(*act)
                    );
                    answer.steps.push(step("label", text));
                }
                Step::Lookup {
                    vrf,
                    destination,
                    group,
                } => {
                    routes = self.rib.covering(*vrf, *destination).collect();
                    table = *vrf;
                    let of = match self.vrf_name(*vrf) {
                        "" => String::new(),
                        name => format!(" of VRF {name}"),
                    };
                    // First the one that frames take.
                    routes.sort_by_key(|r| !r.installed);
                    let used = routes.first().filter(|r| r.installed);
                    let found = used.is_some() == (*group != net::GroupId::NONE);
                    if !found {
                        notes.push("the forwarding table and the routing table differ: one is being written".into());
                    }
                    let prefix = used.map(|r| r.prefix.to_string()).unwrap_or_default();
                    let text = match used {
                        Some(r) => format!(
                            "{destination} is in {prefix}{of}, {} route, distance {}",
                            article(r.source),
                            self.rib.distance(r.source)
                        ),
                        None => format!("no route{of} covers {destination}"),
                    };
                    answer.vrf = self.vrf_name(*vrf).to_owned();
                    answer.steps.push(api::ExplainStep {
                        prefix,
                        ..step("lookup", text)
                    });
                }
                Step::Choice {
                    hash,
                    bucket,
                    buckets,
                    path,
                    neighbor,
                    ..
                } => {
                    let way = self.tell_path(path, *neighbor, p.destination);
                    let text = match hash {
                        None => format!("one path: {way}"),
                        Some(hash) => format!(
                            "several paths: the flow's hash {hash:#010x} falls into bucket {bucket} of {buckets}: {way}"
                        ),
                    };
                    if hash.is_some()
                        && p.from.is_some()
                        && p.source == self.source(p.from, p.vrf, p.destination)
                    {
                        notes.push(format!(
                            "which path a flow takes hangs on its source, and none is given: {} is taken",
                            p.source
                        ));
                    }
                    answer.steps.push(api::ExplainStep {
                        bucket: Some(*bucket as u32),
                        buckets: Some(*buckets as u32),
                        hash: *hash,
                        ..step("group", text)
                    });
                }
            }
        }
        (table, routes)
    }

    fn tell_path(&self, path: &Path, neighbor: Option<(IfaceId, IpAddr)>, to: IpAddr) -> String {
        let mut text = match path.target {
            fib::Target::Adjacency(_) => match neighbor {
                Some((iface, address)) => format!("to {address} on {}", self.name(iface)),
                None => "to a neighbour that is gone".into(),
            },
            fib::Target::Glean(i) => format!("to {to} itself, on {}", self.name(i)),
            fib::Target::Local(i) => format!("to the router, on {}", self.name(i)),
            fib::Target::Discard(fib::Discard::Blackhole) => "to nowhere (blackhole)".into(),
            fib::Target::Discard(fib::Discard::Unreachable) => "to nowhere (unreachable)".into(),
            fib::Target::Discard(fib::Discard::Prohibit) => "to nowhere (prohibit)".into(),
        };
        if !path.push.is_empty() {
            let labels: Vec<Label> = path.push.iter().copied().collect();
            let _ = write!(text, ", pushing {}", stack(&labels));
        }
        if path.entropy != 0 {
            let below = match path.entropy {
                1 => "the first".to_owned(),
                n => format!("{n} of them"),
            };
            let _ = write!(
                text,
                " and, below {below}, an entropy label if it is an IP packet"
            );
        }
        text
    }

    // ---- why ----

    /// No route is in use: what BGP has, and why none of it is. Of a VRF's what would come in from VPNs, too.
    fn why_none(&mut self, vrf: VrfId, answer: &mut api::Explanation, now: Instant) {
        let Ok(to) = answer.destination.parse::<IpAddr>() else {
            return;
        };
        let [plain, labelled, vpn] = match to {
            IpAddr::V4(_) => [Family::Ipv4Unicast, Family::Ipv4Labeled, Family::Vpnv4],
            IpAddr::V6(_) => [Family::Ipv6Unicast, Family::Ipv6Labeled, Family::Vpnv6],
        };
        // Where BGP is not spoken there is nothing to tell.
        let mut ask = |vrf, family, matching, after| {
            let query = BgpRouteQuery {
                matching,
                families: vec![family],
                side: BgpSide::Table,
                vrf: String::new(),
            };
            let none = Page {
                rows: Vec::new(),
                next: None,
            };
            self.bgp_routes(vrf, &query, after, now).unwrap_or(none)
        };
        let here = [Some(plain), Some(labelled).filter(|_| vrf == VrfId::GLOBAL)];
        let longest = IpNet::from(to).prefix_len();
        for len in (0..=longest).rev() {
            let p = prefix(to, len);
            for family in here.into_iter().flatten() {
                answer
                    .bgp
                    .extend(ask(vrf, family, RouteMatch::Exact(p), None).rows);
            }
            if !answer.bgp.is_empty() {
                return;
            }
        }
        let mut found = Vec::new();
        let mut after = None;
        for _ in 0..PAGES {
            let page = ask(VrfId::GLOBAL, vpn, RouteMatch::Longest(to.into()), after);
            found.extend(page.rows);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let conf = self.running.vrfs.get(self.vrf_name(vrf));
        let wanted = conf.map_or(&[][..], |v| &v.import);
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        found.retain(|r| r.ext_communities.iter().any(|c| wanted.contains(c)));
        answer.bgp = found;
    }

    /// The candidates, what they won or lost by, and what BGP and its policy say.
    fn why_routes(
        &mut self,
        vrf: VrfId,
        routes: Vec<RouteView>,
        answer: &mut api::Explanation,
        notes: &mut Vec<String>,
        now: Instant,
    ) {
        let Some(used) = routes.first().filter(|r| r.installed).cloned() else {
            return self.why_none(vrf, answer, now);
        };
        for r in &routes {
            let why = match (
                r.installed && r.prefix == used.prefix,
                r.prefix == used.prefix,
            ) {
                (true, _) => "in use: the longest prefix that covers it".to_owned(),
                (false, true) => format!(
                    "distance {} is more than {}",
                    self.rib.distance(r.source),
                    self.rib.distance(used.source)
                ),
                (false, false) => format!(
                    "/{} is shorter than /{}",
                    r.prefix.prefix_len(),
                    used.prefix.prefix_len()
                ),
            };
            let best = (!r.installed && r.prefix == used.prefix).then_some(used.source);
            answer.routes.push(api::ExplainRoute {
                route: Some(self.route(vrf, r, best)),
                why,
            });
        }
        if used.source == Source::Neighbor {
            return self.why_neighbor(vrf, &routes, answer, notes, now);
        }
        if !used.source.is_bgp() {
            return;
        }
        match self.paths_of_bgp(vrf, &used, now) {
            Ok(rows) => answer.bgp = rows,
            Err(e) => notes.push(e.to_string()),
        }
        let Some(best) = answer.bgp.iter().find(|r| r.best).cloned() else {
            return;
        };
        if !best.leaked_from.is_empty() {
            self.why_leaked((vrf, used.prefix), &best, answer, notes, now);
        }
        let Some(policy) = self.bgp.import_policy(&best.neighbor, now) else {
            return;
        };
        let query = api::BgpPolicyQuery {
            policy,
            prefix: used.prefix.to_string(),
            received: best.neighbor.clone(),
            ..api::BgpPolicyQuery::default()
        };
        match self.bgp.try_policy(&query, &self.running, now) {
            Ok(test) => answer.policy = Some(test),
            Err(e) => notes.push(e.to_string()),
        }
    }

    /// What BGP has of the prefix of a route of its.
    fn paths_of_bgp(
        &mut self,
        vrf: VrfId,
        of: &RouteView,
        now: Instant,
    ) -> Result<Vec<api::BgpRoute>, Refused> {
        let family = match (of.prefix, of.source.is_labeled()) {
            (IpNet::V4(_), false) => Family::Ipv4Unicast,
            (IpNet::V6(_), false) => Family::Ipv6Unicast,
            (IpNet::V4(_), true) => Family::Ipv4Labeled,
            (IpNet::V6(_), true) => Family::Ipv6Labeled,
        };
        let query = BgpRouteQuery {
            matching: RouteMatch::Exact(of.prefix),
            families: vec![family],
            side: BgpSide::Table,
            vrf: String::new(),
        };
        let page = self.bgp_routes(vrf, &query, None, now)?;
        Ok(page.rows)
    }

    /// A neighbour is there for the sake of the subnet that it is in, which may have leaked.
    fn why_neighbor(
        &mut self,
        vrf: VrfId,
        routes: &[RouteView],
        answer: &mut api::Explanation,
        notes: &mut Vec<String>,
        now: Instant,
    ) {
        let mut others = routes.iter().filter(|r| r.source != Source::Neighbor);
        let Some(subnet) = others.find(|r| r.installed && r.source.is_bgp()) else {
            return;
        };
        let rows = self.paths_of_bgp(vrf, subnet, now).unwrap_or_default();
        let leaked = |r: &&api::BgpRoute| r.best && !r.leaked_from.is_empty();
        if let Some(best) = rows.iter().find(leaked) {
            self.why_leaked((vrf, subnet.prefix), best, answer, notes, now);
        }
    }

    /// A route of BGP's is from another table: by what, and what that means for its next hop.
    fn why_leaked(
        &mut self,
        (vrf, prefix): (VrfId, IpNet),
        best: &api::BgpRoute,
        answer: &mut api::Explanation,
        notes: &mut Vec<String>,
        now: Instant,
    ) {
        let from = Some(best.leaked_from.as_str()).filter(|f| *f != config::GLOBAL);
        let of = match from {
            Some(name) => name,
            None => self.vrf_name(vrf),
        };
        let conf = self.running.vrfs.get(of);
        let (key, policy) = match from {
            Some(_) => (
                config::EXPORT_GLOBAL,
                conf.and_then(|v| v.export_global.clone()),
            ),
            None => (
                config::IMPORT_GLOBAL,
                conf.and_then(|v| v.import_global.clone()),
            ),
        };
        let table = match from {
            Some(name) => format!("VRF {name}"),
            None => "the global table".into(),
        };
        let hop = match best.next_hop.as_str() {
            "" => "goes as the route does that is there".to_owned(),
            hop => format!("its next hop {hop} is looked up there"),
        };
        let by = policy
            .as_ref()
            .map(|p| format!(" {:?}", p.0))
            .unwrap_or_default();
        let text = format!("{prefix} has leaked from {table}, by {key}{by} of VRF {of}: {hop}");
        let at = answer.steps.iter().rposition(|s| s.what == "lookup");
        let at = at.map_or(answer.steps.len(), |n| n + 1);
        answer.steps.insert(at, step("leak", text));
        let Some(policy) = policy else { return };
        let query = api::BgpPolicyQuery {
            policy: policy.0,
            prefix: prefix.to_string(),
            best: true,
            ..api::BgpPolicyQuery::default()
        };
        let table = self.vrf_id(from);
        match self.bgp.try_policy_in(table, &query, &self.running, now) {
            Ok(test) => answer.leak_policy = Some(test),
            Err(e) => notes.push(e.to_string()),
        }
    }

    // ---- the end ----

    fn tell_end(&self, end: &End, answer: &mut api::Explanation) {
        let (outcome, text) = match end {
            End::Sent {
                iface,
                next_hop,
                frame,
                ..
            } => {
                answer.egress = self.name(*iface);
                answer.next_hop = next_hop.to_string();
                answer.frame = frame.iter().fold(String::new(), |mut s, b| {
                    let _ = write!(s, "{b:02x}");
                    s
                });
                answer.label_out = labels_of(frame);
                let to: [u8; 6] = frame.first_chunk().copied().unwrap_or_default();
                answer.mac = MacAddr(to).to_string();
                let under = match &answer.label_out[..] {
                    [] => String::new(),
                    all => {
                        let all: Vec<String> = all.iter().map(u32::to_string).collect();
                        format!(", under label {}", all.join("/"))
                    }
                };
                let text = format!(
                    "leaves by {} to {next_hop}, which is {}{under}, {} octets",
                    answer.egress,
                    answer.mac,
                    frame.len()
                );
                ("forwarded", text)
            }
            End::Unresolved { iface, next_hop } => {
                answer.egress = self.name(*iface);
                answer.next_hop = next_hop.to_string();
                let text = format!(
                    "waits: the link address of {next_hop} on {} is asked for first",
                    answer.egress
                );
                ("unresolved", text)
            }
            End::Cut { room } => (
                "fragmented",
                format!("leaves in pieces: {room} octets of it fit at once"),
            ),
            End::Local(iface) => {
                answer.egress = self.name(*iface);
                (
                    "local",
                    format!("is for the router itself, on {}", answer.egress),
                )
            }
            End::Dropped(why) => {
                answer.reason = why.name().into();
                (
                    "dropped",
                    format!("is dropped: {}. {}", why.name(), why.doc()),
                )
            }
        };
        answer.outcome = outcome.into();
        answer.steps.push(step("end", text));
    }

    fn compare(&self, said: &End, found: &[(u32, Seen)], answer: &mut api::Explanation) {
        let mut all = true;
        for (node, seen) in found {
            let same = seen.is(said);
            all &= same;
            let text = match same {
                true => format!("the data path did just that, by the tables of node {node}"),
                false => format!(
                    "the data path did something else by the tables of node {node}: {seen:?}; this is a bug, please report it"
                ),
            };
            answer.steps.push(step("verify", text));
        }
        answer.verified = Some(all);
    }
}

fn step(what: &str, text: String) -> api::ExplainStep {
    api::ExplainStep {
        what: what.into(),
        text,
        ..api::ExplainStep::default()
    }
}

fn article(source: Source) -> &'static str {
    match source {
        Source::Neighbor => "a neighbour's",
        s if is_shown(s, None) => match s {
            Source::Local => "a local",
            Source::Connected => "a connected",
            Source::Static => "a static",
            _ => "a BGP",
        },
        _ => "a",
    }
}

fn told(act: LabelAct) -> &'static str {
    match act {
        LabelAct::Pop(_) => "taken off, and what lies under it is looked at",
        LabelAct::PopLast => "taken off, and the IP packet under it is looked at",
        LabelAct::PassOver => "the router alert, passed over",
        LabelAct::PopEntropy => "taken off, with the entropy label after it",
        LabelAct::PopForward(_) => {
            "taken off, and the IP packet under it goes to a CE without a look-up"
        }
        LabelAct::Forward(_) => "switched",
        LabelAct::Buried => "not looked up: the label above it is to be the last of ours",
        LabelAct::Refuse => "nobody has asked for it here",
    }
}

fn stack(labels: &[Label]) -> String {
    let all: Vec<String> = labels.iter().map(|l| l.get().to_string()).collect();
    all.join("/")
}

/// The stack of a frame that leaves.
fn labels_of(frame: &[u8]) -> Vec<u32> {
    let at = match frame.get(12..14) {
        Some([0x81, 0]) => 18,
        _ => 14,
    };
    match frame.get(at - 2..at) {
        Some([0x88, 0x47]) => net::mpls::walk(&frame[at..])
            .map(|s| s.entries.iter().map(|l| l.label().get()).collect())
            .unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// An address that packets have, and one host.
fn unicast(what: &str, text: &str) -> Result<IpAddr, Refused> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| Refused(format!("{what}: {text:?} is not an address")))?;
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    if address.is_multicast() || address.is_unspecified() || broadcast {
        return Err(format!("{what}: {address} is not the address of one host").into());
    }
    Ok(address)
}

fn labels(all: &[u32]) -> Result<Vec<Label>, Refused> {
    if all.len() > MAX_STACK {
        return Err(format!(
            "{} labels; {MAX_STACK} are the most that a worker reads",
            all.len()
        )
        .into());
    }
    let one = |&n: &u32| {
        Label::new(n).ok_or_else(|| Refused(format!("label {n} is over {}", (1 << 20) - 1)))
    };
    all.iter().map(one).collect()
}

/// An IP packet of that size, or the smallest.
fn ip(
    source: IpAddr,
    destination: IpAddr,
    protocol: &str,
    [from, to]: [u16; 2],
    ttl: u8,
    size: u32,
) -> Result<Vec<u8>, Refused> {
    let (number, upper) = match (protocol, destination) {
        ("tcp", _) => (proto::TCP, 20),
        ("icmp", IpAddr::V4(_)) => (proto::ICMP, 8),
        ("icmp", IpAddr::V6(_)) => (proto::ICMP6, 8),
        _ => (proto::UDP, 8),
    };
    let header = match destination {
        IpAddr::V4(_) => ip4::HEADER_LEN,
        IpAddr::V6(_) => ip6::HEADER_LEN,
    };
    let least = header + upper;
    let len = match size as usize {
        0 => least,
        n if (least..=9000).contains(&n) => n,
        n => return Err(format!("size {n} is not within {least} and 9000").into()),
    };
    let mut packet = vec![0; len];
    let short = |_| Refused("the packet has no room for its header".into());
    match (source, destination) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            let mut h = Ip4Mut::new(&mut packet).map_err(short)?;
            h.init(0, len as u16, ttl, number, s.into(), d.into());
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            let mut h = Ip6Mut::new(&mut packet).map_err(short)?;
            h.init(0, (len - header) as u16, number, ttl, s.into(), d.into());
        }
        _ => return Err("source and destination are of two families".into()),
    }
    let upper = &mut packet[header..];
    if protocol == "icmp" {
        upper[0] = if destination.is_ipv4() { 8 } else { 128 };
        return Ok(packet);
    }
    upper[..2].copy_from_slice(&from.to_be_bytes());
    upper[2..4].copy_from_slice(&to.to_be_bytes());
    if protocol == "tcp" {
        upper[12] = 5 << 4;
    } else {
        let len = upper.len() as u16;
        upper[4..6].copy_from_slice(&len.to_be_bytes());
    }
    Ok(packet)
}
