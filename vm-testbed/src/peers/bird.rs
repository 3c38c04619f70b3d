//! BIRD 2, asked through birdc.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Daemon, Seen, Setup, Speaker};
use crate::lab::wait::secs;
use crate::lab::{Netns, cmd};

/// A running BIRD.
#[derive(Debug)]
pub struct Bird {
    daemon: Daemon,
    ctl: PathBuf,
}

impl Bird {
    /// Starts it with one neighbour; its protocol is called `p`.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(folder: &Path, name: &str, ns: &Netns, s: &Setup) -> Result<Self> {
        Self::start_text(folder, name, ns, &config(s))
    }

    /// Starts it with a configuration.
    ///
    /// # Errors
    /// When it does not come up, with what it says about it.
    pub fn start_text(folder: &Path, name: &str, ns: &Netns, config: &str) -> Result<Self> {
        let (file, ctl) = (
            folder.join(format!("{name}.conf")),
            folder.join(format!("{name}.ctl")),
        );
        std::fs::write(&file, config)?;
        let pid = folder.join(format!("{name}.pid"));
        let line = [
            "bird".as_ref(),
            "-f".as_ref(),
            "-c".as_ref(),
            file.as_os_str(),
            "-s".as_ref(),
            ctl.as_os_str(),
            "-P".as_ref(),
            pid.as_os_str(),
        ];
        let daemon = Daemon::start(folder, name, ns, &line)?;
        let bird = Self { daemon, ctl };
        bird.daemon.until("it answers birdc", secs(10), || {
            Ok(bird.cli("show status")?.contains("up and running"))
        })?;
        Ok(bird)
    }

    /// A command of birdc.
    ///
    /// # Errors
    /// When BIRD does not answer.
    pub fn cli(&self, line: &str) -> Result<String> {
        let mut c = Command::new("birdc");
        c.arg("-s").arg(&self.ctl).args(cmd::words(line));
        cmd::output(&mut c)
    }
}

impl Speaker for Bird {
    fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    fn daemon_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    fn established(&self, peer: IpAddr) -> Result<bool> {
        let all = self.cli("show protocols all")?;
        let mut state = "";
        for line in all.lines().map(str::trim) {
            if let Some(s) = line.strip_prefix("BGP state:") {
                state = s.trim();
            }
            if line
                .strip_prefix("Neighbor address:")
                .is_some_and(|a| a.trim().split('%').next() == Some(&peer.to_string()))
            {
                return Ok(state == "Established");
            }
        }
        Ok(false)
    }

    fn paths(&self, prefix: &str) -> Result<Vec<Seen>> {
        let done = cmd::finish(
            Command::new("birdc")
                .arg("-s")
                .arg(&self.ctl)
                .args(["show", "route", prefix, "all"]),
        )?;
        Ok(parse(&done.stdout))
    }

    /// It marks no routes, but says that it waits.
    fn keeps(&self, prefix: &str, _peer: IpAddr) -> Result<bool> {
        let waits = self.cli("show protocols all p")?;
        Ok(self.paths(prefix)?.len() == 1 && waits.contains("Neighbor graceful restart active"))
    }

    fn shown(&self, prefix: &str) -> Result<String> {
        self.cli(&format!("show route {prefix} all"))
    }

    fn taken(&self, _peer: IpAddr) -> Result<u64> {
        let all = self.cli("show protocols all p")?;
        let lines = all.lines().map(str::trim);
        let counts = lines.filter_map(|l| {
            let rest = l.strip_prefix("Import updates:")?;
            rest.split_whitespace().next()?.parse::<u64>().ok()
        });
        Ok(counts.sum())
    }

    fn tell_it(&self, lines: &[&str]) -> Result<()> {
        lines.iter().try_for_each(|l| self.cli(l).map(drop))
    }

    fn ask_again(&self, _peer: IpAddr) -> Result<()> {
        self.cli("reload in p").map(drop)
    }

    fn asked(&self, _peer: IpAddr) -> Result<u64> {
        Ok(self.daemon.log().matches("Got ROUTE-REFRESH").count() as u64)
    }
}

