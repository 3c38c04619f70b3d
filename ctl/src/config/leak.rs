//! Loops through leaks: routes whose next hops are looked up in another table (`via-table`), and lead back to themselves.
//!
//! Which route a next hop takes is found among those that are written down: static routes, and the subnets of interfaces, on
//! whose links a way ends. What BGP adds may lead elsewhere; a loop that is made so carries nothing, and `trunkctl route show` says it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::model::{Interface, NextHop, Target, Valid};
use super::vrf::{self, Dest, VrfName};

/// Routes that are gone through for one leak, at most: next hops of next hops multiply.
const MOST: usize = 1000;

/// A table; `None`: the global one.
type Table = Option<VrfName>;

struct Ways<'a> {
    valid: &'a Valid,
    links: BTreeSet<(Table, IpNet)>,
    /// The routes that are gone through, and the next hop taken of each.
    path: Vec<(Dest, IpAddr)>,
    left: usize,
}

/// Every route with a `via-table` that leads back to itself, and how.
pub(super) fn loops(
    valid: &Valid,
    interfaces: &BTreeMap<String, Interface>,
) -> Vec<(Dest, String)> {
    let in_file = (valid.route_file.iter()).flat_map(|f| f.routes.iter().map(|(d, t)| (d, t)));
    let leaks = (valid.routes.iter().chain(in_file)).filter(|(d, t)| is_leak(d, t));
    let mut leaks = leaks.peekable();
    if leaks.peek().is_none() {
        return Vec::new();
    }
    let links = interfaces.values().flat_map(|i| {
        let nets = i.addresses.iter().map(IpNet::trunc);
        nets.map(|net| (i.vrf.clone(), net))
    });
    let mut ways = Ways {
        valid,
        links: links.collect(),
        path: Vec::new(),
        left: 0,
    };
    let mut found = Vec::new();
    for (dest, target) in leaks {
        ways.left = MOST;
        if let Some(how) = ways.back(dest, target) {
            found.push((dest.clone(), how));
        }
    }
    found
}

/// Are the next hops of a route looked up in another table than its own?
fn is_leak(dest: &Dest, target: &Target) -> bool {
    match target {
        Target::Via {
            via_table: Some(name),
            ..
        } => vrf::table_of(name) != dest.vrf.as_ref(),
        _ => false,
    }
}

impl Ways<'_> {
    /// How a route leads back to the first of the path; `None`: it does not.
    fn back(&mut self, dest: &Dest, target: &Target) -> Option<String> {
        let Target::Via {
            hops, via_table, ..
        } = target
        else {
            return None;
        };
        let table = match via_table {
            Some(name) => vrf::table_of(name).cloned(),
            None => dest.vrf.clone(),
        };
        for hop in hops {
            let Some(address) = hop.address.filter(|_| hop.interface.is_none()) else {
                continue;
            };
            self.left = self.left.checked_sub(1)?;
            self.path.push((dest.clone(), address));
            let found = self.next(&in_table(hop, &table), address);
            let back = found.and_then(|(next, target)| {
                if next == self.path[0].0 {
                    return Some(self.told());
                }
                let known = self.path.iter().any(|(d, _)| *d == next);
                (!known).then(|| self.back(&next, &target)).flatten()
            });
            self.path.pop();
            if back.is_some() {
                return back;
            }
        }
        None
    }

    /// The route that a next hop takes in a table; `None`: it is on a link, or there is none.
    fn next(&self, table: &Table, address: IpAddr) -> Option<(Dest, Arc<Target>)> {
        let most = if address.is_ipv4() { 32 } else { 128 };
        for length in (0..=most).rev() {
            let prefix = IpNet::new(address, length).ok()?.trunc();
            if self.links.contains(&(table.clone(), prefix)) {
                return None;
            }
            let dest = Dest {
                vrf: table.clone(),
                prefix,
            };
            let file = self.valid.route_file.as_ref();
            let target = (self.valid.routes.get(&dest)).or_else(|| file?.get(&dest));
            if let Some(target) = target {
                let target = Arc::clone(target);
                return Some((dest, target));
            }
        }
        None
    }

    fn told(&self) -> String {
        let steps: Vec<String> = (self.path.iter())
            .map(|(dest, address)| format!("{dest} via {address}"))
            .collect();
        format!(
            "leads back to itself through a leak ({}); a next hop must come to be on the link of an interface, so name another or write a route to it there",
            steps.join(", ")
        )
    }
}

/// A labelled next hop is another router of the core.
fn in_table(hop: &NextHop, table: &Table) -> Table {
    match hop.pushes() {
        false => table.clone(),
        true => None,
    }
}
