//! Will the tables hold it? Asked before a change is begun, of the tables themselves: the prefixes are staged in them and taken
//! back. Groups and adjacencies are counted, each route's old ones beside its new ones, as it will be for a moment.
//!
//! Left out: labels, each of which has its place; neighbours, whose routes are left out when there is no room.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fib::{Discard, FibBatch, FibWriter, Path, TableUse};
use net::{GroupId, VrfId};

use crate::config::{Dest, LabelAction, NextHop, Plan, Target, Valid};
use crate::rib::fib::op;
use crate::rib::sink::Change;

/// Groups that are made to ask with. What prefixes take depends on which share a group, and more hardly change it.
const STAND_INS: usize = 1024;

/// Refuses a plan whose routes would not fit, and names the table. Nothing is changed.
pub(super) fn check(
    plan: &Plan,
    running: &Valid,
    vrf_id: &impl Fn(&str) -> Option<VrfId>,
    fib: &mut FibWriter,
) -> Result<(), String> {
    hops(plan, running, fib)?;
    let mut groups = Vec::new();
    let asked = prefixes(plan, vrf_id, fib, &mut groups);
    for id in groups {
        let gone = fib.remove_group(id);
        debug_assert!(gone.is_ok(), "{gone:?}"); // nothing points to it
    }
    fib.flush();
    asked
}

/// Sets of next hops, and next hops.
fn hops(plan: &Plan, running: &Valid, fib: &FibWriter) -> Result<(), String> {
    let wanted = Hops::of(plan.routes.iter().filter_map(|e| e.to.as_ref()))
        .with_labels(plan.labels.iter().filter_map(|e| e.to.as_deref()));
    let uses = fib.usage();
    let free = |t: &TableUse| t.capacity.saturating_sub(t.in_use);
    if wanted.sets() <= free(&uses.groups) && wanted.hops.len() <= free(&uses.adjacencies) {
        return Ok(());
    }
    // Only then is it worth the time to see which of them are there.
    let known = Hops::of(running.all_routes().map(|(_, t)| t))
        .with_labels(running.labels.values().map(|l| &**l));
    let refuse = |what: &str, more: usize, table: &TableUse| {
        Err(format!(
            "{more} more {what} do not fit: {} of {} are in use; let more routes share theirs",
            table.in_use, table.capacity
        ))
    };
    let more = wanted.targets.difference(&known.targets).count() + wanted.labels;
    if more > free(&uses.groups) {
        return refuse("sets of next hops", more, &uses.groups);
    }
    let more = wanted.hops.difference(&known.hops).count();
    if more > free(&uses.adjacencies) {
        return refuse("next hops", more, &uses.adjacencies);
    }
    Ok(())
}

/// What routes and labels stand on.
#[derive(Default)]
struct Hops<'a> {
    targets: HashSet<&'a Target>,
    /// Labels that are forwarded, each with a set of its own at worst.
    labels: usize,
    hops: HashSet<(Option<std::net::IpAddr>, Option<&'a str>)>,
}

impl<'a> Hops<'a> {
    fn of(targets: impl Iterator<Item = &'a Arc<Target>>) -> Self {
        let mut out = Self::default();
        let mut last: Option<&Arc<Target>> = None;
        for t in targets {
            // Most neighbours in a great table do the same, and are the same.
            if last.is_some_and(|l| Arc::ptr_eq(l, t)) || !out.targets.insert(t) {
                continue;
            }
            last = Some(t);
            if let Target::Via { hops, .. } = &**t {
                out.add(hops);
            }
        }
        out
    }

    fn with_labels(mut self, labels: impl Iterator<Item = &'a crate::config::LabelRoute>) -> Self {
        for l in labels {
            if let LabelAction::Forward(hops) = &l.action {
                self.labels += 1;
                self.add(hops);
            }
        }
        self
    }

    fn add(&mut self, hops: &'a [NextHop]) {
        let one = |h: &'a NextHop| (h.address, h.interface.as_deref());
        self.hops.extend(hops.iter().map(one));
    }

    fn sets(&self) -> usize {
        self.targets.len() + self.labels
    }
}

/// Asks the tables, with groups that stand in for those that the routes will have.
fn prefixes(
    plan: &Plan,
    vrf_id: &impl Fn(&str) -> Option<VrfId>,
    fib: &mut FibWriter,
    groups: &mut Vec<GroupId>,
) -> Result<(), String> {
    let mut stand_ins: HashMap<*const Target, GroupId> = HashMap::new();
    // A VRF that is not there yet takes the same room under any number that none has.
    let vrf = |dest: &Dest| {
        dest.vrf
            .as_deref()
            .map(|name| vrf_id(name).unwrap_or(VrfId(u16::MAX)))
    };
    let set = |dest: &Dest, group| match vrf(dest) {
        None => Change::Set(dest.prefix, group),
        Some(vrf) => Change::SetIn(vrf, dest.prefix, group),
    };
    let del = |dest: &Dest| match vrf(dest) {
        None => Change::Del(dest.prefix),
        Some(vrf) => Change::DelIn(vrf, dest.prefix),
    };
    let mut batch = FibBatch::new();
    for e in &plan.routes {
        let change = match &e.to {
            None => del(&e.key),
            Some(target) => {
                let at = Arc::as_ptr(target);
                let group = match stand_ins.get(&at) {
                    Some(group) => *group,
                    None => {
                        let group = stand_in(fib, groups, stand_ins.len())?;
                        stand_ins.insert(at, group);
                        group
                    }
                };
                set(&e.key, group)
            }
        };
        batch.extend(op(change));
    }
    fib.room_for(&batch).map_err(|e| {
        let first = e.refused.first();
        let why = first.map_or_else(|| e.to_string(), |r| r.error.to_string());
        let held = format!(
            "{} IPv4 and {} IPv6 routes, and {} of VRFs",
            fib.len4(),
            fib.len6(),
            fib.len_vrfs()
        );
        let n = plan.routes.iter().filter(|e| e.to.is_some()).count();
        format!(
            "the change of {n} routes does not fit beside {held}: {why}; aggregate routes, or remove some"
        )
    })
}

