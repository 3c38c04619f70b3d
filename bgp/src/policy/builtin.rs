//! Policies that are always there.

use std::collections::BTreeMap;

use crate::attrs::Community;
use crate::rpki::Validity;

use super::spec::{Action, PolicySpec, RuleSpec};
use super::word::NumSet;

/// The names of the built-in policies.
pub const BUILT_IN: [&str; 4] = [
    "accept-all",
    "reject-all",
    "graceful-shutdown",
    "reject-invalid",
];

/// Every built-in policy by its name.
pub(super) fn all() -> BTreeMap<&'static str, PolicySpec> {
    let always = |default| PolicySpec {
        rules: Vec::new(),
        default,
    };
    let rule = |change: &dyn Fn(&mut RuleSpec)| {
        let mut rule = RuleSpec::default();
        change(&mut rule);
        PolicySpec {
            rules: vec![rule],
            default: true,
        }
    };
    // RFC 8326 4.2: a route that is about to go is preferred to none, and to nothing else.
    let shutdown = rule(&|r| {
        r.matches.community.any = vec![Community::GRACEFUL_SHUTDOWN.into()];
        r.set.local_pref = Some(NumSet::To(0));
    });
    let invalid = rule(&|r| {
        r.matches.rpki = vec![Validity::Invalid];
        r.action = Action::Reject;
    });
    let specs = [always(true), always(false), shutdown, invalid];
    BUILT_IN.into_iter().zip(specs).collect()
}
