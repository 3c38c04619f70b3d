//! The machine under the appliance: what it has, what we take of it, and how it is given back.
//!
//! Read first: the kernel's `Documentation/admin-guide/mm/hugetlbpage.rst` and
//! `Documentation/driver-api/vfio.rst`; hwloc's manual for the words (package, node, core, PU).
//!
//! - [`topology`]: NUMA nodes, cores and caches; pinning a thread.
//! - [`pages`]: hugepages by node, reserved and given back; the hugetlbfs mount.
//! - [`slice`]: [`HugeSlice`], a zeroed array on hugepages of one node where there are any.
//! - [`nic`]: network cards, their node and driver; binding to vfio-pci and back.
//! - [`held`]: the record of what a process took, so that the next start can give back what a
//!   killed one could not.
//! - [`link`]: settings of the kernel's network interfaces, given back.
//! - [`sched`]: how long the pieces of a core are that a thread gets.
//! - [`sock`]: options of TCP sockets that no crate has safely: signatures, the least TTL.
//! - [`doctor`]: the checks behind `trunkctl doctor`; they run without an appliance. [`mend`]: what its `--fix` does.
//!
//! Left out on purpose: changing the kernel command line (isolated cores, IOMMU): `doctor` says
//! what to write there, a person decides. Everything that reads `/sys` or `/proc` goes through
//! [`sys::Sys`], so that tests put a made-up machine in its place.

pub mod doctor;
pub mod held;
pub mod link;
pub mod mend;
pub mod nic;
pub mod pages;
pub mod sched;
pub mod slice;
pub mod sock;
pub mod sys;
pub mod topology;

pub use slice::HugeSlice;
