//! What `trunkctl doctor --fix` does about what the [`doctor`](crate::doctor) finds: huge pages on each node, modules, a setting of
//! the kernel, what killed appliances left, and named cards to vfio-pci.
//!
//! Read first: the kernel's `hugetlbpage.rst` and `vfio.rst`. Two steps: [`plan`] only reads, and says what is to be done and
//! how a person would type it; [`Action::run`] does it. What is as it should be is not touched, so a second run does nothing.
//! What is done stays until the next boot: unlike what an appliance takes, it is on no record and is not given back.
//!
//! Left to a person: the kernel's command line (IOMMU, isolated cores), permissions, vfio's no-IOMMU mode, in which a card may
//! write anywhere in memory.

use crate::doctor::{Permissions, RUN_DIR, WANTED};
use crate::held::{self, Held};
use crate::nic::{self, USER_DRIVERS};
use crate::pages;
use crate::sys::Sys;
use crate::topology::Machine;
use serde::Serialize;
use std::process::{Command, Stdio};

/// Automatic NUMA balancing: the kernel takes pages from a process to see who uses them, and a worker pays for each.
pub(crate) const BALANCING: &str = "/proc/sys/kernel/numa_balancing";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Huge pages of 2 MiB to be free on each node that has CPUs.
    pub pages: u64,
    /// PCI addresses of cards to be bound to vfio-pci: these and no others.
    pub nics: Vec<String>,
}

impl Default for Wants {
    fn default() -> Self {
        Self {
            pages: WANTED,
            nics: Vec::new(),
        }
    }
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Why, in words.
    pub why: String,
    /// What a person would type.
    pub command: String,
    step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Recover,
    Load(&'static str),
    Pages { node: u32, free: u64 },
    NoBalancing,
    Bind(String),
}

/// How an action came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Why it was done.
    pub why: String,
    /// What a person would type.
    pub command: String,
    /// What went wrong, if anything did.
    pub error: Option<String>,
}

/// Whether the process may mend anything at all.
///
/// # Errors
/// What to type instead.
pub fn allowed(may: &Permissions) -> Result<(), String> {
    if may.root {
        return Ok(());
    }
    Err(
        "--fix changes the machine, which takes root; nothing was done: sudo trunkctl doctor --fix"
            .to_owned(),
    )
}

/// What there is to do on a machine, in this order.
pub fn plan(sys: &Sys, machine: &Machine, wants: &Wants) -> Vec<Action> {
    let mut out = Vec::new();
    let dead = held::dead(sys, &sys.path(RUN_DIR));
    if !dead.is_empty() {
        out.push(Action {
            why: format!("a killed appliance still holds: {}", dead.join("; ")),
            command: "trunkline -c FILE would give it back first".to_owned(),
            step: Step::Recover,
        });
    }
    if !sys.exists("/dev/net/tun") {
        out.push(load("tun", "the kernel side of an interface needs it"));
    }
    out.extend(huge_pages(sys, machine, wants.pages));
    if machine.nodes.len() > 1 && sys.read(BALANCING).is_some_and(|v| v != "0") {
        out.push(Action {
            why: "the kernel moves pages between nodes, and takes them from workers to see who uses them".to_owned(),
            command: "sysctl -w kernel.numa_balancing=0".to_owned(),
            step: Step::NoBalancing,
        });
    }
    let to_bind: Vec<&String> = wants.nics.iter().filter(|n| !bound(sys, n)).collect();
    // Without an IOMMU vfio-pci is of no use here, but who names a card is to be told so by the card.
    if !to_bind.is_empty() || !sys.names("/sys/kernel/iommu_groups").is_empty() {
        let missing = nic::missing_modules(sys);
        out.extend(missing.map(|m| load(m, "cards are driven through it")));
    }
    out.extend(to_bind.into_iter().map(|address| Action {
        why: format!("pci:{address} is to be driven by the appliance"),
        command: format!(
            "echo vfio-pci >/sys/bus/pci/devices/{address}/driver_override, unbind it there, echo {address} >/sys/bus/pci/drivers_probe"
        ),
        step: Step::Bind(address.clone()),
    }));
    out
}

fn load(module: &'static str, why: &str) -> Action {
    Action {
        why: format!("{module} is not loaded: {why}"),
        command: format!("modprobe {module}"),
        step: Step::Load(module),
    }
}

fn bound(sys: &Sys, address: &str) -> bool {
    let nics = nic::list(sys);
    let nic = nics.iter().find(|n| n.address == address);
    let driver = nic.and_then(|n| n.driver.as_deref());
    driver.is_some_and(|d| USER_DRIVERS.contains(&d))
}

