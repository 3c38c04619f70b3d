//! The walls of the house (docs/architecture.md): which crate may use which, and which may not say `unsafe`.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Who may use whom, by package name. What is not here may use nothing of ours.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "trunkline-fib",
        &["trunkline-net", "trunkline-rcu", "hugepages"],
    ),
    (
        "trunkline-dataplane",
        &[
            "trunkline-net",
            "trunkline-fib",
            "trunkline-rcu",
            "trunkline-dpdk-sys",
            "hugepages",
        ],
    ),
    (
        "trunkline",
        &[
            "trunkline-bgp",
            "trunkline-ldp",
            "trunkline-net",
            "trunkline-fib",
            "trunkline-dataplane",
            "trunkline-api",
            "hugepages",
        ],
    ),
    ("trunkctl", &["trunkline-api", "hugepages"]),
    ("vm-testbed", &["trunkline-api"]),
];

/// Benchmarks may use anything, and nothing uses them.
const BENCHES: &str = "benches";

/// Crates that need no unsafe code, and forbid it.
const SAFE: &[&str] = &[
    "trunkline-net",
    "trunkline-bgp",
    "trunkline-ldp",
    "trunkline",
    "trunkline-api",
    "trunkctl",
    "vm-testbed",
    BENCHES,
];

/// What `vm-testbed` may not need: it builds on a machine without any of them.
const NOT_ON_A_BARE_MACHINE: &[&str] = &[
    "bindgen",
    "pkg-config",
    "hwlocality",
    "libudev-sys",
    "trunkline-dpdk-sys",
];

fn workspace() -> Vec<Package> {
    let m = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata");
    m.packages
}

/// Every edge between two crates of the workspace.
fn edges(packages: &[Package]) -> Vec<(String, String, DependencyKind)> {
    let ours: BTreeSet<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    let mut edges = vec![];
    for p in packages {
        for d in &p.dependencies {
            if ours.contains(d.name.as_str()) && d.name != p.name.as_str() {
                edges.push((p.name.to_string(), d.name.clone(), d.kind));
            }
        }
    }
    edges
}

/// What is wrong with an edge; tests may look further, but never at the benches.
fn broken(from: &str, to: &str, kind: DependencyKind) -> Option<String> {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    if to == BENCHES {
        return Some(format!("{from} -> {to}: nothing may use the benches"));
    }
    let fine = from == BENCHES
        || kind == DependencyKind::Development
        || allowed.get(from).is_some_and(|a| a.contains(&to));
    // A test of a crate that is to stand alone must not need the others either.
    let alone = kind == DependencyKind::Development
        && ["trunkline-bgp", "trunkline-ldp", "vm-testbed", "trunkctl"].contains(&from);
    let stands = !alone || allowed.get(from).is_some_and(|a| a.contains(&to));
    (!fine || !stands).then(|| format!("{from} -> {to} ({kind:?}): no arrow allows it"))
}

#[test]
fn no_wall_is_broken() {
    let packages = workspace();
    let wrong: Vec<String> = edges(&packages)
        .iter()
        .filter_map(|(a, b, k)| broken(a, b, *k))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_tables_name_crates_that_exist() {
    let packages = workspace();
    let names: BTreeSet<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    let said = ARROWS
        .iter()
        .flat_map(|(a, b)| std::iter::once(a).chain(*b))
        .chain(SAFE);
    for name in said {
        assert!(
            names.contains(name),
            "{name} is no crate of the workspace; there are {names:?}"
        );
    }
}

#[test]
fn forbidden_edges_are_found() {
    use DependencyKind::{Build, Development, Normal};
    assert!(broken("trunkline-net", "trunkline-fib", Normal).is_some());
    assert!(broken("trunkline-bgp", "trunkline-net", Development).is_some());
    assert!(broken("trunkline-ldp", "trunkline-bgp", Development).is_some());
    assert!(broken("trunkctl", "trunkline-dpdk-sys", Build).is_some());
    assert!(broken("trunkline-dataplane", BENCHES, Development).is_some());
    assert!(broken("trunkline-fib", "trunkline-net", Normal).is_none());
    assert!(broken(BENCHES, "trunkline", Normal).is_none());
}

#[test]
fn crates_without_unsafe_forbid_it() {
    let packages = workspace();
    for p in packages.iter().filter(|p| SAFE.contains(&p.name.as_str())) {
        let roots = p.targets.iter().filter(|t| t.is_lib() || t.is_bin());
        for t in roots {
            let text = std::fs::read_to_string(&t.src_path).expect("a target's source");
            assert!(
                text.contains("#![forbid(unsafe_code)]"),
                "{} does not forbid unsafe code",
                t.src_path
            );
        }
    }
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for p in workspace() {
        let text = std::fs::read_to_string(&p.manifest_path).expect("a manifest");
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{} has lints of its own",
            p.manifest_path
        );
    }
}

#[test]
fn the_test_bed_builds_on_a_bare_machine() {
    let out = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "-p",
            "vm-testbed",
            "-e",
            "normal,build",
            "--prefix",
            "none",
            "--offline",
            "--locked",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree");
    let tree = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success() && tree.contains("vm-testbed"),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    for line in tree.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        assert!(
            !NOT_ON_A_BARE_MACHINE.contains(&name),
            "vm-testbed needs {line}, which a bare machine can't build"
        );
    }
}
