//! Where the pages of a process lie: `/proc/PID/numa_maps`. Read numa_maps in proc(5).
//!
//! Two kinds of memory of the appliance can be told apart there. Its tables are mappings with a policy of their own, which
//! prefers the node they are for. DPDK's (pools of frames, rings of the drivers) are huge pages in a file for each of its
//! lists, and a list is of one node.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

/// A mapping that has pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Area {
    /// Where it begins.
    pub at: u64,
    /// The line, for messages.
    pub line: String,
    /// The node that its policy prefers.
    pub prefers: Option<u32>,
    /// Whether its pages are huge, and of a file of DPDK's.
    pub dpdk: bool,
    /// KiB on each node.
    pub kib: BTreeMap<u32, u64>,
}

/// All mappings with pages.
///
/// # Errors
/// When a line is of another form.
pub fn parse(text: &str) -> Result<Vec<Area>> {
    let mut all = vec![];
    for line in text.lines() {
        let mut words = line.split(' ');
        let at = words.next().unwrap_or_default();
        let at = u64::from_str_radix(at, 16).with_context(|| format!("`{line}`"))?;
        let policy = words.next().with_context(|| format!("`{line}`"))?;
        let rest: Vec<&str> = words.collect();
        let value = |key: &str| rest.iter().find_map(|w| w.strip_prefix(key));
        let Some(page) = value("kernelpagesize_kB=") else {
            continue; // nothing of it is there yet
        };
        let page: u64 = page.parse().with_context(|| format!("`{line}`"))?;
        let mut kib = BTreeMap::new();
        for word in &rest {
            if let Some((node, pages)) = word.strip_prefix('N').and_then(|w| w.split_once('='))
                && let (Ok(node), Ok(pages)) = (node.parse(), pages.parse::<u64>())
            {
                kib.insert(node, pages * page);
            }
        }
        let file = value("file=").unwrap_or_default();
        all.push(Area {
            at,
            line: line.to_owned(),
            prefers: policy.strip_prefix("prefer:").and_then(|n| n.parse().ok()),
            dpdk: rest.contains(&"huge") && file.contains("memfd:seg_"),
            kib,
        });
    }
    Ok(all)
}

/// KiB of tables and of DPDK's memory on each node, each on the node it is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// Of tables.
    pub tables: BTreeMap<u32, u64>,
    /// Of DPDK's pools and rings.
    pub dpdk: BTreeMap<u32, u64>,
}

/// Sums it up.
///
/// # Errors
/// When a table has pages on a node that is not its own, or a list of DPDK's on two.
pub fn placed(areas: &[Area]) -> Result<Placed> {
    let mut sum = Placed::default();
    for a in areas {
        if let Some(own) = a.prefers {
            ensure!(
                a.kib.keys().all(|n| *n == own),
                "a table for node {own} lies elsewhere: {}",
                a.line
            );
            *sum.tables.entry(own).or_default() += a.kib.values().sum::<u64>();
        }
        if a.dpdk {
            ensure!(
                a.kib.len() == 1,
                "memory of one list on several nodes: {}",
                a.line
            );
            for (node, kib) in &a.kib {
                *sum.dpdk.entry(*node).or_default() += kib;
            }
        }
    }
    Ok(sum)
}

/// A zone of DPDK's memory: a ring of a driver, a pool, its frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// As DPDK, or its driver, calls it.
    pub name: String,
    /// The node that DPDK says.
    pub asked: u32,
    /// The node that its pages are on.
    pub node: u32,
}

/// The zones that a log tells of (`memory NAME at ADDRESS, … bytes, node N`), the last time each, and where their pages are.
///
/// # Errors
/// When an address is in no mapping, or one has pages on several nodes.
pub fn zones(log: &str, areas: &[Area]) -> Result<Vec<Zone>> {
    let mut said = BTreeMap::new();
    for line in log.lines() {
        let Some((_, rest)) = line.split_once(" memory ") else {
            continue;
        };
        let words: Vec<&str> = rest.split([' ', ',']).filter(|w| !w.is_empty()).collect();
        let [name, "at", at, _, "bytes", "node", node] = words[..] else {
            continue;
        };
        let at = u64::from_str_radix(at, 16).with_context(|| format!("`{line}`"))?;
        let node: i32 = node.parse().with_context(|| format!("`{line}`"))?;
        said.insert(name, (at, node));
    }
    let mut all = vec![];
    for (name, (at, asked)) in said {
        let before = areas.iter().filter(|a| a.dpdk && a.at <= at);
        let area = before.max_by_key(|a| a.at);
        let area = area.with_context(|| format!("{name} at {at:x} is in no memory of DPDK's"))?;
        let mut nodes = area.kib.keys();
        let (Some(node), None) = (nodes.next(), nodes.next()) else {
            anyhow::bail!("{name}: on several nodes: {}", area.line);
        };
        all.push(Zone {
            name: name.to_owned(),
            asked: u32::try_from(asked).unwrap_or(*node),
            node: *node,
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
5581e0000000 default file=/usr/bin/trunkline mapped=10 N0=7 N1=3 kernelpagesize_kB=4
100200000 default file=/memfd:seg_0\\040(deleted) huge dirty=3 N0=3 kernelpagesize_kB=2048
900200000 default file=/memfd:seg_4\\040(deleted) huge dirty=20 N1=20 kernelpagesize_kB=2048
7f0000000000 prefer:1 anon=512 dirty=512 N1=512 kernelpagesize_kB=4
7f1000000000 prefer:0 file=/anon_hugepage\\040(deleted) huge dirty=1 N0=1 kernelpagesize_kB=2048
7f2000000000 default
7ffc00000000 default stack anon=3 dirty=3 N0=3 kernelpagesize_kB=4
";

    #[test]
    fn memory_by_node() {
        let sum = placed(&parse(TEXT).unwrap()).unwrap();
        assert_eq!(sum.tables, [(0, 2048), (1, 2048)].into());
        assert_eq!(sum.dpdk, [(0, 3 * 2048), (1, 20 * 2048)].into());
    }

    #[test]
    fn zones_are_found_by_their_addresses() {
        let log = "DEBUG memory MP_frames-1 at 900300000, 4096 bytes, node 1\nDEBUG memory eth_p0_q0_rx_ring at 100200040, 64 bytes, node 0\n\
                   DEBUG memory eth_p1_q0_rx_ring at 900200040, 64 bytes, node 0\nINFO in memory of all\n";
        let all = zones(log, &parse(TEXT).unwrap()).unwrap();
        let find = |name: &str| {
            all.iter()
                .find(|z| z.name == name)
                .map(|z| (z.asked, z.node))
        };
        assert_eq!(find("eth_p0_q0_rx_ring"), Some((0, 0)));
        assert_eq!(
            find("eth_p1_q0_rx_ring"),
            Some((0, 1)),
            "asked for on one, lies on the other"
        );
        assert_eq!(find("MP_frames-1"), Some((1, 1)));
        assert_eq!(all.len(), 3);
        assert!(zones("x memory a at 10, 1 bytes, node 0", &parse(TEXT).unwrap()).is_err());
    }

    #[test]
    fn what_lies_elsewhere_is_named() {
        let table = TEXT.replace("N1=512", "N0=1 N1=511");
        let e = placed(&parse(&table).unwrap()).unwrap_err();
        assert!(format!("{e}").contains("for node 1"), "{e}");
        let list = TEXT.replace("N1=20", "N0=1 N1=19");
        assert!(placed(&parse(&list).unwrap()).is_err());
    }
}
