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
