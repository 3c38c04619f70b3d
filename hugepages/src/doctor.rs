//! The checks behind `trunkctl doctor`: is this machine fit for the appliance, and if not, which
//! command mends it. They only read; an appliance need not run.

use crate::mend::BALANCING;
use crate::nic::{self, USER_DRIVERS};
use crate::sys::Sys;
use crate::topology::{Machine, isolated};
use crate::{held, pages};
use serde::Serialize;
use std::path::Path;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Works, with less speed or comfort.
    Warning,
    /// Something will not work.
    Fail,
}

/// One line of the doctor's report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// The verdict.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// The command that mends it, where there is one.
    pub remedy: Option<String>,
}

impl Check {
    fn new(name: impl Into<String>, status: Status, detail: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            status,
            detail: detail.into(),
            remedy: None,
        }
    }
    fn mend(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// Every check on the running machine.
pub fn run() -> Vec<Check> {
    let machine = Machine::detect().map_err(|e| e.to_string());
    checks(&Sys::default(), &machine, &Permissions::of_this_process())
}

/// What the process may do, as far as the checks need it.
#[derive(Clone, Copy, Debug)]
pub struct Permissions {
    /// Effective user id 0.
    pub root: bool,
    /// Bits of the effective capability set, as in `/proc/self/status`.
    pub capabilities: u64,
}

impl Permissions {
    /// The calling process's.
    pub fn of_this_process() -> Self {
        let sys = Sys::default();
        let status = sys.read("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name))?;
            Some(line.split_whitespace().collect::<Vec<_>>())
        };
        let euid = field("Uid:").and_then(|f| f.get(1)?.parse::<u32>().ok());
        let caps = field("CapEff:").and_then(|f| u64::from_str_radix(f.first()?, 16).ok());
        Self {
            root: euid == Some(0),
            capabilities: caps.unwrap_or(0),
        }
    }
}

/// Capabilities the appliance uses: name, bit, what for (`capabilities(7)`).
const CAPABILITIES: [(&str, u32, &str); 4] = [
    ("CAP_NET_ADMIN", 12, "TAPs, addresses and rules"),
    ("CAP_NET_RAW", 13, "af_packet and af_xdp ports"),
    ("CAP_IPC_LOCK", 14, "locked DMA memory"),
    ("CAP_SYS_ADMIN", 21, "hugepages and XDP programs"),
];

/// Every check, on a machine given by its parts.
pub fn checks(sys: &Sys, machine: &Result<Machine, String>, may: &Permissions) -> Vec<Check> {
    let mut out = vec![permissions(may), tun(sys)];
    match machine {
        Ok(m) => {
            out.push(cores(m));
            out.push(isolation(sys, m));
            out.extend(hugepages(sys, m));
        }
        Err(e) => out.push(
            Check::new("topology", Status::Fail, e.clone()).mend("mount -t sysfs sysfs /sys"),
        ),
    }
    if let Ok(m) = machine {
        out.extend(balancing(sys, m));
    }
    out.push(iommu(sys));
    out.push(vfio(sys));
    out.extend(nics(sys, machine.as_ref().ok()));
    out.extend(leftovers(sys));
    out
}

fn permissions(may: &Permissions) -> Check {
    let lacking: Vec<_> = CAPABILITIES
        .iter()
        .filter(|(_, bit, _)| may.capabilities >> bit & 1 == 0)
        .collect();
    if lacking.is_empty() {
        let who = if may.root { "root" } else { "not root, but" };
        return Check::new(
            "permissions",
            Status::Ok,
            format!("{who} with every capability needed"),
        );
    }
    let list: Vec<String> = lacking
        .iter()
        .map(|(n, _, why)| format!("{n} ({why})"))
        .collect();
    Check::new(
        "permissions",
        Status::Fail,
        format!("lacking {}", list.join(", ")),
    )
    .mend("sudo trunkline -c FILE")
}

fn tun(sys: &Sys) -> Check {
    if sys.exists("/dev/net/tun") {
        return Check::new("tun", Status::Ok, "/dev/net/tun is there");
    }
    Check::new(
        "tun",
        Status::Fail,
        "no /dev/net/tun: the kernel side of an interface needs it",
    )
    .mend("modprobe tun")
}

fn cores(m: &Machine) -> Check {
    let (cpus, nodes) = (m.cpus().len(), m.nodes.len());
    let detail = format!("{cpus} CPUs, {} cores, {nodes} NUMA node(s)", m.cores.len());
    let status = if cpus >= 2 {
        Status::Ok
    } else {
        Status::Warning
    };
    let more = if cpus >= 2 {
        ""
    } else {
        "; workers and control thread share one"
    };
    Check::new("cores", status, detail + more)
}

fn isolation(sys: &Sys, m: &Machine) -> Check {
    let isolated = isolated(sys);
    if !isolated.is_empty() {
        let list: Vec<String> = isolated.iter().map(usize::to_string).collect();
        return Check::new(
            "isolated cores",
            Status::Ok,
            format!("CPUs {}", list.join(",")),
        );
    }
    let cpus = m.cpus();
    let check = Check::new(
        "isolated cores",
        Status::Warning,
        "none: other programs can delay a worker by milliseconds",
    );
    match (cpus.get(1), cpus.last()) {
        (Some(a), Some(b)) => {
            let list = if a == b {
                a.to_string()
            } else {
                format!("{a}-{b}")
            };
            check.mend(format!(
                "add isolcpus={list} nohz_full={list} to GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub && reboot"
            ))
        }
        _ => check,
    }
}

/// 2 MiB pages that one node's pools and tables ask for.
pub(crate) const WANTED: u64 = 256;

fn hugepages(sys: &Sys, m: &Machine) -> Vec<Check> {
    m.nodes
        .iter()
        .filter(|n| !n.cpus.is_empty())
        .map(|n| {
            let name = format!("hugepages node {}", n.id);
            let Some(pool) = pages::pool(sys, n.id, 2048) else {
                return Check::new(name, Status::Fail, "the kernel has no 2 MiB hugepages")
                    .mend("set memory = \"no-huge\" in [dataplane]");
            };
            let detail = format!("{} of {} free (2 MiB)", pool.free, pool.total);
            if pool.free >= WANTED {
                return Check::new(name, Status::Ok, detail);
            }
            let file = format!(
                "/sys/devices/system/node/node{}/hugepages/hugepages-2048kB/nr_hugepages",
                n.id
            );
            let want = pool.total + WANTED - pool.free;
            Check::new(
                name,
                Status::Warning,
                detail + "; the appliance reserves what it lacks when it starts, if memory allows",
            )
            .mend(format!("echo {want} >{file}"))
        })
        .collect()
}

/// Only where there are nodes between which pages could be moved.
fn balancing(sys: &Sys, m: &Machine) -> Option<Check> {
    let on = sys.read(BALANCING).filter(|_| m.nodes.len() > 1)? != "0";
    let name = "numa balancing";
    Some(if on {
        Check::new(
            name,
            Status::Warning,
            "on: the kernel takes pages from workers now and then, to see which node uses them",
        )
        .mend("sysctl -w kernel.numa_balancing=0")
    } else {
        Check::new(name, Status::Ok, "off")
    })
}

/// What vfio can do where there is no IOMMU. The appliance does not use it: a card then may write anywhere in memory.
fn no_iommu_mode(sys: &Sys) -> &'static str {
    match sys
        .read("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode")
        .as_deref()
    {
        Some("Y" | "1") => "switched on",
        Some(_) => "switched off",
        None => "not in this kernel, or vfio is not loaded",
    }
}

