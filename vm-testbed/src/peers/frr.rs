//! FRR: bgpd with zebra, so that what it learns is in its kernel; asked through vtysh.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Daemon, Seen, Setup, Speaker, own_folder};
use crate::lab::wait::secs;
use crate::lab::{Netns, cmd};

/// Running zebra and bgpd. The latter is ended first.
#[derive(Debug)]
pub struct Frr {
    bgpd: Daemon,
    #[expect(dead_code, reason = "lives as long as bgpd")]
    zebra: Daemon,
    folder: PathBuf,
}

impl Frr {
    /// Starts both with one neighbour.
    ///
    /// # Errors
    /// When they do not come up.
    pub fn start(folder: &Path, name: &str, ns: &Netns, s: &Setup) -> Result<Self> {
        Self::start_text(folder, name, ns, &config(s))
    }

    /// Starts both; the configuration is bgpd's.
    ///
    /// # Errors
    /// When they do not come up.
    pub fn start_text(folder: &Path, name: &str, ns: &Netns, config: &str) -> Result<Self> {
        let own = own_folder(folder, name)?;
        let at = |file: &str| own.join(file).display().to_string();
        std::fs::write(own.join("zebra.conf"), "log stdout\n")?;
        std::fs::write(own.join("bgpd.conf"), config)?;
        let common = |which: &str| {
            format!(
                "/usr/lib/frr/{which} -f {} -i {} -z {} --vty_socket {} -P 0",
                at(&format!("{which}.conf")),
                at(&format!("{which}.pid")),
                at("zserv"),
                own.display()
            )
        };
        let line = common("zebra");
        let zebra = Daemon::start(folder, &format!("{name}-zebra"), ns, &cmd::words(&line))?;
        zebra.until("its socket is there", secs(10), || {
            Ok(own.join("zserv").exists())
        })?;
        // -S: as root, for its port; it would else want capabilities.
        let line = format!("{} -S -p 179", common("bgpd"));
        let bgpd = Daemon::start(folder, name, ns, &cmd::words(&line))?;
        let frr = Self {
            bgpd,
            zebra,
            folder: own,
        };
        frr.bgpd.until("it answers vtysh", secs(10), || {
            Ok(frr.cli("show bgp summary json")?.contains('{'))
        })?;
        Ok(frr)
    }

    /// A command of vtysh.
    ///
    /// # Errors
    /// When bgpd does not answer.
    pub fn cli(&self, line: &str) -> Result<String> {
        let mut c = std::process::Command::new("vtysh");
        c.arg("--vty_socket").arg(&self.folder);
        cmd::output(c.args(["-d", "bgpd", "-c", line]))
    }

    /// Lines to be typed in the configuration mode.
    ///
    /// # Errors
    /// When bgpd refuses one.
    pub fn configure(&self, lines: &[&str]) -> Result<String> {
        let mut c = std::process::Command::new("vtysh");
        c.arg("--vty_socket").arg(&self.folder);
        c.args(["-d", "bgpd", "-c", "configure terminal"]);
        for line in lines {
            c.args(["-c", line]);
        }
        cmd::output(&mut c)
    }

    fn count(&self, peer: IpAddr, key: &str) -> Result<u64> {
        let v = self.json(&format!("show bgp neighbors {peer} json"))?;
        let n = &v[peer.to_string()]["messageStats"][key];
        n.as_u64().with_context(|| format!("messageStats.{key}"))
    }

    /// A command of vtysh that prints JSON.
    ///
    /// # Errors
    /// When it does not.
    pub fn json(&self, line: &str) -> Result<Value> {
        let text = self.cli(line)?;
        serde_json::from_str(&text).with_context(|| format!("vtysh -c '{line}': {text}"))
    }
}

impl Speaker for Frr {
    fn daemon(&self) -> &Daemon {
        &self.bgpd
    }

    fn daemon_mut(&mut self) -> &mut Daemon {
        &mut self.bgpd
    }

    fn established(&self, peer: IpAddr) -> Result<bool> {
        let v = self.json(&format!("show bgp neighbors {peer} json"))?;
        Ok(v[peer.to_string()]["bgpState"] == "Established")
    }

