//! From the words of `trunkctl lsp ping|trace` to what is sent: the FECs that a route stands for, the labels that it pushes, and the
//! neighbour that gets the packet.
//!
//! A route of LDP is a FEC of LDP, one of BGP one of BGP's labelled prefixes, one of a VRF a VPN's with the distinguisher that it came
//! with (one by hand: the VRF's), any other by hand a generic one. A VPN's prefix that is only passed on here, with a label of ours, is
//! named by its distinguisher; its packets go as those that come with that label. Where a next hop is found by another route that has
//! labels, that one's FEC lies around its own, as its labels do (RFC 8029 3.2: the stack of FECs follows the stack of labels).

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use ::ldp::oam::probe::Plan;
use ::ldp::oam::{Detailed, FecElement, PathLabel, ReturnCode};
use ::net::ip4::HEADER_LEN;
use ::net::udp4::UDP_LEN;
use ::net::{IfaceId, Label, Lse, VrfId};
use bgp::types::Rd;
use ipnet::IpNet;

use super::{here, show};
use crate::config::distinguisher;
use crate::control::router::Router;
use crate::labels::{Fec, Owner};
use crate::request::Refused;
use crate::rib::RouteView;
use crate::rib::resolve::{Resolved, Target};
use crate::rib::spec::{Hop, LabelAction, PathSpec, PathsSpec, Problem, Source};

/// Routes that may stand on one another.
const DEEP: usize = 8;
/// Pings at most, and requests to a silent router.
const MOST: (u32, u32) = (10_000, 10);
/// Between pings, and for an answer, in milliseconds.
const INTERVAL: (u32, u32) = (10, 60_000);
/// Octets of header before the message: with the router alert option.
const HEADERS: usize = HEADER_LEN + 4 + UDP_LEN;

/// How requests go.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) fecs: Vec<FecElement>,
    /// From the outermost.
    pub(super) labels: Vec<Label>,
    pub(super) src: Ipv4Addr,
    pub(super) dst: Ipv4Addr,
    pub(super) next_hop: (IfaceId, IpAddr),
    /// The name of its interface.
    pub(super) interface: String,
}

fn number(what: &str, n: u32, default: u32, (least, most): (u32, u32)) -> Result<u32, Refused> {
    match n {
        0 => Ok(default),
        n if (least..=most).contains(&n) => Ok(n),
        n => Err(format!("{what} {n} is not within {least} and {most}").into()),
    }
}

fn destination(text: &str) -> Result<Ipv4Addr, Refused> {
    let address = match text {
        "" => Some(Ipv4Addr::LOCALHOST),
        text => text.parse::<Ipv4Addr>().ok(),
    };
    address
        .filter(Ipv4Addr::is_loopback)
        .ok_or_else(|| Refused(format!("to {text:?} is not an address within 127.0.0.0/8")))
}

/// Do such routes have labels, if only to say that none is put on?
fn is_lsp(source: Source) -> bool {
    source == Source::Ldp || source.is_labeled()
}

/// What a path comes down to, or why it carries nothing.
type Found = Result<Vec<Resolved>, Problem>;

/// What packets go by: a route, or the entry of a label of ours for a prefix of a VPN that is passed on.
struct Begin {
    prefix: IpNet,
    spec: PathsSpec,
    paths: Vec<Found>,
    active: Vec<bool>,
    of: Of,
}

/// Of what.
enum Of {
    Route(RouteView),
    PassedOn(Rd),
}

impl Begin {
    /// The paths to neighbours that frames take, and what is said of each.
    fn carrying(&self) -> Vec<(&PathSpec, &Resolved)> {
        carrying((&self.spec, &self.paths, &self.active))
    }
}

/// Does a route put labels on, or say that it puts none on where others would?
fn is_labelled(r: &RouteView) -> bool {
    let resolved = |r: &Resolved| !r.labels.is_empty();
    is_lsp(r.source)
        || r.spec.paths.iter().any(|p| !p.labels.is_empty())
        || r.paths.iter().flatten().flatten().any(resolved)
}

