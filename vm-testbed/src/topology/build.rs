//! Makes a topology: namespaces, links, daemons; and looks whether it has converged.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;

use super::speakers;
use super::text::{Role, Topology};
use crate::lab::wait::{secs, until};
use crate::lab::{Appliance, Faults, Flavor, Lab, Middlebox, Netns};
use crate::peers::{Bird, Frr, Make, Speaker};
use crate::scenarios::reach;

/// What runs in a node.
enum Runs {
    Nothing,
    Appliance(Appliance),
    Speaker(Box<dyn Speaker>),
}

/// How boxes are to be started: with the link, the namespace between, and the two devices in it.
pub type StartBox<'a> =
    &'a dyn Fn(&Topology, usize, &Netns, [&str; 2]) -> Result<Option<Middlebox>>;

/// A topology that is there. Dropped, it is taken down.
pub struct Made {
    topology: Topology,
    spaces: Vec<Netns>,
    running: Vec<Runs>,
    boxes: Vec<(usize, Middlebox)>,
    // Last: its namespaces go when what runs in them has ended.
    lab: Lab,
}

/// Boxes that are threads of this process.
///
/// # Errors
/// When a device can't be opened.
pub fn here(
    t: &Topology,
    link: usize,
    ns: &Netns,
    devices: [&str; 2],
) -> Result<Option<Middlebox>> {
    let faults = t.links[link].faults.unwrap_or_default();
    Middlebox::start(ns, devices, faults, link as u64).map(Some)
}

impl Made {
    /// Makes it in an empty lab.
    ///
    /// # Errors
    /// When a part of it can't be made; what there is goes again.
    pub fn new(
        t: Topology,
        mut lab: Lab,
        flavor: &Flavor,
        start_box: StartBox<'_>,
    ) -> Result<Self> {
        let spaces: Vec<Netns> = t
            .nodes
            .iter()
            .map(|n| lab.space(&n.name))
            .collect::<Result<_>>()?;
        let mut boxes = vec![];
        for l in 0..t.links.len() {
            let made = link(&t, l, &mut lab, &spaces, start_box);
            boxes.extend(
                made.with_context(|| format!("link {}", t.links[l].name))?
                    .map(|b| (l, b)),
            );
        }
        let mut made = Self {
            topology: t,
            spaces,
            running: vec![],
            boxes,
            lab,
        };
        for n in 0..made.topology.nodes.len() {
            let runs = made.start(n, flavor);
            let runs = runs.with_context(|| format!("node {}", made.topology.nodes[n].name))?;
            made.running.push(runs);
        }
        for r in &made.running {
            if let Runs::Appliance(a) = r {
                a.ready()?;
            }
        }
        Ok(made)
    }

    fn start(&self, n: usize, flavor: &Flavor) -> Result<Runs> {
        let (t, ns, folder) = (&self.topology, &self.spaces[n], self.lab.folder());
        let name = t.nodes[n].name.as_str();
        Ok(match t.nodes[n].role {
            Role::Host | Role::Linux => {
                routes(t, n, ns)?;
                Runs::Nothing
            }
            Role::Appliance => {
                let file = folder.join(format!("{name}.toml"));
                std::fs::write(&file, speakers::appliance(t, n, flavor)?)?;
                Runs::Appliance(Appliance::spawn_file(
                    folder,
                    name,
                    ns,
                    &file,
                    flavor.memory,
                )?)
            }
            Role::Frr => Runs::Speaker(Box::new(Frr::start_text(
                folder,
                name,
                ns,
                &speakers::frr(t, n)?,
            )?)),
            Role::Bird => Runs::Speaker(Box::new(Bird::start_text(
                folder,
                name,
                ns,
                &speakers::bird(t, n)?,
            )?)),
            Role::Gobgp => {
                Runs::Speaker(Make::Gobgp.start(folder, name, ns, &speakers::one(t, n)?)?)
            }
            Role::Exabgp => {
                Runs::Speaker(Make::Exabgp.start(folder, name, ns, &speakers::one(t, n)?)?)
            }
        })
    }

