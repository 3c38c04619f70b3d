//! Commits: what is edited into the file, what is saved, what is taken back.

use std::path::PathBuf;

use api::Change;

use super::super::store::{Staged, Store};

struct Lab {
    _dir: tempfile::TempDir,
    file: PathBuf,
}

impl Lab {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.toml");
        std::fs::write(&file, text).unwrap();
        Self { _dir: dir, file }
    }

    fn store(&self) -> Store {
        Store::load(&self.file).unwrap()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap()
    }
}

fn changes(lines: &[&str]) -> Vec<Change> {
    lines
        .iter()
        .map(|line| api::grammar::change(line.split_whitespace()).unwrap())
        .collect()
}

fn stage(store: &Store, lines: &[&str]) -> Result<Staged, String> {
    store
        .stage_changes(&changes(lines))
        .map_err(|e| e.to_string())
}

fn commit(store: &mut Store, lines: &[&str]) {
    let staged = stage(store, lines).unwrap();
    store.save(&staged).unwrap();
    store.keep(staged.split().1);
}

const FILE: &str = r#"# the router of the cellar
[interface.wan0]            # to the street
device = "af_packet:eth1"   # the left one
address = ["10.0.0.1/24"]

# ---- routes ----

# to Bob
[[route]]
prefix = "192.0.2.0/24"     # all of Bob
via = "10.0.0.2"            # his router

# to Carol
[[route]]
prefix = "198.51.100.0/24"
via = "10.0.0.3"

[system]                    # odd place, but ours
name = "cellar"
# the end
"#;

#[test]
fn additions_leave_the_rest_alone() {
    let lab = Lab::new(FILE);
    let mut store = lab.store();
    commit(
        &mut store,
        &[
            "route add 203.0.113.0/24 via 10.0.0.4 label 100/200",
            "label add 300 swap 400 via 10.0.0.2",
        ],
    );
    let text = lab.text();
    let route =
        "\n[[route]]\nprefix = \"203.0.113.0/24\"\nvia = \"10.0.0.4\"\nlabel = [100, 200]\n";
    let at = text.find(route).expect(&text);
    assert!(
        at < text.find("[system]").unwrap(),
        "with the other routes:\n{text}"
    );
    let label = "\n[[label]]\nin = 300\naction = \"swap\"\nvia = \"10.0.0.2\"\nout = [400]\n";
    assert_eq!(
        text.replace(route, "").replace(label, ""),
        FILE,
        "nothing else changed"
    );
    assert_eq!(
        *Store::load(&lab.file).unwrap().running(),
        *store.running(),
        "holds across a restart"
    );
}

#[test]
fn deletions_take_their_comment_and_no_other() {
    let lab = Lab::new(FILE);
    let mut store = lab.store();
    commit(&mut store, &["route del 192.0.2.0/24"]);
    let text = lab.text();
    assert!(
        !text.contains("Bob") && text.contains("# ---- routes ----") && text.contains("# to Carol"),
        "{text}"
    );
    commit(&mut store, &["route del 198.51.100.0/24"]);
    let text = lab.text();
    assert!(
        !text.contains("route]]") && text.contains("# ---- routes ----"),
        "{text}"
    );
    assert!(
        text.starts_with(
            "# the router of the cellar\n[interface.wan0]            # to the street\n"
        ),
        "{text}"
    );
    assert!(
        text.ends_with(
            "[system]                    # odd place, but ours\nname = \"cellar\"\n# the end\n"
        ),
        "{text}"
    );
}

#[test]
fn a_replacement_keeps_the_comments_of_what_stays() {
    let lab = Lab::new(FILE);
    let mut store = lab.store();
    commit(
        &mut store,
        &["route replace 192.0.2.0/24 via 10.0.0.9 label 77"],
    );
    let text = lab.text();
    assert!(
        text.contains("via = \"10.0.0.9\"            # his router\nlabel = [77]\n"),
        "{text}"
    );
    commit(&mut store, &["route replace 192.0.2.0/24 via 10.0.0.9"]);
    assert_eq!(
        lab.text(),
        FILE.replace("via = \"10.0.0.2\"", "via = \"10.0.0.9\"")
    );
    commit(&mut store, &["route replace 100.64.0.0/10 via 10.0.0.9"]);
    assert!(
        lab.text().contains("100.64.0.0/10"),
        "replace adds what is not there"
    );
}

