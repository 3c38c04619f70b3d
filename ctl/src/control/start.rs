//! Starting the dataplane on this machine: which CPUs, how much memory, and where it comes from.

use std::collections::BTreeSet;
use std::path::Path;

use dataplane::eal::{EalConfig, Memory};
use dataplane::pipeline::PipelineConfig;
use dataplane::port::Device;
use dataplane::worker::idle::Poll;
use dataplane::{Config, Dataplane};
use hugepages::held::{self, Held, Item};
use hugepages::sys::Sys;
use hugepages::{doctor, nic, pages, topology};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use tracing::{info, warn};

use crate::config;

/// Bytes of memory that a frame of the pool takes at most.
const FRAME_BYTES: u64 = 2560;
/// Frames in the pool for jumbo MTUs.
const JUMBO_FRAMES: u32 = 4_095;
/// Without huge pages, all the memory that there will be beside the frames, in MiB. Only what is used becomes resident.
const NO_HUGE_MB: u64 = 472;
/// Huge pages of 2 MiB that are free on each node before the start, beside those for the frames: a pool for jumbo MTUs, and
/// the drivers' rings.
const PAGES: u64 = 76;
/// The size of those pages.
const PAGE_KIB: u64 = 2048;
/// As many workers as "auto" takes without isolated CPUs.
const AUTO_WORKERS: usize = 4;

/// What this process has taken of the machine.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    sys: Sys,
    held: Option<Held>,
    /// Nodes that have been seen to; none without huge pages.
    reserved: Option<BTreeSet<u32>>,
    /// Huge pages that each of them gets.
    pages: u64,
}

impl Machine {
    /// Gives back what killed runs have left.
    pub(crate) fn recover(&self) {
        let (done, failed) = held::recover(&self.sys, Path::new(doctor::RUN_DIR));
        for item in done {
            info!("gave back what an earlier run had left: {item}");
        }
        for line in failed {
            warn!("can't give back what an earlier run had left: {line}");
        }
    }

    fn held(&mut self) -> Result<&mut Held, String> {
        let dir = Path::new(doctor::RUN_DIR);
        if self.held.is_none() {
            let open = Held::open(&self.sys, dir);
            self.held = Some(open.map_err(|e| {
                format!("can't keep a record in {}: {e}; run as root", dir.display())
            })?);
        }
        self.held
            .as_mut()
            .ok_or_else(|| "no record of what is held".to_owned())
    }

    /// Starts the EAL and the workers, for these NICs among others.
    pub(crate) fn start(
        &mut self,
        settings: &config::Dataplane,
        cards: &[String],
    ) -> Result<Dataplane, String> {
        let machine = topology::Machine::detect().map_err(|e| e.to_string())?;
        let cpus = choose_cpus(
            &settings.workers,
            &topology::isolated(&self.sys),
            &allowed_cpus()?,
            &self.nodes_of(cards),
            |cpu| machine.node_of(cpu),
        )?;
        let frames_kib = u64::from(settings.frames) * FRAME_BYTES / 1024;
        let memory = match settings.memory {
            config::Memory::NoHuge => Memory::NoHuge,
            config::Memory::Hugepages => {
                self.reserved = Some(BTreeSet::new());
                self.pages = PAGES + frames_kib.div_ceil(PAGE_KIB);
                // DPDK's own tables are on the control thread's node, and without memory there it panics.
                for cpu in cpus.workers.iter().chain([&cpus.control]) {
                    self.reserve(machine.node_of(*cpu))?;
                }
                Memory::Hugepages
            }
        };
        let config = Config {
            eal: EalConfig {
                memory,
                mem_mb: if memory == Memory::NoHuge {
                    (NO_HUGE_MB + frames_kib.div_ceil(1024)) as u32
                } else {
                    0
                },
                control_cpu: cpus.control,
                pci: !cards.is_empty(),
            },
            workers: cpus.workers,
            poll: match settings.poll {
                config::Poll::Adaptive => Poll::Adaptive,
                config::Poll::Busy => Poll::Busy,
            },
            frames: settings.frames,
            jumbo_frames: JUMBO_FRAMES,
            pipeline: PipelineConfig {
                mpls_ttl: match settings.mpls_ttl {
                    config::TtlMode::Uniform => fib::TtlMode::Uniform,
                    config::TtlMode::Pipe => fib::TtlMode::Pipe,
                },
                icmp_rate: settings.icmp_rate,
                ..PipelineConfig::default()
            },
        };
        Dataplane::start(&config).map_err(|e| e.to_string())
    }

