//! Two OPENs, and what they agree on. Read RFC 4271 4.2 and 6.2, RFC 5492, RFC 4760 8, RFC 6286 2.2, RFC 8654 4, RFC 7911 4,
//! RFC 8950 4, RFC 8277 2.1, RFC 9234 4.2, RFC 4724 3, RFC 9494 3.

use std::time::Duration;

use super::MAX_LABELS;
use super::config::{PeerAs, RoleConfig, SessionConfig};
use crate::types::{Asn, Family, FamilySet, Relation, Role, RouterId};
use crate::wire::{
    Capabilities, Context, GracefulRestart, LongLived, Notification, Open, open_error,
};

/// What both ends agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// How UPDATEs are read and written.
    pub context: Context,
    /// Our AS, as we said it is.
    pub local_as: Asn,
    /// Our identifier.
    pub router_id: RouterId,
    /// The neighbour's AS.
    pub peer_as: Asn,
    /// Its identifier.
    pub peer_id: RouterId,
    /// The smaller of the two hold times; zero: neither side sends KEEPALIVEs.
    pub hold_time: Duration,
    /// Between KEEPALIVEs: a third of it.
    pub keepalive: Duration,
    /// It takes ROUTE-REFRESH.
    pub refresh: bool,
    /// Both mark where a refresh begins and ends (RFC 7313).
    pub enhanced_refresh: bool,
    /// Its role, if it says one.
    pub role: Option<Role>,
    /// What it wants kept while it restarts; `None`: it, or we, know nothing of that.
    pub graceful: Option<PeerGraceful>,
    /// Everything it says it can do, for who shows it.
    pub offered: Capabilities,
}

/// Graceful restart as the neighbour offers it, cut down to the families of the session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerGraceful {
    /// It has restarted, and waits for our routes before it chooses (the R bit).
    pub restarting: bool,
    /// NOTIFICATIONs and expired hold timers leave routes alone too: both sides offer RFC 8538.
    pub notification: bool,
    /// How long it takes to come back.
    pub restart_time: Duration,
    /// Families whose routes are to be kept meanwhile.
    pub families: FamilySet,
    /// Those that it went on forwarding by, when it is back.
    pub forwarding: FamilySet,
    /// Families whose routes may stay as a last resort after that, and how long (RFC 9494): both sides offer it.
    pub long_lived: Vec<LongLived>,
}

/// An OPEN that is refused: what to send, and what to tell the operator.
pub(super) type Refusal = (Notification, String);

/// What the operator's side of a restart has to say in an OPEN (RFC 4724 3: the R and F bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restarting {
    /// We have restarted and not chosen routes yet.
    pub restarting: bool,
    /// Families whose forwarding state was kept.
    pub forwarding: FamilySet,
}

/// Our OPEN.
pub(super) fn open(config: &SessionConfig, restarting: Restarting, bare: bool) -> Open {
    let capabilities = if bare || !config.offer.capabilities {
        Capabilities::default()
    } else {
        capabilities(config, restarting)
    };
    Open {
        asn: config.local_as,
        hold_time: u16::try_from(config.hold_time.as_secs()).unwrap_or(u16::MAX),
        id: config.router_id,
        capabilities,
    }
}

fn capabilities(config: &SessionConfig, restarting: Restarting) -> Capabilities {
    let some = |want: fn(&super::FamilyConfig) -> bool| -> FamilySet {
        let wanted = config.families.iter().filter(|f| want(f));
        wanted.map(|f| f.family).collect()
    };
    let external = config.peer_as != PeerAs::Is(config.local_as);
    let long_lived = config.graceful.map(|_| {
        let long = config.families.iter().filter(|f| !f.long_lived.is_zero());
        let long = long.map(|f| LongLived {
            family: f.family,
            forwarding: restarting.forwarding.contains(f.family),
            time: u32::try_from(f.long_lived.as_secs()).unwrap_or(u32::MAX),
        });
        long.collect::<Vec<_>>()
    });
    Capabilities {
        families: some(|_| true),
        route_refresh: config.offer.refresh,
        enhanced_refresh: config.offer.refresh && config.offer.enhanced_refresh,
        ext_next_hop: some(|f| f.extended_next_hop && f.family.code().0 == 1),
        multiple_labels: some(|f| f.family.is_labeled())
            .iter()
            .map(|f| (f, MAX_LABELS))
            .collect(),
        extended_message: config.offer.extended_messages,
        role: config
            .role
            .filter(|_| external && !config.confederation)
            .map(|r| r.role),
        graceful_restart: config.graceful.map(|g| GracefulRestart {
            restarting: restarting.restarting,
            notification: g.notification,
            time: u16::try_from(g.restart_time.as_secs()).unwrap_or(u16::MAX),
            families: if g.helper_only {
                FamilySet::EMPTY
            } else {
                some(|f| f.graceful)
            },
            forwarding: if g.helper_only {
                FamilySet::EMPTY
            } else {
                some(|f| f.graceful).intersection(restarting.forwarding)
            },
        }),
        as4: config.offer.as4.then_some(config.local_as),
        add_path_receive: some(|f| f.add_path_receive),
        add_path_send: some(|f| f.add_path_send > 0),
        long_lived: long_lived.filter(|l| !l.is_empty()),
        ..Capabilities::default()
    }
}