#[test]
fn one_next_hop_of_several_can_go() {
    let lab = Lab::new(FILE);
    let mut store = lab.store();
    commit(
        &mut store,
        &["route add 203.0.113.0/24 via 10.0.0.4 via 10.0.0.5 weight 2 via 10.0.0.6"],
    );
    commit(&mut store, &["route del 203.0.113.0/24 via 10.0.0.5"]);
    assert!(
        lab.text().contains("via = [\"10.0.0.4\", \"10.0.0.6\"]"),
        "{}",
        lab.text()
    );
    let error = stage(&store, &["route del 203.0.113.0/24 via 10.0.0.5"]).unwrap_err();
    assert_eq!(error, "route 203.0.113.0/24: has no next hop 10.0.0.5");
    commit(
        &mut store,
        &["route del 203.0.113.0/24 via 10.0.0.4 via 10.0.0.6"],
    );
    assert_eq!(lab.text(), FILE);
}

#[test]
fn a_backup_is_kept_with_what_it_backs_up() {
    let lab = Lab::new(FILE);
    let mut store = lab.store();
    let route = "203.0.113.0/24 via 10.0.0.4 backup 10.0.0.5 label 100 backup 10.0.0.6";
    commit(&mut store, &[&format!("route add {route}")]);
    let written = "via = [\"10.0.0.4\", { via = \"10.0.0.5\", label = [100], backup = true }, \
                   { via = \"10.0.0.6\", backup = true }]";
    assert!(lab.text().contains(written), "{}", lab.text());
    let prefix = "203.0.113.0/24".parse().unwrap();
    let target = store.running().route(&prefix).unwrap();
    assert_eq!(format!("{prefix}{target}"), route, "as it was typed");
    let error = stage(&store, &["route del 203.0.113.0/24 via 10.0.0.4"]).unwrap_err();
    let why = "backup 10.0.0.5 has nothing to back up; one next hop at least is no backup: \
               delete the backups too, or the whole route";
    assert_eq!(error, format!("route 203.0.113.0/24: {why}"));
    let two = "route del 203.0.113.0/24 via 10.0.0.5 via 10.0.0.6";
    commit(&mut store, &[two]);
    assert!(
        lab.text().contains("via = \"10.0.0.4\"\n"),
        "{}",
        lab.text()
    );
}

#[test]
fn interfaces_and_neighbours_come_and_go() {
    let lab = Lab::new(FILE);
    let mut store = lab.store();
    commit(
        &mut store,
        &[
            "interface add lan0 device tap:x address 10.1.0.1/24 mpls",
            "interface add lan0.7 address 10.7.0.1/24",
            "neigh add 10.1.0.9 lladdr 02:00:00:00:00:09 dev lan0",
        ],
    );
    assert_eq!(store.running().interfaces.len(), 3);
    assert_eq!(
        store.running().interfaces["lan0.7"].vlan,
        Some(("lan0".into(), 7))
    );
    let error = stage(&store, &["interface del lan0"]).unwrap_err();
    assert_eq!(
        error,
        "interface lan0: carries the VLANs lan0.7; delete them first"
    );
    let error = stage(&store, &["interface del lan0.7", "interface del lan0"]).unwrap_err();
    assert!(
        error.starts_with("neighbor.static 10.1.0.9: there is no interface \"lan0\""),
        "{error}"
    );
    commit(
        &mut store,
        &[
            "neigh del 10.1.0.9",
            "interface del lan0.7",
            "interface del lan0",
        ],
    );
    assert_eq!(lab.text(), FILE);
}