/// Of an appliance that runs, the pages that it uses are not missing.
fn huge_pages(sys: &Sys, machine: &Machine, wanted: u64) -> Vec<Action> {
    let runs = sys.names(RUN_DIR).iter().any(|n| n.ends_with(".sock"));
    let lacking = |node: u32| {
        let pool = pages::pool(sys, node, 2048)?;
        let have = if runs { pool.total } else { pool.free };
        let missing = wanted.saturating_sub(have);
        (missing > 0).then(|| Action {
            why: format!(
                "node {node} has {} of {} huge pages of 2 MiB free, and {wanted} are wanted",
                pool.free, pool.total
            ),
            command: format!(
                "echo {} >/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages",
                pool.total + missing
            ),
            step: Step::Pages {
                node,
                free: pool.free + missing,
            },
        })
    };
    let with_cpus = machine.nodes.iter().filter(|n| !n.cpus.is_empty());
    with_cpus.filter_map(|n| lacking(n.id)).collect()
}

impl Action {
    /// Does it; `modprobe` loads a module.
    pub fn run(&self, sys: &Sys, modprobe: &dyn Fn(&str) -> Result<(), String>) -> Outcome {
        let done = match &self.step {
            Step::Recover => recover(sys),
            Step::Load(module) => modprobe(module),
            Step::Pages { node, free } => for_good(sys, |held| {
                pages::reserve(sys, held, *node, 2048, *free).map_err(|e| e.to_string())
            }),
            Step::NoBalancing => sys.write(BALANCING, "0").map_err(|e| e.to_string()),
            Step::Bind(address) => for_good(sys, |held| {
                nic::bind_vfio(sys, held, address).map_err(|e| e.to_string())
            }),
        };
        Outcome {
            why: self.why.clone(),
            command: self.command.clone(),
            error: done.err(),
        }
    }
}

fn recover(sys: &Sys) -> Result<(), String> {
    let (_, failed) = held::recover(sys, &sys.path(RUN_DIR));
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("; "))
    }
}

