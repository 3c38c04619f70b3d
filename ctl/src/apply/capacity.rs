//! Will the tables hold it? Asked before a great change is begun; a small one that finds a table full is reported where
//! it happens, and its routes are shown as not installed. The IPv6 trie is not counted: its use depends on shape.

use std::collections::HashSet;

use fib::Sizes;
use ipnet::IpNet;

use crate::config::{Plan, Target, Valid};

/// Changes of fewer routes are not counted beforehand: that would cost more than they do.
const GREAT: usize = 1024;

/// Refuses a plan whose routes would not fit.
pub(super) fn check(plan: &Plan, sizes: &Sizes) -> Result<(), String> {
    let more = plan.routes.iter().filter(|e| e.to.is_some()).count() + plan.labels.len();
    if more < GREAT {
        return Ok(());
    }
    let next = &*plan.next;
    // Each interface has a group to glean and one for the router; each neighbour that answers has one too: leave room.
    let kept = 2 * next.interfaces.len() + sizes.groups / 8;
    let (groups, blocks) = (groups(next) + kept, long_blocks(next));
    if groups > sizes.groups {
        return Err(format!(
            "{} different sets of next hops are too many: {} fit; let more routes share theirs",
            groups - kept,
            sizes.groups.saturating_sub(kept)
        ));
    }
    if blocks > sizes.tbl8 {
        return Err(format!(
            "IPv4 prefixes longer than /24 in {blocks} different /24s are too many: {} fit; aggregate them",
            sizes.tbl8
        ));
    }
    Ok(())
}

/// Sets of next hops.
fn groups(next: &Valid) -> usize {
    let targets: HashSet<&Target> = next.all_routes().map(|(_, t)| &**t).collect();
    targets.len() + next.labels.len()
}

/// Blocks of 256 addresses with a longer prefix in them.
fn long_blocks(next: &Valid) -> usize {
    let block = |p: &IpNet| match p {
        IpNet::V4(p) if p.prefix_len() > 24 => Some(p.network().to_bits() >> 8),
        _ => None,
    };
    let blocks: HashSet<u32> = next.all_routes().filter_map(|(p, _)| block(p)).collect();
    blocks.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NextHop;
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;

    fn plan(n: u32, len: u8, targets: u32) -> Plan {
        let target = |i: u32| {
            let hop = NextHop {
                address: Some(IpAddr::V4(Ipv4Addr::from(i % targets))),
                interface: None,
                label: net::LabelStack::new(),
                weight: 1,
                backup: false,
            };
            Arc::new(Target::Via {
                hops: vec![hop],
                mpls_ttl: None,
            })
        };
        let mut next = Valid::default();
        for i in 0..n {
            let p = IpNet::new(IpAddr::V4(Ipv4Addr::from(i << 8)), len).unwrap();
            next.routes.insert(p, target(i));
        }
        let next = Arc::new(next);
        next.diff(&Valid::default())
    }

    #[test]
    fn what_fits_is_taken() {
        let sizes = Sizes {
            tbl8: 2000,
            groups: 2000,
            ..Sizes::default()
        };
        assert_eq!(check(&plan(2000, 25, 1000), &sizes), Ok(()));
        let e = check(&plan(2001, 25, 1000), &sizes).unwrap_err();
        assert!(e.contains("2001 different /24s"), "{e}");
        assert_eq!(check(&plan(2001, 24, 1750), &sizes), Ok(()));
        let e = check(&plan(2001, 24, 1751), &sizes).unwrap_err();
        assert!(
            e.contains("1751 different sets") && e.contains("1750 fit"),
            "{e}"
        );
        // A small change does not count what is there.
        assert_eq!(
            check(
                &plan(1023, 25, 1023),
                &Sizes {
                    tbl8: 1,
                    groups: 1,
                    ..sizes
                }
            ),
            Ok(())
        );
    }
}
