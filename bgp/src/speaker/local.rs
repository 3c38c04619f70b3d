//! Who this speaker is, and what a neighbour is to it: RFC 4271, RFC 5065 (confederations).

use std::net::Ipv4Addr;

use crate::types::{Asn, Relation, RouterId};

/// A confederation, RFC 5065.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confederation {
    /// The AS number that the rest of the world sees.
    pub id: Asn,
    /// The member ASes beside our own.
    pub members: Vec<Asn>,
}

/// Who this speaker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Its AS number; within a confederation that of the member.
    pub asn: Asn,
    /// Its BGP Identifier.
    pub router_id: RouterId,
    /// Its CLUSTER_ID, RFC 4456; left out: the BGP Identifier.
    pub cluster_id: Option<Ipv4Addr>,
    /// The confederation it is in.
    pub confederation: Option<Confederation>,
}

impl Local {
    /// The AS number that a neighbour outside the confederation sees.
    #[must_use]
    pub fn public(&self) -> Asn {
        self.confederation.as_ref().map_or(self.asn, |c| c.id)
    }

    /// What a neighbour of that AS number is.
    #[must_use]
    pub fn relation(&self, peer: Asn) -> Relation {
        let member = |c: &Confederation| c.members.contains(&peer);
        if peer == self.asn {
            Relation::Internal
        } else if self.confederation.as_ref().is_some_and(member) {
            Relation::Confederation
        } else {
            Relation::External
        }
    }

    /// The CLUSTER_ID.
    #[must_use]
    pub fn cluster(&self) -> Ipv4Addr {
        self.cluster_id
            .unwrap_or_else(|| self.router_id.octets().into())
    }
}
