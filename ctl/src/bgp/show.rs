//! Neighbours and routes in the words of the API, and what operators have neighbours do. Each answer is bounded: routes come
//! page by page, each from a bounded number of prefixes.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ::net::VrfId;
use bgp::attrs::{ExtCommunity, Srgb, View};
use bgp::rib::{Fate, Key as _, Membership, Staleness};
use bgp::rpki::Vrp;
use bgp::session::{Negotiated, RoleConfig};
use bgp::speaker::{FamilyView, PathView, PeerKey, PeerView, Side, Speaker, Wanted};
use bgp::types::{Family, Rd, Relation, Role, VrfNo};
use ipnet::IpNet;

use super::Driver;
use super::links::Links;
use crate::config::{RouteTarget, bgp as config};
use crate::request::{BgpCursor, BgpRouteQuery, BgpSide, Page, Refused, RouteMatch};
use crate::rib::{FollowedHop, Rib};

/// Records of the RPKI that are shown with a prefix, at most.
const ROAS: usize = 64;
pub(super) const NOT_SPOKEN: &str = "BGP is not spoken; [bgp] in the configuration begins it";

/// What is wrong with a route whose next hop is not known how to be reached.
const UNREACHABLE: &str = "its next hop can't be reached";

/// Is that what is wrong with it?
pub(crate) fn is_unreached(row: &api::BgpRoute) -> bool {
    row.problem == UNREACHABLE
}

/// The next hop of a route in this table, as the RIB follows it.
pub(crate) fn next_hop(vrf: VrfId, row: &api::BgpRoute) -> Option<FollowedHop> {
    let labeled = !row.label.is_empty();
    Some(FollowedHop {
        address: row.next_hop.parse().ok()?,
        dev: None,
        // Those with labels are routers of the core.
        vrf: if labeled { VrfId::GLOBAL } else { vrf },
        labeled,
    })
}

/// What a neighbour's name means.
pub(super) fn key(text: &str) -> PeerKey {
    let (address, dev) = match text.split_once('%') {
        Some((address, dev)) => (address, Some(dev.to_owned())),
        None => (text, None),
    };
    match address.parse::<IpAddr>() {
        Ok(a) => PeerKey::Address(a, dev),
        Err(_) => PeerKey::Interface(text.to_owned()),
    }
}

pub(super) fn unknown(name: &str) -> Refused {
    format!("no neighbour is called {name}; `trunkctl bgp summary` lists them").into()
}

impl Driver {
    /// The neighbours, or the one of that name.
    pub(crate) fn show_neighbors(
        &mut self,
        name: &str,
        now: Instant,
    ) -> Result<Vec<api::BgpNeighbor>, Refused> {
        let Some(speaker) = &mut self.speaker else {
            return Err(NOT_SPOKEN.into());
        };
        let views = if name.is_empty() {
            speaker.neighbors(now)
        } else {
            let view = speaker.neighbor(&key(name), now);
            vec![view.ok_or_else(|| unknown(name))?]
        };
        Ok(views.iter().map(|v| self.neighbor(v)).collect())
    }

    fn neighbor(&self, v: &PeerView) -> api::BgpNeighbor {
        let secs = |d: Duration| d.as_secs_f64();
        let sum = |of: fn(&FamilyView) -> u32| v.families.iter().map(|f| u64::from(of(f))).sum();
        let family = |f: &FamilyView| api::BgpFamily {
            family: f.family.name().into(),
            received: f.received.into(),
            accepted: f.accepted.into(),
            advertised: f.advertised.into(),
            complete: f.complete,
            stale: v.stale.contains(&f.family),
        };
        let (last_reset, last_reset_ago) = v.last_reset.clone().unwrap_or_default();
        let (last_error, last_error_ago) = v.last_error.clone().unwrap_or_default();
        let agreed = v.agreed.as_deref();
        api::BgpNeighbor {
            address: v.key.to_string(),
            r#as: v.asn.map_or(0, |a| a.0),
            state: v.state.to_string(),
            uptime_s: v.since.map_or(0.0, secs),
            received: sum(|f| f.received),
            accepted: sum(|f| f.accepted),
            advertised: sum(|f| f.advertised),
            families: v.families.iter().map(|f| f.family.name().into()).collect(),
            counts: v.families.iter().map(family).collect(),
            description: self.description(&v.key),
            router_id: v.router_id.map(|id| id.to_string()).unwrap_or_default(),
            dynamic: v.dynamic,
            shutdown: v.stopped,
            local: v
                .ends
                .as_ref()
                .map(|e| e.local.to_string())
                .unwrap_or_default(),
            remote: v
                .ends
                .as_ref()
                .map(|e| e.remote.to_string())
                .unwrap_or_default(),
            local_as: agreed.map_or(v.config.session.local_as, |a| a.local_as).0,
            last_reset,
            last_reset_ago_s: secs(last_reset_ago),
            last_error,
            last_error_ago_s: secs(last_error_ago),
            hold_time_s: agreed.map_or(0.0, |a| secs(a.hold_time)),
            keepalive_s: agreed.map_or(0.0, |a| secs(a.keepalive)),
            capabilities: agreed
                .map(|a| capabilities(a, v.config.session.role))
                .unwrap_or_default(),
            messages_received: v.counters.received.total(),
            messages_sent: v.counters.sent.total(),
            updates_received: v.counters.received.update,
            updates_sent: v.counters.sent.update,
            malformed: v.malformed,
            established: v.counters.established,
            queued_bytes: v.queued as u64,
            timers_s: (v.timers.iter())
                .map(|(t, left)| (t.name().to_owned(), secs(*left)))
                .collect(),
            relation: agreed.map_or("", |a| relation(a.context.relation)).into(),
        }
    }

