//! `config.json` of a case: what is left out is plain.

use std::net::Ipv4Addr;
use std::time::Duration;

use bgp::session::{
    FamilyConfig, GracefulConfig, MaxPrefixes, Offer, PeerAs, Restarting, RoleConfig, SessionConfig,
};
use bgp::types::{Asn, Family, Role, RouterId};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    local_as: u32,
    router_id: Ipv4Addr,
    /// A number, `external` or `any`.
    peer_as: serde_json::Value,
    confederation: bool,
    families: Vec<FamilyJson>,
    hold_time: u64,
    connect_retry: u64,
    delay_open: u64,
    passive: bool,
    idle_hold: [u64; 2],
    collide_established: bool,
    role: Option<String>,
    role_strict: bool,
    graceful: Option<GracefulJson>,
    /// Capabilities that are not offered: `capabilities`, `as4`, `refresh`, `enhanced-refresh`, `extended-messages`.
    without: Vec<String>,
    enforce_first_as: bool,
    as_sets: bool,
    prefix_sid: Option<bool>,
    send_hold: Option<u64>,
    /// We have restarted.
    restarting: bool,
    forwarding: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            local_as: 64512,
            router_id: Ipv4Addr::new(192, 0, 2, 1),
            peer_as: 64513.into(),
            confederation: false,
            families: vec![FamilyJson {
                family: "ipv4-unicast".into(),
                ..FamilyJson::default()
            }],
            hold_time: 90,
            connect_retry: 10,
            delay_open: 0,
            passive: false,
            idle_hold: [1, 8],
            collide_established: false,
            role: None,
            role_strict: false,
            graceful: None,
            without: Vec::new(),
            enforce_first_as: true,
            as_sets: false,
            prefix_sid: None,
            send_hold: None,
            restarting: false,
            forwarding: Vec::new(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FamilyJson {
    family: String,
    add_path_receive: bool,
    add_path_send: u16,
    extended_next_hop: bool,
    not_graceful: bool,
    long_lived: u64,
    max_prefixes: Option<MaxJson>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MaxJson {
    limit: u32,
    #[serde(default)]
    warn_percent: u8,
    #[serde(default)]
    restart: Option<u64>,
    #[serde(default)]
    warn_only: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GracefulJson {
    restart_time: u64,
    #[serde(default)]
    notification: bool,
    #[serde(default)]
    helper_only: bool,
}

fn family(name: &str) -> Family {
    name.parse().unwrap_or_else(|e| panic!("{e}"))
}

impl FamilyJson {
    fn real(&self) -> FamilyConfig {
        FamilyConfig {
            add_path_receive: self.add_path_receive,
            add_path_send: self.add_path_send,
            max_prefixes: self.max_prefixes.as_ref().map(|m| MaxPrefixes {
                limit: m.limit,
                warn_percent: m.warn_percent,
                restart: m.restart.map(Duration::from_secs),
                warn_only: m.warn_only,
            }),
            extended_next_hop: self.extended_next_hop,
            graceful: !self.not_graceful,
            long_lived: Duration::from_secs(self.long_lived),
            ..FamilyConfig::new(family(&self.family))
        }
    }
}

impl Config {
    pub(crate) fn restarting(&self) -> Restarting {
        Restarting {
            restarting: self.restarting,
            forwarding: self.forwarding.iter().map(|f| family(f)).collect(),
        }
    }

    pub(crate) fn real(&self) -> SessionConfig {
        let peer_as = match self.peer_as.as_str() {
            Some("external") => PeerAs::External,
            Some("any") => PeerAs::Any,
            _ => {
                let n = self.peer_as.as_u64().expect("peer_as");
                PeerAs::Is(Asn(u32::try_from(n).unwrap()))
            }
        };
        let id = RouterId::new(self.router_id).expect("router_id");
        let offered = |what: &str| !self.without.iter().any(|w| w == what);
        let known = [
            "capabilities",
            "as4",
            "refresh",
            "enhanced-refresh",
            "extended-messages",
        ];
        assert!(self.without.iter().all(|w| known.contains(&&**w)));
        let config = SessionConfig {
            confederation: self.confederation,
            families: self.families.iter().map(FamilyJson::real).collect(),
            hold_time: Duration::from_secs(self.hold_time),
            connect_retry: Duration::from_secs(self.connect_retry),
            delay_open: Duration::from_secs(self.delay_open),
            passive: self.passive,
            idle_hold_min: Duration::from_secs(self.idle_hold[0]),
            idle_hold_max: Duration::from_secs(self.idle_hold[1]),
            collide_established: self.collide_established,
            role: self.role.as_ref().map(|name| RoleConfig {
                role: (0..5)
                    .filter_map(Role::new)
                    .find(|r| r.name() == name)
                    .unwrap_or_else(|| panic!("no role {name}")),
                strict: self.role_strict,
            }),
            graceful: self.graceful.as_ref().map(|g| GracefulConfig {
                restart_time: Duration::from_secs(g.restart_time),
                notification: g.notification,
                helper_only: g.helper_only,
                ..GracefulConfig::default()
            }),
            offer: Offer {
                capabilities: offered("capabilities"),
                as4: offered("as4"),
                refresh: offered("refresh"),
                enhanced_refresh: offered("enhanced-refresh"),
                extended_messages: offered("extended-messages"),
            },
            enforce_first_as: self.enforce_first_as,
            as_sets: self.as_sets,
            prefix_sid: self.prefix_sid,
            send_hold: self.send_hold.map(Duration::from_secs),
            ..SessionConfig::new(Asn(self.local_as), id, peer_as)
        };
        config.check().unwrap_or_else(|e| panic!("{e}"));
        config
    }
}
