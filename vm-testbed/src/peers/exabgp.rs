//! ExaBGP, which says what it is told to and writes down what it hears. It is told through a FIFO, and its script is `cat`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use super::{Announce, Daemon, Seen, Setup, Speaker};
use crate::lab::Netns;
use crate::lab::wait::secs;

/// A running exabgp.
#[derive(Debug)]
pub struct Exabgp {
    daemon: Daemon,
    tell: File,
    heard: PathBuf,
    peer: IpAddr,
}

impl Exabgp {
    /// Starts it with one neighbour, and announces.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(folder: &Path, name: &str, ns: &Netns, s: &Setup) -> Result<Self> {
        let file = |what: &str| folder.join(format!("{name}.{what}"));
        let (config_file, script, fifo, heard) =
            (file("conf"), file("sh"), file("in"), file("heard"));
        let text = format!(
            "#!/bin/sh\n# What exabgp hears is written down; what is told it comes through the FIFO.\ncat {} &\nexec cat >> {}\n",
            fifo.display(),
            heard.display()
        );
        std::fs::write(&script, text)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode)?;
        std::fs::write(&heard, "")?;
        std::fs::write(&config_file, config(s, &script))?;
        let _ = std::fs::remove_file(&fifo);
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU)?;
        // Open for both, so that neither end waits for the other.
        let tell = File::options().read(true).write(true).open(&fifo)?;
        let env = [
            ("exabgp.daemon.user", "root"),
            ("exabgp.daemon.drop", "false"),
            ("exabgp.api.cli", "false"),
            ("exabgp.api.ack", "false"),
            ("exabgp.log.destination", "stdout"),
            ("exabgp.tcp.delay", "0"),
        ];
        let line = ["exabgp".as_ref(), config_file.as_os_str()];
        let daemon = Daemon::start_with(folder, name, ns, &line, &env)?;
        let exabgp = Self {
            daemon,
            tell,
            heard,
            peer: s.peer,
        };
        exabgp
            .daemon
            .until("it has loaded its configuration", secs(15), || {
                Ok(exabgp
                    .daemon
                    .log_tail()
                    .contains("loaded new configuration"))
            })?;
        for a in &s.announce {
            exabgp.announce(a, s)?;
        }
        Ok(exabgp)
    }

    /// Tells it something in the language of its API.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn tell(&self, line: &str) -> Result<()> {
        writeln!(&self.tell, "{line}")?;
        Ok(())
    }

    /// Announces a route.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn announce(&self, a: &Announce, s: &Setup) -> Result<()> {
        let next_hop = if a.v6() {
            s.own6.to_string()
        } else {
            s.own4().to_string()
        };
        let mut line = format!(
            "neighbor {} announce route {} next-hop {next_hop}",
            self.peer, a.prefix
        );
        if !a.communities.is_empty() {
            let _ = write!(line, " community [{}]", a.communities.join(" "));
        }
        if !a.large.is_empty() {
            let _ = write!(line, " large-community [{}]", a.large.join(" "));
        }
        if let Some(med) = a.med {
            let _ = write!(line, " med {med}");
        }
        self.tell(&line)
    }

    /// How many messages of ROUTE-REFRESH it has heard, by the beginning of what it calls their kind.
    fn refreshes(&self, kinds: &[&str]) -> usize {
        let all = self.heard();
        let of = all.iter().filter(|v| {
            let kind = v["neighbor"]["route-refresh"]["subtype"].as_str();
            kind.is_some_and(|k| kinds.iter().any(|kind| k.starts_with(kind)))
        });
        of.count()
    }

    /// All that it has heard, as it wrote it down.
    #[must_use]
    pub fn heard(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.heard).unwrap_or_default();
        let lines = text.lines().filter_map(|l| serde_json::from_str(l).ok());
        lines.collect()
    }
}

impl Speaker for Exabgp {
    fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    fn daemon_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    fn established(&self, peer: IpAddr) -> Result<bool> {
        let of_peer = |v: &Value| v["neighbor"]["address"]["peer"] == peer.to_string();
        let heard = self.heard();
        let state = |v: &&Value| v["type"] == "state" && of_peer(v);
        let last = heard.iter().rfind(state);
        Ok(last.is_some_and(|v| v["neighbor"]["state"] == "up"))
    }

