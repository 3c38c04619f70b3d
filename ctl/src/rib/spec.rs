//! What a route asks for: the words of the configuration, as the RIB keeps them.

use std::net::IpAddr;

use ipnet::IpNet;
use net::{IfaceId, Label, LabelStack, MacAddr, PortId, VrfId};

/// Where a route comes from. The order is the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// An address of the router itself.
    Local,
    /// The prefix of an address of an interface.
    Connected,
    /// LDP: a static route with the labels that its next hops told for it.
    Ldp,
    /// The configuration or `trunkctl route add`.
    Static,
    /// BGP, from a neighbour in another AS, with labels.
    LabeledEbgp,
    /// BGP, from a neighbour in another AS.
    Ebgp,
    /// BGP, from within the AS, with labels.
    LabeledIbgp,
    /// BGP, from within the AS.
    Ibgp,
    /// BGP, with a label that was lost and is just back: only where there is nothing else of BGP's.
    LabeledBack,
    /// A resolved neighbour: shortens the way past the glean of its connected prefix, and never overrides a route.
    Neighbor,
}

impl Source {
    /// Of BGP, be it external or internal?
    #[must_use]
    pub fn is_bgp(self) -> bool {
        self.is_unlabeled() || self.is_labeled()
    }

    /// Of BGP, without labels? Of those a prefix has one at most.
    #[must_use]
    pub fn is_unlabeled(self) -> bool {
        matches!(self, Self::Ebgp | Self::Ibgp)
    }

    /// Of BGP, with labels (RFC 8277)? Likewise.
    #[must_use]
    pub fn is_labeled(self) -> bool {
        matches!(
            self,
            Self::LabeledEbgp | Self::LabeledIbgp | Self::LabeledBack
        )
    }

    /// Its name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Connected => "connected",
            Self::Ldp => "ldp",
            Self::Static => "static",
            Self::LabeledEbgp | Self::Ebgp | Self::LabeledIbgp | Self::Ibgp | Self::LabeledBack => {
                "bgp"
            }
            Self::Neighbor => "neighbor",
        }
    }
}

/// What becomes of packets that a route is not to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Discard {
    /// Dropped in silence.
    Blackhole,
    /// Answered with "host unreachable" (for IPv6 "no route").
    Unreachable,
    /// Answered with "administratively prohibited".
    Prohibit,
}

/// What the inner TTL has to do with that of labels: RFC 3443.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TtlMode {
    /// Copied in on push and out on pop: the hops of the LSP count.
    #[default]
    Uniform,
    /// The LSP counts as one hop.
    Pipe,
}

/// Where a path leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hop {
    /// To this next hop: on that interface when one is named, else wherever the RIB says that it is.
    Via {
        /// The next hop.
        address: IpAddr,
        /// The interface that it is on; needed for a link-local next hop.
        dev: Option<IfaceId>,
    },
    /// To this next hop that BGP has chosen, wherever the RIB says that it is.
    Bgp {
        /// The next hop.
        address: IpAddr,
        /// A way that only the default route knows is one.
        by_default: bool,
        /// Packets have labels that only it knows: there must be an LSP to it, or it is on the link.
        labeled: bool,
    },
    /// The destination is itself on the link of that interface.
    Dev(IfaceId),
    /// To the router itself, by the TAP of that interface.
    Local(IfaceId),
    /// To a neighbour that answered on that interface.
    Neighbor {
        /// Where it answered.
        dev: IfaceId,
        /// Its address.
        address: IpAddr,
    },
    /// Nowhere.
    Discard(Discard),
}

/// One path of a route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathSpec {
    /// Where it leads.
    pub hop: Hop,
    /// Its share of the flows, against those of the others; 0 is taken as 1.
    pub weight: u32,
    /// Labels pushed, outermost first. Implicit null is not pushed.
    pub labels: LabelStack,
    /// Carries only while none of those that are no backups does.
    pub backup: bool,
    /// The table in which a next hop without an interface is looked up.
    pub vrf: VrfId,
    /// Packets get an entropy label below its labels (RFC 6790): whoever is at the end of them takes it off.
    pub entropy: bool,
}

