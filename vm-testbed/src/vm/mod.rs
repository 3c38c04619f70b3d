//! Virtual machines: what the test bed's namespaces can't show needs hardware, here QEMU's. Network cards on PCI that are
//! taken from the kernel and given back (vfio-pci), an IOMMU, several NUMA nodes; or a kernel that the host has not: one that
//! forwards labels, has VRFs, and runs FRR, as a neighbour.
//!
//! [`machine`] is the computer and its cards, [`accel`] what runs it; [`image`] what it boots; [`guest`] the shell in it; [`wire`] the cables of its
//! cards, whose other ends the tests hold as [`station`]s; [`qmp`] pulls them; [`router`] is an appliance in it. Read QEMU's "System Emulation Users Guide" and, for the
//! buses, its `docs/pci_expander_bridge.txt`.

pub mod accel;
pub mod cpio;
pub mod guest;
pub mod image;
pub mod machine;
pub mod numa_maps;
pub mod qmp;
pub mod router;
pub mod station;
pub mod wire;

pub use guest::Guest;
pub use machine::{Cable, Card, FOUR_NODES, Iommu, Spec, Starting, TWO_NODES, UNUSED_IOMMU, Vm};
pub use router::Router;
pub use station::Station;