#[test]
fn a_refused_change_changes_nothing() {
    let lab = Lab::new(FILE);
    let store = lab.store();
    let cases: [(&[&str], &str); 9] = [
        (
            &["route add 192.0.2.0/24 via 10.0.0.2"],
            "route 192.0.2.0/24: is there already; use \"route replace\"",
        ),
        (
            &["route add 203.0.113.0/24 via 10.0.0.1"],
            "route 203.0.113.0/24: next hop 10.0.0.1 is the router's own address",
        ),
        (
            &["route add 203.0.113.0/24 via 10.0.0.2 dev wan1"],
            "route 203.0.113.0/24: there is no interface \"wan1\"; did you mean",
        ),
        (
            &["route add 203.0.113.0/24 via 10.0.0.2 vrf blue"],
            "route 203.0.113.0/24 vrf blue: there is no VRF \"blue\"; add [vrf.blue]",
        ),
        (
            &["route del 203.0.113.0/24"],
            "route 203.0.113.0/24: is not there",
        ),
        (&["label add 15 pop"], "label 15: label 15 is reserved"),
        (&["label del 16"], "label 16: is not there"),
        (
            &["interface add wan0 device tap:y"],
            "interface wan0: is there already",
        ),
        (
            &["interface del wan1"],
            "interface wan1: is not there; did you mean \"wan0\"?",
        ),
    ];
    for (lines, start) in cases {
        let error = stage(&store, lines).unwrap_err();
        assert!(error.starts_with(start), "{lines:?}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let error = stage(
        &store,
        &["interface add b device tap:y address 10.0.0.1/24"],
    )
    .unwrap_err();
    assert!(
        error.contains("10.0.0.1 is on") && !error.contains("t.toml"),
        "no line of a file nobody saw: {error}"
    );
    assert_eq!(lab.text(), FILE);
}

#[test]
fn neighbours_that_are_not_static_are_forgotten_and_nothing_is_saved() {
    let lab = Lab::new(FILE);
    let mut store = lab.store();
    let steps = |staged: &Staged| -> Vec<String> {
        assert_eq!(staged.plan.len(), staged.plan.steps().count());
        staged.plan.steps().map(|s| s.to_string()).collect()
    };
    let staged = stage(
        &store,
        &["neigh del 10.0.0.9", "neigh del fe80::9 dev wan0"],
    )
    .unwrap();
    assert_eq!(
        steps(&staged),
        [
            "- neigh 10.0.0.9 (learned)",
            "- neigh fe80::9 dev wan0 (learned)"
        ]
    );
    store.save(&staged).unwrap();
    assert_eq!(lab.text(), FILE);
    // A static one is a change of the file, and hides a learned one; deleted twice, it is not meant any more.
    commit(
        &mut store,
        &["neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev wan0"],
    );
    let del = "neigh del 10.0.0.9 dev wan0";
    let staged = stage(&store, &[del]).unwrap();
    let removed = "- neigh 10.0.0.9 lladdr 02:00:00:00:00:09 dev wan0";
    assert_eq!(steps(&staged), [removed]);
    let staged = stage(&store, &[del, del]).unwrap();
    let forgotten = "- neigh 10.0.0.9 dev wan0 (learned)";
    assert_eq!(steps(&staged), [removed, forgotten]);
}

#[test]
fn a_commit_sees_its_own_changes() {
    let lab = Lab::new(FILE);
    let mut store = lab.store();
    let error = stage(
        &store,
        &[
            "route add 203.0.113.0/24 via 10.0.0.2",
            "route add 203.0.113.0/24 via 10.0.0.3",
        ],
    );
    assert!(error.unwrap_err().contains("is there already"));
    commit(
        &mut store,
        &[
            "route add 203.0.113.0/24 via 10.0.0.2",
            "route del 203.0.113.0/24",
            "route del 192.0.2.0/24",
            "route add 192.0.2.0/24 via 10.0.0.8",
            "route replace 192.0.2.0/24 via 10.0.0.7",
        ],
    );
    assert_eq!(
        store
            .running()
            .route(&"192.0.2.0/24".parse().unwrap())
            .unwrap()
            .to_string(),
        " via 10.0.0.7"
    );
    assert_eq!(*Store::load(&lab.file).unwrap().running(), *store.running());
}

#[test]
fn an_undone_commit_leaves_the_old_text() {
    let lab = Lab::new(FILE);
    let store = lab.store();
    let staged = stage(&store, &["route add 203.0.113.0/24 via 10.0.0.2"]).unwrap();
    let saved = store.save(&staged).unwrap();
    assert_ne!(lab.text(), FILE);
    store.undo(saved).unwrap();
    assert_eq!(lab.text(), FILE);
}

#[test]
fn hand_edits_are_not_overwritten_nor_taken_over() {
    let lab = Lab::new(FILE);
    let mut store = lab.store();
    std::fs::write(&lab.file, format!("# a new comment\n{FILE}")).unwrap();
    commit(&mut store, &["route add 203.0.113.0/24 via 10.0.0.2"]);
    assert!(
        lab.text().starts_with("# a new comment\n"),
        "comments alone are welcome"
    );
    let edited = lab.text().replace("10.0.0.3", "10.0.0.33");
    std::fs::write(&lab.file, &edited).unwrap();
    let error = stage(&store, &["route del 203.0.113.0/24"]).unwrap_err();
    assert!(
        error.contains("was changed by hand") && error.contains("config apply"),
        "{error}"
    );
    assert_eq!(lab.text(), edited);
    let staged = store.stage_file(&edited, &lab.file).unwrap();
    assert_eq!(staged.plan.routes.len(), 1);
    store.save(&staged).unwrap();
    store.keep(staged.split().1);
    commit(&mut store, &["route del 203.0.113.0/24"]);
}

#[test]
fn the_routes_of_a_file_belong_to_it() {
    let lab = Lab::new(&format!("route-file = \"r.txt\"\n{FILE}"));
    let routes = lab.file.with_file_name("r.txt");
    std::fs::write(
        &routes,
        "100.64.0.0/16 via 10.0.0.7\n100.65.0.0/16 via 10.0.0.7\n",
    )
    .unwrap();
    let mut store = lab.store();
    assert_eq!(store.running().all_routes().count(), 4);
    for line in [
        "route add 100.64.0.0/16 via 10.0.0.2",
        "route del 100.64.0.0/16",
    ] {
        let error = stage(&store, &[line]).unwrap_err();
        assert!(
            error.contains("r.txt, which commands do not edit"),
            "{error}"
        );
    }
    // A changed route file waits for `config apply`, which sees the difference.
    std::fs::write(
        &routes,
        "100.64.0.0/16 via 10.0.0.7\n100.66.0.0/16 via 10.0.0.7\n",
    )
    .unwrap();
    commit(&mut store, &["route add 203.0.113.0/24 via 10.0.0.2"]);
    assert!(
        store
            .running()
            .route(&"100.65.0.0/16".parse().unwrap())
            .is_some()
    );
    let staged = store.stage_file(&lab.text(), &lab.file).unwrap();
    let steps: Vec<String> = staged.plan.steps().map(|s| s.to_string()).collect();
    assert_eq!(
        steps,
        [
            "- route 100.65.0.0/16 via 10.0.0.7",
            "+ route 100.66.0.0/16 via 10.0.0.7"
        ]
    );
    // Moved into the table, a route stays what it is.
    std::fs::write(&routes, "100.64.0.0/16 via 10.0.0.7\n").unwrap();
    let text = format!(
        "{}\n[[route]]\nprefix = \"100.65.0.0/16\"\nvia = \"10.0.0.7\"\n",
        lab.text()
    );
    assert!(store.stage_file(&text, &lab.file).unwrap().plan.is_empty());
}

#[test]
fn a_configuration_from_elsewhere_finds_its_route_file() {
    let lab = Lab::new("");
    let store = lab.store();
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("r.txt"), "blackhole 100.64.0.0/16\n").unwrap();
    let staged = store
        .stage_file(
            "route-file = \"r.txt\" # many\n",
            &other.path().join("new.toml"),
        )
        .unwrap();
    store.save(&staged).unwrap();
    let path = other.path().join("r.txt");
    assert_eq!(
        lab.text(),
        format!("route-file = \"{}\" # many\n", path.display())
    );
    assert_eq!(lab.store().running().all_routes().count(), 1);
}

