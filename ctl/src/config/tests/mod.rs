//! The configuration as a whole: what is read, what is refused and in which words, what differs, what is saved.

mod mistakes;
mod properties;
mod store;
mod watch;

use std::path::Path;
use std::sync::Arc;

use super::error::ConfigError;
use super::model::Valid;
use super::parse::parse;
use super::validate::Files;

fn valid(text: &str) -> Result<Arc<Valid>, ConfigError> {
    let path = Path::new("/etc/t.toml");
    parse(path, text)?
        .validate(path, text, Files::Read)
        .map(Arc::new)
}

/// The example of the design, without what later versions add.
pub(super) const EXAMPLE: &str = r#"
[system]
name = "pe1"
router-id = "192.0.2.1"

[dataplane]
workers = "2-5,18"          # or a CPU list: "2-5,18"
poll = "adaptive"
memory = "no-huge"
mpls-ttl = "pipe"

[neighbor]
reachable-time = 0.5
queue = 8
[[neighbor.static]]
address = "198.51.100.3"
lladdr = "02:00:00:00:00:01"
dev = "wan0"

[interface.wan0]
device = "pci:0000:3b:00.0"
address = ["198.51.100.2/31", "2001:db8::2/64"]
mtu = 1500
mpls = true

[interface."wan0.100"]
address = "192.0.2.1/24"

[[route]]
prefix = "203.0.113.0/24"
via = ["198.51.100.3"]
label = [100, 200]

[[route]]
prefix = "203.0.114.0/24"
via = ["198.51.100.3", { via = "192.0.2.7", weight = 2, dev = "wan0.100" }]

[[route]]
prefix = "2001:db8:1::/48"
via = "fe80::1"
dev = "wan0"

[[route]]
prefix = "10.0.0.0/8"
discard = "blackhole"

[[label]]
in = 300
action = "swap"
out = [400]
via = "198.51.100.3"

[[label]]
in = 301
action = "pop"
"#;

#[test]
fn the_example_of_the_design() {
    let config = valid(EXAMPLE).unwrap();
    let wan = &config.interfaces["wan0"];
    assert_eq!(wan.device.as_deref(), Some("pci:0000:3b:00.0"));
    assert_eq!(
        wan.addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["198.51.100.2/31", "2001:db8::2/64"]
    );
    let vlan = &config.interfaces["wan0.100"];
    assert_eq!(
        (vlan.vlan.as_ref().unwrap(), vlan.port_name(), vlan.mtu),
        (&("wan0".to_owned(), 100), "wan0", 1500)
    );
    let line = |prefix: &str| config.route(&prefix.parse().unwrap()).unwrap().to_string();
    assert_eq!(line("203.0.113.0/24"), " via 198.51.100.3 label 100/200");
    assert_eq!(
        line("203.0.114.0/24"),
        " nexthop via 198.51.100.3 nexthop via 192.0.2.7 dev wan0.100 weight 2"
    );
    assert_eq!(line("2001:db8:1::/48"), " via fe80::1 dev wan0");
    assert_eq!(line("10.0.0.0/8"), " blackhole");
    let labels: Vec<String> = config
        .labels
        .iter()
        .map(|(l, r)| format!("{l}{r}"))
        .collect();
    assert_eq!(labels, ["300 swap via 198.51.100.3 label 400", "301 pop"]);
    assert_eq!(config.neighbor.reachable_time.as_millis(), 500);
    assert_eq!(config.neighbors.len(), 1);
}

#[test]
fn an_empty_file_is_a_router_without_interfaces() {
    assert_eq!(*valid("").unwrap(), Valid::default());
}

#[test]
fn implicit_null_is_no_label() {
    let base = "[interface.a]\ndevice = \"tap:a\"\naddress = \"10.0.0.1/24\"\n";
    let swap = valid(&format!(
        "{base}[[label]]\nin = 16\naction = \"swap\"\nout = [3]\nvia = \"10.0.0.2\"\n"
    ))
    .unwrap();
    let pop = valid(&format!(
        "{base}[[label]]\nin = 16\naction = \"pop\"\nvia = \"10.0.0.2\"\n"
    ))
    .unwrap();
    assert_eq!(swap, pop);
}

#[test]
fn a_default_route_has_the_family_of_its_next_hop() {
    let base =
        "[interface.a]\ndevice = \"tap:a\"\naddress = [\"10.0.0.1/24\", \"2001:db8::1/64\"]\n";
    for (via, prefix) in [("10.0.0.2", "0.0.0.0/0"), ("2001:db8::2", "::/0")] {
        let config = valid(&format!(
            "{base}[[route]]\nprefix = \"default\"\nvia = \"{via}\"\n"
        ))
        .unwrap();
        assert!(config.route(&prefix.parse().unwrap()).is_some(), "{prefix}");
    }
}

#[test]
fn policies_between_a_vrf_and_the_global_table_are_kept() {
    let vrf = "[vrf.blue]\nimport-global = \"accept-all\"\nexport-global = \"reject-all\"\n";
    let text = format!("[system]\nrouter-id = \"192.0.2.1\"\n[bgp]\nas = 1\n{vrf}");
    let config = valid(&text).unwrap();
    let blue = &config.vrfs["blue"];
    assert_eq!(
        format!("[vrf.blue]\n{}", blue.to_table()),
        vrf,
        "as it is written"
    );
    let said = " import-global accept-all export-global reject-all";
    assert_eq!(blue.to_string(), said);
}

/// The blocks of a kind in the page that users read.
fn documented(kind: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("```").skip(1).step_by(2);
    blocks
        .filter_map(|block| block.strip_prefix(&format!("{kind}\n")))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_documented_file_is_good() {
    let files = documented("toml");
    assert_eq!(files.len(), 1);
    let config = valid(&files[0]).unwrap();
    assert_eq!(
        (
            config.interfaces.len(),
            config.routes.len(),
            config.labels.len()
        ),
        (2, 2, 1)
    );
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("r.txt"), &documented("")[0]).unwrap();
    let text = format!(
        "route-file = \"r.txt\"\n{}",
        files[0]
            .replace("203.0.113.0/24", "192.168.0.0/16")
            .replace("10.0.0.0/8", "172.16.0.0/12")
    );
    let path = dir.path().join("t.toml");
    let config = parse(&path, &text)
        .unwrap()
        .validate(&path, &text, Files::Read)
        .unwrap();
    assert_eq!(config.all_routes().count(), 5);
}

/// Each key that the parser knows is in the page.
#[test]
fn every_key_is_documented() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = std::fs::read_to_string(page).unwrap();
    for section in [
        "[system]",
        "[dataplane]",
        "[neighbor]",
        "[interface.a]",
        "[[route]]",
        "[[label]]",
        "[[neighbor.static]]",
        "[label-range]",
        "[ldp]",
        "[vrf.a]",
        "[bgp]",
        "[bgp.group.g]",
        "[bgp.neighbor.\"192.0.2.9\"]",
    ] {
        let error = valid(&format!("{section}\nqqqqqqqqqqqq = 1\n")).unwrap_err();
        let keys = error
            .problems
            .iter()
            .find_map(|p| p.message.strip_prefix("unknown key; the keys here are "));
        for key in keys.expect(section).split(", ") {
            assert!(
                page.contains(&format!("`{key}`")) || page.contains(&format!(".{key}]]`")),
                "{section} {key}"
            );
        }
    }
}