    /// The topology.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    fn find(&self, name: &str) -> Result<usize> {
        let found = self.topology.nodes.iter().position(|n| n.name == name);
        found.with_context(|| format!("no node {name}"))
    }

    /// The namespace of a node.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn space(&self, name: &str) -> Result<&Netns> {
        Ok(&self.spaces[self.find(name)?])
    }

    /// An appliance.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn appliance(&self, name: &str) -> Result<&Appliance> {
        match &self.running[self.find(name)?] {
            Runs::Appliance(a) => Ok(a),
            _ => anyhow::bail!("{name} is no appliance"),
        }
    }

    /// Other faults for a link that was made with some.
    ///
    /// # Errors
    /// When there is no such link, or no box in it.
    pub fn fault(&self, link: &str, faults: Faults) -> Result<()> {
        let l = self
            .topology
            .find_link(link)
            .with_context(|| format!("no link {link}"))?;
        let found = self.boxes.iter().find(|b| b.0 == l);
        found
            .with_context(|| format!("no box in {link}"))?
            .1
            .set(faults);
        Ok(())
    }

    /// Waits until every session is up, as both ends see it.
    ///
    /// # Errors
    /// When one is not within a minute.
    pub fn established(&self) -> Result<()> {
        for (n, runs) in self.running.iter().enumerate() {
            let name = &self.topology.nodes[n].name;
            let sessions = speakers::sessions(&self.topology, n)?;
            match runs {
                Runs::Nothing => {}
                Runs::Appliance(a) => {
                    until(&format!("{name}: all sessions are up"), secs(60), || {
                        if sessions.is_empty() {
                            return Ok(true);
                        }
                        let all = a.json("bgp summary")?;
                        let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
                        let up = all.iter().filter(|s| s["state"] == "Established").count();
                        ensure!(up == sessions.len(), "{up} of {}", sessions.len());
                        Ok(true)
                    })?
                }
                Runs::Speaker(s) => {
                    for session in &sessions {
                        s.wait_established(session.peer)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Every host, with its addresses.
    #[must_use]
    pub fn hosts(&self) -> Vec<(usize, Vec<IpAddr>)> {
        let t = &self.topology;
        let hosts = (0..t.nodes.len()).filter(|n| t.nodes[*n].role == Role::Host);
        hosts
            .map(|n| {
                let link = t.links_of(n)[0];
                (
                    n,
                    t.links[link].addresses[t.side(link, n)]
                        .iter()
                        .map(IpNet::addr)
                        .collect(),
                )
            })
            .collect()
    }

    /// Waits until every host reaches every other, in each family that both have. Returns how many pairs that were.
    ///
    /// # Errors
    /// When one does not.
    pub fn pings(&self) -> Result<usize> {
        let hosts = self.hosts();
        let mut pairs = 0;
        for (from, ours) in &hosts {
            for (_, theirs) in hosts.iter().filter(|h| h.0 != *from) {
                for to in theirs
                    .iter()
                    .filter(|t| ours.iter().any(|o| o.is_ipv4() == t.is_ipv4()))
                {
                    let ns = &self.spaces[*from];
                    // A route may need another moment where routes go through several speakers.
                    reach(ns, &to.to_string()).or_else(|_| reach(ns, &to.to_string()))?;
                    pairs += 1;
                }
            }
        }
        Ok(pairs)
    }

    /// Leaves all of it running.
    pub fn leave(mut self) {
        self.lab.keep();
        for r in self.running {
            match r {
                Runs::Nothing => {}
                Runs::Appliance(a) => a.leave(),
                // A daemon's end comes with its namespace's.
                Runs::Speaker(s) => std::mem::forget(s),
            }
        }
    }

    /// Takes it down: appliances have to go quietly, and leave nothing.
    ///
    /// # Errors
    /// When one does not.
    pub fn down(self) -> Result<()> {
        let Self {
            running,
            boxes,
            lab,
            ..
        } = self;
        for r in running {
            if let Runs::Appliance(a) = r {
                a.stop()?;
            }
        }
        drop(boxes);
        drop(lab);
        Ok(())
    }
}

/// A link: a veth, or two with a box between them.
fn link(
    t: &Topology,
    l: usize,
    lab: &mut Lab,
    spaces: &[Netns],
    start_box: StartBox<'_>,
) -> Result<Option<Middlebox>> {
    let link = &t.links[l];
    let ends = link.ends.map(|n| {
        let device = t.device(l, n);
        let is_port = t.nodes[n].role == Role::Appliance;
        (
            n,
            if is_port {
                speakers::port(&device)
            } else {
                device
            },
        )
    });
    let [a, b] = ends.each_ref().map(|(n, dev)| (&spaces[*n], dev.as_str()));
    let mut middle = None;
    if link.faults.is_some() {
        let ns = lab.space(&format!("{}{l}", MIDDLE))?;
        let halves = lab.halves(a, b, &ns)?;
        middle = Some((ns, halves));
    } else {
        lab.cable(a, b)?;
    }
    for (side, (n, dev)) in ends.iter().enumerate() {
        let ns = &spaces[*n];
        if t.nodes[*n].role == Role::Appliance {
            Lab::port_end(ns, dev)?;
            continue;
        }
        if t.nodes[*n].role != Role::Host {
            ns.sysctl("ipv4/ip_forward", "1")?;
            ns.sysctl("ipv6/conf/all/forwarding", "1")?;
        }
        ns.ip(&format!("link set {dev} up"))?;
        for address in &link.addresses[side] {
            let nodad = if address.addr().is_ipv6() {
                " nodad"
            } else {
                ""
            };
            ns.ip(&format!("addr add {address} dev {dev}{nodad}"))?;
        }
    }
    match middle {
        Some((ns, [x, y])) => start_box(t, l, &ns, [&x, &y]),
        None => Ok(None),
    }
}

/// What the namespaces of boxes are called; no node can be.
pub const MIDDLE: &str = "BOX";

/// Routes of Linux nodes: a host's by default to the other end of its link.
fn routes(t: &Topology, n: usize, ns: &Netns) -> Result<()> {
    if t.nodes[n].role == Role::Host {
        let link = t.links_of(n)[0];
        for gateway in &t.links[link].addresses[1 - t.side(link, n)] {
            ns.ip(&format!("route add default via {}", gateway.addr()))?;
        }
    }
    for (prefix, via) in &t.nodes[n].routes {
        let family = if via.is_ipv4() { "" } else { "-6 " };
        ns.ip(&format!("{family}route add {prefix} via {via}"))?;
    }
    Ok(())
}
