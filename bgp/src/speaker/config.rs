//! What a speaker is told. Left out: what belongs to sockets (keys, TTLs, source addresses), which is with who opens them.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::local::Local;
use crate::attrs::ExtCommunity;
use crate::policy::Policy;
use crate::rib::Options;
use crate::session::SessionConfig;
use crate::types::{Asn, VrfNo};

/// How a neighbour is named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerKey {
    /// By its address; with the interface if that is link-local.
    Address(IpAddr, Option<String>),
    /// Whoever is at the other end of a link, over link-local addresses.
    Interface(String),
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(a, None) => a.fmt(f),
            Self::Address(a, Some(dev)) => write!(f, "{a}%{dev}"),
            Self::Interface(name) => f.write_str(name),
        }
    }
}

/// What is told of a neighbour.
#[derive(Clone, Debug)]
pub struct Neighbor {
    /// Of its session.
    pub session: SessionConfig,
    /// Administratively down, with a text for the neighbour (RFC 9003).
    pub shutdown: Option<String>,
    /// What is done with routes that come. `None`: all are taken from within the AS, none from without (RFC 8212).
    pub import: Option<Arc<Policy>>,
    /// What is done with routes that go, likewise.
    pub export: Option<Arc<Policy>>,
    /// The peer group that it is in, as policies name it.
    pub group: Option<Arc<str>>,
    /// Routes are reflected to and from it (RFC 4456).
    pub client: bool,
    /// We are a route server to it (RFC 7947).
    pub route_server_client: bool,
    /// Our address is the next hop of all that is sent.
    pub next_hop_self: bool,
    /// The AS number that it knows us by, if that is not ours.
    pub local_as: Option<Asn>,
    /// Our own AS number may stand in a path so often.
    pub allow_own_as: u8,
    /// Its AS number in paths becomes ours.
    pub as_override: bool,
    /// The VRF that it is in.
    pub vrf: VrfNo,
    /// The site that its routes are of (RFC 4364 7): they don't go back there.
    pub site: Option<ExtCommunity>,
    /// Private AS numbers are taken out of paths.
    pub remove_private: bool,
    /// It is told of the best external route even while an internal one is better.
    pub best_external: bool,
    /// It is sent a default route, whether there is one or not.
    pub default_originate: bool,
}

impl Neighbor {
    /// A neighbour with that session and nothing special.
    #[must_use]
    pub fn new(session: SessionConfig) -> Self {
        Self {
            session,
            shutdown: None,
            import: None,
            export: None,
            group: None,
            client: false,
            route_server_client: false,
            next_hop_self: false,
            local_as: None,
            allow_own_as: 0,
            as_override: false,
            vrf: VrfNo::GLOBAL,
            site: None,
            remove_private: false,
            best_external: false,
            default_originate: false,
        }
    }
}

/// Neighbours that are known when they connect.
#[derive(Clone, Debug)]
pub struct Dynamic {
    /// Who has an address in it may.
    pub prefix: IpNet,
    /// What is told of each.
    pub neighbor: Arc<Neighbor>,
    /// At most so many at once.
    pub limit: usize,
}

/// What a speaker is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who it is.
    pub local: Local,
    /// How it chooses.
    pub options: Options,
    /// Its neighbours.
    pub neighbors: Vec<(PeerKey, Arc<Neighbor>)>,
    /// Those that come by themselves.
    pub dynamic: Vec<Dynamic>,
}
