//! An appliance in a guest, driven through `trunkctl` as a user does it.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::numa_maps::{self, Placed, Zone};
use super::{Guest, Vm};
use crate::lab::cmd::Done;
use crate::lab::wait::{secs, until};

const CONFIG: &str = "/tmp/trunkline.toml";
const LOG: &str = "/tmp/trunkline.log";
const SOCKET: &str = "/run/trunkline/trunkline.sock";

/// A started appliance. Dropped without [`Router::stop`] it runs on: a scenario that fails takes its machine with it.
#[derive(Debug)]
pub struct Router {
    pid: u32,
}

/// What must be as before when an appliance has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Of each card: its address, driver, and whether the kernel has an interface on it.
    pub cards: Vec<(String, String, bool)>,
    /// Huge pages of 2 MiB on each node.
    pub pages: Vec<u64>,
    /// How many interfaces the kernel has: the cards', and no TAP.
    pub interfaces: usize,
    /// What lies in `/run/trunkline`.
    pub files: String,
    /// Rules and routes of the kernel.
    pub rules: String,
}

impl State {
    /// The guest as it is now.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn take(vm: &mut Vm) -> Result<Self> {
        // One command: each costs an emulated machine some tenths of a second.
        let cards: Vec<&str> = vm.spec.cards.iter().map(|c| vm.address(c.name)).collect();
        let nodes: Vec<String> = (0..vm.spec.nodes).map(|n| n.to_string()).collect();
        let script = format!(
            "for a in {}; do d=/sys/bus/pci/devices/$a; l=$(readlink $d/driver); n=no
                for i in $d/net/* $d/virtio*/net/*; do [ -e $i ] && n=yes; done
                echo \"card|$a|${{l##*/}}|$n\"
             done
             for n in {}; do read -r p </sys/devices/system/node/node$n/hugepages/hugepages-2048kB/nr_hugepages; echo \"pages|$p\"; done
             echo \"interfaces|$(ls /sys/class/net | wc -l)\"; echo \"files|\"; ls -A /run/trunkline; echo \"rules|\"; ip rule; ip -6 rule",
            cards.join(" "),
            nodes.join(" ")
        );
        Self::read(&vm.guest.run(&script)?)
    }

    fn read(said: &str) -> Result<Self> {
        let (head, rest) = said.split_once("files|\n").context("no files")?;
        let (files, rules) = rest.split_once("rules|\n").context("no rules")?;
        let mut state = Self {
            cards: vec![],
            pages: vec![],
            interfaces: 0,
            files: files.to_owned(),
            rules: rules.to_owned(),
        };
        for line in head.lines() {
            match line.split('|').collect::<Vec<_>>()[..] {
                ["card", address, driver, net] => {
                    state
                        .cards
                        .push((address.to_owned(), driver.to_owned(), net == "yes"));
                }
                ["pages", n] => state
                    .pages
                    .push(n.parse().with_context(|| line.to_owned())?),
                ["interfaces", n] => {
                    state.interfaces = n.parse().with_context(|| line.to_owned())?
                }
                _ => bail!("`{line}` of a guest's state"),
            }
        }
        Ok(state)
    }
}

/// The driver that has a card; empty for none.
///
/// # Errors
/// When the guest does not answer.
pub fn driver(guest: &mut Guest, address: &str) -> Result<String> {
    let link = guest.finish(&format!("readlink /sys/bus/pci/devices/{address}/driver"))?;
    let name = link.stdout.trim().rsplit('/').next().unwrap_or_default();
    Ok(name.to_owned())
}

fn pool(guest: &mut Guest, node: u32, what: &str) -> Result<u64> {
    let file =
        format!("/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/{what}_hugepages");
    guest.read(&file)?.parse().context(file)
}

/// The huge pages of 2 MiB that a node has.
///
/// # Errors
/// When the guest does not answer.
pub fn pages(guest: &mut Guest, node: u32) -> Result<u64> {
    pool(guest, node, "nr")
}

/// Those of them that are in use.
///
/// # Errors
/// When the guest does not answer.
pub fn pages_used(guest: &mut Guest, node: u32) -> Result<u64> {
    Ok(pages(guest, node)? - pool(guest, node, "free")?)
}

/// What the last appliance logged, and what it counts if it runs; for messages.
#[must_use]
pub fn last_words(vm: &mut Vm) -> String {
    let ctl = format!("trunkctl --socket {SOCKET}");
    let said = vm.guest.finish(&format!(
        "cat {LOG}; for w in interface worker drop neigh memory route; do echo \"--- trunkctl $w show\"; {ctl} $w show; done"
    ));
    said.map_or_else(|e| format!("{e:#}"), |done| done.text())
}

impl Router {
    /// Writes the configuration and starts it; waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready in time; with what it logged.
    pub fn start(vm: &mut Vm, config: &str) -> Result<Self> {
        vm.guest.write(CONFIG, config)?;
        let pid = vm.guest.run(&format!(
            "RUST_LOG=info,ctl::apply=debug trunkline -c {CONFIG} --socket {SOCKET} >{LOG} 2>&1 </dev/null & echo $!"
        ))?;
        let router = Self {
            pid: pid.trim().parse().context("no pid")?,
        };
        // The guest looks itself: an emulated machine has better to do than to answer.
        let wait = format!(
            "n=0; while [ $n -lt 600 ]; do kill -0 {0} || exit 1; grep -q 'ready in' {LOG} && exit 0; sleep 0.1; n=$((n+1)); done; exit 2",
            router.pid
        );
        let ready = vm.guest.finish_within(&wait, secs(120))?.status;
        ensure!(
            ready != Some(2),
            "it is not ready in a minute:\n{}",
            vm.guest.read(LOG)?
        );
        let ready = ready == Some(0);
        ensure!(ready, "the appliance ended:\n{}", vm.guest.read(LOG)?);
        Ok(router)
    }

