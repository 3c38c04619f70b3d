//! Why the writer refuses.

use net::{AdjId, GroupId};

/// A change that the tables refuse. What was there before is still there, unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FibError {
    /// A table is full. Some of it may become free once readers have reported: see [`crate::FibWriter::flush`].
    #[error("no room for another {what}: all {capacity} are in use")]
    Full {
        /// What there is no room for.
        what: &'static str,
        /// How many fit.
        capacity: usize,
    },
    /// The group does not exist, or was removed.
    #[error("next-hop group {0} does not exist")]
    NoSuchGroup(GroupId),
    /// The adjacency does not exist, or was removed.
    #[error("adjacency {0} does not exist")]
    NoSuchAdj(AdjId),
    /// Prefixes or labels point to the group.
    #[error("next-hop group {id} is in use by {entries} prefixes or labels")]
    GroupInUse {
        /// The group.
        id: GroupId,
        /// How many prefixes and labels.
        entries: u32,
    },
    /// Groups have paths over the adjacency.
    #[error("adjacency {id} is in use by {paths} paths")]
    AdjInUse {
        /// The adjacency.
        id: AdjId,
        /// How many paths.
        paths: u32,
    },
    /// The global table is not a VRF's.
    #[error("VRF 0 is the global table, which has its own changes")]
    GlobalTable,
    /// The paths make no group.
    #[error("not a next-hop group: {0}")]
    BadPaths(&'static str),
}

/// The tables could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    /// The domain has a writer.
    #[error(transparent)]
    Writer(#[from] rcu::WriterTaken),
    /// No memory for a table.
    #[error("cannot map a forwarding table: {0}")]
    Memory(#[from] std::io::Error),
}