    fn paths(&self, prefix: &str) -> Result<Vec<Seen>> {
        // By path identifier, where there are any.
        let mut now: BTreeMap<String, Seen> = BTreeMap::new();
        for v in self.heard() {
            if v["type"] == "state" && v["neighbor"]["state"] != "up" {
                now.clear();
            }
            let update = &v["neighbor"]["message"]["update"];
            let id = |n: &Value| {
                n["path-information"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            };
            let same = |n: &&Value| n["nlri"] == prefix;
            for family in update["withdraw"].as_object().into_iter().flatten() {
                for n in family.1.as_array().into_iter().flatten().filter(same) {
                    now.remove(&id(n));
                }
            }
            for (_, hops) in update["announce"].as_object().into_iter().flatten() {
                for (hop, nlri) in hops.as_object().into_iter().flatten() {
                    for n in nlri.as_array().into_iter().flatten().filter(same) {
                        // A link-local next hop comes beside the global one (RFC 2545).
                        if !hop.starts_with("fe80:")
                            || hops.as_object().is_none_or(|h| h.len() == 1)
                        {
                            now.insert(id(n), seen(&update["attribute"], hop));
                        }
                    }
                }
            }
        }
        Ok(now.into_values().collect())
    }

    fn shown(&self, prefix: &str) -> Result<String> {
        let heard = self.heard();
        let mut of = heard.iter().filter(|v| v.to_string().contains(prefix));
        Ok(of.next_back().map(Value::to_string).unwrap_or_default())
    }

    fn taken(&self, _peer: IpAddr) -> Result<u64> {
        let heard = self.heard();
        Ok(heard.iter().filter(|v| v["type"] == "update").count() as u64)
    }

    fn tell_it(&self, lines: &[&str]) -> Result<()> {
        lines.iter().try_for_each(|l| self.tell(l))
    }

    fn ask_again(&self, peer: IpAddr) -> Result<()> {
        self.tell(&format!(
            "neighbor {peer} announce route-refresh ipv4 unicast"
        ))
    }

    fn asked(&self, _peer: IpAddr) -> Result<u64> {
        Ok(self.refreshes(&["query", "request"]) as u64)
    }

    fn marked(&self) -> (usize, usize) {
        (self.refreshes(&["begin"]), self.refreshes(&["end"]))
    }

    /// As it wrote it down: data in hexadecimal digits.
    fn told(&self, _peer: IpAddr) -> Result<String> {
        let all = std::fs::read_to_string(&self.heard)?;
        let of = all.lines().filter(|l| l.contains("notification"));
        Ok(of.collect::<Vec<_>>().join("\n") + &self.daemon.log())
    }
}

fn seen(a: &Value, hop: &str) -> Seen {
    let number = |key: &str| a[key].as_u64().and_then(|n| u32::try_from(n).ok());
    let lists = |key: &str| {
        let all = a[key].as_array().into_iter().flatten();
        let mut all: Vec<String> = all
            .map(|c| {
                let parts = c.as_array().into_iter().flatten().map(ToString::to_string);
                parts.collect::<Vec<_>>().join(":")
            })
            .collect();
        all.sort();
        all
    };
    let path = a["as-path"].as_array().into_iter().flatten();
    Seen {
        path: path.map(ToString::to_string).collect::<Vec<_>>().join(" "),
        next_hop: hop.to_owned(),
        communities: lists("community"),
        large: lists("large-community"),
        med: number("med"),
        local_pref: number("local-preference"),
        stale: false,
    }
}

fn config(s: &Setup, script: &Path) -> String {
    let mut c = format!(
        "process api {{ run {}; encoder json; }}\n{}\nneighbor {} {{\n router-id {};\n local-address {};\n local-as {};\n \
         peer-as {};\n hold-time {};\n",
        script.display(),
        s.top,
        s.peer,
        s.id,
        s.local,
        s.asn,
        s.peer_asn,
        s.hold
    );
    if let Some(key) = &s.password {
        let _ = writeln!(c, " md5-password \"{key}\";");
    }
    let families: Vec<&str> = s
        .families()
        .into_iter()
        .map(|v6| if v6 { "ipv6 unicast;" } else { "ipv4 unicast;" })
        .collect();
    let _ = write!(
        c,
        "{}\n family {{ {} }}\n api {{ processes [ api ]; neighbor-changes; receive {{ parsed; update; notification; \
         open; refresh; }} }}\n}}\n",
        s.neighbor,
        families.join(" ")
    );
    c
}
