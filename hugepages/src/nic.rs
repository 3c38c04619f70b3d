//! Network cards on PCI: where they are, which driver has them, binding to vfio-pci and back.
//!
//! Read first: the kernel's `vfio.rst` and `Documentation/ABI/testing/sysfs-bus-pci`
//! (`driver_override`). Only cards named in the configuration are ever touched, and a card that
//! carries the machine's own addresses is refused: binding it would cut the way in.

use crate::held::{Held, Item};
use crate::sys::Sys;
use std::io;

/// Drivers through which a process may drive a card itself.
pub const USER_DRIVERS: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];

/// A network card on PCI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// PCI address, `0000:3b:00.0`.
    pub address: String,
    /// Vendor and device, `8086:1592`.
    pub id: String,
    /// NUMA node; `None` where the machine does not say.
    pub node: Option<u32>,
    /// The driver that has it.
    pub driver: Option<String>,
    /// The kernel's interfaces on it.
    pub interfaces: Vec<String>,
    /// Whether it has an IOMMU group.
    pub iommu: bool,
}

/// Why a card can't be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// No such PCI device.
    #[error("pci:{address}: no such device; network cards here: {here}")]
    Missing {
        /// PCI address.
        address: String,
        /// The cards there are.
        here: String,
    },
    /// A module of the kernel is missing.
    #[error("pci:{address}: {module} is not loaded; run `modprobe {module}`")]
    NoVfio {
        /// PCI address.
        address: String,
        /// Its name.
        module: &'static str,
    },
    /// vfio-pci needs an IOMMU.
    #[error(
        "pci:{address}: no IOMMU group; switch VT-d or AMD-Vi on in the firmware and boot with `intel_iommu=on iommu=pt`"
    )]
    NoIommu {
        /// PCI address.
        address: String,
    },
    /// The kernel uses the card.
    #[error(
        "pci:{address}: the kernel uses it as {interface}, which is up; run `ip link set {interface} down` first"
    )]
    InUse {
        /// PCI address.
        address: String,
        /// The kernel's interface.
        interface: String,
    },
    /// The kernel refused a step.
    #[error("pci:{address}: cannot bind to vfio-pci: {error}; run as root, and see `dmesg`")]
    Io {
        /// PCI address.
        address: String,
        /// The kernel's word.
        error: io::Error,
    },
}

const DEVICES: &str = "/sys/bus/pci/devices";

/// The network cards of the machine (PCI class 02).
pub fn list(sys: &Sys) -> Vec<Nic> {
    sys.names(DEVICES)
        .into_iter()
        .filter_map(|a| read(sys, &a))
        .collect()
}

fn read(sys: &Sys, address: &str) -> Option<Nic> {
    let dir = format!("{DEVICES}/{address}");
    let class = sys.read(format!("{dir}/class"))?;
    if !class.starts_with("0x02") {
        return None;
    }
    let id = |f: &str| {
        let text = sys.read(format!("{dir}/{f}")).unwrap_or_default();
        text.trim_start_matches("0x").to_owned()
    };
    Some(Nic {
        address: address.to_owned(),
        id: format!("{}:{}", id("vendor"), id("device")),
        node: node(sys, address),
        driver: sys.link_name(format!("{dir}/driver")),
        interfaces: interfaces(sys, &dir),
        iommu: sys.exists(format!("{dir}/iommu_group")),
    })
}

/// The NUMA node of a card; `None` where the machine does not say.
pub fn node(sys: &Sys, address: &str) -> Option<u32> {
    let node: i64 = sys.number(format!("{DEVICES}/{address}/numa_node"))?;
    u32::try_from(node).ok()
}

/// The kernel's interfaces on a card. A virtio card has a device of the virtio bus between it and them.
fn interfaces(sys: &Sys, dir: &str) -> Vec<String> {
    let mut all = sys.names(format!("{dir}/net"));
    for child in sys.names(dir) {
        if child.starts_with("virtio") {
            all.extend(sys.names(format!("{dir}/{child}/net")));
        }
    }
    all
}

