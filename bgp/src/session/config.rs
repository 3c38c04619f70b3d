//! What a session is told before it starts. Read RFC 4271 8.1.1 (the optional session attributes) and 10 (timers).
//!
//! Left out: what belongs to the socket and not to the protocol (addresses, GTSM, TCP MD5 and AO); whoever opens
//! connections has that.

use std::time::Duration;

use crate::types::{Asn, Family, Role, RouterId};

/// Which AS the neighbour may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerAs {
    /// This one.
    Is(Asn),
    /// Any but ours.
    External,
    /// Any.
    Any,
}

/// A limit on the prefixes of one family that a neighbour may send (RFC 4271 8.2.2, RFC 4486 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPrefixes {
    /// One more than this is too many.
    pub limit: u32,
    /// A warning is given when this many of a hundred are used; 0: none.
    pub warn_percent: u8,
    /// The session comes back after so long; `None`: when the operator says.
    pub restart: Option<Duration>,
    /// Only warn, and keep the session.
    pub warn_only: bool,
}

/// One family that is offered to the neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyConfig {
    /// Which.
    pub family: Family,
    /// Several paths for a prefix are taken from it (RFC 7911).
    pub add_path_receive: bool,
    /// Several paths for a prefix are sent to it, at most so many; 0: one, without RFC 7911.
    pub add_path_send: u16,
    /// How many prefixes are taken.
    pub max_prefixes: Option<MaxPrefixes>,
    /// IPv4 routes with IPv6 next hops are taken and sent (RFC 8950).
    pub extended_next_hop: bool,
    /// Named in the graceful restart capability (RFC 4724), if there is one.
    pub graceful: bool,
    /// How long the neighbour shall keep our routes after the restart time (RFC 9494), and that we do so for it;
    /// zero: not offered.
    pub long_lived: Duration,
}

impl FamilyConfig {
    /// Plain: one path, no limit, kept over a graceful restart.
    #[must_use]
    pub const fn new(family: Family) -> Self {
        Self {
            family,
            add_path_receive: false,
            add_path_send: 0,
            max_prefixes: None,
            extended_next_hop: false,
            graceful: true,
            long_lived: Duration::ZERO,
        }
    }
}

/// Graceful restart, RFC 4724.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracefulConfig {
    /// How long the neighbour shall wait for us to come back; at most 4,095 s.
    pub restart_time: Duration,
    /// Over NOTIFICATIONs and an expired hold timer too (RFC 8538).
    pub notification: bool,
    /// Only help: name no family, so that the neighbour keeps nothing of ours.
    pub helper_only: bool,
    /// At most so long is anything of the neighbour's kept, whatever restart time it asks for; and so long it has, once
    /// it is back, to send everything again.
    pub stale_time: Duration,
}

impl Default for GracefulConfig {
    /// 120 s, with RFC 8538, stale routes for at most 360 s.
    fn default() -> Self {
        Self {
            restart_time: Duration::from_secs(120),
            notification: true,
            helper_only: false,
            stale_time: Duration::from_secs(360),
        }
    }
}

/// RFC 9234.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleConfig {
    /// Ours.
    pub role: Role,
    /// A neighbour that says none is refused.
    pub strict: bool,
}

/// Capabilities that an old neighbour may choke on; true: offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Any at all (RFC 5492).
    pub capabilities: bool,
    /// AS numbers of four octets (RFC 6793).
    pub as4: bool,
    /// ROUTE-REFRESH (RFC 2918).
    pub refresh: bool,
    /// Its begin and end marks (RFC 7313).
    pub enhanced_refresh: bool,
    /// Messages of up to 65,535 octets (RFC 8654).
    pub extended_messages: bool,
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            capabilities: true,
            as4: true,
            refresh: true,
            enhanced_refresh: true,
            extended_messages: true,
        }
    }
}

