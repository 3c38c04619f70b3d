//! BGP speakers that nobody here wrote, as neighbours for the appliance: FRR's bgpd with zebra, BIRD 2, GoBGP, ExaBGP; and
//! StayRTR, a cache for RPKI-to-Router. Each runs in a namespace with a configuration of the test's own, is waited for by its
//! state, ended by its process id, and says what it logged when something fails.
//!
//! [`Setup`] says what most tests need, in one way for all of them; what is special goes into it as lines of the speaker's own
//! language. [`Speaker`] asks them all the same questions.

mod bird;
mod daemon;
mod exabgp;
pub mod feeder;
mod frr;
mod gobgp;
mod ldpd;
pub mod mrt;
pub mod raw;
mod stayrtr;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, Result};

pub use bird::Bird;
pub use daemon::{Daemon, Usage};
pub use exabgp::Exabgp;
pub use frr::Frr;
pub use gobgp::Gobgp;
pub use ldpd::Ldpd;
pub use stayrtr::{Roa, Stayrtr};

use crate::lab::Netns;
use crate::lab::wait::{eventually, secs};

/// A route to announce.
#[derive(Debug, Clone, Default)]
pub struct Announce {
    /// The prefix, of either family.
    pub prefix: String,
    /// Communities: `65001:1`.
    pub communities: Vec<String>,
    /// Large communities: `65001:2:3`.
    pub large: Vec<String>,
    /// MED.
    pub med: Option<u32>,
}

impl Announce {
    /// A prefix without more.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            ..Self::default()
        }
    }

    /// With a community.
    #[must_use]
    pub fn community(mut self, c: &str) -> Self {
        self.communities.push(c.to_owned());
        self
    }

    /// With a large community.
    #[must_use]
    pub fn large(mut self, c: &str) -> Self {
        self.large.push(c.to_owned());
        self
    }

    /// With a MED.
    #[must_use]
    pub fn med(mut self, med: u32) -> Self {
        self.med = Some(med);
        self
    }

    /// Whether it is an IPv6 prefix.
    #[must_use]
    pub fn v6(&self) -> bool {
        self.prefix.contains(':')
    }
}

/// A speaker with one neighbour.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its AS.
    pub asn: u32,
    /// Its BGP identifier.
    pub id: Ipv4Addr,
    /// The address its session is from.
    pub local: IpAddr,
    /// Its next hop for IPv6.
    pub own6: Ipv6Addr,
    /// The neighbour.
    pub peer: IpAddr,
    /// The neighbour's AS.
    pub peer_asn: u32,
    /// Whether IPv4 unicast is spoken.
    pub ipv4: bool,
    /// Whether IPv6 unicast is spoken.
    pub ipv6: bool,
    /// What it announces from the start.
    pub announce: Vec<Announce>,
    /// The key of TCP MD5 (RFC 2385).
    pub password: Option<String>,
    /// Hold time in seconds.
    pub hold: u16,
    /// More lines of its own language for the neighbour.
    pub neighbor: String,
    /// More lines for the neighbour in each family.
    pub family: String,
    /// More lines for its whole configuration.
    pub top: String,
}

impl Setup {
    /// `local` as AS `asn` beside `peer` of AS `peer_asn`, both families, nothing to announce.
    #[must_use]
    pub fn new(asn: u32, local: IpAddr, own6: Ipv6Addr, peer_asn: u32, peer: IpAddr) -> Self {
        let id = match local {
            IpAddr::V4(a) => a,
            IpAddr::V6(a) => {
                let o = a.octets();
                Ipv4Addr::new(10, 66, o[14], o[15])
            }
        };
        Self {
            asn,
            id,
            local,
            own6,
            peer,
            peer_asn,
            ipv4: true,
            ipv6: true,
            announce: vec![],
            password: None,
            hold: 9,
            neighbor: String::new(),
            family: String::new(),
            top: String::new(),
        }
    }

    /// With a route to announce.
    #[must_use]
    pub fn announce(mut self, a: Announce) -> Self {
        self.announce.push(a);
        self
    }

    /// With more lines for the neighbour.
    #[must_use]
    pub fn neighbor(mut self, lines: &str) -> Self {
        self.neighbor.push_str(lines);
        self.neighbor.push('\n');
        self
    }

    /// With more lines for the neighbour in each family.
    #[must_use]
    pub fn family(mut self, lines: &str) -> Self {
        self.family.push_str(lines);
        self.family.push('\n');
        self
    }

    /// With more lines for all of it.
    #[must_use]
    pub fn top(mut self, lines: &str) -> Self {
        self.top.push_str(lines);
        self.top.push('\n');
        self
    }

    /// Its next hop for IPv4: of the family that the session has.
    fn own4(&self) -> IpAddr {
        match self.local {
            IpAddr::V4(_) => self.id.into(),
            IpAddr::V6(_) => self.own6.into(),
        }
    }

    fn families(&self) -> Vec<bool> {
        let both = [(self.ipv4, false), (self.ipv6, true)];
        both.into_iter().filter(|b| b.0).map(|b| b.1).collect()
    }
}

/// A path as a speaker has it in its table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The AS path as it writes it, numbers with blanks between.
    pub path: String,
    /// Its next hop.
    pub next_hop: String,
    /// Communities, ascending: `65001:1`.
    pub communities: Vec<String>,
    /// Large communities, ascending: `65001:2:3`.
    pub large: Vec<String>,
    /// MED.
    pub med: Option<u32>,
    /// Local preference.
    pub local_pref: Option<u32>,
    /// Whether it keeps it only until its neighbour is back (RFC 4724).
    pub stale: bool,
}

