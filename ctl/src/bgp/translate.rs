//! From the words of the configuration to those of the speaker and of sockets. The only place that knows both.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bgp::attrs::Srgb;
use bgp::policy::Policy;
use bgp::rib::{Backups, Options};
use bgp::session::{FamilyConfig, GracefulConfig, MaxPrefixes, PeerAs, RoleConfig, SessionConfig};
use bgp::speaker::{self, Confederation, Dynamic, Local, Neighbor};
use bgp::types::{Asn, Family, Relation, Role, RouterId, VrfNo};

use super::net::Wire;
use crate::config::bgp::{self as config, AoKey, Bgp, Graceful, PeerKey, Settings, Shutdown};
use crate::config::labels::Range;
use crate::config::{Valid, VrfName};

/// Neighbours of one prefix at once.
const MOST_DYNAMIC: usize = 1000;
/// Seconds, where nothing is said.
const HOLD_TIME: u16 = 90;
const CONNECT_RETRY: u64 = 10;
pub(super) const RESTART_TIME: u64 = 120;

/// Finds policies by name.
pub(super) type Policies<'a> = &'a dyn Fn(&str) -> Option<Arc<Policy>>;

/// What the speaker is told. `None`: BGP is not spoken.
pub(super) fn speaker(
    valid: &Valid,
    policies: Policies<'_>,
    vrfs: &dyn Fn(&VrfName) -> VrfNo,
) -> Option<speaker::Config> {
    let bgp = valid.bgp.as_deref()?;
    let local = local(valid, bgp)?;
    let s = &bgp.speaker;
    let mut out = speaker::Config {
        options: Options {
            always_compare_med: s.med.always_compare,
            missing_med_is_worst: s.med.missing_as_worst,
            prefer_oldest: s.prefer_oldest,
            paths_external: s.multipath.ebgp,
            paths_internal: s.multipath.ibgp,
            multipath_relax: s.multipath.relaxed,
            backups: Backups {
                unicast: s.backup.unicast,
                labeled: s.backup.labeled,
                vpn: s.backup.vpn,
            },
            ..Options::default()
        },
        neighbors: Vec::new(),
        dynamic: Vec::new(),
        local,
    };
    for (key, neighbor) in &bgp.neighbors {
        let settings = bgp.settings(neighbor);
        let group = neighbor.group.as_deref();
        let mut told = self::neighbor(bgp, &out.local, key, &settings, group, policies);
        let vrf = bgp.vrf_of(key, neighbor, &valid.interfaces);
        // One whose VRF has no number yet has no connection either.
        told.vrf = vrf.map_or(VrfNo::GLOBAL, |name| vrfs(&name));
        let told = Arc::new(told);
        match key {
            PeerKey::Address(a, dev) => {
                let key = speaker::PeerKey::Address(*a, dev.clone());
                out.neighbors.push((key, told));
            }
            PeerKey::Interface(dev) => {
                let key = speaker::PeerKey::Interface(dev.clone());
                out.neighbors.push((key, told));
            }
            PeerKey::Prefix(prefix) => out.dynamic.push(Dynamic {
                prefix: *prefix,
                neighbor: told,
                limit: MOST_DYNAMIC,
            }),
        }
    }
    Some(out)
}

fn local(valid: &Valid, bgp: &Bgp) -> Option<Local> {
    let confederation = bgp.speaker.confederation.as_ref();
    Some(Local {
        asn: Asn(bgp.speaker.asn),
        router_id: RouterId::new(valid.system.router_id?)?,
        cluster_id: bgp.speaker.cluster_id,
        confederation: confederation.map(|c| Confederation {
            id: Asn(c.id),
            members: c.members.iter().copied().map(Asn).collect(),
        }),
    })
}

fn seconds(n: impl Into<u64>) -> Duration {
    Duration::from_secs(n.into())
}

fn neighbor(
    bgp: &Bgp,
    local: &Local,
    key: &PeerKey,
    s: &Settings,
    group: Option<&str>,
    policies: Policies<'_>,
) -> Neighbor {
    let relation = match s.asn {
        Some(config::PeerAs::Internal) => Relation::Internal,
        Some(config::PeerAs::Number(n)) => local.relation(Asn(n)),
        Some(config::PeerAs::External) | None => Relation::External,
    };
    let policy = |name: &Option<config::PolicyName>| name.as_ref().and_then(|n| policies(&n.0));
    Neighbor {
        shutdown: match &s.shutdown {
            Some(Shutdown::Yes(text)) => Some(text.clone()),
            Some(Shutdown::No) | None => None,
        },
        import: policy(&s.import),
        export: policy(&s.export),
        group: group.map(Arc::from),
        client: s.route_reflector_client.unwrap_or(false),
        route_server_client: s.role == Some(Role::RouteServer),
        next_hop_self: s.next_hop_self.unwrap_or(false),
        local_as: s.local_as.map(|n| Asn(n.0)),
        allow_own_as: s
            .allowas_in
            .map_or(0, |n| u8::try_from(n.0).unwrap_or(u8::MAX)),
        as_override: s.as_override.unwrap_or(false),
        site: s.site.map(|site| site.0),
        remove_private: s.remove_private.unwrap_or(false),
        default_originate: s.default_originate.unwrap_or(false),
        best_external: bgp.speaker.best_external,
        ..Neighbor::new(session(bgp, local, key, s, relation))
    }
}

