//! An appliance in a guest, driven through `trunkctl` as a user does it.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::numa_maps::{self, Placed};
use super::{Guest, Vm};
use crate::lab::cmd::Done;
use crate::lab::wait::{eventually, secs, until};

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
        let mut cards = vec![];
        for card in vm.spec.cards {
            let address = vm.address(card.name).to_owned();
            let driver = driver(&mut vm.guest, &address)?;
            let dir = format!("/sys/bus/pci/devices/{address}");
            let net = vm
                .guest
                .finish(&format!("ls -d {dir}/net/* {dir}/virtio*/net/* | grep ."))?;
            cards.push((address, driver, net.ok()));
        }
        let files = vm.guest.run("ls -A /run/trunkline")?;
        Ok(Self {
            cards,
            pages: (0..vm.spec.nodes)
                .map(|n| pages(&mut vm.guest, n))
                .collect::<Result<_>>()?,
            interfaces: vm.guest.run("ls /sys/class/net")?.lines().count(),
            files,
            rules: vm.guest.run("ip rule; ip -6 rule")?,
        })
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
            "trunkline -c {CONFIG} --socket {SOCKET} >{LOG} 2>&1 </dev/null & echo $!"
        ))?;
        let router = Self {
            pid: pid.trim().parse().context("no pid")?,
        };
        let ready = eventually("the appliance is ready", secs(60), || {
            let log = vm.guest.read(LOG)?;
            if log.contains("ready in") {
                return Ok(Some(true));
            }
            Ok((!router.alive(&mut vm.guest)?).then_some(false))
        })?;
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

    fn alive(&self, guest: &mut Guest) -> Result<bool> {
        Ok(guest.finish(&format!("kill -0 {}", self.pid))?.ok())
    }

    /// Where its memory lies.
    ///
    /// # Errors
    /// When a part of it does not lie where it is to be.
    pub fn placed(&self, vm: &mut Vm) -> Result<Placed> {
        let text = vm.guest.run(&format!("cat /proc/{}/numa_maps", self.pid))?;
        numa_maps::placed(&numa_maps::parse(&text)?)
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
        let ended = until("the appliance has ended", secs(30), || {
            Ok(!self.alive(&mut vm.guest)?)
        });
        if ended.is_err() {
            bail!("it does not end; its log:\n{}", self.log(vm)?);
        }
        Ok(())
    }
}