    /// The nodes that have these NICs, each once.
    fn nodes_of(&self, cards: &[String]) -> Vec<u32> {
        let nodes = cards.iter().filter_map(|c| nic::node(&self.sys, c));
        nodes.collect::<BTreeSet<u32>>().into_iter().collect()
    }

    /// Sees to free huge pages on a node, once.
    fn reserve(&mut self, node: u32) -> Result<(), String> {
        let (sys, wanted) = (self.sys.clone(), self.pages);
        if self.reserved.as_ref().is_none_or(|r| r.contains(&node)) {
            return Ok(());
        }
        pages::reserve(&sys, self.held()?, node, PAGE_KIB, wanted)
            .map_err(|e| format!("{e}; or set memory = \"no-huge\" in [dataplane]"))?;
        self.reserved.get_or_insert_default().insert(node);
        Ok(())
    }

    /// Makes a device ready to be opened: a NIC goes to vfio-pci, and its node gets memory for its frames, which the
    /// workers' nodes have already.
    pub(crate) fn prepare_device(&mut self, device: &Device) -> Result<(), String> {
        let Device::Pci { address, .. } = device else {
            return Ok(());
        };
        let sys = self.sys.clone();
        nic::bind_vfio(&sys, self.held()?, address).map_err(|e| e.to_string())?;
        match nic::node(&sys, address) {
            Some(node) => self.reserve(node),
            None => Ok(()),
        }
    }

    /// Gives back the NICs that are not in `used`.
    pub(crate) fn release_nics(&mut self, used: &BTreeSet<String>) {
        let Some(held) = &mut self.held else { return };
        for item in held.items().to_vec() {
            match &item {
                Item::Nic { address, .. } if !used.contains(address) => {}
                _ => continue,
            }
            match held.give_back(&item) {
                Ok(()) => info!("given back to the kernel: {item}"),
                Err(e) => warn!("can't give back to the kernel: {item}: {e}"),
            }
        }
    }

    /// Leaves everything to the next start: workers that hang still use it.
    pub(crate) fn abandon(&mut self) {
        std::mem::forget(self.held.take());
    }

    /// Gives everything back. What can't be is tried again by the next start.
    pub(crate) fn give_back(&mut self) {
        self.held = None;
    }
}

/// Which CPU does what.
#[derive(Debug, PartialEq, Eq)]
struct Cpus {
    control: usize,
    workers: Vec<usize>,
}

/// The CPUs that this process may run on.
fn allowed_cpus() -> Result<Vec<usize>, String> {
    let set = sched_getaffinity(Pid::from_raw(0))
        .map_err(|e| format!("can't read the CPU affinity: {e}"))?;
    Ok((0..CpuSet::count())
        .filter(|c| set.is_set(*c).unwrap_or(false))
        .collect())
}

/// "auto": the isolated CPUs, where there are some; else up to four on the nodes that have NICs (`nics`), one at least on each;
/// one CPU is left for everything else where there is more than one. The control thread gets a CPU that no worker has, on the
/// node of one if it can be.
fn choose_cpus(
    wanted: &config::Workers,
    isolated: &[usize],
    allowed: &[usize],
    nics: &[u32],
    node: impl Fn(usize) -> u32,
) -> Result<Cpus, String> {
    let first = *allowed.first().ok_or("no CPU to run on")?;
    let workers = match wanted {
        config::Workers::Cpus(cpus) => cpus.clone(),
        config::Workers::Auto if !isolated.is_empty() => isolated.to_vec(),
        config::Workers::Auto if allowed.len() == 1 => vec![first],
        config::Workers::Auto => spread(&allowed[1..], nics, &node),
    };
    let free = allowed.iter().filter(|c| !workers.contains(c));
    let control = free
        .min_by_key(|c| !workers.iter().any(|w| node(*w) == node(**c)))
        .copied()
        .unwrap_or(first);
    Ok(Cpus { control, workers })
}