fn parse(text: &str) -> Vec<Seen> {
    let mut all: Vec<Seen> = vec![];
    for line in text.lines() {
        // Attributes are indented with a tab, and every path begins with where it is from.
        if !line.starts_with('\t') && line.contains(" [") && !line.starts_with("Table") {
            all.push(Seen {
                stale: line.contains("STALE"),
                ..Seen::default()
            });
        }
        let (Some(seen), Some((key, value))) = (all.last_mut(), line.trim().split_once(": "))
        else {
            continue;
        };
        let value = value.trim();
        match key {
            "BGP.as_path" => value.clone_into(&mut seen.path),
            "BGP.next_hop" => {
                value
                    .split(' ')
                    .next()
                    .unwrap_or_default()
                    .clone_into(&mut seen.next_hop);
            }
            "BGP.community" => seen.communities = tuples(value),
            "BGP.large_community" => seen.large = tuples(value),
            "BGP.med" => seen.med = value.parse().ok(),
            "BGP.local_pref" => seen.local_pref = value.parse().ok(),
            _ => {}
        }
    }
    all
}

/// `(1,2) (3, 4)` as `1:2` and `3:4`.
fn tuples(text: &str) -> Vec<String> {
    let parts = text.split(')').filter(|p| p.contains('('));
    let mut all: Vec<String> = parts
        .map(|p| {
            p.trim()
                .trim_start_matches('(')
                .replace(", ", ":")
                .replace(',', ":")
        })
        .collect();
    all.sort();
    all
}

fn config(s: &Setup) -> String {
    let mut c = format!(
        "router id {};\nlog stderr all;\nprotocol device {{}}\nprotocol direct {{ ipv4; ipv6; }}\n",
        s.id
    );
    for v6 in [false, true] {
        let _ = writeln!(
            c,
            "protocol static s{} {{ ipv{};",
            if v6 { 6 } else { 4 },
            if v6 { 6 } else { 4 }
        );
        for a in s.announce.iter().filter(|a| a.v6() == v6) {
            let _ = write!(c, " route {} blackhole {{", a.prefix);
            for x in &a.communities {
                let _ = write!(c, " bgp_community.add(({}));", x.replace(':', ","));
            }
            for x in &a.large {
                let _ = write!(c, " bgp_large_community.add(({}));", x.replace(':', ","));
            }
            c.push_str(" };\n");
        }
        c.push_str("}\n");
    }
    let _ = write!(
        c,
        "{}\nprotocol bgp p {{\n local {} as {};\n neighbor {} as {};\n hold time {};\n connect delay time 1;\n \
         connect retry time 1;\n error wait time 1, 1;\n",
        s.top, s.local, s.asn, s.peer, s.peer_asn, s.hold
    );
    if let Some(key) = &s.password {
        let _ = writeln!(c, " password \"{key}\";");
    }
    // A MED goes to other ASes only if the export filter sets it.
    let meds = s.announce.iter().filter_map(|a| {
        let med = a.med?;
        Some(format!("if net = {} then bgp_med = {med};", a.prefix))
    });
    let meds: [Vec<String>; 2] = meds.fold(Default::default(), |mut all, line| {
        all[usize::from(line.contains("::"))].push(line);
        all
    });
    for v6 in s.families() {
        let next_hop = match (v6, s.local) {
            (true, IpAddr::V4(_)) => format!("next hop address {};", s.own6),
            _ => String::new(),
        };
        let _ = writeln!(
            c,
            " ipv{} {{ import all; export filter {{ if source !~ [ RTS_STATIC, RTS_BGP ] then reject; {} accept; }}; \
             {next_hop} {} }};",
            if v6 { 6 } else { 4 },
            meds[usize::from(v6)].join(" "),
            s.family
        );
    }
    let _ = write!(c, "{}\n}}\n", s.neighbor);
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_birdc_says_is_read() {
        let text = "BIRD 2.0.12 ready.\nTable master4:\n\
            198.51.100.0/24      unicast [p 12:47:22.621] * (100) [AS65002i]\n\tvia 10.9.0.2 on v1\n\tType: BGP univ\n\
            \tBGP.origin: IGP\n\tBGP.as_path: 65003 65002\n\tBGP.next_hop: 10.9.0.2\n\tBGP.med: 7\n\tBGP.local_pref: 100\n\
            \tBGP.community: (65002,2) (65002,1)\n\tBGP.large_community: (1, 2, 3)\n\
            \x20                    unicast [q 12:47:22.621] (100) [AS65009i]\n\tBGP.as_path: 65009\n";
        let all = parse(text);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].path, "65003 65002");
        assert_eq!(all[0].communities, ["65002:1", "65002:2"]);
        assert_eq!(all[0].large, ["1:2:3"]);
        assert_eq!((all[0].med, all[0].local_pref), (Some(7), Some(100)));
        assert_eq!(all[1].path, "65009");
        assert!(parse("BIRD 2.0.12 ready.\nNetwork not found\n").is_empty());
    }
}