    fn description(&self, key: &PeerKey) -> String {
        let Some(bgp) = &self.told else {
            return String::new();
        };
        let key = match key {
            PeerKey::Address(a, dev) => config::PeerKey::Address(*a, dev.clone()),
            PeerKey::Interface(dev) => config::PeerKey::Interface(dev.clone()),
        };
        let settings = bgp.neighbors.get(&key).map(|n| bgp.settings(n));
        let text = settings.and_then(|s| s.description);
        text.map(|t| t.0).unwrap_or_default()
    }

    /// A page of routes.
    /// The distinguisher under which the router at `hop` told of a VRF's prefix, if a path of a VPN's that leads there is used.
    pub(crate) fn came_as(
        &mut self,
        (vrf, net): (VrfId, IpNet),
        hop: IpAddr,
        now: Instant,
    ) -> Option<Rd> {
        let speaker = self.speaker.as_mut()?;
        let family = match net {
            IpNet::V4(_) => Family::Ipv4Unicast,
            IpNet::V6(_) => Family::Ipv6Unicast,
        };
        let (wanted, vrf) = (Wanted::Exactly(net), VrfNo(vrf.0));
        let page = speaker.routes_in(vrf, family, &wanted, &Side::Table, None, now)?;
        let leads = |p: &&PathView| p.attrs.view().next_hop.is_some_and(|h| h.address() == hop);
        let used = |p: &PathView| matches!(p.fate, Some(Fate::Best | Fate::Multipath));
        let mut all = page.paths.iter().filter(leads);
        all.find(|p| used(p))?.rd
    }

    pub(crate) fn show_routes(
        &mut self,
        vrf: VrfId,
        query: &BgpRouteQuery,
        after: Option<BgpCursor>,
        now: Instant,
    ) -> Result<Page<api::BgpRoute, BgpCursor>, Refused> {
        let Some(speaker) = &mut self.speaker else {
            return Err(NOT_SPOKEN.into());
        };
        let at = after.unwrap_or(BgpCursor {
            family: query
                .families
                .first()
                .copied()
                .unwrap_or(Family::Ipv4Unicast),
            from: None,
        });
        let wanted = match query.matching {
            RouteMatch::All => Wanted::All,
            RouteMatch::Exact(p) => Wanted::Exactly(p),
            RouteMatch::Within(p) => Wanted::Longer(p),
            RouteMatch::Longest(p) => Wanted::Longest(p),
        };
        let (side, name) = match &query.side {
            BgpSide::Table => (Side::Table, ""),
            BgpSide::Received(name) => (Side::Received(key(name)), name.as_str()),
            BgpSide::Advertised(name) => (Side::Advertised(key(name)), name.as_str()),
        };
        let page = speaker.routes_in(VrfNo(vrf.0), at.family, &wanted, &side, at.from, now);
        let Some(page) = page else {
            return match name {
                "" => Err(format!("there are no routes of {}", at.family).into()),
                name => Err(unknown(name)),
            };
        };
        let mut later = query
            .families
            .iter()
            .skip_while(|f| **f != at.family)
            .skip(1);
        let next = match page.next {
            Some(from) => Some(BgpCursor {
                family: at.family,
                from: Some(from),
            }),
            None => later.next().map(|family| BgpCursor {
                family: *family,
                from: None,
            }),
        };
        let mut rows: Vec<_> = page.paths.iter().map(|p| route(p, at.family)).collect();
        for (row, path) in rows.iter_mut().zip(&page.paths) {
            if let Some(table) = path.leaked_from {
                self.vpns.name(table).clone_into(&mut row.leaked_from);
            }
            if row.label_index.is_some() && path.best {
                let why = self.bound.refusal(path.net);
                row.label_index_problem = why.map(ToString::to_string).unwrap_or_default();
            }
        }
        if let RouteMatch::Exact(_) | RouteMatch::Longest(_) = query.matching {
            // The same for all paths of the prefix: why they are valid, or not.
            if let Some(net) = page.paths.first().map(|p| p.net) {
                let roas = covering(speaker, net);
                rows.iter_mut().for_each(|r| r.roas.clone_from(&roas));
            }
        }
        Ok(Page { rows, next })
    }

