//! Policies: what is taken from a neighbour, what is given to it, and what is changed on the way.
//!
//! Read RFC 4271 9.1 and 9.2 (where policies stand), RFC 8212 (without one, nothing goes in or out: the speaker sees to
//! that), RFC 7999 (BLACKHOLE), RFC 8326 (graceful shutdown), RFC 6811 (RPKI states). `docs/policy.md` is for who writes
//! them.
//!
//! [`PolicySpec`] is a policy as it is written, [`Sets`] are the sets that it names, [`Policies::compile`] makes it a
//! [`Policy`], which is shared and run: [`Policy::run`] reads the attributes of a route where they lie, and writes into a
//! buffer only if it changes them. What its answer depends on it says itself ([`Policy::depends`],
//! [`Policy::prefix_key`]), so that answers can be kept.
//!
//! Left out on purpose: variables, loops, and functions with arguments. A rule has conditions, settings and an action;
//! policies call each other, and not in circles.

mod asn;
mod aspath;
mod builtin;
mod community;
mod compile;
mod list;
mod prefix;
mod run;
mod spec;
mod trace;
mod word;

pub use asn::{AsnError, AsnRange, AsnSet, is_private};
pub use aspath::{AsPathPattern, AsPathSet, PatternError};
pub use builtin::BUILT_IN;
pub use community::{
    Communities, CommunityPattern, CommunitySet, ExtCommunities, ExtFields, ExtPattern,
    LargeCommunities, LargePattern, Pattern, PatternError as CommunityPatternError,
};
pub use compile::{Cause, Depends, Policies, PolicyError, Sets};
pub use list::{LineError, read_list};
pub use prefix::{PrefixError, PrefixRange, PrefixSet};
pub use run::{
    DISCARD_V4, DISCARD_V6, Input, NextHopRule, Outcome, Peer, Policy, PrefixKey, is_discard,
};
pub use spec::{
    Action, CommunityEdit, CommunityMatch, MatchSpec, NextHopSet, PolicySpec, Prepend, PrependAs,
    PrivateAs, Protocol, RuleSpec, SetSpec, relation_name,
};
pub use trace::{Step, Trace, What};
pub use word::{LabelIndex, NumMatch, NumRange, NumSet, Value, Word, WordError};

#[cfg(test)]
mod tests;