#[test]
fn what_needs_a_restart_is_named() {
    let lab = Lab::new(FILE);
    let store = lab.store();
    let staged = store
        .stage_file(&format!("{FILE}[dataplane]\nworkers = \"1\"\n"), &lab.file)
        .unwrap();
    let reason = staged.plan.restart_reason().unwrap();
    assert!(
        reason.starts_with("dataplane.workers (auto runs, 1 is asked for) can't change while"),
        "{reason}"
    );
}

#[test]
fn inline_lists_can_be_edited_too() {
    let lab = Lab::new(
        "route = [{ prefix = \"192.0.2.0/24\", via = \"10.0.0.2\" }]\ninterface = { wan0 = { device = \"tap:a\", address = \"10.0.0.1/24\" } }\n",
    );
    let mut store = lab.store();
    commit(
        &mut store,
        &[
            "route add 203.0.113.0/24 via 10.0.0.2",
            "interface add b device tap:b",
            "route del 192.0.2.0/24",
        ],
    );
    assert_eq!(
        (
            store.running().routes.len(),
            store.running().interfaces.len()
        ),
        (1, 2)
    );
    assert_eq!(*Store::load(&lab.file).unwrap().running(), *store.running());
}

#[test]
fn a_missing_file_is_named() {
    let error = Store::load(std::path::Path::new("/nonexistent/t.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(
            "/nonexistent/t.toml: cannot read it: No such file or directory; write one"
        ),
        "{error}"
    );
}