/// Binds a card to vfio-pci, on the record first. Does nothing to a card that a user-space driver
/// has already.
///
/// # Errors
/// [`BindError`], which names the remedy; the card then has its old driver.
pub fn bind_vfio(sys: &Sys, held: &mut Held, address: &str) -> Result<(), BindError> {
    let address = address.to_owned();
    let Some(nic) = read(sys, &address) else {
        let here: Vec<String> = list(sys).into_iter().map(|n| n.address).collect();
        let here = if here.is_empty() {
            "none".to_owned()
        } else {
            here.join(", ")
        };
        return Err(BindError::Missing { address, here });
    };
    if nic
        .driver
        .as_deref()
        .is_some_and(|d| USER_DRIVERS.contains(&d))
    {
        return Ok(());
    }
    if let Some(module) = missing_module(sys) {
        return Err(BindError::NoVfio { address, module });
    }
    if !nic.iommu {
        return Err(BindError::NoIommu { address });
    }
    if let Some(interface) = nic.interfaces.iter().find(|i| is_up(sys, i)) {
        return Err(BindError::InUse {
            address,
            interface: interface.clone(),
        });
    }
    let item = Item::Nic {
        address: address.clone(),
        driver: nic.driver.clone(),
    };
    let bound = held
        .note(item.clone())
        .and_then(|()| rebind(sys, &address, Some("vfio-pci")));
    bound.map_err(|error| {
        let _ = held.give_back(&item);
        BindError::Io { address, error }
    })
}

/// What has to be loaded before a card can be driven through vfio. Not every modprobe loads the second with the first.
pub(crate) fn missing_module(sys: &Sys) -> Option<&'static str> {
    missing_modules(sys).next()
}

/// All of them, in the order in which they are to be loaded.
pub(crate) fn missing_modules(sys: &Sys) -> impl Iterator<Item = &'static str> {
    let all = [
        ("vfio-pci", "/sys/bus/pci/drivers/vfio-pci"),
        ("vfio_iommu_type1", "/sys/module/vfio_iommu_type1"),
    ];
    all.into_iter()
        .filter(|(_, file)| !sys.exists(file))
        .map(|(module, _)| module)
}

/// Whether the kernel's interface is up (`IFF_UP`).
fn is_up(sys: &Sys, interface: &str) -> bool {
    let flags = sys
        .read(format!("/sys/class/net/{interface}/flags"))
        .unwrap_or_default();
    u32::from_str_radix(flags.trim_start_matches("0x"), 16).is_ok_and(|f| f & 1 != 0)
}