/// The `n`-th stand-in, made if there are not enough yet.
fn stand_in(fib: &mut FibWriter, groups: &mut Vec<GroupId>, n: usize) -> Result<GroupId, String> {
    if let Some(group) = groups.get(n % STAND_INS) {
        return Ok(*group);
    }
    let nowhere = Path::to(fib::Target::Discard(Discard::Blackhole));
    match (fib.add_group(&[(nowhere, 1)]), groups.last()) {
        (Ok(group), _) => {
            groups.push(group);
            Ok(group)
        }
        // There is room for what the routes need, and that is next to none.
        (Err(_), Some(last)) => Ok(*last),
        (Err(e), None) => Err(e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fib::Sizes;
    use ipnet::IpNet;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    fn target(i: u32) -> Arc<Target> {
        let hop = NextHop {
            address: Some(IpAddr::V4(Ipv4Addr::from(i))),
            interface: None,
            label: net::LabelStack::new(),
            weight: 1,
            backup: false,
        };
        Arc::new(Target::Via {
            hops: vec![hop],
            mpls_ttl: None,
            via_table: None,
            entropy: false,
        })
    }

    /// A configuration of `n` routes of a length, by so many next hops.
    fn routes(n: u32, six: bool, targets: u32) -> Arc<Valid> {
        let mut next = Valid::default();
        let all: Vec<_> = (0..targets).map(target).collect();
        for i in 0..n {
            let p = if six {
                let a = 0x2001_0db8 << 96 | u128::from(i.wrapping_mul(0x9e37_79b1)) << 64;
                IpNet::new(IpAddr::V6(Ipv6Addr::from(a)), 64)
            } else {
                IpNet::new(IpAddr::V4(Ipv4Addr::from(i << 8)), 25)
            };
            let to = Arc::clone(&all[(i % targets) as usize]);
            next.routes.insert(Dest::from(p.unwrap()), to);
        }
        Arc::new(next)
    }

    fn small() -> FibWriter {
        let sizes = Sizes {
            nodes6: 256,
            tbl8: 64,
            groups: 100,
            adjacencies: 60,
            ..Sizes::default()
        };
        FibWriter::with_sizes(&[], &fib::Domain::new(), sizes).unwrap()
    }

    #[test]
    fn what_does_not_fit_is_refused_by_the_name_of_its_table() {
        let none = Valid::default();
        let ask = |next: &Arc<Valid>, running: &Valid, fib: &mut FibWriter| {
            check(&next.diff(running), running, &|_| None, fib)
        };
        let mut fib = small();
        for (next, why) in [
            (routes(50, false, 50), ""),
            (routes(5000, false, 50), "longer than 24 bits"),
            (routes(20, true, 5), ""),
            (routes(5000, true, 5), "IPv6"),
            (
                routes(101, false, 101),
                "101 more sets of next hops do not fit: 0 of 100",
            ),
            (
                routes(61, false, 61),
                "61 more next hops do not fit: 0 of 60",
            ),
        ] {
            match (ask(&next, &none, &mut fib), why) {
                (Ok(()), "") => {}
                (Err(e), why) if !why.is_empty() && e.contains(why) => {}
                (other, why) => panic!("{other:?}, not {why:?}"),
            }
            // Nothing of the question is left.
            assert_eq!((fib.len4(), fib.len6(), fib.pending()), (0, 0, 0));
            assert_eq!(fib.usage().groups.in_use, 0);
        }
        // What runs is not counted again.
        let next = routes(60, false, 60);
        let adjs: Vec<_> = (0..60u32)
            .map(|n| {
                let at = IpAddr::V4(Ipv4Addr::from(n));
                let adj = fib::Adjacency::incomplete(net::IfaceId(1), net::PortId(1), 1500, at);
                fib.add_adj(adj).unwrap()
            })
            .collect();
        for a in &adjs {
            let path = Path::to(fib::Target::Adjacency(*a));
            fib.add_group(&[(path, 1)]).unwrap();
        }
        let mut more = (*next).clone();
        more.routes.insert("10.0.0.0/8".parse().unwrap(), target(7));
        assert_eq!(ask(&Arc::new(more.clone()), &next, &mut fib), Ok(()));
        more.routes
            .insert("11.0.0.0/8".parse().unwrap(), target(70));
        let e = ask(&Arc::new(more), &next, &mut fib).unwrap_err();
        assert!(e.contains("1 more next hops do not fit: 60 of 60"), "{e}");
    }
}