impl PathSpec {
    /// A path of weight 1 that pushes nothing; its next hop is looked up in the global table.
    #[must_use]
    pub fn new(hop: Hop) -> Self {
        Self {
            hop,
            weight: 1,
            labels: LabelStack::new(),
            backup: false,
            vrf: VrfId::GLOBAL,
            entropy: false,
        }
    }

    /// The labels that are really pushed.
    pub(crate) fn pushed(&self) -> impl Iterator<Item = Label> + '_ {
        self.labels
            .iter()
            .copied()
            .filter(|l| *l != Label::IMPLICIT_NULL)
    }
}

/// The paths of a route, and how labels that they push deal with the TTL. Routes that ask for the same share one group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathsSpec {
    /// The paths, in the order in which they were given.
    pub paths: Vec<PathSpec>,
    /// The TTL mode.
    pub ttl: TtlMode,
}

impl PathsSpec {
    /// One path alone.
    #[must_use]
    pub fn single(hop: Hop) -> Self {
        Self {
            paths: vec![PathSpec::new(hop)],
            ttl: TtlMode::Uniform,
        }
    }

    /// The same with entropy labels, or without.
    #[must_use]
    pub fn with_entropy(mut self, on: bool) -> Self {
        self.paths.iter_mut().for_each(|p| p.entropy |= on);
        self
    }

    /// The same for a route of a VRF.
    #[must_use]
    pub fn single_in(vrf: VrfId, hop: Hop) -> Self {
        let mut spec = Self::single(hop);
        spec.paths.iter_mut().for_each(|p| p.vrf = vrf);
        spec
    }
}

/// What becomes of a packet that arrives with a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelAction {
    /// Popped, and what is under it looked up in that table.
    PopLookup(VrfId),
    /// Popped, and the IP packet under it looked up in the global table; with another label under it, dropped.
    PopLast,
    /// Popped, and the IP packet under it, which is one of that table's, sent along without a look-up; with another label under it,
    /// dropped.
    PopForward(VrfId, PathsSpec),
    /// Popped, the labels of the path pushed (none: penultimate hop popping), and sent on.
    Forward(PathsSpec),
}

impl LabelAction {
    /// The table that it leads into, if that is known.
    #[must_use]
    pub fn vrf(&self) -> Option<VrfId> {
        match self {
            Self::PopLookup(vrf) | Self::PopForward(vrf, _) => Some(*vrf),
            Self::PopLast => Some(VrfId::GLOBAL),
            Self::Forward(_) => None,
        }
    }

    /// The paths that frames take without a look-up.
    #[must_use]
    pub fn paths(&self) -> Option<&PathsSpec> {
        match self {
            Self::PopForward(_, paths) | Self::Forward(paths) => Some(paths),
            Self::PopLookup(_) | Self::PopLast => None,
        }
    }
}

/// A label's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSpec {
    /// What becomes of the packet.
    pub action: LabelAction,
    /// How its TTL is dealt with when it is popped.
    pub ttl: TtlMode,
}

/// What the RIB must know of an interface to make adjacencies on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfaceSpec {
    /// Whose it is: its addresses make routes there.
    pub vrf: VrfId,
    /// Its port.
    pub port: PortId,
    /// Its VLAN.
    pub vlan: Option<u16>,
    /// Its MAC address.
    pub mac: MacAddr,
    /// The largest packet that it takes, in bytes.
    pub mtu: u16,
    /// Is it up, by configuration and by link?
    pub up: bool,
    /// Its addresses with their prefixes, without link-local ones.
    pub addresses: Vec<IpNet>,
}

/// Why a path carries nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The interface is down, or there is none of that id.
    Down(IfaceId),
    /// No route leads to the next hop.
    NoRoute(IpAddr),
    /// A route leads to the next hop, and no label: what is meant for it would be taken for theirs by the routers before it.
    NoLabel(IpAddr),
    /// The next hop is an address of this router.
    OwnAddress(IpAddr),
    /// The way to the next hop leads through this very route.
    Loop(IpAddr),
    /// Too many routes stand on one another.
    TooDeep(IpAddr),
    /// The stack would hold more labels than 8.
    TooManyLabels,
    /// A more specific route than the neighbour's connected prefix leads to it.
    Overridden,
}