/// Takes something that is not given back.
fn for_good(sys: &Sys, take: impl FnOnce(&mut Held) -> Result<(), String>) -> Result<(), String> {
    let mut held = Held::in_memory(sys);
    take(&mut held)?;
    for item in held.items().to_vec() {
        held.strike(&item).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Loads a module of the kernel by modprobe(8).
///
/// # Errors
/// What modprobe says.
pub fn modprobe(module: &str) -> Result<(), String> {
    let run = |program: &str| {
        let mut c = Command::new(program);
        c.arg(module).stdin(Stdio::null()).output()
    };
    let out = run("modprobe").or_else(|_| run("/sbin/modprobe"));
    let out = out.map_err(|e| format!("can't run modprobe: {e}; install kmod"))?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    Err(format!(
        "modprobe {module}: {}; is the module of this kernel's package installed?",
        said.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Node;
    use std::fs;
    use std::os::unix::fs::symlink;

    const A: &str = "0000:3b:00.0";
    const B: &str = "0000:5e:00.0";

    fn put(sys: &Sys, file: &str, text: &str) {
        let path = sys.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Two nodes with few huge pages, an IOMMU, two cards of the kernel's, no module loaded, balancing on.
    fn machine() -> (tempfile::TempDir, Sys, Machine) {
        let root = tempfile::tempdir().unwrap();
        let sys = Sys::at(root.path());
        for node in [0, 1] {
            let dir = format!("/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB");
            put(&sys, &format!("{dir}/nr_hugepages"), "20");
            put(&sys, &format!("{dir}/free_hugepages"), "10");
            fs::create_dir_all(sys.path(format!("/sys/kernel/iommu_groups/{node}"))).unwrap();
        }
        for address in [A, B] {
            let dev = format!("/sys/bus/pci/devices/{address}");
            put(&sys, &format!("{dev}/class"), "0x020000\n");
            put(&sys, &format!("{dev}/driver_override"), "(null)\n");
            fs::create_dir_all(sys.path(format!("{dev}/iommu_group"))).unwrap();
            put(&sys, "/sys/bus/pci/drivers/ice/unbind", "");
            let driver = sys.path("/sys/bus/pci/drivers/ice");
            symlink(driver, sys.path(format!("{dev}/driver"))).unwrap();
        }
        put(&sys, BALANCING, "1\n");
        let node = |id: u32| Node {
            id,
            cpus: vec![id as usize],
            memory: 1 << 30,
        };
        let machine = Machine {
            nodes: vec![node(0), node(1)],
            cores: vec![],
            caches: vec![],
        };
        (root, sys, machine)
    }

    /// What the kernel would do of itself.
    fn kernel(sys: &Sys) -> impl Fn(&str) -> Result<(), String> {
        |module| {
            match module {
                "tun" => put(sys, "/dev/net/tun", ""),
                "vfio-pci" => put(sys, "/sys/bus/pci/drivers/vfio-pci/bind", ""),
                "vfio_iommu_type1" => put(sys, "/sys/module/vfio_iommu_type1/refcnt", "0"),
                other => return Err(format!("modprobe: no {other}")),
            }
            Ok(())
        }
    }

    fn commands(plan: &[Action]) -> Vec<&str> {
        plan.iter().map(|a| a.command.as_str()).collect()
    }

    #[test]
    fn what_is_missing_is_mended_and_nothing_else_and_once() {
        let (_root, sys, machine) = machine();
        let wants = Wants {
            pages: 64,
            nics: vec![A.to_owned()],
        };
        let all = plan(&sys, &machine, &wants);
        let pool = "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages";
        let said = commands(&all);
        assert_eq!(said.len(), 7, "{said:?}");
        assert_eq!(said[0], "modprobe tun");
        assert_eq!(said[2], format!("echo 74 >{pool}"));
        assert_eq!(
            &said[3..6],
            [
                "sysctl -w kernel.numa_balancing=0",
                "modprobe vfio-pci",
                "modprobe vfio_iommu_type1"
            ]
        );
        assert!(
            said[6].contains(A) && !said.iter().any(|s| s.contains(B)),
            "{said:?}"
        );
        // To look changes nothing.
        assert_eq!(plan(&sys, &machine, &wants), all);

        for a in &all {
            let done = a.run(&sys, &kernel(&sys));
            assert_eq!(done.error, None, "{a:?}");
        }
        assert_eq!(sys.read(pool).unwrap(), "74");
        assert_eq!(sys.read(BALANCING).unwrap(), "0");
        assert_eq!(sys.read("/sys/bus/pci/drivers/vfio-pci/bind").unwrap(), A);
        let over = |a: &str| sys.read(format!("/sys/bus/pci/devices/{a}/driver_override"));
        assert_eq!(
            (over(A), over(B)),
            (Some("vfio-pci".into()), Some("(null)".into()))
        );
        // What the kernel does of itself; then there is nothing to do any more.
        for node in [0, 1] {
            put(
                &sys,
                &format!(
                    "/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/free_hugepages"
                ),
                "64",
            );
        }
        let link = sys.path(format!("/sys/bus/pci/devices/{A}/driver"));
        fs::remove_file(&link).unwrap();
        symlink(sys.path("/sys/bus/pci/drivers/vfio-pci"), &link).unwrap();
        assert_eq!(plan(&sys, &machine, &wants), []);
    }

    #[test]
    fn pages_that_an_appliance_uses_are_not_missing() {
        let (_root, sys, machine) = machine();
        let wants = Wants {
            pages: 20,
            nics: vec![],
        };
        let pages = |sys: &Sys| {
            let all = plan(sys, &machine, &wants);
            all.iter()
                .filter(|a| a.command.contains("hugepages"))
                .count()
        };
        assert_eq!(pages(&sys), 2);
        put(&sys, "/run/trunkline/trunkline.sock", "");
        assert_eq!(pages(&sys), 0);
    }

    #[test]
    fn what_cannot_be_done_says_why_and_leaves_the_card() {
        let (_root, sys, machine) = machine();
        fs::remove_dir(sys.path(format!("/sys/bus/pci/devices/{A}/iommu_group"))).unwrap();
        let wants = Wants {
            pages: 0,
            nics: vec![A.to_owned(), "0000:99:00.0".to_owned()],
        };
        let mut errors = vec![];
        for a in plan(&sys, &machine, &wants) {
            errors.extend(a.run(&sys, &kernel(&sys)).error);
        }
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].contains("intel_iommu=on"), "{errors:?}");
        assert!(errors[1].contains("no such device"), "{errors:?}");
        let driver = sys.link_name(format!("/sys/bus/pci/devices/{A}/driver"));
        assert_eq!(driver.as_deref(), Some("ice"));
        let unknown = load("vfio-pci", "").run(&sys, &|_| Err("not found".to_owned()));
        assert_eq!(unknown.error.as_deref(), Some("not found"));
    }

    #[test]
    fn without_root_nothing_is_done() {
        let may = |root| Permissions {
            root,
            capabilities: 0,
        };
        assert!(allowed(&may(true)).is_ok());
        assert!(
            allowed(&may(false))
                .unwrap_err()
                .contains("sudo trunkctl doctor --fix")
        );
    }
}