fn iommu(sys: &Sys) -> Check {
    let groups = sys.names("/sys/kernel/iommu_groups").len();
    if groups > 0 {
        return Check::new("iommu", Status::Ok, format!("{groups} groups"));
    }
    let detail = format!(
        "no IOMMU: pci: devices can't be bound to vfio-pci (its no-IOMMU mode, which is unsafe and not used, is {})",
        no_iommu_mode(sys)
    );
    Check::new("iommu", Status::Warning, detail)
        .mend("switch VT-d or AMD-Vi on in the firmware; add intel_iommu=on iommu=pt to GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub && reboot")
}

fn vfio(sys: &Sys) -> Check {
    let Some(module) = nic::missing_module(sys) else {
        return Check::new("vfio-pci", Status::Ok, "loaded");
    };
    let detail =
        format!("{module} is not loaded: only af_packet, af_xdp, tap and memif devices will work");
    Check::new("vfio-pci", Status::Warning, detail).mend(format!("modprobe {module}"))
}

fn nics(sys: &Sys, m: Option<&Machine>) -> Vec<Check> {
    let nics = nic::list(sys);
    if nics.is_empty() {
        return vec![Check::new(
            "nics",
            Status::Warning,
            "no network card on PCI",
        )];
    }
    nics.into_iter().map(|n| {
        let driver = n.driver.as_deref();
        let place = match n.node {
            Some(node) => {
                let workers = m.and_then(|m| m.nodes.iter().find(|x| x.id == node)).map_or(0, |x| x.cpus.len());
                format!("node {node}, {workers} CPUs there")
            }
            None => "node unknown".to_owned(),
        };
        let names = if n.interfaces.is_empty() { String::new() } else { format!(", {}", n.interfaces.join(" ")) };
        let detail = format!("{}, driver {}, {place}{names}", n.id, driver.unwrap_or("none"));
        let name = format!("nic {}", n.address);
        match driver {
            Some(d) if USER_DRIVERS.contains(&d) => Check::new(name, Status::Ok, detail),
            Some(_) => Check::new(name, Status::Ok, detail + "; bound to vfio-pci when the configuration names it"),
            None => Check::new(name, Status::Warning, detail)
                .mend(format!("echo vfio-pci >/sys/bus/pci/devices/{0}/driver_override && echo {0} >/sys/bus/pci/drivers_probe", n.address)),
        }
    }).collect()
}

