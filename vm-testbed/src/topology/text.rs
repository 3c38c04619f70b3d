//! The format, and everything that is wrong with a topology, before anything is made.

use std::net::IpAddr;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail, ensure};
use ipnet::IpNet;

use super::entry::{FileText, LinkText, address, node, pairs};
use crate::lab::Faults;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Trunkline.
    Appliance,
    /// FRR: bgpd and zebra, over the kernel.
    Frr,
    /// BIRD, over the kernel.
    Bird,
    /// GoBGP, which forwards nothing.
    Gobgp,
    /// ExaBGP, which forwards nothing.
    Exabgp,
    /// Linux with one link and a default route.
    Host,
    /// Linux that forwards by the routes it is given.
    Linux,
}

impl Role {
    /// All, as the format has them.
    pub const ALL: [(&str, Self); 7] = [
        ("appliance", Self::Appliance),
        ("frr", Self::Frr),
        ("bird", Self::Bird),
        ("gobgp", Self::Gobgp),
        ("exabgp", Self::Exabgp),
        ("host", Self::Host),
        ("linux", Self::Linux),
    ];

    /// As the format has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|r| r.1 == self).map_or("?", |r| r.0)
    }

    /// Whether it is a BGP speaker and nothing else.
    #[must_use]
    pub fn only_speaks(self) -> bool {
        matches!(self, Self::Gobgp | Self::Exabgp)
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|r| r.0 == s).map(|r| r.1);
        found.ok_or_else(|| {
            let mut names: Vec<&str> = Self::ALL.iter().map(|r| r.0).collect();
            names.push(GUEST);
            format!("there is no role \"{s}\": take one of {}", names.join(", "))
        })
    }
}

/// The role of a node that is a machine of its own; what runs in it is a role of [`IN_GUESTS`].
pub(super) const GUEST: &str = "guest";

/// What a guest can be.
pub(super) const IN_GUESTS: [Role; 4] = [Role::Host, Role::Linux, Role::Frr, Role::Bird];

/// A node.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What it is, or what runs in it.
    pub role: Role,
    /// It is a machine of its own, with a kernel that forwards labels and has VRFs.
    pub guest: bool,
    /// Its AS, where it speaks BGP.
    pub asn: Option<u32>,
    /// Its neighbours within the AS are its clients (RFC 4456).
    pub reflector: bool,
    /// Prefixes that it announces beside the networks of its hosts.
    pub announce: Vec<IpNet>,
    /// Static routes.
    pub routes: Vec<(IpNet, IpAddr)>,
    /// More lines for the configuration of an appliance, or of what runs in a guest.
    pub config: String,
    /// A script for the shell of a guest, once its links are up.
    pub setup: String,
}

impl Node {
    /// Its role in words: `frr`, `guest (frr)`.
    #[must_use]
    pub fn kind(&self) -> String {
        let role = self.role.name();
        match self.guest {
            true => format!("{GUEST} ({role})"),
            false => role.to_owned(),
        }
    }

    /// Whether something of its own runs in its namespace for as long as it is up.
    #[must_use]
    pub fn has_process(&self) -> bool {
        self.guest || !matches!(self.role, Role::Host | Role::Linux)
    }
}

/// A link between two nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// `A-B`, with `-2` behind it where there is one more.
    pub name: String,
    /// Which nodes.
    pub ends: [usize; 2],
    /// Their addresses with prefix lengths.
    pub addresses: [Vec<IpNet>; 2],
    /// What is wrong with it; `None`: a plain veth.
    pub faults: Option<Faults>,
}

/// A whole network.
#[derive(Debug, Clone, PartialEq)]
pub struct Topology {
    /// Its name.
    pub name: String,
    /// One line on what it shows.
    pub about: String,
    /// In the order of their names.
    pub nodes: Vec<Node>,
    /// In the order of the file.
    pub links: Vec<Link>,
}