    /// The caches of the RPKI, in the order of the configuration.
    pub(crate) fn show_caches(&self, now: Instant) -> Result<Vec<api::RpkiCache>, Refused> {
        match &self.speaker {
            Some(_) => Ok(self.caches.show(now)),
            None => Err(NOT_SPOKEN.into()),
        }
    }

    /// The route targets of VPN routes that neighbours have sent.
    pub(crate) fn vpn_targets(&self) -> HashSet<RouteTarget> {
        let all = self.speaker.iter().flat_map(Speaker::vpn_targets);
        all.map(|t| RouteTarget(t.0)).collect()
    }

    /// Has a neighbour do something.
    pub(crate) fn command(
        &mut self,
        command: &api::BgpCommand,
        links: &Links<'_>,
        rib: &mut Rib,
        now: Instant,
    ) -> Result<(), Refused> {
        let Some(speaker) = &mut self.speaker else {
            return Err(NOT_SPOKEN.into());
        };
        let name = &command.address;
        let key = key(name);
        if speaker.neighbor(&key, now).is_none() {
            return Err(unknown(name));
        }
        if command.text.len() > 255 {
            return Err("the text has more than 255 octets (RFC 9003); shorten it".into());
        }
        let done = match command.command.as_str() {
            "reset" => speaker.reset(&key, &command.text, now),
            "shutdown" => speaker.shutdown(&key, &command.text, now),
            "start" => speaker.start(&key, now),
            "refresh-in" => speaker.refresh_in(&key, now),
            "refresh-out" => speaker.refresh_out(&key, now),
            other => {
                return Err(format!(
                    "unknown command {other:?}; there are reset, refresh-in, refresh-out, shutdown, start"
                )
                .into());
            }
        };
        tracing::info!(neighbor = %key, "{} by command", command.command);
        self.carry_out(links, rib, now);
        done.map_err(|e| Refused(e.to_string()))
    }
}

/// The records of the RPKI that cover a prefix; not more than fit on a page.
fn covering(speaker: &mut Speaker, net: IpNet) -> Vec<String> {
    let mut all: Vec<Vrp> = speaker.roas().covering(net).collect();
    all.sort_unstable();
    all.truncate(ROAS);
    let one = |v: &Vrp| format!("{} le {} AS {}", v.prefix, v.max_len, v.asn);
    all.iter().map(one).collect()
}

fn relation(r: Relation) -> &'static str {
    match r {
        Relation::Internal => "internal",
        Relation::Confederation => "confederation",
        Relation::External => "external",
    }
}

fn role(r: Role) -> &'static str {
    match r {
        Role::Provider => "provider",
        Role::RouteServer => "rs",
        Role::RouteServerClient => "rs-client",
        Role::Customer => "customer",
        Role::Peer => "peer",
    }
}

/// What both sides can do, in words.
fn capabilities(a: &Negotiated, ours: Option<RoleConfig>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let c = &a.context;
    let switches = [
        ("4-octet-as", c.as4),
        ("extended-message", c.extended_message),
        ("route-refresh", a.refresh),
        ("enhanced-refresh", a.enhanced_refresh),
    ];
    out.extend(
        switches
            .iter()
            .filter(|(_, on)| *on)
            .map(|(name, _)| (*name).to_owned()),
    );
    let families = [
        ("add-path-receive", c.add_path_receive),
        ("add-path-send", c.add_path_send),
        ("extended-next-hop", c.ext_next_hop),
    ];
    for (name, set) in families {
        out.extend(set.iter().map(|f| format!("{name} {f}")));
    }
    if let Some(g) = &a.graceful {
        out.push(format!("graceful-restart {} s", g.restart_time.as_secs()));
        out.extend(
            g.long_lived
                .iter()
                .map(|l| format!("long-lived-graceful-restart {} {} s", l.family, l.time)),
        );
    }
    if let Some(theirs) = a.role {
        let ours = ours.map_or("none", |r| role(r.role));
        out.push(format!("role {ours}, the neighbour's {}", role(theirs)));
    }
    out
}

