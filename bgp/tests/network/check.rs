//! What has to hold when the network is at rest. Each finding is a sentence.

use std::collections::BTreeMap;

use bgp::session::{State, Timer};
use bgp::speaker::{PathView, Side, Wanted};
use bgp::types::Family;
use ipnet::IpNet;

use super::plan::{Owner, owner};
use super::world::{Way, World};

/// Everything that is wrong.
pub(crate) fn findings(w: &mut World) -> Vec<String> {
    let mut found = Vec::new();
    sessions(w, &mut found);
    tables(w, &mut found);
    reach(w, &mut found);
    forwarding(w, &mut found);
    found
}

/// Both ends of a session that can be up call it so, and have no timers but those of a session at rest.
fn sessions(w: &mut World, found: &mut Vec<String>) {
    for p in 0..w.plan.peerings.len() {
        if !w.plan.usable(p) {
            continue;
        }
        for side in 0..2 {
            let n = w.plan.peerings[p].ends[side];
            let (key, now) = (w.key(p, 1 - side), w.now);
            let Some(r) = w.routers.get_mut(&n) else {
                continue;
            };
            let Some(view) = r.speaker.neighbor(&key, now) else {
                continue;
            };
            let name = &w.plan.nodes[n].name;
            if view.state != State::Established {
                found.push(format!("{name}: the session with {key} is {}", view.state));
                continue;
            }
            if !view.stale.is_empty() {
                found.push(format!("{name}: routes of {key} are still stale"));
            }
            let quiet = |t: &Timer| matches!(t, Timer::Hold | Timer::Keepalive);
            for (timer, _) in view.timers.iter().filter(|t| !quiet(&t.0)) {
                found.push(format!("{name}: the timer {} of {key} runs", timer.name()));
            }
            if view.queued > 0 {
                found.push(format!("{name}: {} octets wait for {key}", view.queued));
            }
        }
    }
}

type Told = BTreeMap<(IpNet, u32), PathView>;

fn side(w: &mut World, n: usize, side: &Side) -> Told {
    let now = w.now;
    let Some(r) = w.routers.get_mut(&n) else {
        return Told::new();
    };
    let mut all = Told::new();
    for family in [Family::Ipv4Unicast, Family::Ipv6Unicast] {
        let mut from = None;
        loop {
            let page = r
                .speaker
                .routes(family, &Wanted::All, side, from, now)
                .unwrap_or_default();
            all.extend(page.paths.into_iter().map(|p| ((p.net, p.path_id), p)));
            from = page.next;
            if from.is_none() {
                break;
            }
        }
    }
    all
}

/// What one end of a session says that it has told is what the other says that it has heard.
fn tables(w: &mut World, found: &mut Vec<String>) {
    for p in 0..w.plan.peerings.len() {
        if !w.plan.usable(p) {
            continue;
        }
        for from in 0..2 {
            let ends = w.plan.peerings[p].ends;
            let (us, them) = (ends[from], ends[1 - from]);
            let told = side(w, us, &Side::Advertised(w.key(p, 1 - from)));
            let heard = side(w, them, &Side::Received(w.key(p, from)));
            let names = format!("{} to {}", w.plan.nodes[us].name, w.plan.nodes[them].name);
            for (net, path) in &told {
                match heard.get(net) {
                    None => found.push(format!("{names}: {} was told and not heard", net.0)),
                    Some(h) => {
                        let of = |p: &PathView| {
                            let v = p.attrs.view();
                            (
                                v.as_path().to_string(),
                                v.next_hop,
                                v.originator_id(),
                                v.cluster_list().collect::<Vec<_>>(),
                            )
                        };
                        if of(path) != of(h) {
                            found.push(format!(
                                "{names}: {} was told as {:?} and heard as {:?}",
                                net.0,
                                of(path),
                                of(h)
                            ));
                        }
                    }
                }
            }
            for net in heard.keys().filter(|net| !told.contains_key(net)) {
                found.push(format!("{names}: {} is believed and no longer told", net.0));
            }
        }
    }
}

/// Who can hear of a prefix has a route to it, and nobody else has.
fn reach(w: &World, found: &mut Vec<String>) {
    let whole = w.plan.as_is_whole();
    for origin in 0..w.plan.nodes.len() {
        let hearers = w.plan.hearers(origin);
        for net in &w.plan.nodes[origin].prefixes {
            for (n, r) in &w.routers {
                let name = &w.plan.nodes[*n].name;
                let (has, may) = (r.fib.contains_key(net), hearers.contains(n));
                if has && !may {
                    found.push(format!(
                        "{name}: has a route to {net}, of which nobody can tell it"
                    ));
                }
                // In two parts the AS is not what paths say that it is: one part refuses what went through the other.
                if may && !has && whole {
                    found.push(format!(
                        "{name}: has no route to {net} of {}",
                        w.plan.nodes[origin].name
                    ));
                }
            }
        }
    }
}

/// A packet from each router to each prefix that it has a route to gets there.
fn forwarding(w: &World, found: &mut Vec<String>) {
    let near: BTreeMap<usize, BTreeMap<usize, u32>> = w
        .routers
        .keys()
        .map(|n| (*n, w.plan.distances(*n)))
        .collect();
    for n in w.routers.keys() {
        for net in w.routers[n].fib.keys() {
            if let Err(why) = walk(w, &near, *n, net) {
                found.push(format!(
                    "{}: a packet to {net} {why}",
                    w.plan.nodes[*n].name
                ));
            }
        }
    }
}

fn walk(
    w: &World,
    near: &BTreeMap<usize, BTreeMap<usize, u32>>,
    from: usize,
    net: &IpNet,
) -> Result<(), String> {
    let mut way = vec![from];
    loop {
        let at = way[way.len() - 1];
        let names = |way: &[usize]| {
            let names: Vec<&str> = way.iter().map(|n| w.plan.nodes[*n].name.as_str()).collect();
            names.join(" > ")
        };
        let hops = match w.routers.get(&at).and_then(|r| r.fib.get(net)) {
            Some(Way::Own) if w.plan.nodes[at].prefixes.contains(net) => return Ok(()),
            Some(Way::Own) => return Err(format!("ends at the wrong router: {}", names(&way))),
            None => return Err(format!("is lost, no route: {}", names(&way))),
            Some(Way::By(hops)) => hops,
        };
        let Some(hop) = hops.first() else {
            return Err(format!("is lost, no next hop: {}", names(&way)));
        };
        let next = match owner(*hop) {
            Owner::Loopback(m) if near[&at].contains_key(&m) => m,
            Owner::Link(l, side) if w.plan.works(l) && w.plan.links[l].ends[1 - side] == at => {
                w.plan.links[l].ends[side]
            }
            _ => return Err(format!("is lost, {hop} is not reached: {}", names(&way))),
        };
        let loops = way.contains(&next);
        way.push(next);
        if loops {
            return Err(format!("goes in circles: {}", names(&way)));
        }
    }
}
