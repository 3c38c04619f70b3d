//! What a policy would do with a route, rule by rule, without anything happening.
//!
//! The route is one that a neighbour has sent, or the best one of the table, or none at all; then attributes as they are given take the
//! place of what it has. Left out: what a session itself does on the way (RFC 4271 5.1), which `bgp route advertised` shows.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::{Duration, Instant};

use bgp::attrs::{
    AttrBuf, Community, ExtCommunity, LargeCommunity, Origin, SegmentKind, code, flag,
};
use bgp::policy::{Action, Input, NextHopRule, Peer, Policy, Protocol, Step, What};
use bgp::rib::Staleness;
use bgp::rpki::{Validity, route_origin};
use bgp::session::PeerAs;
use bgp::speaker::{PathView, PeerKey, PeerView, Side, Speaker, Wanted};
use bgp::types::{Asn, Family, NextHop, Relation, VrfNo};
use ipnet::IpNet;
use net::VrfId;

use super::Driver;
use super::show::{NOT_SPOKEN, key, route, unknown};
use crate::config::Valid;
use crate::request::Refused;

impl Driver {
    /// The import policy of a neighbour, if it has one.
    pub(crate) fn import_policy(&mut self, neighbor: &str, now: Instant) -> Option<String> {
        let view = self.speaker.as_mut()?.neighbor(&key(neighbor), now)?;
        Some(view.config.import.as_ref()?.name().to_owned())
    }

    /// Tries a policy.
    ///
    /// # Errors
    /// What of the question can't be understood, or is not there.
    pub(crate) fn try_policy(
        &mut self,
        q: &api::BgpPolicyQuery,
        valid: &Valid,
        now: Instant,
    ) -> Result<api::BgpPolicyTest, Refused> {
        self.try_policy_in(VrfId::GLOBAL, q, valid, now)
    }

    /// The same; the best route is that of a VRF.
    ///
    /// # Errors
    /// As [`Driver::try_policy`].
    pub(crate) fn try_policy_in(
        &mut self,
        vrf: VrfId,
        q: &api::BgpPolicyQuery,
        valid: &Valid,
        now: Instant,
    ) -> Result<api::BgpPolicyTest, Refused> {
        let policy = valid
            .policy(&q.policy)
            .ok_or_else(|| no_policy(&q.policy, valid))?;
        let net = api::grammar::prefix(&q.prefix).map_err(|e| Refused(e.0))?;
        let mut notes = Vec::new();
        let mut before = start(self.speaker.as_mut(), (q, VrfNo(vrf.0)), net, now)?;
        if let Some(refusal) = before.refusal {
            notes.push(format!("no policy gets to see it: {refusal}"));
        }
        attributes(q, &mut before.attrs)?;
        let name = match (q.neighbor.as_str(), &before.from) {
            ("", Some(from)) if !q.export => from.to_string(),
            (name, _) => name.to_owned(),
        };
        let ours = self.told.as_ref().map_or(0, |b| b.speaker.asn);
        let view =
            |speaker: Option<&mut Speaker>, name: &str| -> Result<Option<PeerView>, Refused> {
                if name.is_empty() {
                    return Ok(None);
                }
                let speaker = speaker.ok_or(NOT_SPOKEN)?;
                let found = speaker.neighbor(&key(name), now);
                found.map(Some).ok_or_else(|| unknown(name))
            };
        let peer = view(self.speaker.as_mut(), &name)?;
        let from = match &before.from {
            Some(k) if q.export => view(self.speaker.as_mut(), &k.to_string())?,
            _ => None,
        };
        before.rpki = match (q.rpki.as_str(), self.speaker.as_mut()) {
            ("", Some(speaker)) => {
                let origin = route_origin(before.attrs.view().as_path(), Asn(ours));
                speaker.roas().validate(&net, origin)
            }
            ("", None) => Validity::NotFound,
            (text, _) => validity(text)?,
        };
        notes.extend(missing(&policy, q, peer.is_none()));
        let input = Input {
            family: family(net),
            prefix: Some(net),
            view: before.attrs.view(),
            peer: face(peer.as_ref(), Asn(ours)),
            protocol: protocol(&q.protocol)?,
            from: from.as_ref().map(|v| face(Some(v), Asn(ours))),
            rpki: before.rpki,
            igp_metric: q.metric,
        };
        let mut edited = AttrBuf::new();
        let (outcome, trace) = policy.explain(&input, &mut edited);
        let after = outcome.accept.then(|| {
            let attrs = match outcome.changed {
                true => edited,
                false => before.attrs.clone(),
            };
            let after = PathView {
                attrs,
                ..before.clone()
            };
            route(&after, family(net))
        });
        Ok(api::BgpPolicyTest {
            policy: policy.name().to_owned(),
            accepted: outcome.accept,
            changed: outcome.changed,
            steps: trace.steps.iter().map(step).collect(),
            before: Some(route(&before, family(net))),
            after,
            next_hop_by: match outcome.next_hop {
                NextHopRule::Session => "session",
                NextHopRule::Own => "self",
                NextHopRule::Unchanged => "unchanged",
                NextHopRule::Given => "given",
            }
            .into(),
            notes,
        })
    }
}

