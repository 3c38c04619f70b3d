//! What a frame carries: ids, addresses, prefixes, labels, and views of its headers.
//!
//! Three rules hold everywhere in this crate:
//! - A view proves its length once, when it is made; its accessors cannot fail afterwards.
//! - Nothing allocates, nothing panics on any input, nothing is `unsafe`.
//! - Integers are in host order; bytes are in network order.
//!
//! Left out on purpose: reassembly (the kernel does it for what is addressed to the router), IGMP and
//! MLD, and every header beyond the ports of layer 4, but for the datagrams of LSP ping ([`udp4`]).
#![forbid(unsafe_code)]

pub mod arp;
pub mod checksum;
pub mod eth;
pub mod flow;
pub mod frag;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod icmp4;
pub mod icmp6;
pub mod icmp_error;
pub mod ip4;
pub mod ip6;
pub mod l4;
pub mod mpls;
pub mod nd;
pub mod udp4;

mod error;
mod ids;
mod label;
mod mac;
mod prefix;

pub use error::WireError;
pub use ids::{AdjId, GroupId, IfaceId, PortId, VrfId, WorkerId};
pub use label::{Label, LabelStack, Lse, MAX_PUSH, ParseLabelError};
pub use mac::{MacAddr, ParseMacError};
pub use prefix::{Ip4Prefix, Ip6Prefix, ParsePrefixError};