/// CPUs out of those that are free: one on each node that has NICs, then a second, and so on; without NICs in their order.
fn spread(free: &[usize], nics: &[u32], node: &impl Fn(usize) -> u32) -> Vec<usize> {
    let on = |n: &u32| -> Vec<usize> {
        let there = free.iter().copied();
        there.filter(|c| node(*c) == *n).collect()
    };
    let mut by_node: Vec<Vec<usize>> = nics.iter().map(on).filter(|n| !n.is_empty()).collect();
    if by_node.is_empty() {
        by_node.push(free.to_vec());
    }
    let most = AUTO_WORKERS.max(by_node.len());
    let turns = by_node.iter().map(Vec::len).max().unwrap_or(0);
    let in_turn = (0..turns).flat_map(|turn| by_node.iter().filter_map(move |n| n.get(turn)));
    let mut workers: Vec<usize> = in_turn.take(most).copied().collect();
    workers.sort_unstable();
    workers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_chosen() {
        let auto = |isolated: &[usize], allowed: &[usize]| {
            let c = choose_cpus(&config::Workers::Auto, isolated, allowed, &[], |_| 0).unwrap();
            (c.control, c.workers)
        };
        assert_eq!(auto(&[], &[0, 1]), (0, vec![1]));
        assert_eq!(auto(&[], &[3]), (3, vec![3]));
        assert_eq!(auto(&[], &[0, 1, 2, 3, 4, 5, 6, 7]), (0, vec![1, 2, 3, 4]));
        assert_eq!(auto(&[2, 3], &[0, 1]), (0, vec![2, 3]));
        let named = |workers: &[usize], allowed: &[usize]| {
            let workers = config::Workers::Cpus(workers.to_vec());
            let c = choose_cpus(&workers, &[], allowed, &[0, 1], |cpu| (cpu / 2) as u32).unwrap();
            (c.control, c.workers)
        };
        assert_eq!(named(&[0, 2], &[0, 1, 2]), (1, vec![0, 2]));
        assert_eq!(named(&[0, 1], &[0, 1]).0, 0);
        // Two nodes: near the workers where there is a CPU left.
        assert_eq!(named(&[2], &[0, 1, 2, 3]).0, 3);
        assert_eq!(named(&[2, 3], &[0, 1, 2, 3]).0, 0);
        assert!(choose_cpus(&config::Workers::Auto, &[], &[], &[], |_| 0).is_err());
    }

    #[test]
    fn workers_are_where_the_nics_are() {
        // Nodes of two CPUs each; CPU 0 is left for everything else.
        let auto = |cpus: usize, nics: &[u32]| {
            let allowed: Vec<usize> = (0..cpus).collect();
            let node = |cpu| (cpu / 2) as u32;
            let c = choose_cpus(&config::Workers::Auto, &[], &allowed, nics, node).unwrap();
            (c.control, c.workers)
        };
        assert_eq!(auto(4, &[0, 1]), (0, vec![1, 2, 3]));
        assert_eq!(auto(8, &[0, 1, 2, 3]), (0, vec![1, 2, 4, 6]));
        assert_eq!(auto(12, &[0, 1, 2, 3, 4, 5]), (0, vec![1, 2, 4, 6, 8, 10]));
        assert_eq!(auto(8, &[2]), (0, vec![4, 5]));
        assert_eq!(auto(8, &[]), (0, vec![1, 2, 3, 4]));
        // A node that has no CPU here: anyone.
        assert_eq!(auto(4, &[7]), (0, vec![1, 2, 3]));
    }
}
