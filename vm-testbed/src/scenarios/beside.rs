//! Which scenarios may run at the same time.

use super::Scenario;

impl Scenario {
    /// Whether it may run while another does: it mostly waits for timers of protocols, and looks neither at how long things take nor
    /// at huge pages.
    #[must_use]
    pub fn runs_beside(&self) -> bool {
        let is = |all: &[&str]| all.iter().any(|part| self.name.starts_with(part));
        is(BESIDE) && !is(ALONE)
    }
}

/// What scenarios that run beside others begin with, but for [`ALONE`].
const BESIDE: &[&str] = &[
    "bgp/",
    "explain/",
    "failure/",
    "faults/",
    "l3vpn/",
    "labeled-unicast/",
    "ldp/",
    "lsp-ping/",
    "neighbours/",
    "refusal/",
    "topology/",
    "updown/",
];

/// Of these those that measure, keep the machine busy, reserve huge pages, or have neighbours' restarts run out in a few seconds.
const ALONE: &[&str] = &[
    "bgp/flood-",
    "bgp/full-table",
    "bgp/graceful",
    "bgp/long-lived",
    "bgp/restart",
    "l3vpn/backup",
    "refusal/hugepages",
    "topology/triangle-hugepages",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::ALL;

    #[test]
    fn what_runs_beside_others_is_there() {
        for part in BESIDE.iter().chain(ALONE) {
            let mut all = ALL.iter().filter(|s| s.name.starts_with(part));
            assert!(all.next().is_some(), "no scenario is called {part}");
        }
        assert!(!ALL.iter().any(|s| s.runs_beside() && s.in_machines()));
    }
}
