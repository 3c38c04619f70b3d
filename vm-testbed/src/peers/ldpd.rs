//! FRR's ldpd with zebra, in a namespace whose kernel has no MPLS: it tells and learns labels all the same.
//!
//! zebra says once that the kernel has no MPLS; ldpd does not mind. It takes its prefixes from zebra, which has them from the
//! kernel: connected ones, and whatever `ip route` put there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Daemon, own_folder};
use crate::lab::wait::secs;
use crate::lab::{Netns, cmd};

/// Running zebra and ldpd. The latter is ended first.
#[derive(Debug)]
pub struct Ldpd {
    ldpd: Daemon,
    #[expect(dead_code, reason = "lives as long as ldpd")]
    zebra: Daemon,
    folder: PathBuf,
}

impl Ldpd {
    /// Starts both; `id` is the router's identifier and transport address, LDP is spoken on `eth0`. `more` are further lines
    /// of `mpls ldp`.
    ///
    /// # Errors
    /// When they do not come up.
    pub fn start(folder: &Path, name: &str, ns: &Netns, id: &str, more: &str) -> Result<Self> {
        let own = own_folder(folder, name)?;
        let at = |file: &str| own.join(file).display().to_string();
        // Of one that was killed.
        let _ = std::fs::remove_file(own.join("zserv"));
        std::fs::write(own.join("zebra.conf"), "log stdout\n")?;
        let config = format!(
            "log stdout\ndebug mpls ldp event\ndebug mpls ldp errors\ndebug mpls ldp messages recv\n\
            debug mpls ldp messages sent\nmpls ldp\n router-id {id}\n{more} address-family ipv4\n  discovery transport-address {id}\n  \
            discovery hello interval 1\n  discovery hello holdtime 3\n  interface eth0\n"
        );
        std::fs::write(own.join("ldpd.conf"), config)?;
        let common = |which: &str| {
            format!(
                "/usr/lib/frr/{which} -f {} -i {} -z {} --vty_socket {} -P 0",
                at(&format!("{which}.conf")),
                at(&format!("{which}.pid")),
                at("zserv"),
                own.display()
            )
        };
        let words =
            |line: &str| -> Vec<String> { cmd::words(line).into_iter().map(Into::into).collect() };
        let zebra = Daemon::start(
            folder,
            &format!("{name}-zebra"),
            ns,
            &words(&common("zebra")),
        )?;
        zebra.until("its socket is there", secs(10), || {
            Ok(own.join("zserv").exists())
        })?;
        let line = format!("{} --ctl_socket {}", common("ldpd"), own.display());
        let ldpd = Daemon::start(folder, &format!("{name}-ldpd"), ns, &words(&line))?;
        let this = Self {
            ldpd,
            zebra,
            folder: own,
        };
        this.ldpd.until("it answers vtysh", secs(10), || {
            Ok(this.cli("show mpls ldp neighbor json")?.contains('{'))
        })?;
        Ok(this)
    }

    /// The daemon.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.ldpd
    }

    /// A command of vtysh.
    ///
    /// # Errors
    /// When ldpd does not answer.
    pub fn cli(&self, line: &str) -> Result<String> {
        let mut c = std::process::Command::new("vtysh");
        c.arg("--vty_socket").arg(&self.folder);
        cmd::output(c.args(["-d", "ldpd", "-c", line]))
    }

    /// One of its bindings of a prefix with a neighbour: (its label, the neighbour's), as it names them.
    ///
    /// # Errors
    /// When it can't be asked.
    pub fn binding(&self, prefix: &str, neighbor: &str) -> Result<Option<(String, String)>> {
        let text = self.cli("show mpls ldp binding json")?;
        let v: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let all = v["bindings"].as_array().into_iter().flatten();
        let mut of = all.filter(|b| b["prefix"] == prefix && b["neighborId"] == neighbor);
        let word = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        Ok(of
            .next()
            .map(|b| (word(&b["localLabel"]), word(&b["remoteLabel"]))))
    }

    /// Whether it calls the session with that neighbour operational.
    ///
    /// # Errors
    /// When it can't be asked.
    pub fn operational(&self, neighbor: &str) -> Result<bool> {
        let text = self.cli("show mpls ldp neighbor json")?;
        let v: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let mut all = v["neighbors"].as_array().into_iter().flatten();
        Ok(all.any(|n| n["neighborId"] == neighbor && n["state"] == "OPERATIONAL"))
    }
}
