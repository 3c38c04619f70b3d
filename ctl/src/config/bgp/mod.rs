//! `[bgp]`, its groups and neighbours.
//!
//! A neighbour is an address, an interface (whoever is at its other end, over link-local addresses), or a prefix whose members may
//! connect. What is not said of it is as in its group, then as [`Settings`] of `[bgp]` itself, then the default that
//! `docs/configuration.md` names. What was said is kept as it was said, so that it can be printed; [`Bgp::settings`] puts it together.
//!
//! Key files are read when the configuration is, and what is in them is printed nowhere.

mod backup;
mod keys;
mod parse;
mod print;
mod settings;
#[cfg(test)]
mod tests;
mod validate;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;

use super::model::Interface;
use super::vrf::VrfName;
pub use backup::Backup;
pub use keys::{AoAlgorithm, AoKey};
pub(super) use parse::{Draft, section};
pub use print::{BgpStep, steps};
pub use settings::Settings;
pub(super) use validate::{Around, validate};
pub use value::{
    AddPath, Confederation, Distance, Families, Graceful, HoldTime, InVrf, MaxPrefix, Med,
    Multipath, Number, OwnLabel, PeerAs, PolicyName, Secret, SecretFile, Shutdown, Site, Text,
};

/// The port that BGP is spoken on, RFC 4271 8.2.1.
pub const PORT: u16 = 179;

/// `[bgp]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bgp {
    /// What holds for the speaker as a whole.
    pub speaker: Speaker,
    /// `[bgp.group.NAME]`
    pub groups: BTreeMap<String, Settings>,
    /// `[bgp.neighbor."…"]`
    pub neighbors: BTreeMap<PeerKey, Neighbor>,
}

/// What `[bgp]` itself says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// Our AS.
    pub asn: u32,
    /// Addresses to listen on; empty: every one of the router's.
    pub listen: Vec<IpAddr>,
    /// The TCP port that is listened on.
    pub port: u16,
    /// False: best routes are not put into the forwarding tables.
    pub install: bool,
    /// Seconds without a message after which a neighbour is given up, unless it is said otherwise of it.
    pub hold_time: Option<HoldTime>,
    /// Seconds between two tries to connect, likewise.
    pub connect_retry: Option<Number<1, 65535>>,
    /// Seconds that neighbours are asked to wait for us to restart (RFC 4724).
    pub restart_time: Option<Number<1, 4095>>,
    /// Seconds for which others are told nothing at most after a restart of ours, while those that waited tell their routes.
    pub restart_deferral: Option<Number<1, 3600>>,
    /// The cluster that we reflect for (RFC 4456); left out: our identifier.
    pub cluster_id: Option<Ipv4Addr>,
    /// RFC 5065.
    pub confederation: Option<Confederation>,
    /// Routes used beside the best.
    pub multipath: Multipath,
    /// Of which routes a second way is kept ready.
    pub backup: Backup,
    /// Seconds after which a label to a next hop that was lost and is back counts in full; until then it is a last resort.
    pub label_delay: u32,
    /// How MULTI_EXIT_DISC is compared.
    pub med: Med,
    /// Among external routes that are alike the oldest wins (RFC 5004), not the lowest identifier (RFC 4271 9.1.2.2 f).
    pub prefer_oldest: bool,
    /// The best external route is told to internal neighbours even while an internal one is better.
    pub best_external: bool,
    /// Administrative distances.
    pub distance: Distance,
    /// A next hop that only the default route leads to is one.
    pub next_hop_by_default: bool,
    /// Prefixes told to all neighbours.
    pub networks: Vec<Network>,
    /// Routes of other sources told to all neighbours.
    pub redistribute: Vec<Redistribute>,
}

/// As long as LDP takes to hear of the other labels of a router that has just come.
const LABEL_DELAY: u32 = 2;

impl Speaker {
    /// A speaker of that AS, all else as by default.
    #[must_use]
    pub fn new(asn: u32) -> Self {
        Self {
            asn,
            listen: Vec::new(),
            port: PORT,
            install: true,
            hold_time: None,
            connect_retry: None,
            restart_time: None,
            restart_deferral: None,
            cluster_id: None,
            confederation: None,
            multipath: Multipath::default(),
            backup: Backup::default(),
            label_delay: LABEL_DELAY,
            med: Med::default(),
            prefer_oldest: false,
            best_external: false,
            distance: Distance::default(),
            next_hop_by_default: false,
            networks: Vec::new(),
            redistribute: Vec::new(),
        }
    }
}

