//! LDP as the API shows it.

use std::collections::BTreeMap;
use std::time::Instant;

use ::ldp::session::State;
use ::ldp::speaker::{Ignored, OutLabel, Shown, Via};
use ::ldp::types::{Label, LdpId};
use ::net::IfaceId;
use ipnet::IpNet;

use super::Driver;
use crate::bgp::Links;
use crate::request::{Page, Refused};

/// FECs looked at for one page.
const LOOKED_AT: usize = 4096;

fn state(s: State) -> &'static str {
    match s {
        State::NonExistent => "non-existent",
        State::Initialized => "initialized",
        State::OpenRec => "open-received",
        State::OpenSent => "open-sent",
        State::Operational => "operational",
    }
}

fn ignored(i: Ignored) -> &'static str {
    match i {
        Ignored::Malformed => "malformed",
        Ignored::Own => "own",
        Ignored::LabelSpace => "label-space",
        Ignored::NotEnabled => "not-enabled",
        Ignored::NotConfigured => "not-configured",
        Ignored::Kind => "kind",
        Ignored::NotOnLink => "not-on-link",
        Ignored::NoTransport => "no-transport-address",
        Ignored::DualStack => "dual-stack",
    }
}

impl Driver {
    /// Neighbours, interfaces, and how much there is of all.
    pub(crate) fn show(&self, links: &Links<'_>, now: Instant) -> Result<api::Ldp, Refused> {
        let (Some(speaker), Some(told)) = (&self.speaker, &self.told) else {
            return Err("LDP is not configured; add [ldp] with its interfaces".into());
        };
        let mut received: BTreeMap<LdpId, u32> = BTreeMap::new();
        let mut summary = api::LdpSummary {
            router_id: told.router_id.to_string(),
            transport_address: told.transport.to_string(),
            ..Default::default()
        };
        for b in speaker.bindings() {
            summary.fecs += 1;
            summary.labels += u32::from(b.local.is_some_and(|l| l.get() > 15));
            summary.pushed += u32::from(!b.ftn.is_empty());
            for (peer, _) in &b.remote {
                *received.entry(*peer).or_default() += 1;
            }
        }
        let neighbors: Vec<api::LdpNeighbor> = speaker
            .neighbors()
            .map(|n| {
                let since = self.up.get(&n.id);
                let ends = n.addresses;
                api::LdpNeighbor {
                    neighbor: n.id.to_string(),
                    state: state(n.state).into(),
                    uptime_s: since
                        .map_or(0.0, |at| now.saturating_duration_since(*at).as_secs_f64()),
                    local_address: ends.map(|e| e.0.to_string()).unwrap_or_default(),
                    address: ends.map(|e| e.1.to_string()).unwrap_or_default(),
                    hold_s: n.hold.map_or(0.0, |h| h.as_secs_f64()),
                    received: received.get(&n.id).copied().unwrap_or(0),
                    adjacencies: self.adjacencies(n.id, links, now),
                    last_end: n.last.map(|c| c.to_string()).unwrap_or_default(),
                }
            })
            .collect();
        let up = |n: &&api::LdpNeighbor| n.state == "operational";
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        summary.neighbors = count(neighbors.len());
        summary.operational = count(neighbors.iter().filter(up).count());
        let hellos = speaker.ignored().iter();
        summary.ignored_hellos = hellos.map(|(why, n)| (ignored(*why).into(), *n)).collect();
        let interfaces = told.interfaces.iter().map(|name| {
            let on = links.ifaces.get(name).map(|i| i.id);
            let of = |via: &Via| on.is_some_and(|i| *via == Via::Link(super::id(i)));
            let heard = speaker.discovery().adjacencies();
            api::LdpInterface {
                interface: name.clone(),
                up: on.is_some_and(|i| self.hellos.contains_key(&i)),
                hello_hold_s: told.hello_hold.into(),
                adjacencies: count(heard.filter(|((_, via, _), _)| of(via)).count()),
            }
        });
        Ok(api::Ldp {
            interfaces: interfaces.collect(),
            summary: Some(summary),
            neighbors,
        })
    }

    fn adjacencies(&self, peer: LdpId, links: &Links<'_>, now: Instant) -> Vec<api::LdpAdjacency> {
        let Some(speaker) = &self.speaker else {
            return Vec::new();
        };
        let of = speaker.discovery().of(peer);
        of.map(|((_, via, _), a)| api::LdpAdjacency {
            interface: match via {
                Via::Link(i) => name(i.0, links),
                Via::Target(_) => String::new(),
            },
            address: a.source.to_string(),
            expires_s: a
                .expires
                .map(|at| at.saturating_duration_since(now).as_secs_f64()),
        })
        .collect()
    }

    /// A page of the FECs and their labels.
    pub(crate) fn show_bindings(
        &self,
        only: Option<IpNet>,
        after: Option<IpNet>,
        limit: usize,
        links: &Links<'_>,
    ) -> Result<Page<api::LdpBinding, IpNet>, Refused> {
        let Some(speaker) = &self.speaker else {
            return Err("LDP is not configured; add [ldp] with its interfaces".into());
        };
        let wanted = |b: &Shown| only.is_none_or(|p| b.fec == p) && after.is_none_or(|a| b.fec > a);
        let limit = limit.min(LOOKED_AT);
        let mut all = speaker.bindings().filter(wanted);
        let rows: Vec<Shown> = all.by_ref().take(limit).collect();
        let next = rows.last().map(|b| b.fec).filter(|_| all.next().is_some());
        Ok(Page {
            rows: rows.iter().map(|b| binding(b, links)).collect(),
            next,
        })
    }
}

fn name(iface: u32, links: &Links<'_>) -> String {
    let id = u16::try_from(iface).ok().map(IfaceId);
    let name = id.and_then(|id| links.names.get(&id));
    name.cloned().unwrap_or_else(|| format!("#{iface}"))
}

fn binding(b: &Shown, links: &Links<'_>) -> api::LdpBinding {
    let remote = b.remote.iter().map(|(peer, l)| api::LdpRemote {
        neighbor: peer.to_string(),
        label: l.get(),
    });
    let hops = b.ftn.iter().map(|p| api::NextHop {
        address: p.next_hop.addr.to_string(),
        interface: name(p.next_hop.iface.0, links),
        label: match p.out {
            OutLabel::Label(l) => vec![l.get()],
            OutLabel::Pop | OutLabel::Unlabelled => Vec::new(),
        },
        active: true,
        weight: 1,
        ..Default::default()
    });
    api::LdpBinding {
        fec: b.fec.to_string(),
        local: b.local.map(Label::get),
        remote: remote.collect(),
        via: hops.collect(),
    }
}
