//! What is to be reached, and whether it was.

use std::collections::BTreeMap;

use net::{Ip4Prefix, Ip6Prefix};

use super::field::Field;
use super::lookups::BURSTS;
use crate::report::{Bar, Report, Row};

/// Lookups: times as fast as rte_fib with AVX-512, by kind of destination; of its table's memory, one part in so many.
struct Lookups {
    groups: u32,
    kinds: &'static [(&'static str, f64)],
    memory: f64,
}

const IPV4: [Lookups; 2] = [
    Lookups {
        groups: 64,
        kinds: &[
            ("route-random", 3.5),
            ("uniform", 4.0),
            ("zipf", 3.0),
            ("replay-64k", 1.0),
        ],
        memory: 16.0,
    },
    Lookups {
        groups: 1_000,
        kinds: &[
            ("route-random", 2.5),
            ("uniform", 3.5),
            ("zipf", 2.0),
            ("replay-64k", 0.7),
        ],
        memory: 25.0,
    },
];
const IPV6_KINDS: &[(&str, f64)] = &[("route-random", 3.0), ("zipf", 2.5), ("replay-64k", 1.0)];
const IPV6: [Lookups; 2] = [
    Lookups {
        groups: 64,
        kinds: IPV6_KINDS,
        memory: 60.0,
    },
    Lookups {
        groups: 1_000,
        kinds: IPV6_KINDS,
        memory: 60.0,
    },
];
/// MB that lookups and updates need: a fifteenth of rte_fib's 912 MiB and rte_fib6's 682 MiB.
const ALL_MEMORY4: f64 = 912.0 * 1.048_576 / 15.0;
const ALL_MEMORY6: f64 = 682.0 * 1.048_576 / 15.0;
/// What must be left of each speed when the table is four times as large.
const GROWN: f64 = 0.6;
const SCALAR: f64 = 1.3;

/// The bars, with what this run found.
pub(super) fn list(report: &Report) -> Vec<Bar> {
    // Looked up many times among a thousand rows.
    let rows: BTreeMap<(&str, &str, &str), &Row> = report
        .rows
        .iter()
        .map(|r| {
            let rival = r.rival.as_ref().map_or("", |(n, _)| n);
            ((r.case.as_str(), r.metric, rival), r)
        })
        .collect();
    let mut all = vec![];
    family::<Ip4Prefix>(&rows, &IPV4, 2_000.0, &mut all);
    family::<Ip6Prefix>(&rows, &IPV6, 5_000.0, &mut all);
    all
}

type Rows<'a> = BTreeMap<(&'a str, &'a str, &'a str), &'a Row>;

fn family<F: Field>(rows: &Rows<'_>, lookups: &[Lookups], p99: f64, all: &mut Vec<Bar>) {
    let row = |case: &str, metric: &str, rival: &str| rows.get(&(case, metric, rival)).copied();
    let name = F::NAME;
    let mut bar = |what: String, want, got, at_most, unit| {
        all.push(Bar {
            what,
            want,
            got,
            at_most,
            unit,
        });
    };
    for set in lookups {
        let base = format!("{name}/{} groups", set.groups);
        let least = |kind: &str, metric, rival, bursts: &[usize]| {
            let of = |b: &usize| row(&format!("{base}/{kind}/burst {b}"), metric, rival)?.ratio();
            bursts.iter().filter_map(of).reduce(f64::min)
        };
        for &(kind, want) in set.kinds {
            let what = format!("{base}, {kind}: as fast as {}, bursts 64 to 256", F::FIB);
            bar(
                what,
                want,
                least(kind, "lookup", F::FIB, &BURSTS),
                false,
                "x",
            );
        }
        let memory = |metric| row(&base, metric, F::FIB).and_then(Row::ratio);
        let what = format!("{base}: lookup memory, one part in .. of {}", F::FIB);
        bar(what, set.memory, memory("lookup memory"), false, "");
        let all = row(&base, "all memory", F::FIB).map(|r| r.ours.median() / 1e6);
        let most = if F::V6 { ALL_MEMORY6 } else { ALL_MEMORY4 };
        bar(
            format!("{base}: memory for lookups and updates"),
            most,
            all,
            true,
            " MB",
        );
        for &(kind, want) in set.kinds {
            let case = format!("{base}/4x/{kind}/burst 256");
            let ratio = |rival| row(&case, "lookup", rival).and_then(Row::ratio);
            let what = format!("{base}, {kind}, 4x the table: as fast as {}", F::FIB);
            bar(what, GROWN * want, ratio(F::FIB), false, "x");
            let what = format!("{base}, {kind}, 4x the table: of the speed at 1x");
            bar(what, GROWN, ratio("trunkline 1x"), false, "x");
        }
        let kinds = set.kinds.iter();
        let scalar =
            kinds.filter_map(|(k, _)| least(k, "lookup scalar", F::FIB_SCALAR, &[64, 256]));
        let what = format!("{base}, without AVX-512: as fast as {}", F::FIB_SCALAR);
        bar(what, SCALAR, scalar.reduce(f64::min), false, "x");
    }
    let base = format!("{name}/1000 groups");
    for kind in ["mixed", "churn", "longer"] {
        let median = |metric| {
            Some(
                row(&format!("{base}/{kind}"), metric, F::FIB)?
                    .ours
                    .median(),
            )
        };
        bar(
            format!("{name}, updates, {kind}: p99"),
            p99,
            median("update p99"),
            true,
            " ns",
        );
        bar(
            format!("{name}, updates, {kind}: longest"),
            1e6,
            median("update max"),
            true,
            " ns",
        );
    }
    if !F::V6 {
        let build = row(&base, "build in one batch", "").map(|r| r.ours.median());
        bar(
            format!("{name}, whole table in one batch"),
            0.25,
            build,
            true,
            " s",
        );
    }
    // Its lookups were compared with the obvious table's, or the run would have ended.
    let many = row(
        &format!("{name}/65000 groups/route-random/burst 256"),
        "lookup",
        F::FIB,
    );
    let what = format!("{name}/65000 groups: works, as fast as {}", F::FIB);
    bar(what, 0.0, many.and_then(Row::ratio), false, "x");
}
