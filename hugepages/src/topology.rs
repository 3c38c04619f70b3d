//! NUMA nodes, cores and caches, read by hwloc; pinning by `core_affinity`.

use crate::sys::{Sys, parse_list};
use hwlocality::Topology;
use hwlocality::object::attributes::ObjectAttributes;
use hwlocality::object::types::ObjectType;

/// A NUMA node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The kernel's number of it.
    pub id: u32,
    /// Logical CPUs, by the kernel's numbers, sorted.
    pub cpus: Vec<usize>,
    /// Local memory, bytes.
    pub memory: u64,
}

/// A cache, and who shares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// 1 for the nearest.
    pub level: u32,
    /// Bytes; 0 where the machine does not say.
    pub size: u64,
    /// The logical CPUs that share it.
    pub cpus: Vec<usize>,
}

/// What the machine consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// At least one node, by rising id.
    pub nodes: Vec<Node>,
    /// The logical CPUs of each physical core.
    pub cores: Vec<Vec<usize>>,
    /// Data and unified caches, nearest first.
    pub caches: Vec<Cache>,
}

/// The machine could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the machine's topology: {0}; is /sys mounted?")]
pub struct TopologyError(String);

impl Machine {
    /// Reads the running machine.
    ///
    /// # Errors
    /// When hwloc can't read `/sys`.
    pub fn detect() -> Result<Self, TopologyError> {
        let topology = Topology::new().map_err(|e| TopologyError(e.to_string()))?;
        let mut nodes: Vec<Node> = topology
            .objects_with_type(ObjectType::NUMANode)
            .map(|o| Node {
                id: o.os_index().unwrap_or(0) as u32,
                cpus: cpus(o),
                memory: o.total_memory(),
            })
            .collect();
        nodes.sort_by_key(|n| n.id);
        let cores = topology
            .objects_with_type(ObjectType::Core)
            .map(cpus)
            .collect();
        let mut caches: Vec<Cache> = topology
            .objects()
            .filter_map(|o| match o.attributes() {
                Some(ObjectAttributes::Cache(c)) if o.object_type().is_cpu_data_cache() => {
                    Some(Cache {
                        level: c.depth() as u32,
                        size: c.size().map_or(0, |s| s.get()),
                        cpus: cpus(o),
                    })
                }
                _ => None,
            })
            .collect();
        caches.sort_by_key(|c| (c.level, c.cpus.first().copied()));
        Ok(Self {
            nodes,
            cores,
            caches,
        })
    }