fn session(
    bgp: &Bgp,
    local: &Local,
    key: &PeerKey,
    s: &Settings,
    relation: Relation,
) -> SessionConfig {
    let ours = match (s.local_as, relation) {
        (Some(n), _) => Asn(n.0),
        (None, Relation::External) => local.public(),
        (None, _) => local.asn,
    };
    let peer_as = match s.asn {
        Some(config::PeerAs::Internal) => PeerAs::Is(local.asn),
        Some(config::PeerAs::Number(n)) => PeerAs::Is(Asn(n)),
        Some(config::PeerAs::External) | None => PeerAs::External,
    };
    let graceful = s.graceful_restart.unwrap_or(Graceful::Helper);
    let restart_time = bgp
        .speaker
        .restart_time
        .map_or(RESTART_TIME, |n| n.0.into());
    let mut out = SessionConfig::new(ours, local.router_id, peer_as);
    out.confederation = relation == Relation::Confederation;
    out.families = families(key, s);
    out.hold_time = seconds(s.hold_time.map_or(HOLD_TIME, |h| h.0));
    out.connect_retry = seconds(s.connect_retry.map_or(CONNECT_RETRY, |n| n.0.into()));
    out.delay_open = s.delay_open.map_or(Duration::ZERO, |n| seconds(n.0));
    out.passive = s.passive.unwrap_or(false) || matches!(key, PeerKey::Prefix(_));
    out.role = s.role.map(|role| RoleConfig {
        role,
        strict: s.role_strict.unwrap_or(false),
    });
    out.graceful = (graceful != Graceful::Off).then(|| GracefulConfig {
        restart_time: seconds(restart_time),
        helper_only: graceful == Graceful::Helper,
        ..GracefulConfig::default()
    });
    out.prefix_sid = s.prefix_sid;
    out.offer.extended_messages = s.extended_messages.unwrap_or(true);
    // What a route server hands on begins with the AS that it has it from (RFC 7947 2.2.2.1).
    out.enforce_first_as = s.role != Some(Role::RouteServerClient);
    out
}

fn families(key: &PeerKey, s: &Settings) -> Vec<FamilyConfig> {
    let of = |a: IpAddr| match a {
        IpAddr::V4(_) => vec![Family::Ipv4Unicast],
        IpAddr::V6(_) => vec![Family::Ipv6Unicast],
    };
    let all = match (s.families, key) {
        (Some(families), _) => families.0.iter().collect(),
        (None, PeerKey::Address(a, _)) => of(*a),
        (None, PeerKey::Prefix(p)) => of(p.addr()),
        (None, PeerKey::Interface(_)) => vec![Family::Ipv4Unicast, Family::Ipv6Unicast],
    };
    let over_link = matches!(key, PeerKey::Interface(_));
    let one = |family| {
        let mut out = FamilyConfig::new(family);
        // Of memberships one path says it all.
        if let Some(add_path) = s.add_path.filter(|_| family != Family::RouteTarget) {
            out.add_path_receive = add_path.receive;
            out.add_path_send = match (add_path.send, add_path.max) {
                (false, _) => 0,
                (true, 0) => u16::MAX,
                (true, most) => most.into(),
            };
        }
        out.max_prefixes = s.max_prefix.map(|m| MaxPrefixes {
            limit: m.limit,
            warn_percent: m.warn,
            restart: m.restart.map(seconds),
            warn_only: false,
        });
        out.extended_next_hop =
            family == Family::Ipv4Unicast && s.extended_next_hop.unwrap_or(over_link);
        out.long_lived = s
            .long_lived_stale_time
            .map_or(Duration::ZERO, |n| seconds(n.0));
        out
    };
    all.into_iter().map(one).collect()
}

/// The labels of segments, as the speaker has them.
pub(super) fn srgb(range: Range) -> Srgb {
    Srgb {
        first: range.first.get(),
        size: range.size(),
    }
}

/// What is set on the sockets of a neighbour.
pub(super) fn wire(bgp: &Bgp, s: &Settings, vrf: Option<VrfName>) -> Wire {
    let local_external = bgp.is_external(s);
    let (ttl, least_ttl) = match (s.ttl_security, s.multihop) {
        (Some(hops), _) => (Some(255), u8::try_from(256 - hops.0).ok()),
        (None, Some(hops)) => (u8::try_from(hops.0).ok(), None),
        (None, None) if local_external => (Some(1), None),
        (None, None) => (None, None),
    };
    let ao = s.tcp_ao_file.as_ref();
    // Checked when the configuration was.
    let keys = ao.and_then(|f| AoKey::parse(&f.secret, &f.written).ok());
    Wire {
        md5: s.password_file.as_ref().map(|f| f.secret.clone()),
        ao: keys.unwrap_or_default(),
        ttl,
        least_ttl,
        source: s.source_address,
        port: s.port.map_or(config::PORT, |p| p.0 as u16),
        vrf,
    }
}