fn no_policy(name: &str, valid: &Valid) -> Refused {
    let names: Vec<&str> = valid.policy.names().collect();
    match api::grammar::nearest(name, &names) {
        Some(near) => format!("no policy is called {name:?}; did you mean {near:?}?"),
        None => format!(
            "no policy is called {name:?}; there are {}",
            names.join(", ")
        ),
    }
    .into()
}

fn family(net: IpNet) -> Family {
    match net {
        IpNet::V4(_) => Family::Ipv4Unicast,
        IpNet::V6(_) => Family::Ipv6Unicast,
    }
}

/// The route that it begins with.
fn start(
    speaker: Option<&mut Speaker>,
    (q, vrf): (&api::BgpPolicyQuery, VrfNo),
    net: IpNet,
    now: Instant,
) -> Result<PathView, Refused> {
    if q.received.is_empty() && !q.best {
        return Ok(PathView {
            net,
            rd: None,
            from: None,
            address: None,
            leaked_from: None,
            local_label: None,
            backup: false,
            path_id: 0,
            attrs: empty(),
            age: Duration::ZERO,
            stale: Staleness::Fresh,
            rpki: Validity::NotFound,
            best: false,
            fate: None,
            refusal: None,
        });
    }
    if !q.received.is_empty() && q.best {
        return Err("\"received\" or \"best\": one of them".into());
    }
    let speaker = speaker.ok_or(NOT_SPOKEN)?;
    let side = match q.received.as_str() {
        "" => Side::Table,
        name => Side::Received(key(name)),
    };
    let wanted = Wanted::Exactly(net);
    let page = speaker.routes_in(vrf, family(net), &wanted, &side, None, now);
    let page = page.ok_or_else(|| unknown(&q.received))?;
    let mut found = page.paths.into_iter();
    match q.received.as_str() {
        "" => found
            .find(|p| p.best)
            .ok_or_else(|| format!("there is no best route to {net}; `trunkctl bgp route {net}` shows what there is").into()),
        name => found
            .next()
            .ok_or_else(|| format!("{name} has sent no route to {net}; `trunkctl bgp route received {name}` shows what it has sent").into()),
    }
}

/// The attributes of a route of which nothing is said.
fn empty() -> AttrBuf {
    let mut buf = AttrBuf::new();
    buf.set_origin(Origin::Igp);
    buf.set_as_path([]);
    buf
}

/// Puts what is given in the place of what the route has.
fn attributes(q: &api::BgpPolicyQuery, buf: &mut AttrBuf) -> Result<(), Refused> {
    if !q.next_hop.is_empty() {
        let hop = match q.next_hop.parse::<IpAddr>() {
            Ok(IpAddr::V4(a)) => NextHop::V4(a),
            Ok(IpAddr::V6(a)) => NextHop::V6(a),
            Err(_) => return Err(format!("next-hop {:?} is not an address", q.next_hop).into()),
        };
        buf.next_hop = Some(hop);
    }
    match q.origin.as_str() {
        "" => {}
        "igp" => buf.set_origin(Origin::Igp),
        "egp" => buf.set_origin(Origin::Egp),
        "incomplete" => buf.set_origin(Origin::Incomplete),
        other => {
            return Err(format!("origin {other:?} is not igp, egp or incomplete").into());
        }
    }
    if let Some(text) = &q.as_path {
        path(text, buf)?;
    }
    if let Some(n) = q.local_pref {
        buf.set_local_pref(n);
    }
    if let Some(n) = q.med {
        buf.set_med(n);
    }
    let octets = items::<Community, _>(&q.communities, |c| c.0.to_be_bytes())?;
    put(buf, code::COMMUNITIES, &octets);
    let octets = items::<ExtCommunity, _>(&q.ext_communities, |c| c.0)?;
    put(buf, code::EXT_COMMUNITIES, &octets);
    let octets = items::<LargeCommunity, _>(&q.large_communities, LargeCommunity::octets)?;
    put(buf, code::LARGE_COMMUNITIES, &octets);
    Ok(())
}

fn put(buf: &mut AttrBuf, code: u8, octets: &[u8]) {
    if !octets.is_empty() {
        buf.set(flag::OPTIONAL | flag::TRANSITIVE, code, octets);
    }
}

