//! GoBGP, asked through the program gobgp.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Announce, Daemon, Seen, Setup, Speaker};
use crate::lab::wait::secs;
use crate::lab::{Netns, cmd};

/// A running gobgpd.
#[derive(Debug)]
pub struct Gobgp {
    daemon: Daemon,
    socket: PathBuf,
}

impl Gobgp {
    /// Starts it with one neighbour, and announces.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(folder: &Path, name: &str, ns: &Netns, s: &Setup) -> Result<Self> {
        let gobgp = Self::start_text(folder, name, ns, &config(s))?;
        for a in &s.announce {
            gobgp.announce(a, s)?;
        }
        Ok(gobgp)
    }

    /// Starts it with a configuration.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_text(folder: &Path, name: &str, ns: &Netns, config: &str) -> Result<Self> {
        let (file, socket) = (
            folder.join(format!("{name}.toml")),
            folder.join(format!("{name}.sock")),
        );
        std::fs::write(&file, config)?;
        let line = format!(
            "gobgpd -f {} --pprof-disable -p --api-hosts unix://{}",
            file.display(),
            socket.display()
        );
        let daemon = Daemon::start(folder, name, ns, &cmd::words(&line))?;
        let gobgp = Self { daemon, socket };
        gobgp.daemon.until("it answers gobgp", secs(10), || {
            gobgp.cli("global").map(|_| true)
        })?;
        Ok(gobgp)
    }

    /// A command of gobgp.
    ///
    /// # Errors
    /// When gobgpd refuses it.
    pub fn cli(&self, line: &str) -> Result<String> {
        let mut c = Command::new("gobgp");
        c.arg("--target")
            .arg(format!("unix://{}", self.socket.display()));
        cmd::output(c.args(cmd::words(line)))
    }

    /// A command of gobgp that prints JSON.
    ///
    /// # Errors
    /// When it does not.
    pub fn json(&self, line: &str) -> Result<Value> {
        let text = self.cli(&format!("-j {line}"))?;
        serde_json::from_str(&text).with_context(|| format!("gobgp {line}: {text}"))
    }

    /// The state of a neighbour.
    fn neighbor(&self, peer: IpAddr) -> Result<Value> {
        let all = self.json("neighbor")?;
        let is = |n: &&Value| n["state"]["neighbor_address"] == peer.to_string();
        let one = all.as_array().into_iter().flatten().find(is);
        Ok(one.map_or(Value::Null, |n| n["state"].clone()))
    }

    /// Messages of a kind that came; it leaves noughts out.
    fn count(&self, peer: IpAddr, kind: &str) -> Result<u64> {
        let n = &self.neighbor(peer)?["messages"]["received"][kind];
        Ok(n.as_u64().unwrap_or(0))
    }

    /// Announces a route.
    ///
    /// # Errors
    /// When gobgpd refuses it.
    pub fn announce(&self, a: &Announce, s: &Setup) -> Result<()> {
        let (family, next_hop) = if a.v6() {
            ("ipv6", s.own6.to_string())
        } else {
            // By IPv6 over a session in IPv6 (RFC 8950).
            ("ipv4", s.own4().to_string())
        };
        let mut line = format!(
            "global rib add -a {family} {} origin igp nexthop {next_hop}",
            a.prefix
        );
        if !a.communities.is_empty() {
            let _ = write!(line, " community {}", a.communities.join(","));
        }
        if !a.large.is_empty() {
            let _ = write!(line, " large-community {}", a.large.join(","));
        }
        if let Some(med) = a.med {
            let _ = write!(line, " med {med}");
        }
        self.cli(&line).map(drop)
    }
}

impl Speaker for Gobgp {
    fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    fn daemon_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    fn established(&self, peer: IpAddr) -> Result<bool> {
        // apipb.PeerState.SessionState: 6 is ESTABLISHED.
        Ok(self.neighbor(peer)?["session_state"] == 6)
    }

    fn paths(&self, prefix: &str) -> Result<Vec<Seen>> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let all = self.json(&format!("global rib -a {family}"))?;
        let paths = all[prefix].as_array();
        Ok(paths.into_iter().flatten().map(seen).collect())
    }

    fn shown(&self, prefix: &str) -> Result<String> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let all = self.json(&format!("global rib -a {family}"))?;
        Ok(all[prefix].to_string())
    }

    fn taken(&self, peer: IpAddr) -> Result<u64> {
        self.count(peer, "update")
    }

    fn tell_it(&self, lines: &[&str]) -> Result<()> {
        lines.iter().try_for_each(|l| self.cli(l).map(drop))
    }

    fn ask_again(&self, peer: IpAddr) -> Result<()> {
        self.cli(&format!("neighbor {peer} softresetin -a ipv4"))
            .map(drop)
    }

    fn asked(&self, peer: IpAddr) -> Result<u64> {
        self.count(peer, "refresh")
    }
}

fn seen(v: &Value) -> Seen {
    let mut seen = Seen {
        stale: v["stale"] == true,
        ..Seen::default()
    };
    let number = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    for a in v["attrs"].as_array().into_iter().flatten() {
        match a["type"].as_u64() {
            Some(2) => {
                let segments = a["as_paths"].as_array().into_iter().flatten();
                let numbers = segments
                    .flat_map(|s| s["asns"].as_array().into_iter().flatten())
                    .map(ToString::to_string);
                seen.path = numbers.collect::<Vec<_>>().join(" ");
            }
            Some(3 | 14) => {
                a["nexthop"]
                    .as_str()
                    .unwrap_or_default()
                    .clone_into(&mut seen.next_hop);
            }
            Some(4) => seen.med = number(a.get("metric").unwrap_or(&a["value"])),
            Some(5) => seen.local_pref = number(&a["value"]),
            Some(8) => {
                let all = a["communities"].as_array().into_iter().flatten();
                let words = all.filter_map(number);
                seen.communities = words
                    .map(|n| format!("{}:{}", n >> 16, n & 0xffff))
                    .collect();
                seen.communities.sort();
            }
            Some(32) => {
                let all = a["value"].as_array().into_iter().flatten();
                let part = |v: &Value, key: &str| v[key].as_u64().unwrap_or(0);
                seen.large = all
                    .map(|v| {
                        format!(
                            "{}:{}:{}",
                            part(v, "ASN"),
                            part(v, "LocalData1"),
                            part(v, "LocalData2")
                        )
                    })
                    .collect();
                seen.large.sort();
            }
            _ => {}
        }
    }
    seen
}

fn config(s: &Setup) -> String {
    let mut c = format!(
        "[global.config]\nas = {}\nrouter-id = \"{}\"\nport = 179\nlocal-address-list = [\"{}\"]\n{}\n\
         [[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = {}\n",
        s.asn, s.id, s.local, s.top, s.peer, s.peer_asn
    );
    if let Some(key) = &s.password {
        let _ = writeln!(c, "auth-password = \"{key}\"");
    }
    let _ = write!(
        c,
        "[neighbors.transport.config]\nlocal-address = \"{}\"\n[neighbors.timers.config]\nconnect-retry = 1\nhold-time = {}\n\
         keepalive-interval = {}\nidle-hold-time-after-reset = 1\n{}\n",
        s.local,
        s.hold,
        s.hold / 3,
        s.neighbor
    );
    for v6 in s.families() {
        let _ = write!(
            c,
            "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv{}-unicast\"\n{}\n",
            if v6 { 6 } else { 4 },
            s.family
        );
    }
    c
}
