//! What an appliance may not leave behind: devices, addresses, routes, rules, XDP programs, huge pages.

use anyhow::{Result, bail};
use serde_json::Value;

use super::netns::Netns;
use super::pages;

/// The state of a namespace and of the pool of huge pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    lines: Vec<String>,
    /// Huge pages that are taken though no process has them: left in files, or lost.
    lost_pages: Option<u64>,
}

impl Snapshot {
    /// Looks at the namespace; at the huge pages too when `with_pages`.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn take(ns: &Netns, with_pages: bool) -> Result<Self> {
        let mut lines = vec![];
        let links: Value = serde_json::from_str(&ns.ip("-details -json link show")?)?;
        for l in links.as_array().into_iter().flatten() {
            let promisc = l["promiscuity"].as_u64().unwrap_or(0);
            let xdp = if l["xdp"].is_null() { "" } else { " xdp" };
            // The MTU is the device's own affair: the appliance sets it to the configured one and gives it back.
            lines.push(format!(
                "device {} mtu {} promiscuity {promisc}{xdp}",
                l["ifname"], l["mtu"]
            ));
        }
        for what in [
            "-4 rule show",
            "-6 rule show",
            "-4 route show table all",
            "-6 route show table all",
        ] {
            lines.extend(
                ns.ip(what)?
                    .lines()
                    .map(|l| format!("{what}: {}", l.trim())),
            );
        }
        lines.extend(ns.ip("-o addr show")?.lines().map(|l| {
            let w: Vec<&str> = l.split_whitespace().collect();
            format!("address {}", w.get(1..4).unwrap_or(&w).join(" "))
        }));
        lines.sort();
        let lost_pages = if with_pages {
            Some(pages::lost()?)
        } else {
            None
        };
        Ok(Self { lines, lost_pages })
    }

    /// Compares with what it was before.
    ///
    /// # Errors
    /// When something was left or is missing, with all of it.
    pub fn same_as(&self, before: &Self) -> Result<()> {
        let only = |a: &Self, b: &Self| -> Vec<String> {
            a.lines
                .iter()
                .filter(|l| !b.lines.contains(l))
                .cloned()
                .collect()
        };
        let (left, gone) = (only(self, before), only(before, self));
        if !left.is_empty() || !gone.is_empty() {
            bail!("the appliance left behind {left:?}, and took away {gone:?}");
        }
        if self.lost_pages > before.lost_pages {
            bail!(
                "{:?} huge pages were taken by nobody before, {:?} are now",
                before.lost_pages,
                self.lost_pages
            );
        }
        Ok(())
    }
}