fn leftovers(sys: &Sys) -> Option<Check> {
    let dead = held::dead(sys, &sys.path(RUN_DIR));
    if dead.is_empty() {
        return None;
    }
    let detail = format!("a killed appliance still holds: {}", dead.join("; "));
    Some(
        Check::new("leftovers", Status::Warning, detail)
            .mend("start trunkline: it gives them back first"),
    )
}

/// Where the appliance keeps its records and its socket.
pub const RUN_DIR: &str = "/run/trunkline";

/// The record folder of the machine itself.
pub fn run_dir() -> &'static Path {
    Path::new(RUN_DIR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::tests::fake_node;
    use crate::topology::Node;

    const ALL: Permissions = Permissions {
        root: true,
        capabilities: u64::MAX,
    };

    fn machine() -> Result<Machine, String> {
        let node = Node {
            id: 0,
            cpus: vec![0, 1, 2, 3],
            memory: 1 << 30,
        };
        Ok(Machine {
            nodes: vec![node],
            cores: vec![vec![0, 1], vec![2, 3]],
            caches: vec![],
        })
    }

    fn find<'a>(checks: &'a [Check], name: &str) -> &'a Check {
        checks
            .iter()
            .find(|c| c.name == name)
            .unwrap_or_else(|| panic!("{name}: {checks:#?}"))
    }

    #[test]
    fn every_failing_line_has_a_remedy() {
        let (_root, sys) = fake_node(0, 0);
        let may = Permissions {
            root: false,
            capabilities: 0,
        };
        for machine in [machine(), Err("no /sys".to_owned())] {
            for c in checks(&sys, &machine, &may) {
                assert!(c.status != Status::Fail || c.remedy.is_some(), "{c:?}");
            }
        }
    }

    #[test]
    fn the_missing_capability_is_named() {
        let (_root, sys) = fake_node(0, 0);
        let may = Permissions {
            root: false,
            capabilities: !(1 << 13),
        };
        let all = checks(&sys, &machine(), &may);
        let c = find(&all, "permissions");
        assert_eq!(c.status, Status::Fail);
        assert!(
            c.detail.contains("CAP_NET_RAW") && !c.detail.contains("CAP_NET_ADMIN"),
            "{c:?}"
        );
    }

    #[test]
    fn hugepages_and_isolation_follow_the_machine() {
        let (root, sys) = fake_node(0, 300);
        let cpu = root.path().join("sys/devices/system/cpu");
        std::fs::create_dir_all(&cpu).unwrap();
        std::fs::write(cpu.join("isolated"), "2-3\n").unwrap();
        let all = checks(&sys, &machine(), &ALL);
        assert_eq!(find(&all, "hugepages node 0").status, Status::Ok);
        assert_eq!(find(&all, "isolated cores").detail, "CPUs 2,3");
        let (_root, poor) = fake_node(0, 10);
        let all = checks(&poor, &machine(), &ALL);
        let c = find(&all, "hugepages node 0");
        assert_eq!(c.status, Status::Warning);
        assert!(
            c.remedy
                .as_deref()
                .unwrap()
                .starts_with("echo 256 >/sys/devices"),
            "{c:?}"
        );
        assert!(
            find(&all, "isolated cores")
                .remedy
                .as_deref()
                .unwrap()
                .contains("isolcpus=1-3")
        );
    }

    #[test]
    fn balancing_matters_between_nodes() {
        let (root, sys) = fake_node(0, 0);
        let kernel = root.path().join("proc/sys/kernel");
        std::fs::create_dir_all(&kernel).unwrap();
        std::fs::write(kernel.join("numa_balancing"), "1\n").unwrap();
        let one = machine().unwrap();
        assert_eq!(balancing(&sys, &one), None);
        let mut two = one;
        let far = two.nodes[0].clone();
        two.nodes.push(far);
        assert_eq!(balancing(&sys, &two).unwrap().status, Status::Warning);
        std::fs::write(kernel.join("numa_balancing"), "0\n").unwrap();
        assert_eq!(balancing(&sys, &two).unwrap().status, Status::Ok);
    }

    #[test]
    fn this_machine_can_be_examined() {
        let all = run();
        assert!(find(&all, "cores").detail.contains("NUMA"));
    }
}