/// Everything a session is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Our AS as this neighbour is to see it: the confederation's for who is outside of it (RFC 5065).
    pub local_as: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
    /// The AS that the neighbour says it is in.
    pub peer_as: PeerAs,
    /// An AS other than ours is a member of our confederation.
    pub confederation: bool,
    /// The families offered; at least one.
    pub families: Vec<FamilyConfig>,
    /// Offered; 0 (no KEEPALIVEs at all), or at least 3 s.
    pub hold_time: Duration,
    /// Between attempts to connect.
    pub connect_retry: Duration,
    /// How long to wait for the neighbour's OPEN before sending ours (RFC 4271 8.1.1); zero: not at all.
    pub delay_open: Duration,
    /// Wait for the neighbour to connect.
    pub passive: bool,
    /// How long to stay Idle after a session was lost: this long after the first time, twice as long after each further one…
    pub idle_hold_min: Duration,
    /// …up to this.
    pub idle_hold_max: Duration,
    /// A connection that collides with an Established one is compared with it, instead of being closed
    /// (CollisionDetectEstablishedState of RFC 4271 8.1.1).
    pub collide_established: bool,
    /// RFC 9234, for neighbours in another AS.
    pub role: Option<RoleConfig>,
    /// RFC 4724; `None`: neither for us nor for the neighbour.
    pub graceful: Option<GracefulConfig>,
    /// What is offered beside all that.
    pub offer: Offer,
    /// An AS_PATH from another AS must begin with the neighbour's (RFC 4271 6.3); not so for a route server's.
    pub enforce_first_as: bool,
    /// AS_SETs are taken, against RFC 9774.
    pub as_sets: bool,
    /// It is of the same SR domain: prefix-SIDs are taken from it, and told to it; `None`: unless it is in another AS
    /// (RFC 8669 4 and 5).
    pub prefix_sid: Option<bool>,
    /// How long a neighbour may read nothing (RFC 9687); `None`: 8 minutes or twice the hold time, what is longer;
    /// zero: for ever.
    pub send_hold: Option<Duration>,
}

impl SessionConfig {
    /// A neighbour with IPv4 and IPv6 unicast, and what is usual: hold time 90 s, graceful restart as a helper and for us.
    #[must_use]
    pub fn new(local_as: Asn, router_id: RouterId, peer_as: PeerAs) -> Self {
        Self {
            local_as,
            router_id,
            peer_as,
            confederation: false,
            families: vec![
                FamilyConfig::new(Family::Ipv4Unicast),
                FamilyConfig::new(Family::Ipv6Unicast),
            ],
            hold_time: Duration::from_secs(90),
            connect_retry: Duration::from_secs(10),
            delay_open: Duration::ZERO,
            passive: false,
            idle_hold_min: Duration::from_secs(1),
            idle_hold_max: Duration::from_secs(60),
            collide_established: false,
            role: None,
            graceful: Some(GracefulConfig::default()),
            offer: Offer::default(),
            enforce_first_as: true,
            as_sets: false,
            prefix_sid: None,
            send_hold: None,
        }
    }

    /// Says what cannot work, and what would.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self) -> Result<(), ConfigError> {
        let hold = self.hold_time.as_secs();
        if !(self.hold_time.is_zero() || (3..=65_535).contains(&hold)) {
            return Err(ConfigError::HoldTime(hold));
        }
        if self.local_as.is_zero() || self.peer_as == PeerAs::Is(Asn(0)) {
            return Err(ConfigError::AsZero);
        }
        if self.families.is_empty() {
            return Err(ConfigError::NoFamily);
        }
        let mut seen = crate::types::FamilySet::EMPTY;
        for f in &self.families {
            if seen.contains(f.family) {
                return Err(ConfigError::Twice(f.family));
            }
            seen.insert(f.family);
            if f.long_lived.as_secs() >= 1 << 24 {
                return Err(ConfigError::LongLived(f.long_lived.as_secs()));
            }
        }
        match self.graceful {
            Some(g) if g.restart_time.as_secs() > 4095 => {
                Err(ConfigError::RestartTime(g.restart_time.as_secs()))
            }
            _ => Ok(()),
        }
    }

    /// What is configured of that family.
    #[must_use]
    pub fn family(&self, family: Family) -> Option<&FamilyConfig> {
        self.families.iter().find(|f| f.family == family)
    }
}

/// A configuration that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// RFC 4271 4.2.
    #[error("a hold time of {0} s cannot be offered: take 0 (no keepalives), or 3 to 65535")]
    HoldTime(u64),
    /// RFC 7607.
    #[error(
        "AS 0 names nobody: take the number that the registry gave, or a private one (64512 to 65534)"
    )]
    AsZero,
    /// There is nothing to talk about.
    #[error("no family is offered: name at least one, such as ipv4-unicast")]
    NoFamily,
    /// A family is named once.
    #[error("{0} is there twice: name it once")]
    Twice(Family),
    /// RFC 4724 3 has twelve bits for it.
    #[error("a restart time of {0} s cannot be offered: take at most 4095")]
    RestartTime(u64),
    /// RFC 9494 3.1 has 24 bits for it.
    #[error("a long-lived stale time of {0} s cannot be offered: take at most 16777215")]
    LongLived(u64),
}
