//! Forwarding tables: IPv4, IPv6, labels, next-hop groups, adjacencies.
//!
//! A prefix or a label names a next-hop *group*; a group has *paths*; a path leads over an *adjacency*. Each is
//! replaced by itself: a lost link rewrites a few groups, however many prefixes stand on them, and a change of a
//! neighbour's link address rewrites one adjacency.
//!
//! Workers read [`Tables`] under the protection of an [`rcu::Reader`]; the control thread has the one [`FibWriter`],
//! which changes a replica for each NUMA node alike. Changes are single stores in place, and what went out of use is
//! used again only when every worker has reported: no reader waits, and none sees a half-made change.
//!
//! ```
//! use fib::{Adjacency, FibWriter, Path, Target};
//! use net::{IfaceId, PortId};
//!
//! let domain = rcu::Domain::new();
//! let mut writer = FibWriter::new(&[0], &domain)?;
//! let adj = writer.add_adj(Adjacency::incomplete(IfaceId(0), PortId(0), 1500, "192.0.2.1".parse()?))?;
//! let group = writer.add_group(&[(Path::to(Target::Adjacency(adj)), 1)])?;
//! writer.set4("203.0.113.0/24".parse()?, group)?;
//!
//! let tables = writer.replica(0);
//! let mut worker = domain.register("worker 0");
//! let view = tables.read(&worker);
//! let found = view.lookup4(0xcb00_7109); // 203.0.113.9
//! let path = view.group(found).expect("a route").select(0);
//! assert_eq!(path.target, Target::Adjacency(adj));
//! worker.quiescent();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A VRF has a table of its own, small as its routes are ([`View::lookup4_in`], [`FibWriter::set_vrf4`]); groups, adjacencies and
//! labels are the same for all.
//!
//! Left out for now: placing groups and adjacencies on a replica's node (the big
//! tables are).

mod adjacency;
mod ahead;
mod batch;
mod error;
mod express;
mod group;
mod lfib;
mod prefetch;
mod short;
mod slots;
mod spread;
mod tables;
mod v4;
mod v6;
mod writer;

pub use adjacency::{AdjState, Adjacency};
pub use batch::{BatchError, FibBatch, Op, Refused};
pub use error::{FibError, NewError};
pub use express::Express;
pub use group::{Discard, Group, MAX_PATHS, Path, Target, TcMode, TtlMode};
pub use lfib::{LabelEntry, LabelOp};
/// What a [`FibWriter`] is made for, and looked into with.
pub use rcu::Domain;
pub use tables::{Sizes, Tables, View, Ways};
pub use writer::{FibWriter, Memory, TableUse, Usage};
