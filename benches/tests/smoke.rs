//! The programmes run: tiny tables, ordinary pages, and nothing saved.

use std::process::Command;

use serde_json::Value;

#[test]
fn bench_fib_compares_and_writes_rows() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.json");
    let out = Command::new(env!("CARGO_BIN_EXE_bench-fib"))
        .args(["--quick", "--routes", "2000", "--pages", "small", "--json"])
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    let said = format!("{text}\n{}", String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{said}");
    let rows: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let rows = rows.as_array().unwrap();
    // Each family, each rival of DPDK's that needs no special processor, and each kind of figure.
    for (case, metric, rival) in [
        (
            "ipv4/64 groups/zipf/burst 256",
            "lookup scalar",
            "rte_fib scalar",
        ),
        (
            "ipv4/1000 groups/route-random/burst 256",
            "lookup",
            "prefix-trie",
        ),
        ("ipv6/1000 groups/uniform/burst 64", "lookup", "rte_lpm6"),
        ("ipv6/1000 groups", "lookup memory", "rte_fib6"),
        ("ipv6/1000 groups/churn", "update p99", "rte_fib6"),
    ] {
        let row = rows
            .iter()
            .find(|r| r["case"] == case && r["metric"] == metric && r["rival_name"] == rival)
            .unwrap_or_else(|| panic!("no row {case}, {metric}, {rival}\n{said}"));
        assert!(
            row["ours"].as_f64() > Some(0.0) && row["ratio"].as_f64() > Some(0.0),
            "{row}"
        );
    }
    assert!(said.contains("\nbars: "), "{said}");
}

#[test]
fn bench_rcu_compares() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.json");
    let out = Command::new(env!("CARGO_BIN_EXE_bench-rcu"))
        .args(["--quick", "--json"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let rows: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let has = |name| {
        rows.as_array()
            .unwrap()
            .iter()
            .any(|r| r["rival_name"] == name)
    };
    assert!(has("rte_rcu_qsbr") && has("left-right"), "{rows}");
}