    fn paths(&self, prefix: &str) -> Result<Vec<Seen>> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let v = self.json(&format!("show bgp {family} unicast {prefix} json"))?;
        Ok(v["paths"]
            .as_array()
            .into_iter()
            .flatten()
            .map(seen)
            .collect())
    }

    fn shown(&self, prefix: &str) -> Result<String> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        self.cli(&format!("show bgp {family} unicast {prefix} json"))
    }

    fn taken(&self, peer: IpAddr) -> Result<u64> {
        self.count(peer, "updatesRecv")
    }

    fn tell_it(&self, lines: &[&str]) -> Result<()> {
        self.configure(lines).map(drop)
    }

    fn ask_again(&self, peer: IpAddr) -> Result<()> {
        self.cli(&format!("clear bgp ipv4 unicast {peer} soft in"))
            .map(drop)
    }

    fn asked(&self, peer: IpAddr) -> Result<u64> {
        self.count(peer, "routeRefreshRecv")
    }

    fn told(&self, peer: IpAddr) -> Result<String> {
        self.cli(&format!("show bgp neighbors {peer} json"))
    }
}

fn seen(v: &Value) -> Seen {
    // In "string" many communities are cut off.
    let list = |v: &Value| -> Vec<String> {
        let each = v["list"].as_array().into_iter().flatten();
        let mut all: Vec<String> = each.filter_map(|c| Some(c.as_str()?.to_owned())).collect();
        all.sort();
        all
    };
    let number = |key: &str| v[key].as_u64().and_then(|n| u32::try_from(n).ok());
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    Seen {
        path: match text(&v["aspath"]["string"]) {
            local if local == "Local" => String::new(),
            path => path,
        },
        next_hop: text(&v["nexthops"][0]["ip"]),
        communities: list(&v["community"]),
        large: list(&v["largeCommunity"]),
        med: number("metric"),
        local_pref: number("locPrf"),
        stale: v["stale"] == true || v["llgrStale"] == true,
    }
}

fn config(s: &Setup) -> String {
    let mut c = format!("log stdout\n{}", s.top);
    for (i, a) in s.announce.iter().enumerate() {
        let _ = writeln!(c, "route-map A{i} permit 10");
        if !a.communities.is_empty() {
            let _ = writeln!(c, " set community {}", a.communities.join(" "));
        }
        if !a.large.is_empty() {
            let _ = writeln!(c, " set large-community {}", a.large.join(" "));
        }
        if let Some(med) = a.med {
            let _ = writeln!(c, " set metric {med}");
        }
        c.push_str("exit\n");
    }
    let _ = write!(
        c,
        "router bgp {}\n bgp router-id {}\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n \
         no bgp network import-check\n neighbor {peer} remote-as {}\n neighbor {peer} timers {} {}\n \
         neighbor {peer} timers connect 1\n neighbor {peer} update-source {}\n",
        s.asn,
        s.id,
        s.peer_asn,
        s.hold / 3,
        s.hold,
        s.local,
        peer = s.peer,
    );
    if let Some(key) = &s.password {
        let _ = writeln!(c, " neighbor {} password {key}", s.peer);
    }
    // What begins with `bgp` is for all neighbours.
    for line in s.neighbor.lines() {
        let _ = match line.starts_with("bgp ") {
            true => writeln!(c, " {line}"),
            false => writeln!(c, " neighbor {} {line}", s.peer),
        };
    }
    for v6 in s.families() {
        let _ = write!(
            c,
            " address-family ipv{} unicast\n  neighbor {} activate\n",
            if v6 { 6 } else { 4 },
            s.peer
        );
        for line in s.family.lines() {
            let _ = writeln!(c, "  neighbor {} {line}", s.peer);
        }
        for (i, a) in s.announce.iter().enumerate().filter(|(_, a)| a.v6() == v6) {
            let _ = writeln!(c, "  network {} route-map A{i}", a.prefix);
        }
        c.push_str(" exit-address-family\n");
    }
    c
}