impl Topology {
    /// Reads one, and checks all that can be checked before it is made.
    ///
    /// # Errors
    /// The first mistake: where it is, and what would be right.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        Self::read(name, text).with_context(|| format!("the topology {name}"))
    }

    fn read(name: &str, text: &str) -> Result<Self> {
        let file: FileText =
            toml::from_str(text).map_err(|e| anyhow!("{}", e.to_string().trim_end()))?;
        let mut t = Self {
            name: name.to_owned(),
            about: file.about,
            nodes: vec![],
            links: vec![],
        };
        for (name, fields) in file.nodes {
            let at = format!("node {name}");
            t.nodes.push(node(name, fields.0).context(at)?);
        }
        ensure!(
            !t.nodes.is_empty(),
            "there are no nodes: name some, such as h1 = \"host\""
        );
        for (n, link) in file.links.into_iter().enumerate() {
            let at = format!("link {} ({})", n + 1, link.ends.join("-"));
            let link = t.link(n + 1, link).context(at)?;
            t.links.push(link);
        }
        t.networks()?;
        for n in 0..t.nodes.len() {
            t.fits(n)
                .with_context(|| format!("node {}", t.nodes[n].name))?;
        }
        Ok(t)
    }

    fn link(&self, number: usize, text: LinkText) -> Result<Link> {
        let names: Vec<&str> = self.nodes.iter().map(|n| n.name.as_str()).collect();
        let [a, b] = text.ends.as_slice() else {
            bail!(
                "it has {} ends: a link has two, such as ends = [\"h1\", \"r1\"]",
                text.ends.len()
            );
        };
        let find = |name: &str| {
            let found = names.iter().position(|n| *n == name);
            found
                .with_context(|| format!("there is no node {name}; there are {}", names.join(", ")))
        };
        let ends = [find(a)?, find(b)?];
        ensure!(a != b, "both ends are {a}: a link leads to another node");
        let addresses = match text.addresses {
            None => {
                let at = |side: usize| -> Result<Vec<IpNet>> {
                    let both = [
                        format!("10.0.{number}.{}/24", side + 1),
                        format!("2001:db8:{number:x}::{}/64", side + 1),
                    ];
                    both.iter().map(|a| Ok(a.parse()?)).collect()
                };
                ensure!(
                    number < 256,
                    "there are addresses for 255 links: say those of this one"
                );
                [at(0)?, at(1)?]
            }
            Some(said) => {
                let [one, two] = said.as_slice() else {
                    bail!(
                        "addresses are a list for each of the two ends: [[\"10.0.1.1/24\"], [\"10.0.1.2/24\"]]"
                    );
                };
                let read = |all: &Vec<String>| -> Result<Vec<IpNet>> {
                    all.iter().map(|a| address(a)).collect()
                };
                [read(one)?, read(two)?]
            }
        };
        pairs(&addresses)?;
        let same = |l: &&Link| l.ends == ends || l.ends == [ends[1], ends[0]];
        let more = match self.links.iter().filter(same).count() {
            0 => String::new(),
            n => format!("-{}", n + 1),
        };
        Ok(Link {
            name: format!("{a}-{b}{more}"),
            ends,
            addresses,
            faults: text.faults.map(|f| f.parse()).transpose()?,
        })
    }

    /// No network is on two links.
    fn networks(&self) -> Result<()> {
        let all: Vec<(&Link, IpNet)> = self
            .links
            .iter()
            .flat_map(|l| l.addresses[0].iter().map(move |a| (l, a.trunc())))
            .collect();
        for (i, (a, net)) in all.iter().enumerate() {
            for (b, other) in &all[..i] {
                ensure!(
                    !net.contains(other) && !other.contains(net),
                    "link {} has {other}, link {} has {net}, and these overlap: give one of them other addresses",
                    b.name,
                    a.name
                );
            }
        }
        Ok(())
    }

    /// What a node may have besides.
    fn fits(&self, n: usize) -> Result<()> {
        let node = &self.nodes[n];
        let links = self.links_of(n);
        let role = node.role.name();
        ensure!(
            !links.is_empty(),
            "it has no link: add one, or leave the node out"
        );
        let speaks = !matches!(node.role, Role::Host | Role::Linux);
        let peers = self.sessions(n).len();
        match node.role {
            Role::Host => {
                ensure!(
                    links.len() == 1,
                    "a host has one link, and this has {}: take role = \"linux\"",
                    links.len()
                );
                let other = &self.nodes[self.other(links[0], n)];
                ensure!(
                    !other.role.only_speaks(),
                    "{} is {}, which forwards nothing: put the host behind another node",
                    other.name,
                    other.role.name()
                );
            }
            Role::Frr | Role::Bird | Role::Gobgp | Role::Exabgp => {
                ensure!(node.asn.is_some(), "{role} speaks BGP: say as = 65001");
            }
            Role::Appliance | Role::Linux => {}
        }
        ensure!(
            speaks || (node.asn.is_none() && node.announce.is_empty()),
            "a {role} speaks no BGP: leave out `as` and `announce`"
        );
        ensure!(
            node.asn.is_some() || (node.announce.is_empty() && !node.reflector),
            "`announce` and `reflector` are for BGP: say as = 65001"
        );
        ensure!(
            node.asn.is_none() || peers > 0,
            "it speaks BGP, and to nobody: no node at the other end of its links has `as`"
        );
        ensure!(
            !node.role.only_speaks() || (peers == 1 && links.len() == 1),
            "{role} has one link, to one neighbour, in a topology: it has {} and {peers}",
            links.len()
        );
        let daemon = node.guest && matches!(node.role, Role::Frr | Role::Bird);
        ensure!(
            node.config.is_empty() || node.role == Role::Appliance || daemon,
            "`config` is for appliances, and for FRR and BIRD in guests: a {} has none",
            node.kind()
        );
        ensure!(
            node.setup.is_empty() || node.guest,
            "`setup` is a script for guests: say role = \"guest\", runs = \"{role}\""
        );
        let routed = matches!(node.role, Role::Appliance | Role::Linux);
        ensure!(
            node.routes.is_empty() || routed,
            "`routes` are for the roles appliance and linux"
        );
        for link in &links {
            let has4 = self.links[*link].addresses[0]
                .iter()
                .any(|a| a.addr().is_ipv4());
            let speak = node.asn.is_some() && self.nodes[self.other(*link, n)].asn.is_some();
            ensure!(
                has4 || !speak,
                "link {} has no IPv4 addresses, and BGP sessions are over those: add one for each end",
                self.links[*link].name
            );
        }
        Ok(())
    }

    /// The links of a node.
    #[must_use]
    pub fn links_of(&self, n: usize) -> Vec<usize> {
        (0..self.links.len())
            .filter(|l| self.links[*l].ends.contains(&n))
            .collect()
    }

    /// The node at the other end.
    #[must_use]
    pub fn other(&self, link: usize, n: usize) -> usize {
        let ends = self.links[link].ends;
        ends[usize::from(ends[0] == n)]
    }

    /// Which end of a link a node is.
    #[must_use]
    pub fn side(&self, link: usize, n: usize) -> usize {
        usize::from(self.links[link].ends[0] != n)
    }

    /// The links over which a node has BGP sessions.
    #[must_use]
    pub fn sessions(&self, n: usize) -> Vec<usize> {
        let speaks =
            |l: &usize| self.nodes[n].asn.is_some() && self.nodes[self.other(*l, n)].asn.is_some();
        self.links_of(n).into_iter().filter(speaks).collect()
    }

    /// The networks that a speaker announces.
    #[must_use]
    pub fn announced(&self, n: usize) -> Vec<IpNet> {
        let silent = |l: &usize| self.nodes[self.other(*l, n)].asn.is_none();
        let links = self.links_of(n).into_iter().filter(silent);
        let mut all: Vec<IpNet> = links
            .flat_map(|l| self.links[l].addresses[0].iter().map(IpNet::trunc))
            .collect();
        all.extend(&self.nodes[n].announce);
        all
    }

    /// A link by its name, in either direction.
    #[must_use]
    pub fn find_link(&self, name: &str) -> Option<usize> {
        let back = |l: &Link| {
            let parts: Vec<&str> = l.name.split('-').collect();
            let mut turned = vec![parts[1], parts[0]];
            turned.extend(&parts[2..]);
            turned.join("-")
        };
        self.links
            .iter()
            .position(|l| l.name == name || back(l) == name)
    }

    /// Whether machines are needed for it.
    #[must_use]
    pub fn has_guests(&self) -> bool {
        self.nodes.iter().any(|n| n.guest)
    }

    /// What a node calls the device of a link: after the node at the other end; a host's is `eth0`.
    #[must_use]
    pub fn device(&self, link: usize, n: usize) -> String {
        if self.nodes[n].role == Role::Host {
            return "eth0".to_owned();
        }
        let other = self.other(link, n);
        let before = self.links[..link].iter();
        let same = before
            .filter(|l| l.ends.contains(&n) && l.ends.contains(&other))
            .count();
        let name = &self.nodes[other].name;
        if same == 0 {
            name.clone()
        } else {
            format!("{name}-{}", same + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[nodes]\nh1 = \"host\"\nr1 = { role = \"appliance\", as = 65001 }\nr2 = { role = \"frr\", as = 65002 }\n\
        [[links]]\nends = [\"h1\", \"r1\"]\n[[links]]\nends = [\"r1\", \"r2\"]\nfaults = \"loss=1\"\n";

    #[test]
    fn the_shipped_ones_are_good() {
        for (name, text) in super::super::SHIPPED {
            let t = Topology::parse(name, text).unwrap_or_else(|e| panic!("{e:#}"));
            assert!(!t.about.is_empty() && t.nodes.len() > 3, "{name}");
        }
    }

    #[test]
    fn a_few_lines_say_it_all() {
        let t = Topology::parse("t", GOOD).unwrap();
        let names: Vec<&str> = t.links.iter().map(|l| l.name.as_str()).collect();
        assert_eq!(names, ["h1-r1", "r1-r2"]);
        assert_eq!(t.links[0].addresses[0][0].to_string(), "10.0.1.1/24");
        assert_eq!(t.links[0].addresses[1][1].to_string(), "2001:db8:1::2/64");
        assert_eq!(t.sessions(1), [1]);
        assert_eq!(t.announced(1).len(), 2);
        assert_eq!(
            (t.device(0, 0), t.device(0, 1), t.device(1, 1)),
            ("eth0".into(), "h1".into(), "r2".into())
        );
        assert_eq!(
            (
                t.find_link("r2-r1"),
                t.find_link("r1-r2"),
                t.find_link("r1-r3")
            ),
            (Some(1), Some(1), None)
        );
    }

    #[test]
    fn two_links_between_two_nodes_have_two_names() {
        let text = format!("{GOOD}[[links]]\nends = [\"r2\", \"r1\"]\n");
        let t = Topology::parse("t", &text).unwrap();
        assert_eq!(t.links[2].name, "r2-r1-2");
        assert_eq!(t.find_link("r1-r2-2"), Some(2));
        assert_eq!(t.device(2, 1), "r2-2");
    }

    /// What is put in, and what is said about it.
    const WRONG: &[(&str, &str, &str)] = &[
        (
            "ends = [\"h1\", \"r1\"]",
            "ends = [\"h1\", \"r9\"]",
            "link 1 (h1-r9): there is no node r9; there are h1, r1, r2",
        ),
        (
            "ends = [\"h1\", \"r1\"]",
            "ends = [\"r1\", \"r1\"]",
            "both ends are r1",
        ),
        (
            "ends = [\"h1\", \"r1\"]",
            "ends = [\"h1\"]",
            "a link has two",
        ),
        ("r2 = {", "r1 = {", "duplicate key"),
        (
            "\"host\"",
            "\"hots\"",
            "no role \"hots\": take one of appliance, frr",
        ),
        ("\"host\"", "\"guest\"", ""),
        (
            "\"host\"",
            "{ role = \"guest\", runs = \"exabgp\" }",
            "a guest can't run \"exabgp\": take one of host, linux, frr, bird",
        ),
        (
            "\"host\"",
            "{ role = \"guest\", runs = \"bird\" }",
            "bird speaks BGP: say as",
        ),
        (
            "\"host\"",
            "{ role = \"host\", runs = \"linux\" }",
            "with role = \"guest\"",
        ),
        (
            "\"host\"",
            "{ role = \"host\", setup = \"true\" }",
            "say role = \"guest\", runs = \"host\"",
        ),
        (
            "\"host\"",
            "{ role = \"guest\", config = \"x\" }",
            "a guest (host) has none",
        ),
        ("h1 = \"host\"", "h1 = 7", "a role, or a table with one"),
        (
            "h1 = \"host\"",
            "h_1 = \"host\"",
            "a name is a small letter",
        ),
        (
            "h1 = \"host\"",
            "lo = \"host\"",
            "the kernel has another use",
        ),
        (
            "h1 = \"host\"",
            "h1 = { role = \"host\", as = 1 }",
            "speaks no BGP",
        ),
        (", as = 65001", "", "to nobody"),
        (", as = 65002", "", "to nobody"),
        ("\"host\"", "\"frr\"", "speaks BGP: say as"),
        ("as = 65001", "asn = 65001", "unknown field `asn`"),
        ("as = 65001", "as = 0", "AS 0"),
        (
            "as = 65001",
            "as = 65001, announce = [\"10.1.1.1/24\"]",
            "did you mean 10.1.1.0/24?",
        ),
        (
            "as = 65001",
            "as = 65001, routes = [\"10.1.1.0/24\"]",
            "PREFIX via ADDRESS",
        ),
        (
            "as = 65001",
            "as = 65001, routes = [\"10.1.1.0/24 via ::1\"]",
            "different families",
        ),
        (
            "as = 65002",
            "as = 65002, config = \"x\"",
            "`config` is for appliances, and for FRR and BIRD in guests: a frr has none",
        ),
        (
            "faults = \"loss=1\"",
            "faults = \"lost=1\"",
            "no fault \"lost\"",
        ),
        ("faults = \"loss=1\"", "speed = 1", "unknown field `speed`"),
        (
            "faults = \"loss=1\"",
            "addresses = [[\"10.0.1.9/24\"], [\"10.0.1.8/24\"]]",
            "overlap",
        ),
        (
            "faults = \"loss=1\"",
            "addresses = [[\"10.0.1.0/16\"], [\"10.0.2.8/16\"]]",
            "link h1-r1 has 10.0.1.0/24, link r1-r2 has 10.0.0.0/16",
        ),
        (
            "faults = \"loss=1\"",
            "addresses = [[\"10.5.1.1/24\"], [\"10.6.1.2/24\"]]",
            "not in one network",
        ),
        (
            "faults = \"loss=1\"",
            "addresses = [[\"10.5.1.1/24\"], [\"10.5.1.1/24\"]]",
            "both ends have 10.5.1.1",
        ),
        (
            "faults = \"loss=1\"",
            "addresses = [[\"10.5.1.1\"], [\"10.5.1.2/24\"]]",
            "no address with a prefix length",
        ),
        (
            "faults = \"loss=1\"",
            "addresses = [[\"10.5.1.1/24\"], [\"fd00::1/64\"]]",
            "no address of that family",
        ),
        (
            "faults = \"loss=1\"",
            "addresses = [[\"fd00::2/64\"], [\"fd00::1/64\"]]",
            "no IPv4 addresses",
        ),
        ("role = \"frr\"", "role = \"gobgp\"", ""),
        (
            "ends = [\"h1\", \"r1\"]",
            "ends = [\"r2\", \"r1\"]",
            "node h1: it has no link",
        ),
    ];

    #[test]
    fn what_is_wrong_is_refused_with_cause_and_remedy() {
        for (from, to, why) in WRONG {
            assert!(GOOD.contains(from), "{from}");
            let said =
                Topology::parse("t", &GOOD.replacen(from, to, 1)).map_err(|e| format!("{e:#}"));
            match said {
                Ok(_) => assert!(why.is_empty(), "{to}: it was taken"),
                Err(e) => assert!(!why.is_empty() && e.contains(why), "{to}: {e}"),
            }
        }
    }

    #[test]
    fn a_guest_is_what_runs_in_it() {
        let text = GOOD.replace(
            "role = \"frr\"",
            "role = \"guest\", runs = \"frr\", config = \"!\", setup = \"true\"",
        );
        let t = Topology::parse("t", &text).unwrap();
        let r2 = &t.nodes[2];
        assert!(t.has_guests() && r2.guest && r2.role == Role::Frr && r2.has_process());
        assert_eq!(
            (r2.kind(), t.nodes[0].kind()),
            ("guest (frr)".into(), "host".into())
        );
        assert!(!Topology::parse("t", GOOD).unwrap().has_guests());
    }

    #[test]
    fn hosts_are_not_behind_what_does_not_forward() {
        let text = GOOD
            .replace("\"frr\"", "\"gobgp\"")
            .replace("[\"h1\", \"r1\"]", "[\"h1\", \"r2\"]");
        let e = format!("{:#}", Topology::parse("t", &text).unwrap_err());
        assert!(e.contains("r2 is gobgp, which forwards nothing"), "{e}");
    }
}