/// An entry of `networks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The prefix.
    pub prefix: IpNet,
    /// What sets its attributes.
    pub policy: Option<PolicyName>,
    /// It is told in the labelled families too, with such a label.
    pub label: Option<OwnLabel>,
    /// Its label index there (RFC 8669).
    pub index: Option<u32>,
}

/// An entry of `redistribute`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redistribute {
    /// Which routes.
    pub source: Origin,
    /// Which of them, and with which attributes; left out: all.
    pub policy: Option<PolicyName>,
    /// They are told in the labelled families too, with such labels.
    pub label: Option<OwnLabel>,
}

/// Where redistributed routes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The subnets of interfaces.
    Connected,
    /// Static routes.
    Static,
}

impl Origin {
    /// As in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Static => "static",
        }
    }
}

/// A neighbour, as `[bgp.neighbor."…"]` names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerKey {
    /// An address; with its interface (`fe80::1%wan0`) if it is link-local, or if it is one that several VRFs have.
    Address(IpAddr, Option<String>),
    /// Whoever has an address in it may connect.
    Prefix(IpNet),
    /// Whoever is at the other end of that link.
    Interface(String),
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(a, None) => a.fmt(f),
            Self::Address(a, Some(dev)) => write!(f, "{a}%{dev}"),
            Self::Prefix(p) => p.fmt(f),
            Self::Interface(name) => f.write_str(name),
        }
    }
}

/// `[bgp.neighbor."…"]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbor {
    /// What is not said here is as in this group.
    pub group: Option<String>,
    /// What is said here.
    pub own: Settings,
}

impl Bgp {
    /// All that holds for a neighbour, its group's and the speaker's words put in where it has none of its own.
    #[must_use]
    pub fn settings(&self, neighbor: &Neighbor) -> Settings {
        let group = neighbor.group.as_ref().and_then(|g| self.groups.get(g));
        let mut all = match group {
            Some(group) => neighbor.own.over(group),
            None => neighbor.own.clone(),
        };
        all.hold_time = all.hold_time.or(self.speaker.hold_time);
        all.connect_retry = all.connect_retry.or(self.speaker.connect_retry);
        all
    }

    /// Is a neighbour of these settings in another AS (or confederation member) than ours?
    #[must_use]
    pub fn is_external(&self, settings: &Settings) -> bool {
        match settings.asn {
            Some(PeerAs::Internal) => false,
            Some(PeerAs::Number(n)) => n != self.speaker.asn,
            Some(PeerAs::External) | None => true,
        }
    }

    /// The VRF that a neighbour is in: that which it names, or that of the interface in its name. `None`: the global table.
    #[must_use]
    pub fn vrf_of(
        &self,
        key: &PeerKey,
        neighbor: &Neighbor,
        interfaces: &BTreeMap<String, Interface>,
    ) -> Option<VrfName> {
        if let Some(InVrf(name)) = self.settings(neighbor).vrf {
            return Some(name);
        }
        match key {
            PeerKey::Address(_, Some(dev)) | PeerKey::Interface(dev) => {
                interfaces.get(dev).and_then(|i| i.vrf.clone())
            }
            PeerKey::Address(_, None) | PeerKey::Prefix(_) => None,
        }
    }

    /// Every file with a key that is named, as written, with what was read from it.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &SecretFile> {
        let neighbors = self.neighbors.values().map(|n| &n.own);
        let all = self.groups.values().chain(neighbors);
        all.flat_map(|s| s.password_file.iter().chain(&s.tcp_ao_file))
    }
}

/// Reads the file of a key of TCP MD5.
///
/// # Errors
/// What is wrong with it; never what is in it.
pub(super) fn md5_key(written: &str, config: &std::path::Path) -> Result<Secret, String> {
    let key = keys::read(written, config)?;
    keys::check_md5(&key, written).map(|()| key)
}

/// Is it the same configuration, shared or not?
pub(super) fn same(a: Option<&Arc<Bgp>>, b: Option<&Arc<Bgp>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
        (None, None) => true,
        _ => false,
    }
}