/// A membership, as operators read it.
fn membership(net: IpNet) -> String {
    let key = Membership::of(net).unwrap_or(Membership::NONE);
    let (octets, bits) = key.parts();
    let [a, b, c, d, target @ ..] = octets;
    let asn = u32::from_be_bytes([a, b, c, d]);
    match bits {
        0 => "default".into(),
        32 => format!("{asn}:any"),
        96 => format!("{asn}:{}", ExtCommunity(target)),
        _ => format!("{asn}:{:#018x}/{bits}", u64::from_be_bytes(target)),
    }
}

pub(super) fn route(p: &PathView, family: Family) -> api::BgpRoute {
    let v: View<'_> = p.attrs.view();
    let problem = match (&p.refusal, p.fate) {
        (Some(refusal), _) => refusal.to_string(),
        (None, Some(Fate::Rejected)) => "the import policy rejects it".into(),
        (None, Some(Fate::Unreachable)) => UNREACHABLE.into(),
        (None, Some(Fate::Gone)) => "its neighbour has gone".into(),
        _ => String::new(),
    };
    let fate = match p.fate {
        Some(Fate::Best) => "best".into(),
        Some(Fate::Multipath) => "multipath".into(),
        Some(Fate::Lost(step)) if p.backup => format!("backup, lost by {step}"),
        Some(Fate::Lost(step)) => format!("lost by {step}"),
        Some(Fate::Rejected | Fate::Unreachable | Fate::Gone) | None => String::new(),
    };
    let text = |all: &mut dyn Iterator<Item = String>| all.collect();
    api::BgpRoute {
        prefix: match family {
            Family::RouteTarget => membership(p.net),
            _ => p.net.to_string(),
        },
        rd: p.rd.map(|rd| rd.to_string()).unwrap_or_default(),
        family: family.name().into(),
        neighbor: p.from.as_ref().map(ToString::to_string).unwrap_or_default(),
        path_id: p.path_id,
        best: p.best,
        next_hop: v.next_hop.map(|h| h.to_string()).unwrap_or_default(),
        origin: v.origin().name().into(),
        as_path: v.as_path().to_string(),
        local_pref: v.local_pref(),
        med: v.med(),
        communities: text(&mut v.communities().map(|c| c.to_string())),
        ext_communities: text(&mut v.ext_communities().map(|c| c.to_string())),
        large_communities: text(&mut v.large_communities().map(|c| c.to_string())),
        originator_id: v.originator_id().map(|a| a.to_string()).unwrap_or_default(),
        cluster_list: text(&mut v.cluster_list().map(|a| a.to_string())),
        aggregator: v
            .aggregator()
            .map(|(n, a)| format!("{n} {a}"))
            .unwrap_or_default(),
        atomic_aggregate: v.atomic_aggregate(),
        otc: v.otc().map(|a| a.0),
        age_s: p.age.as_secs_f64(),
        stale: match p.stale {
            Staleness::Fresh => "",
            Staleness::Stale => "stale",
            Staleness::LongLived => "long-lived-stale",
        }
        .into(),
        fate,
        problem,
        rpki: p.rpki.name().into(),
        roas: Vec::new(),
        label: v
            .labels()
            .into_iter()
            .flat_map(|l| l.iter().map(|l| l.get()))
            .collect(),
        local_label: p.local_label.map(|l| l.get()),
        backup: p.backup,
        label_index: v.label_index().filter(|_| is_labeled_unicast(family)),
        originator_srgb: v.originator_srgb().map(|s| block(&s)).collect(),
        label_index_problem: String::new(),
        leaked_from: String::new(),
        counts_in_s: None,
    }
}

/// Prefix-SIDs of others mean nothing here (RFC 8669 3.1).
fn is_labeled_unicast(family: Family) -> bool {
    matches!(family, Family::Ipv4Labeled | Family::Ipv6Labeled)
}

/// A run of labels from the first to the last.
fn block(s: &Srgb) -> String {
    let last = u64::from(s.first) + u64::from(s.size).saturating_sub(1);
    format!("{}-{last}", s.first)
}