    /// All logical CPUs, sorted.
    pub fn cpus(&self) -> Vec<usize> {
        let mut all: Vec<usize> = self
            .nodes
            .iter()
            .flat_map(|n| n.cpus.iter().copied())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The node that a CPU belongs to; 0 for an unknown one.
    pub fn node_of(&self, cpu: usize) -> u32 {
        self.nodes
            .iter()
            .find(|n| n.cpus.contains(&cpu))
            .map_or(0, |n| n.id)
    }
}

impl Machine {
    /// The node whose memory a CPU is to use: its own, or, where that has none, the nearest that has some (by the kernel's
    /// distances; of equal ones the first).
    pub fn memory_of(&self, sys: &Sys, cpu: usize) -> u32 {
        let own = self.node_of(cpu);
        if self.nodes.iter().any(|n| n.id == own && n.memory > 0) {
            return own;
        }
        let path = format!("/sys/devices/system/node/node{own}/distance");
        let far: Vec<u32> = sys
            .read(path)
            .map(|s| {
                s.split_whitespace()
                    .filter_map(|d| d.parse().ok())
                    .collect()
            })
            .unwrap_or_default();
        // The kernel gives a distance for each node that it has, in their order.
        let known = self.nodes.iter().enumerate();
        known
            .filter(|(_, n)| n.memory > 0)
            .min_by_key(|(at, n)| (far.get(*at).copied().unwrap_or(u32::MAX), n.id))
            .map_or(own, |(_, n)| n.id)
    }
}

fn cpus(o: &hwlocality::object::TopologyObject) -> Vec<usize> {
    o.cpuset()
        .map(|s| s.iter_set().map(usize::from).collect())
        .unwrap_or_default()
}

/// CPUs that the kernel keeps its scheduler off (`isolcpus=`), sorted.
pub fn isolated(sys: &Sys) -> Vec<usize> {
    sys.read("/sys/devices/system/cpu/isolated")
        .map(|s| parse_list(&s))
        .unwrap_or_default()
}

/// Pins the calling thread to one logical CPU; false when the kernel refuses (no such CPU, or one
/// outside the process's cpuset).
pub fn pin(cpu: usize) -> bool {
    // core_affinity indexes a fixed set and would panic beyond it.
    if cpu >= libc::CPU_SETSIZE as usize {
        return false;
    }
    core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_node_with_cpus_and_memory() {
        let m = Machine::detect().unwrap();
        assert!(
            m.nodes.iter().any(|n| !n.cpus.is_empty() && n.memory > 0),
            "{m:?}"
        );
        let cpu = m.cpus()[0];
        assert!(
            m.nodes
                .iter()
                .any(|n| n.id == m.node_of(cpu) && n.cpus.contains(&cpu))
        );
        assert!(!m.cores.is_empty());
    }

    /// A made-up machine: the CPUs and the memory of each node, and the kernel's distances between them.
    fn made_up(nodes: &[(&[usize], u64)], far: &[&str]) -> (tempfile::TempDir, Sys, Machine) {
        let dir = tempfile::tempdir().unwrap();
        for (id, line) in far.iter().enumerate() {
            let node = dir.path().join(format!("sys/devices/system/node/node{id}"));
            std::fs::create_dir_all(&node).unwrap();
            std::fs::write(node.join("distance"), line).unwrap();
        }
        let node = |(id, (cpus, memory)): (u32, &(&[usize], u64))| Node {
            id,
            cpus: cpus.to_vec(),
            memory: *memory,
        };
        let machine = Machine {
            nodes: (0..).zip(nodes).map(node).collect(),
            cores: vec![],
            caches: vec![],
        };
        let sys = Sys::at(dir.path());
        (dir, sys, machine)
    }

    #[test]
    fn memory_is_that_of_the_own_node_or_the_nearest() {
        const GIB: u64 = 1 << 30;
        let (_d, sys, one) = made_up(&[(&[0, 1], GIB)], &["10"]);
        assert_eq!((one.memory_of(&sys, 1), one.memory_of(&sys, 99)), (0, 0));
        let (_d, sys, two) = made_up(&[(&[0, 1], GIB), (&[2, 3], GIB)], &["10 21", "21 10"]);
        assert_eq!([0, 1, 2, 3].map(|c| two.memory_of(&sys, c)), [0, 0, 1, 1]);
        // Four, of which node 1 has CPUs and no memory, and node 3 memory and no CPU.
        let nodes: [(&[usize], u64); 4] = [(&[0], GIB), (&[1], 0), (&[2], GIB), (&[], GIB)];
        let far = ["10 21 31 31", "31 10 21 17", "31 21 10 31", "31 17 31 10"];
        let (_d, sys, four) = made_up(&nodes, &far);
        assert_eq!([0, 1, 2].map(|c| four.memory_of(&sys, c)), [0, 3, 2]);
        // Equally far, or nobody knows: the first.
        let (_d, sys, blind) = made_up(&nodes, &["10 20 20 20", "20 10 20 20"]);
        assert_eq!(blind.memory_of(&sys, 1), 0);
        let (_d, sys, blind) = made_up(&nodes, &[]);
        assert_eq!(blind.memory_of(&sys, 1), 0);
    }

    #[test]
    fn pinning_to_a_cpu_that_is_not_there_fails() {
        std::thread::spawn(|| {
            let cpu = Machine::detect().unwrap().cpus()[0];
            assert!(pin(cpu));
            assert_eq!(core_affinity::get_core_ids().unwrap().len(), 1);
            assert!(!pin(1023) && !pin(1 << 20));
        })
        .join()
        .unwrap();
    }
}
