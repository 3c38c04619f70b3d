//! What is measured, and what must be reached.

use super::device::Kind;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Every peer announces the same prefixes; until the sink has the best path of each.
    Converge,
    /// At full table, a change every millisecond: from sending it to its receipt by the sink.
    Churn,
    /// Two peers, the better one goes: until the sink has the other's paths.
    Failover,
}

/// A line of the result.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// What is done.
    pub what: What,
    /// Peers that announce.
    pub peers: usize,
    /// Prefixes that each announces.
    pub prefixes: usize,
    /// Who is measured beside ours.
    pub rivals: &'static [Kind],
    /// The most of BIRD 2's time that ours may take.
    pub time: Option<f64>,
}

const BOTH: &[Kind] = &[Kind::Bird, Kind::Frr];

/// All cases.
pub const CASES: &[Case] = &[
    Case {
        name: "relay-1x1m",
        what: What::Converge,
        peers: 1,
        prefixes: 1_000_000,
        rivals: &[],
        time: None,
    },
    Case {
        name: "1x100k",
        what: What::Converge,
        peers: 1,
        prefixes: 100_000,
        rivals: &[Kind::Bird, Kind::Frr, Kind::Gobgp],
        time: None,
    },
    Case {
        name: "1x1m",
        what: What::Converge,
        peers: 1,
        prefixes: 1_000_000,
        rivals: BOTH,
        time: Some(0.35),
    },
    Case {
        name: "10x100k",
        what: What::Converge,
        peers: 10,
        prefixes: 100_000,
        rivals: BOTH,
        time: Some(0.4),
    },
    Case {
        name: "30x100k",
        what: What::Converge,
        peers: 30,
        prefixes: 100_000,
        rivals: BOTH,
        time: Some(0.4),
    },
    Case {
        name: "4x1m",
        what: What::Converge,
        peers: 4,
        prefixes: 1_000_000,
        rivals: BOTH,
        time: Some(0.4),
    },
    Case {
        name: "churn-500k",
        what: What::Churn,
        peers: 1,
        prefixes: 500_000,
        rivals: BOTH,
        time: None,
    },
    Case {
        name: "failover-1m",
        what: What::Failover,
        peers: 2,
        prefixes: 1_000_000,
        rivals: BOTH,
        time: None,
    },
];

impl Case {
    /// Whether it measures the harness alone.
    pub fn is_relay(&self) -> bool {
        self.name.starts_with("relay")
    }
}