/// An AS path: numbers, and sets of them in braces.
fn path(text: &str, buf: &mut AttrBuf) -> Result<(), Refused> {
    let wrong = |word: &str| {
        Refused(format!(
            "as-path: {word:?} is not an AS number; write \"64500 64510\", a set as {{64501,64502}}"
        ))
    };
    let mut segments: Vec<(SegmentKind, Vec<Asn>)> = Vec::new();
    for word in text.split_whitespace() {
        let set = word.strip_prefix('{').and_then(|w| w.strip_suffix('}'));
        let kind = match set {
            Some(_) => SegmentKind::Set,
            None => SegmentKind::Sequence,
        };
        let numbers = set.unwrap_or(word).split(',');
        let numbers: Result<Vec<Asn>, Refused> = numbers
            .map(|n| n.parse().map(Asn).map_err(|_| wrong(word)))
            .collect();
        let numbers = numbers?;
        match segments.last_mut() {
            Some((SegmentKind::Sequence, all)) if kind == SegmentKind::Sequence => {
                all.extend(numbers);
            }
            _ => segments.push((kind, numbers)),
        }
    }
    if segments.iter().any(|(_, all)| all.len() > 255) {
        return Err("as-path: more than 255 numbers in a row".into());
    }
    buf.set_as_path(segments.iter().map(|(kind, all)| (*kind, &all[..])));
    Ok(())
}

/// Communities of one kind, as on the wire.
fn items<C, const N: usize>(
    texts: &[String],
    octets: impl Fn(C) -> [u8; N],
) -> Result<Vec<u8>, Refused>
where
    C: FromStr,
    C::Err: std::fmt::Display,
{
    let mut out = Vec::new();
    for text in texts {
        let c: C = text.parse().map_err(|e: C::Err| Refused(e.to_string()))?;
        out.extend(octets(c));
    }
    Ok(out)
}

fn validity(text: &str) -> Result<Validity, Refused> {
    let all = [Validity::Valid, Validity::Invalid, Validity::NotFound];
    let found = all.into_iter().find(|v| v.name() == text);
    found.ok_or_else(|| format!("rpki {text:?} is not valid, invalid or not-found").into())
}

fn protocol(text: &str) -> Result<Protocol, Refused> {
    let all = [Protocol::Bgp, Protocol::Connected, Protocol::Static];
    match text {
        "" => Ok(Protocol::Bgp),
        text => all
            .into_iter()
            .find(|p| p.name() == text)
            .ok_or_else(|| format!("protocol {text:?} is not bgp, connected or static").into()),
    }
}

/// A neighbour as policies see it. `None`: one of which nothing is known.
fn face(v: Option<&PeerView>, ours: Asn) -> Peer<'_> {
    let Some(v) = v else {
        return Peer {
            address: Ipv4Addr::UNSPECIFIED.into(),
            asn: Asn(0),
            local_as: ours,
            relation: Relation::External,
            group: None,
        };
    };
    let session = &v.config.session;
    let named = match &v.key {
        PeerKey::Address(a, _) => Some(*a),
        PeerKey::Interface(_) => None,
    };
    let far = v.ends.as_ref().map(|e| e.remote.ip());
    let asn = match (v.asn, session.peer_as) {
        (Some(asn), _) | (None, PeerAs::Is(asn)) => asn,
        (None, PeerAs::External | PeerAs::Any) => Asn(0),
    };
    let configured = match (session.confederation, asn == session.local_as) {
        (true, _) => Relation::Confederation,
        (false, true) => Relation::Internal,
        (false, false) => Relation::External,
    };
    let agreed = v.agreed.as_deref();
    Peer {
        address: named.or(far).unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
        asn,
        local_as: agreed.map_or(session.local_as, |a| a.local_as),
        relation: agreed.map_or(configured, |a| a.context.relation),
        group: v.config.group.as_deref(),
    }
}

/// What the policy asks about, and the question does not say.
fn missing(policy: &Policy, q: &api::BgpPolicyQuery, nobody: bool) -> Vec<String> {
    let asks = policy.depends();
    let mut out = Vec::new();
    if asks.peer && nobody {
        out.push("the policy asks about the neighbour, and none is given: neighbor ADDRESS".into());
    }
    if asks.igp_metric && q.metric.is_none() {
        out.push(
            "the policy asks about the metric to the next hop, and none is given: metric NUMBER"
                .into(),
        );
    }
    out
}

fn step(s: &Step) -> api::BgpPolicyStep {
    let mut out = api::BgpPolicyStep {
        depth: s.depth as u32,
        policy: s.policy.clone(),
        rule: s.rule as u32,
        name: s.name.clone().unwrap_or_default(),
        text: s.to_string(),
        ..api::BgpPolicyStep::default()
    };
    match &s.what {
        What::Skipped {
            condition,
            unless,
            found,
        } => {
            out.what = "skipped".into();
            out.condition.clone_from(condition);
            out.unless = *unless;
            out.found.clone_from(found);
        }
        What::Called(policy) => {
            out.what = "called".into();
            out.called.clone_from(policy);
        }
        What::Applied { set, action } => {
            out.what = "applied".into();
            out.set.clone_from(set);
            out.action = action.name().into();
        }
        What::Default(accept) => {
            out.what = "default".into();
            out.rule = 0;
            let action = if *accept {
                Action::Accept
            } else {
                Action::Reject
            };
            out.action = action.name().into();
        }
    }
    out
}