    /// Starts it with a configuration that it refuses; returns what it says.
    ///
    /// # Errors
    /// When it starts.
    pub fn refused(vm: &mut Vm, config: &str) -> Result<String> {
        vm.guest.write(CONFIG, config)?;
        let done = vm
            .guest
            .finish(&format!("trunkline -c {CONFIG} --socket {SOCKET}"))?;
        ensure!(
            done.status == Some(1),
            "it ended with {:?}: {}",
            done.status,
            done.text()
        );
        Ok(done.stderr)
    }

    /// Where its memory lies.
    ///
    /// # Errors
    /// When a part of it does not lie where it is to be.
    pub fn placed(&self, vm: &mut Vm) -> Result<Placed> {
        let text = vm.guest.run(&format!("cat /proc/{}/numa_maps", self.pid))?;
        numa_maps::placed(&numa_maps::parse(&text)?)
    }

    /// What DPDK has of memory on which node, by name: what it said of each zone when a port was opened last, and where the
    /// kernel has the pages of that address.
    ///
    /// # Errors
    /// When a zone lies in no mapping, or on several nodes.
    pub fn zones(&self, vm: &mut Vm) -> Result<Vec<Zone>> {
        let log = self.log(vm)?;
        let text = vm.guest.run(&format!("cat /proc/{}/numa_maps", self.pid))?;
        numa_maps::zones(&log, &numa_maps::parse(&text)?)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has logged.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn log(&self, vm: &mut Vm) -> Result<String> {
        vm.guest.read(LOG)
    }

    /// Runs `trunkctl`, whatever it says.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn ctl(&self, vm: &mut Vm, line: &str) -> Result<Done> {
        vm.guest
            .finish(&format!("trunkctl --socket {SOCKET} {line}"))
    }

    /// Runs `trunkctl`.
    ///
    /// # Errors
    /// When it is refused.
    pub fn must(&self, vm: &mut Vm, line: &str) -> Result<String> {
        let done = self.ctl(vm, line)?;
        if !done.ok() {
            let log = self.log(vm)?;
            bail!("trunkctl {line}: {}\nthe log:\n{log}", done.text());
        }
        Ok(done.stdout)
    }

    /// What `trunkctl --json` prints.
    ///
    /// # Errors
    /// When it is refused.
    pub fn json(&self, vm: &mut Vm, line: &str) -> Result<Value> {
        Ok(serde_json::from_str(
            &self.must(vm, &format!("--json {line}"))?,
        )?)
    }

    /// One interface.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn interface(&self, vm: &mut Vm, name: &str) -> Result<Value> {
        let mut all = self.json(vm, &format!("interface show {name}"))?;
        Ok(all[0].take())
    }

    /// Waits until the link of an interface is as said.
    ///
    /// # Errors
    /// When it does not come to that.
    pub fn link(&self, vm: &mut Vm, name: &str, state: &str) -> Result<()> {
        until(&format!("the link of {name} is {state}"), secs(20), || {
            Ok(self.interface(vm, name)?["link"] == state)
        })
    }

    /// Ends it by SIGTERM.
    ///
    /// # Errors
    /// When it does not end in time, or its last words complain.
    pub fn stop(self, vm: &mut Vm) -> Result<()> {
        vm.guest.run(&format!("kill -TERM {}", self.pid))?;
        self.gone(vm)?;
        let log = self.log(vm)?;
        let complaint = log
            .lines()
            .find(|l| l.contains("ERROR") || l.contains("panicked"));
        match complaint {
            Some(line) => bail!("it complained: {line}"),
            None => Ok(()),
        }
    }

    /// Ends it by SIGKILL.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn kill(self, vm: &mut Vm) -> Result<()> {
        vm.guest.run(&format!("kill -KILL {}", self.pid))?;
        self.gone(vm)
    }

    fn gone(&self, vm: &mut Vm) -> Result<()> {
        let wait = format!(
            "n=0; while kill -0 {}; do [ $n -lt 600 ] || exit 1; sleep 0.05; n=$((n+1)); done",
            self.pid
        );
        let ended = vm.guest.finish_within(&wait, secs(60))?;
        if !ended.ok() {
            bail!("it does not end; its log:\n{}", self.log(vm)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_guest_is_read() {
        let said = "card|0000:40:00.0|e1000e|yes\ncard|0000:60:00.0||no\npages|128\npages|0\ninterfaces|3\nfiles|\nrules|\n0: from all\n";
        let s = State::read(said).unwrap();
        assert_eq!(s.cards[0], ("0000:40:00.0".into(), "e1000e".into(), true));
        assert_eq!(s.cards[1], ("0000:60:00.0".into(), String::new(), false));
        assert_eq!((s.pages.as_slice(), s.interfaces), ([128, 0].as_slice(), 3));
        assert_eq!((s.files.as_str(), s.rules.as_str()), ("", "0: from all\n"));
        assert!(State::read("odd\nfiles|\nrules|\n").is_err());
    }
}