/// The paths to neighbours that frames take, of all that there are.
fn carrying<'r>(
    (spec, paths, active): (&'r PathsSpec, &'r [Found], &'r [bool]),
) -> Vec<(&'r PathSpec, &'r Resolved)> {
    let all = spec.paths.iter().zip(paths).zip(active);
    let active = all.filter(|(_, active)| **active);
    let each = active.flat_map(|((spec, found), _)| found.iter().flatten().map(move |f| (spec, f)));
    each.filter(|(_, f)| matches!(f.target, Target::Neighbor(..)))
        .collect()
}

impl Router {
    /// What to do for such a question.
    ///
    /// # Errors
    /// What of it can't be understood, or why there is no path to ask about.
    pub(super) fn lsp_plan(
        &mut self,
        q: &api::LspQuery,
        now: Instant,
    ) -> Result<(Plan, Way), Refused> {
        let tracing = match q.what.as_str() {
            "ping" => false,
            "trace" => true,
            other => return Err(format!("{other:?} is neither ping nor trace").into()),
        };
        let begin = self.lsp_begins(q)?;
        let ways = begin.carrying();
        if let Of::Route(route) = &begin.of
            && !is_labelled(route)
        {
            return Err(format!(
                "packets to {} get no label here (its route is {}), so there is no LSP to ask about; `trunkctl route show {}` has its next hops",
                route.prefix,
                route.source.name(),
                route.prefix
            )
            .into());
        }
        let at = usize::try_from(q.path.max(1)).unwrap_or(usize::MAX) - 1;
        let Some(&(spec, found)) = ways.get(at) else {
            return Err(format!(
                "path {}: the route to {} has {} that carry packets to a neighbour now",
                at + 1,
                begin.prefix,
                ways.len()
            )
            .into());
        };
        let Target::Neighbor(iface, address) = found.target else {
            return Err("the path leads to no neighbour".into());
        };
        let mut fecs = self.lsp_under(spec, 0);
        fecs.push(self.lsp_fec(q, &begin, &spec.hop, now)?);
        let labels = found.labels.to_vec();
        let near = match address {
            IpAddr::V4(a) => a,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        let src = self.lsp_source(near, iface).ok_or(
            "no interface has an IPv4 address for answers to come to; give one an address",
        )?;
        let out = self.iface(iface).ok_or("the interface has gone")?;
        let room = usize::from(out.conf.mtu).saturating_sub(labels.len() * Lse::LEN);
        let size = q.size as usize;
        if size > room {
            return Err(format!(
                "size {size} does not fit: {room} octets do, under {} labels",
                labels.len()
            )
            .into());
        }
        let (most, tries) = (MOST.0, MOST.1);
        let millis = |n| Duration::from_millis(u64::from(n));
        let plan = Plan {
            trace: tracing.then(|| first(out.conf.mtu, address, &labels, &fecs)),
            count: match tracing {
                false => number("count", q.count, 5, (1, most))?,
                true => number("count", q.count, 2, (1, tries))?,
            },
            interval: millis(number("interval", q.interval_ms, 1000, INTERVAL)?),
            timeout: millis(number("timeout", q.timeout_ms, 2000, INTERVAL)?),
            ttl: number("ttl", q.ttl, if tracing { 30 } else { 255 }, (1, 255))? as u8,
            alert: q.router_alert,
            size: size.saturating_sub(HEADERS),
            fecs: fecs.clone(),
        };
        let way = Way {
            fecs,
            labels,
            src,
            dst: destination(&q.destination)?,
            next_hop: (iface, address),
            interface: out.conf.name.clone(),
        };
        Ok((plan, way))
    }

    /// What is meant.
    fn lsp_begins(&self, q: &api::LspQuery) -> Result<Begin, Refused> {
        if q.rd.is_empty() {
            let route = self.lsp_route(q)?;
            return Ok(Begin {
                prefix: route.prefix,
                spec: route.spec.clone(),
                paths: route.paths.clone(),
                active: route.active.clone(),
                of: Of::Route(route),
            });
        }
        if !q.vrf.is_empty() {
            return Err("rd names a VPN's prefix that is passed on here, and vrf one of a VRF; give one of the two".into());
        }
        if !matches!(q.r#type.as_str(), "" | "vpn") {
            return Err(format!("with rd the type is vpn, not {:?}", q.r#type).into());
        }
        let rd = distinguisher(&q.rd).map_err(|why| Refused(format!("rd {why}")))?;
        let prefix = api::grammar::prefix(&q.prefix)
            .map_err(|e| Refused(e.0))?
            .trunc();
        let label = self.labels.used(Owner::Vpn, &Fec::VpnPrefix(rd, prefix));
        let entry = label.and_then(|l| self.rib.label(l));
        let Some((LabelAction::Forward(spec), v)) = entry.map(|v| (v.spec.action.clone(), v))
        else {
            return Err(Refused(format!(
                "{prefix} with rd {rd} is not passed on here with a label of ours, so no LSP begins here; `trunkctl label show` has what is. A prefix of a VRF is asked about with vrf NAME"
            )));
        };
        Ok(Begin {
            prefix,
            spec,
            paths: v.paths,
            active: v.active,
            of: Of::PassedOn(rd),
        })
    }

    /// The route that is meant.
    fn lsp_route(&self, q: &api::LspQuery) -> Result<RouteView, Refused> {
        self.check_vrf(&q.vrf)?;
        let vrf = self.vrf_id(Some(q.vrf.as_str()).filter(|n| !n.is_empty()));
        let asked = api::grammar::prefix(&q.prefix).map_err(|e| Refused(e.0))?;
        let found = match q.prefix.contains('/') {
            true => self.rib.routes_at(vrf, asked).find(|r| r.installed),
            false => self.rib.lookup(vrf, asked.addr()),
        };
        found.ok_or_else(|| {
            let of = match q.vrf.as_str() {
                "" => String::new(),
                name => format!(" of VRF {name}"),
            };
            Refused(format!(
                "no route{of} to {} is in use, so no LSP begins here",
                q.prefix
            ))
        })
    }

    /// What a route stands for, by itself or as it was asked for.
    fn lsp_fec(
        &mut self,
        q: &api::LspQuery,
        begin: &Begin,
        hop: &Hop,
        now: Instant,
    ) -> Result<FecElement, Refused> {
        let route = match &begin.of {
            Of::Route(route) => route,
            Of::PassedOn(rd) => return Ok(FecElement::Vpn(rd.0, begin.prefix)),
        };
        let kind = match (q.r#type.as_str(), q.vrf.as_str()) {
            ("", "") => return Ok(by_source(route)),
            ("", _) => "vpn",
            (kind, _) => kind,
        };
        let p = route.prefix;
        Ok(match kind {
            "ldp" => FecElement::Ldp(p),
            "bgp" => FecElement::Bgp(p),
            "generic" => FecElement::Generic(p),
            "vpn" => {
                let vrf = self.vrf_id(Some(q.vrf.as_str()));
                // The far end knows the prefix by its own distinguisher.
                if let Hop::Bgp { address, .. } = *hop
                    && let Some(rd) = self.bgp.came_as((vrf, p), address, now)
                {
                    return Ok(FecElement::Vpn(rd.0, p));
                }
                let conf = self.running.vrfs.get(q.vrf.as_str());
                let rd = conf.and_then(|v| v.rd).ok_or_else(|| {
                    Refused(match q.vrf.as_str() {
                        "" => "type vpn needs the VRF: vrf NAME".into(),
                        name => format!(
                            "VRF {name} has no rd, which names its prefixes; set one in [vrf.{name}], or ask with type generic"
                        ),
                    })
                })?;
                FecElement::Vpn(rd.0, p)
            }
            other => {
                return Err(format!("type {other:?} is not ldp, bgp, vpn or generic").into());
            }
        })
    }

    /// The FECs of the routes that lead to a next hop, from the outermost.
    fn lsp_under(&self, spec: &PathSpec, deep: usize) -> Vec<FecElement> {
        let (Hop::Via { address, dev: None } | Hop::Bgp { address, .. }) = spec.hop else {
            return Vec::new();
        };
        let route = match spec.labels.is_empty() {
            true => self.rib.lookup(VrfId::GLOBAL, address),
            false => self.rib.lookup_labeled(address),
        };
        let Some(route) = route else {
            return Vec::new();
        };
        let own = is_lsp(route.source) || route.spec.paths.iter().any(|p| !p.labels.is_empty());
        let mut all = match carrying((&route.spec, &route.paths, &route.active)).first() {
            Some((spec, _)) if deep < DEEP => self.lsp_under(spec, deep + 1),
            _ => Vec::new(),
        };
        all.extend(own.then(|| by_source(&route)));
        all
    }
}

fn by_source(route: &RouteView) -> FecElement {
    let p: IpNet = route.prefix;
    match route.source {
        Source::Ldp => FecElement::Ldp(p),
        source if source.is_bgp() => FecElement::Bgp(p),
        _ => FecElement::Generic(p),
    }
}

/// What our own tables say of the first router of a path.
fn first(mtu: u16, next_hop: IpAddr, labels: &[Label], fecs: &[FecElement]) -> Detailed {
    let protocol = |n: usize| match fecs.get(n) {
        _ if fecs.len() != labels.len() => 0,
        Some(FecElement::Ldp(_)) => 3,
        Some(FecElement::Bgp(_) | FecElement::Vpn(..)) => 2,
        Some(FecElement::Generic(_)) => 1,
        _ => 0,
    };
    let one = |(n, l): (usize, &Label)| PathLabel {
        label: show::label(*l),
        rest: u8::from(n + 1 == labels.len()),
        protocol: protocol(n),
    };
    let mut told: Vec<PathLabel> = labels.iter().enumerate().map(one).collect();
    if told.is_empty() {
        told.push(PathLabel {
            label: ::ldp::types::Label::IMPLICIT_NULL,
            rest: 1,
            protocol: 3,
        });
    }
    Detailed {
        mtu,
        want_in_labels: true,
        no_ip: false,
        hop: here::hop(next_hop),
        code: ReturnCode::NONE,
        subcode: 0,
        multipath: None,
        labels: Some(told),
        changes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_our_tables_say_of_the_first_router() {
        let labels: Vec<Label> = [100, 200].into_iter().filter_map(Label::new).collect();
        let p: IpNet = "10.0.0.0/8".parse().unwrap();
        let fecs = [FecElement::Ldp(p), FecElement::Vpn([0; 8], p)];
        let d = first(1500, "10.0.0.2".parse().unwrap(), &labels, &fecs);
        let told = |d: &Detailed| -> Vec<(u32, u8, u8)> {
            let all = d.labels.iter().flatten();
            all.map(|l| (l.label.get(), l.rest, l.protocol)).collect()
        };
        assert_eq!(told(&d), [(100, 0, 3), (200, 1, 2)]);
        let d = first(1500, "10.0.0.2".parse().unwrap(), &labels, &fecs[..1]);
        assert_eq!(told(&d), [(100, 0, 0), (200, 1, 0)], "whose is not known");
        let d = first(1500, "10.0.0.2".parse().unwrap(), &[], &fecs[..1]);
        assert_eq!(told(&d), [(3, 1, 3)]);
    }

    #[test]
    fn numbers_and_destinations_have_bounds() {
        assert_eq!(number("count", 0, 5, (1, 9)), Ok(5));
        assert_eq!(number("count", 9, 5, (1, 9)), Ok(9));
        let e = number("count", 10, 5, (1, 9)).unwrap_err();
        assert_eq!(e.0, "count 10 is not within 1 and 9");
        assert_eq!(destination(""), Ok(Ipv4Addr::LOCALHOST));
        assert_eq!(destination("127.9.9.9"), Ok(Ipv4Addr::new(127, 9, 9, 9)));
        for wrong in ["128.0.0.1", "::1", "x"] {
            assert!(destination(wrong).is_err(), "{wrong}");
        }
    }
}
