//! Makes a topology: namespaces, links, daemons; and looks whether it has converged.

use std::cell::{RefCell, RefMut};
use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::text::{Role, Topology};
use super::{guest, speakers};
use crate::lab::wait::{secs, until};
use crate::lab::{Appliance, Faults, Flavor, Lab, Middlebox, Netns};
use crate::peers::{Bird, Frr, Make, Speaker};
use crate::progress;
use crate::scenarios::reach;
use crate::vm::Vm;

/// What runs in a node.
enum Runs {
    Nothing,
    Appliance(Appliance),
    Speaker(Box<dyn Speaker>),
    // Its shell runs one command at a time.
    Guest(Box<RefCell<Vm>>),
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
    /// It was taken down, or left up, as it is to be.
    over: bool,
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
    /// Makes it in an empty lab; `lasting` where its machines are to outlive this process.
    ///
    /// # Errors
    /// When a part of it can't be made; what there is goes again.
    pub fn new(
        t: Topology,
        mut lab: Lab,
        flavor: &Flavor,
        start_box: StartBox<'_>,
        lasting: bool,
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
            over: false,
            lab,
        };
        // Before the others, which are not to wait for their neighbours, nor for a CPU.
        made.running = made.guests(lasting)?;
        for n in 0..made.topology.nodes.len() {
            if made.topology.nodes[n].guest {
                continue;
            }
            let runs = made.start(n, flavor);
            made.running[n] =
                runs.with_context(|| format!("node {}", made.topology.nodes[n].name))?;
        }
        for r in &made.running {
            if let Runs::Appliance(a) = r {
                a.ready()?;
            }
        }
        Ok(made)
    }

    /// Starts all machines at once and makes each what it is to be. What is not one does not run yet.
    fn guests(&self, lasting: bool) -> Result<Vec<Runs>> {
        let t = &self.topology;
        let mut runs: Vec<Runs> = t.nodes.iter().map(|_| Runs::Nothing).collect();
        if !t.has_guests() {
            return Ok(runs);
        }
        let at = |n: usize| format!("node {}", t.nodes[n].name);
        let step = progress::step("starting its virtual machines");
        let mut starting = vec![];
        for n in (0..t.nodes.len()).filter(|n| t.nodes[*n].guest) {
            let (folder, ns) = (self.lab.folder(), &self.spaces[n]);
            let started = guest::launch(t, n, folder, ns, lasting).with_context(|| at(n))?;
            guest::plug(t, n, ns).with_context(|| at(n))?;
            starting.push((n, started));
        }
        let mut said = vec![];
        for (n, started) in starting {
            let mut vm = started.wait().with_context(|| at(n))?;
            let (took, by) = (vm.boot.as_secs_f64(), vm.accel.name());
            said.push(format!("{} after {took:.1} s ({by})", vm.spec.name));
            guest::configure(t, n, &mut vm)
                .with_context(|| format!("{}; it said:\n{}", at(n), guest::state(&mut vm)))?;
            runs[n] = Runs::Guest(Box::new(RefCell::new(vm)));
        }
        step.done(&said.join(", "));
        Ok(runs)
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
            _ => bail!("{name} is no appliance"),
        }
    }

    /// A machine.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn guest(&self, name: &str) -> Result<RefMut<'_, Vm>> {
        match &self.running[self.find(name)?] {
            Runs::Guest(vm) => Ok(vm.borrow_mut()),
            _ => bail!("{name} is no guest"),
        }
    }

    /// Its machines.
    pub fn machines(&self) -> impl Iterator<Item = RefMut<'_, Vm>> {
        self.running.iter().filter_map(|r| match r {
            Runs::Guest(vm) => Some(vm.borrow_mut()),
            _ => None,
        })
    }

    /// Pings once and again until an answer comes, from any node that is a host or forwards by its kernel.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn reach(&self, from: &str, to: &str) -> Result<()> {
        let n = self.find(from)?;
        let Runs::Guest(vm) = &self.running[n] else {
            let ns = &self.spaces[n];
            // A route may need another moment where routes go through several speakers.
            return reach(ns, to).or_else(|_| reach(ns, to));
        };
        let (mut vm, once) = (vm.borrow_mut(), format!("ping -n -c 1 -W 2 {to}"));
        until(&format!("{from} reaches {to}"), guest::PATIENCE, || {
            Ok(vm.guest.finish(&once)?.ok())
        })
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
                Runs::Guest(vm) => guest::established(&self.topology, n, &mut vm.borrow_mut())?,
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
                    self.reach(&self.topology.nodes[*from].name, &to.to_string())?;
                    pairs += 1;
                }
            }
        }
        Ok(pairs)
    }

    /// Leaves all of it running.
    pub fn leave(mut self) {
        self.over = true;
        self.lab.keep();
        for r in std::mem::take(&mut self.running) {
            match r {
                Runs::Nothing => {}
                Runs::Appliance(a) => a.leave(),
                // A daemon's end comes with its namespace's.
                Runs::Speaker(s) => std::mem::forget(s),
                Runs::Guest(vm) => vm.into_inner().leave(),
            }
        }
    }

    /// Takes it down: appliances have to go quietly, and leave nothing.
    ///
    /// # Errors
    /// When one does not.
    pub fn down(mut self) -> Result<()> {
        for r in &mut self.running {
            if let Runs::Appliance(_) = r
                && let Runs::Appliance(a) = std::mem::replace(r, Runs::Nothing)
            {
                a.stop()?;
            }
        }
        self.over = true;
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // Something went wrong: what appliances and machines know of it is kept with the logs, before any of them ends.
        for r in &self.running {
            if let Runs::Appliance(a) = r {
                a.last_words();
            }
        }
        for mut vm in self.machines() {
            let state = guest::state(&mut vm);
            vm.keep("state", &state);
        }
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
        let device = match &t.nodes[n] {
            node if node.guest => guest::wire(&device),
            node if node.role == Role::Appliance => speakers::port(&device),
            _ => device,
        };
        (n, device)
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
        // Addresses are the appliance's, or the machine's, own affair.
        if t.nodes[*n].guest || t.nodes[*n].role == Role::Appliance {
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
pub(super) fn static_routes(t: &Topology, n: usize) -> Vec<(IpNet, IpAddr)> {
    let mut all = vec![];
    if t.nodes[n].role == Role::Host {
        let link = t.links_of(n)[0];
        for gateway in &t.links[link].addresses[1 - t.side(link, n)] {
            let any = match gateway {
                IpNet::V4(_) => IpNet::V4(Ipv4Net::default()),
                IpNet::V6(_) => IpNet::V6(Ipv6Net::default()),
            };
            all.push((any, gateway.addr()));
        }
    }
    all.extend(&t.nodes[n].routes);
    all
}

fn routes(t: &Topology, n: usize, ns: &Netns) -> Result<()> {
    for (prefix, via) in static_routes(t, n) {
        let family = if via.is_ipv4() { "" } else { "-6 " };
        ns.ip(&format!("{family}route add {prefix} via {via}"))?;
    }
    Ok(())
}