/// Moves a card to `driver`, or to none. The override is taken off again for a kernel driver, so
/// that later hot-plug works as before.
pub(crate) fn rebind(sys: &Sys, address: &str, driver: Option<&str>) -> io::Result<()> {
    let dir = format!("{DEVICES}/{address}");
    if !sys.exists(&dir) {
        return Ok(()); // pulled out meanwhile
    }
    if sys.link_name(format!("{dir}/driver")).as_deref() == driver {
        return Ok(());
    }
    if sys.exists(format!("{dir}/driver")) {
        sys.write(format!("{dir}/driver/unbind"), address)?;
    }
    let user = driver.is_some_and(|d| USER_DRIVERS.contains(&d));
    let over = if user { driver.unwrap_or("\n") } else { "\n" };
    sys.write(format!("{dir}/driver_override"), over)?;
    match driver {
        Some(d) => sys.write(format!("/sys/bus/pci/drivers/{d}/bind"), address),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const A: &str = "0000:3b:00.0";

    fn machine(driver: &str, iommu: bool) -> (tempfile::TempDir, Sys) {
        let root = tempfile::tempdir().unwrap();
        let sys = Sys::at(root.path());
        let dev = sys.path(format!("{DEVICES}/{A}"));
        fs::create_dir_all(dev.join("net/ens1")).unwrap();
        for (file, text) in [
            ("class", "0x020000\n"),
            ("vendor", "0x8086\n"),
            ("device", "0x1592\n"),
            ("numa_node", "1\n"),
            ("driver_override", "(null)\n"),
        ] {
            fs::write(dev.join(file), text).unwrap();
        }
        fs::create_dir_all(sys.path("/sys/module/vfio_iommu_type1")).unwrap();
        for d in [driver, "vfio-pci"] {
            let drv = sys.path(format!("/sys/bus/pci/drivers/{d}"));
            fs::create_dir_all(&drv).unwrap();
            fs::write(drv.join("bind"), "").unwrap();
            fs::write(drv.join("unbind"), "").unwrap();
        }
        symlink(
            sys.path(format!("/sys/bus/pci/drivers/{driver}")),
            dev.join("driver"),
        )
        .unwrap();
        if iommu {
            fs::create_dir_all(dev.join("iommu_group")).unwrap();
        }
        fs::create_dir_all(sys.path("/sys/class/net/ens1")).unwrap();
        fs::write(sys.path("/sys/class/net/ens1/flags"), "0x1002\n").unwrap();
        (root, sys)
    }

    fn text(sys: &Sys, path: &str) -> String {
        sys.read(path).unwrap()
    }

    #[test]
    fn a_card_is_described_by_node_driver_and_interfaces() {
        let (_root, sys) = machine("ice", true);
        let nics = list(&sys);
        assert_eq!(nics.len(), 1);
        assert_eq!((nics[0].node, nics[0].id.as_str()), (Some(1), "8086:1592"));
        assert_eq!(nics[0].driver.as_deref(), Some("ice"));
        assert_eq!(nics[0].interfaces, ["ens1"]);
    }

    #[test]
    fn the_interface_of_a_virtio_card_is_found_and_not_cut_off() {
        let (root, sys) = machine("virtio-pci", true);
        let dev = sys.path(format!("{DEVICES}/{A}"));
        fs::remove_dir_all(dev.join("net")).unwrap();
        fs::create_dir_all(dev.join("virtio0/net/ens1")).unwrap();
        fs::write(sys.path("/sys/class/net/ens1/flags"), "0x1003\n").unwrap();
        assert_eq!(list(&sys)[0].interfaces, ["ens1"]);
        let mut held = Held::open(&sys, &root.path().join("run")).unwrap();
        let in_use = bind_vfio(&sys, &mut held, A).unwrap_err().to_string();
        assert!(in_use.contains("ip link set ens1 down"), "{in_use}");
    }

    #[test]
    fn binding_is_recorded_and_undone_in_reverse() {
        let (root, sys) = machine("ice", true);
        let mut held = Held::open(&sys, &root.path().join("run")).unwrap();
        bind_vfio(&sys, &mut held, A).unwrap();
        assert_eq!(
            text(&sys, &format!("{DEVICES}/{A}/driver_override")),
            "vfio-pci"
        );
        assert_eq!(text(&sys, "/sys/bus/pci/drivers/ice/unbind"), A);
        assert_eq!(text(&sys, "/sys/bus/pci/drivers/vfio-pci/bind"), A);
        assert_eq!(
            held.items(),
            [Item::Nic {
                address: A.into(),
                driver: Some("ice".into())
            }]
        );
        // What the kernel would have done:
        let link = sys.path(format!("{DEVICES}/{A}/driver"));
        fs::remove_file(&link).unwrap();
        symlink(sys.path("/sys/bus/pci/drivers/vfio-pci"), &link).unwrap();
        drop(held);
        assert_eq!(text(&sys, "/sys/bus/pci/drivers/vfio-pci/unbind"), A);
        assert_eq!(text(&sys, "/sys/bus/pci/drivers/ice/bind"), A);
        assert_eq!(text(&sys, &format!("{DEVICES}/{A}/driver_override")), "");
    }

    #[test]
    fn refusals_name_the_remedy_and_touch_nothing() {
        let (root, sys) = machine("ice", false);
        let mut held = Held::open(&sys, &root.path().join("run")).unwrap();
        let no_iommu = bind_vfio(&sys, &mut held, A).unwrap_err();
        assert!(
            no_iommu.to_string().contains("intel_iommu=on"),
            "{no_iommu}"
        );
        let module = sys.path("/sys/module/vfio_iommu_type1");
        fs::remove_dir(&module).unwrap();
        let unloaded = bind_vfio(&sys, &mut held, A).unwrap_err().to_string();
        assert!(unloaded.contains("modprobe vfio_iommu_type1"), "{unloaded}");
        fs::create_dir(&module).unwrap();
        let missing = bind_vfio(&sys, &mut held, "0000:99:00.0").unwrap_err();
        assert!(
            missing.to_string().contains(A),
            "the cards there are: {missing}"
        );
        let (root2, up) = machine("ice", true);
        fs::write(up.path("/sys/class/net/ens1/flags"), "0x1003\n").unwrap();
        let mut held2 = Held::open(&up, &root2.path().join("run")).unwrap();
        let in_use = bind_vfio(&up, &mut held2, A).unwrap_err();
        assert!(
            in_use.to_string().contains("ip link set ens1 down"),
            "{in_use}"
        );
        for (h, s) in [(&held, &sys), (&held2, &up)] {
            assert_eq!(h.items(), []);
            assert_eq!(text(s, "/sys/bus/pci/drivers/ice/unbind"), "");
        }
    }
}
