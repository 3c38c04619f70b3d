//! What is to be reached, and whether it was.

use std::collections::BTreeMap;

use net::{Ip4Prefix, Ip6Prefix};
use serde_json::Value;

use super::field::Field;
use super::lookups::BURSTS;
use crate::report::Bar;

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

/// What a row says: our figure, and how many times that the rival's is.
#[derive(Debug, Clone, Copy)]
struct Found {
    ours: Option<f64>,
    ratio: Option<f64>,
}

/// Rows by case, metric and rival: looked up many times among a thousand.
type Rows<'a> = BTreeMap<(&'a str, &'a str, &'a str), Found>;

/// The bars, with what these rows say.
pub(super) fn list(rows: &[Value]) -> Vec<Bar> {
    let text = |v: &'_ Value, key: &str| -> Option<String> { Some(v.get(key)?.as_str()?.into()) };
    let keys: Vec<[String; 3]> = rows
        .iter()
        .map(|r| ["case", "metric", "rival_name"].map(|key| text(r, key).unwrap_or_default()))
        .collect();
    let found = rows.iter().map(|r| Found {
        ours: r["ours"].as_f64(),
        ratio: r["ratio"].as_f64(),
    });
    let keys = keys
        .iter()
        .map(|[c, m, r]| (c.as_str(), m.as_str(), r.as_str()));
    let rows: Rows<'_> = keys.zip(found).collect();
    let mut all = vec![];
    family::<Ip4Prefix>(&rows, &IPV4, 2_000.0, &mut all);
    family::<Ip6Prefix>(&rows, &IPV6, 5_000.0, &mut all);
    all
}

fn family<F: Field>(rows: &Rows<'_>, lookups: &[Lookups], p99: f64, all: &mut Vec<Bar>) {
    for set in lookups {
        of_groups::<F>(rows, set, all);
    }
    updates::<F>(rows, p99, all);
    // Its answers were compared with the obvious table's, or there would be no row.
    let case = format!("{}/65000 groups/route-random/burst 256", F::NAME);
    let many = rows.get(&(case.as_str(), "lookup", F::FIB));
    all.push(Bar {
        what: format!(
            "{}/65000 groups: right answers, as fast as {}",
            F::NAME,
            F::FIB
        ),
        want: 1.0,
        got: many.and_then(|f| f.ratio),
        at_most: false,
        unit: "x",
    });
}

/// What is asked of lookups with so many groups, and of their memory.
fn of_groups<F: Field>(rows: &Rows<'_>, set: &Lookups, all: &mut Vec<Bar>) {
    let base = format!("{}/{} groups", F::NAME, set.groups);
    let row = |case: &str, metric: &str, rival: &str| rows.get(&(case, metric, rival)).copied();
    let ratio = |case: &str, metric: &str, rival: &str| row(case, metric, rival)?.ratio;
    let least = |kind: &str, metric: &str, rival: &str, bursts: &[usize]| {
        let of = |b: &usize| ratio(&format!("{base}/{kind}/burst {b}"), metric, rival);
        bursts.iter().filter_map(of).reduce(f64::min)
    };
    let mut at_least = |what: String, want, got, unit| {
        all.push(Bar {
            what: format!("{base}{what}"),
            want,
            got,
            at_most: false,
            unit,
        });
    };
    let fib = F::FIB;
    for &(kind, want) in set.kinds {
        let got = least(kind, "lookup", fib, &BURSTS);
        at_least(
            format!(", {kind}: as fast as {fib}, bursts 64 to 256"),
            want,
            got,
            "x",
        );
    }
    let memory = ratio(&base, "lookup memory", fib);
    at_least(
        format!(": lookup memory, one part in .. of {fib}"),
        set.memory,
        memory,
        "",
    );
    for &(kind, want) in set.kinds {
        let case = format!("{base}/4x/{kind}/burst 256");
        let of = |rival| ratio(&case, "lookup", rival);
        at_least(
            format!(", {kind}, 4x the table: as fast as {fib}"),
            GROWN * want,
            of(fib),
            "x",
        );
        at_least(
            format!(", {kind}, 4x the table: of the speed at 1x"),
            GROWN,
            of("trunkline 1x"),
            "x",
        );
    }
    let scalar = |(kind, _): &(&str, f64)| least(kind, "lookup scalar", F::FIB_SCALAR, &[64, 256]);
    let scalar = set.kinds.iter().filter_map(scalar).reduce(f64::min);
    at_least(
        format!(", without AVX-512: as fast as {}", F::FIB_SCALAR),
        SCALAR,
        scalar,
        "x",
    );
    all.push(Bar {
        what: format!("{base}: memory for lookups and updates"),
        want: if F::V6 { ALL_MEMORY6 } else { ALL_MEMORY4 },
        got: row(&base, "all memory", fib).and_then(|r| Some(r.ours? / 1e6)),
        at_most: true,
        unit: " MB",
    });
}

/// What is asked of updates and, of IPv4, of the time to fill a table.
fn updates<F: Field>(rows: &Rows<'_>, p99: f64, all: &mut Vec<Bar>) {
    let base = format!("{}/1000 groups", F::NAME);
    let mut at_most = |what: String, want, case: &str, metric: &str, rival: &str, unit| {
        all.push(Bar {
            what: format!("{}, {what}", F::NAME),
            want,
            got: rows.get(&(case, metric, rival)).and_then(|f| f.ours),
            at_most: true,
            unit,
        });
    };
    for kind in ["mixed", "churn", "longer"] {
        let case = format!("{base}/{kind}");
        at_most(
            format!("updates, {kind}: p99"),
            p99,
            &case,
            "update p99",
            F::FIB,
            " ns",
        );
        at_most(
            format!("updates, {kind}: longest"),
            1e6,
            &case,
            "update max",
            F::FIB,
            " ns",
        );
    }
    if !F::V6 {
        at_most(
            "whole table in one batch".into(),
            0.25,
            &base,
            "build in one batch",
            "",
            " s",
        );
    }
}