/// What all of them can be asked.
pub trait Speaker {
    /// Its process.
    fn daemon(&self) -> &Daemon;
    /// The same, to end it.
    fn daemon_mut(&mut self) -> &mut Daemon;
    /// Whether the session with that neighbour is established.
    ///
    /// # Errors
    /// When it does not answer.
    fn established(&self, peer: IpAddr) -> Result<bool>;
    /// The paths it has for a prefix; its own ones too.
    ///
    /// # Errors
    /// When it does not answer.
    fn paths(&self, prefix: &str) -> Result<Vec<Seen>>;
    /// Whether it keeps its one path for a prefix only until its neighbour, which has restarted, has said all again (RFC 4724).
    ///
    /// # Errors
    /// When it does not answer.
    fn keeps(&self, prefix: &str, _peer: IpAddr) -> Result<bool> {
        let paths = self.paths(prefix)?;
        Ok(paths.len() == 1 && paths[0].stale)
    }
    /// Everything that it says of a prefix, in its own words.
    ///
    /// # Errors
    /// When it does not answer.
    fn shown(&self, prefix: &str) -> Result<String>;
    /// How many UPDATEs or routes of its neighbour it has taken.
    ///
    /// # Errors
    /// When it does not answer.
    fn taken(&self, peer: IpAddr) -> Result<u64>;
    /// Has it ask its neighbour for all of IPv4 again (RFC 2918).
    ///
    /// # Errors
    /// When it does not want to.
    fn ask_again(&self, peer: IpAddr) -> Result<()>;
    /// Has it do something, in its own language: configuration of FRR, commands of the others.
    ///
    /// # Errors
    /// When it does not want to.
    fn tell_it(&self, lines: &[&str]) -> Result<()>;
    /// How often its neighbour has asked it so. BIRD has to be told `debug { packets };`.
    ///
    /// # Errors
    /// When it does not answer.
    fn asked(&self, peer: IpAddr) -> Result<u64>;

    /// How often its neighbour has marked where what is sent again begins, and where it ends (RFC 7313). BIRD has to be told
    /// `debug { packets };`, FRR `debug bgp neighbor-events`.
    fn marked(&self) -> (usize, usize) {
        let log = self.daemon().log();
        let of = |bird: &str, frr: &str| {
            log.matches(bird).count() + log.matches(&format!("rcvd route-refresh ({frr})")).count()
        };
        (of("Got BEGIN-OF-RR", "BoRR"), of("Got END-OF-RR", "EoRR"))
    }

    /// What it has written down and knows of how sessions ended.
    ///
    /// # Errors
    /// When it does not answer.
    fn told(&self, _peer: IpAddr) -> Result<String> {
        Ok(self.daemon().log())
    }

    /// Waits until the session is established.
    ///
    /// # Errors
    /// When it is not within 20 s, with what it logged.
    fn wait_established(&self, peer: IpAddr) -> Result<()> {
        let what = format!("the session with {peer} is established");
        self.daemon()
            .until(&what, secs(20), || self.established(peer))
    }

    /// Waits until it has paths for a prefix that are as wanted, and returns them.
    ///
    /// # Errors
    /// When it has not within 15 s, with what it has.
    fn wait_paths(
        &self,
        prefix: &str,
        what: &str,
        good: &dyn Fn(&[Seen]) -> bool,
    ) -> Result<Vec<Seen>> {
        let mut last = vec![];
        let done = eventually(
            &format!("{}: {prefix}: {what}", self.daemon().name()),
            secs(15),
            || {
                last = self.paths(prefix)?;
                Ok(good(&last).then(|| last.clone()))
            },
        );
        done.with_context(|| {
            format!(
                "it has {last:?}; {} said:\n{}",
                self.daemon().name(),
                self.daemon().log_tail()
            )
        })
    }

    /// Waits until it has one path for a prefix, and returns that.
    ///
    /// # Errors
    /// As [`Speaker::wait_paths`].
    fn wait_path(&self, prefix: &str) -> Result<Seen> {
        let one = self.wait_paths(prefix, "one path", &|p| p.len() == 1)?;
        one.into_iter().next().context("one path")
    }

    /// Waits until it has no path for a prefix.
    ///
    /// # Errors
    /// As [`Speaker::wait_paths`].
    fn wait_gone(&self, prefix: &str) -> Result<()> {
        self.wait_paths(prefix, "no path", &|p| p.is_empty())
            .map(drop)
    }
}

/// The four of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// FRR.
    Frr,
    /// BIRD 2.
    Bird,
    /// GoBGP.
    Gobgp,
    /// ExaBGP.
    Exabgp,
}

impl Make {
    /// All.
    pub const ALL: [Self; 4] = [Self::Frr, Self::Bird, Self::Gobgp, Self::Exabgp];

    /// Starts one; its files are called `name` in `folder`.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(
        self,
        folder: &Path,
        name: &str,
        ns: &Netns,
        s: &Setup,
    ) -> Result<Box<dyn Speaker>> {
        Ok(match self {
            Self::Frr => Box::new(Frr::start(folder, name, ns, s)?),
            Self::Bird => Box::new(Bird::start(folder, name, ns, s)?),
            Self::Gobgp => Box::new(Gobgp::start(folder, name, ns, s)?),
            Self::Exabgp => Box::new(Exabgp::start(folder, name, ns, s)?),
        })
    }
}

/// A folder of its own for a daemon that does not run as root.
fn own_folder(folder: &Path, name: &str) -> Result<std::path::PathBuf> {
    let own = folder.join(format!("{name}.d"));
    std::fs::create_dir_all(&own)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&own, mode)?;
    Ok(own)
}