/// What our OPEN (`ours`) and the neighbour's agree on.
pub(super) fn agree(
    config: &SessionConfig,
    ours: &Open,
    theirs: Open,
) -> Result<Negotiated, Refusal> {
    let relation = relation(config, &theirs)?;
    let role = role(config, relation, &theirs)?;
    let (us, them) = (&ours.capabilities, &theirs.capabilities);
    let families = us.families_meant().intersection(them.families_meant());
    if families.is_empty() {
        return Err(no_family(us, them));
    }
    let both =
        |a: FamilySet, b: FamilySet| -> FamilySet { a.intersection(b).intersection(families) };
    let hold_time = Duration::from_secs(ours.hold_time.min(theirs.hold_time).into());
    let external = relation == Relation::External;
    let context = Context {
        as4: us.as4.is_some() && them.as4.is_some(),
        extended_message: us.extended_message && them.extended_message,
        add_path_receive: both(us.add_path_receive, them.add_path_send),
        add_path_send: both(us.add_path_send, them.add_path_receive),
        ext_next_hop: both(us.ext_next_hop, them.ext_next_hop),
        multiple_labels: both(several_labels(us), several_labels(them)),
        first_as: (external && config.enforce_first_as).then_some(theirs.asn),
        as_sets: config.as_sets,
        prefix_sid: config.prefix_sid.unwrap_or(!external),
        ..Context::new(relation, families)
    };
    Ok(Negotiated {
        context,
        local_as: config.local_as,
        router_id: config.router_id,
        peer_as: theirs.asn,
        peer_id: theirs.id,
        hold_time,
        keepalive: hold_time / 3,
        refresh: them.route_refresh,
        enhanced_refresh: us.enhanced_refresh && them.enhanced_refresh,
        role,
        graceful: graceful(us, them, families),
        offered: theirs.capabilities,
    })
}

/// Families of which more than one label is taken, RFC 8277 2.1.
fn several_labels(c: &Capabilities) -> FamilySet {
    c.multiple_labels.iter().map(|(f, _)| *f).collect()
}

fn relation(config: &SessionConfig, theirs: &Open) -> Result<Relation, Refusal> {
    let same = theirs.asn == config.local_as;
    let wrong = match config.peer_as {
        PeerAs::Is(a) if a != theirs.asn => Some(format!(
            "peer is in AS {}, and {a} is configured: correct the one or the other",
            theirs.asn
        )),
        PeerAs::External if same => Some(format!(
            "peer is in our own AS {}, and only others are configured to come here",
            theirs.asn
        )),
        _ => None,
    };
    if let Some(why) = wrong {
        return Err((Notification::open(open_error::BAD_PEER_AS, &[]), why));
    }
    // RFC 6286 2.2: identifiers are unique within an AS, and a confederation is one to the world.
    if theirs.id == config.router_id && (same || config.confederation) {
        let why = format!(
            "peer has our own BGP identifier {}: one of the two needs another router-id",
            theirs.id
        );
        return Err((Notification::open(open_error::BAD_IDENTIFIER, &[]), why));
    }
    Ok(if same {
        Relation::Internal
    } else if config.confederation {
        Relation::Confederation
    } else {
        Relation::External
    })
}

/// RFC 9234 4.2.
fn role(
    config: &SessionConfig,
    relation: Relation,
    theirs: &Open,
) -> Result<Option<Role>, Refusal> {
    if relation != Relation::External {
        return Ok(None);
    }
    let mismatch = |why: String| Err((Notification::open(open_error::ROLE_MISMATCH, &[]), why));
    match (config.role, theirs.capabilities.role) {
        (Some(RoleConfig { role, .. }), Some(said)) if said != role.counterpart() => {
            mismatch(format!(
                "peer says its role is {}, and ours is {}, which goes with {}: correct the one or the other",
                said.name(),
                role.name(),
                role.counterpart().name()
            ))
        }
        (Some(RoleConfig { strict: true, .. }), None) => mismatch(
            "peer says no role (RFC 9234), and role-strict asks for one: configure its role there, or drop role-strict"
                .to_owned(),
        ),
        (_, said) => Ok(said),
    }
}

/// RFC 5492 5: Unsupported Capability, with those that would have been needed.
fn no_family(us: &Capabilities, them: &Capabilities) -> Refusal {
    let names = |set: FamilySet| {
        let names: Vec<_> = set.iter().map(Family::name).collect();
        if names.is_empty() {
            "none that is known here".to_owned()
        } else {
            names.join(", ")
        }
    };
    let needed = us.families_meant();
    let data: Vec<u8> = needed
        .iter()
        .flat_map(|f| {
            let (afi, safi) = f.code();
            let [a0, a1] = afi.to_be_bytes();
            [1, 4, a0, a1, 0, safi]
        })
        .collect();
    let why = format!(
        "no family in common: peer has {}, we have {}",
        names(them.families_meant()),
        names(needed)
    );
    (
        Notification::open(open_error::UNSUPPORTED_CAPABILITY, &data),
        why,
    )
}

fn graceful(us: &Capabilities, them: &Capabilities, families: FamilySet) -> Option<PeerGraceful> {
    let (ours, theirs) = (us.graceful_restart?, them.graceful_restart?);
    let ours_long = us.long_lived.as_deref().unwrap_or_default();
    let theirs_long = them.long_lived.as_deref().unwrap_or_default();
    let long_lived = families.iter().filter_map(|f| {
        ours_long.iter().find(|l| l.family == f)?;
        let found = theirs_long.iter().find(|l| l.family == f);
        found.filter(|l| l.time > 0).copied()
    });
    Some(PeerGraceful {
        restarting: theirs.restarting,
        notification: ours.notification && theirs.notification,
        restart_time: Duration::from_secs(theirs.time.into()),
        families: theirs.families.intersection(families),
        forwarding: theirs.forwarding.intersection(families),
        long_lived: long_lived.collect(),
    })
}
