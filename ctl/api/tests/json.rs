//! The names that `trunkctl --json` prints are a contract: scripts stand on them.

use serde_json::{Value, json, to_value};

/// Every name of the contract is there, with a value of its kind.
fn has(value: &impl serde::Serialize, names: &[(&str, &str)]) {
    let value = to_value(value).unwrap();
    for (name, kind) in names {
        let field = value
            .get(name)
            .unwrap_or_else(|| panic!("{name} is missing in {value}"));
        let is = match field {
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
            Value::Bool(_) => "bool",
            Value::Null => "null",
        };
        assert_eq!(is, *kind, "{name}");
    }
}

#[test]
fn interface_show() {
    let mut interface = api::Interface {
        vlan: Some(7),
        ..Default::default()
    };
    interface.drops.insert("no_route".into(), u64::MAX);
    let strings =
        ["name", "device", "mac", "link", "tap", "vrf", "link_local"].map(|n| (n, "string"));
    let numbers = [
        "numa",
        "mtu",
        "rx_packets",
        "rx_bytes",
        "tx_packets",
        "tx_bytes",
        "rx_missed",
        "port",
        "vlan",
        "injected",
        "created",
        "punted",
        "rx_errors",
        "rx_nombuf",
        "queues",
        "speed_mbps",
    ];
    has(&interface, &strings);
    has(&interface, &numbers.map(|n| (n, "number")));
    has(
        &interface,
        &[
            ("address", "array"),
            ("duplicate", "array"),
            ("drops", "object"),
            ("mpls", "bool"),
            ("up", "bool"),
        ],
    );
    // Counters are numbers, in full.
    assert_eq!(
        to_value(&interface).unwrap()["drops"],
        json!({"no_route": 18_446_744_073_709_551_615_u64})
    );
}

#[test]
fn worker_show() {
    let numbers = [
        "worker",
        "cpu",
        "numa",
        "packets",
        "bursts",
        "cycles_per_packet",
        "busy_ratio",
        "max_loop_us",
        "rcu_lag",
        "cycles",
        "busy_cycles",
        "cycles_per_second",
        "loop_p50_us",
        "loop_p99_us",
    ];
    has(&api::Worker::default(), &numbers.map(|n| (n, "number")));
    has(&api::Worker::default(), &[("queues", "array")]);
    has(&api::Worker::default(), &[("stages", "object")]);
}

#[test]
fn the_other_shows() {
    has(
        &api::Drop::default(),
        &[
            ("interface", "string"),
            ("reason", "string"),
            ("packets", "number"),
        ],
    );
    has(
        &api::Neighbor::default(),
        &[
            ("address", "string"),
            ("interface", "string"),
            ("lladdr", "string"),
            ("state", "string"),
            ("age_s", "number"),
        ],
    );
    has(
        &api::Rcu::default(),
        &[
            ("epoch", "number"),
            ("readers", "array"),
            ("pending", "number"),
            ("stalled", "array"),
        ],
    );
    has(
        &api::Route::default(),
        &[
            ("prefix", "string"),
            ("protocol", "string"),
            ("installed", "bool"),
            ("via", "array"),
        ],
    );
    has(
        &api::LabelRoute::default(),
        &[
            ("label", "number"),
            ("action", "string"),
            ("via", "array"),
            ("owner", "string"),
            ("fec", "string"),
        ],
    );
    has(
        &api::NextHop::default(),
        &[
            ("address", "string"),
            ("interface", "string"),
            ("label", "array"),
            ("weight", "number"),
            ("active", "bool"),
        ],
    );
}

/// Every field that is printed is in the page that users read.
#[test]
fn every_field_is_documented() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");
    let page = std::fs::read_to_string(page).unwrap();
    let words: std::collections::HashSet<&str> = page
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect();
    let all = [
        to_value(api::Interface::default()),
        to_value(api::Worker::default()),
        to_value(api::Drop::default()),
        to_value(api::Neighbor::default()),
        to_value(api::Memory::default()),
        to_value(api::NodeMemory::default()),
        to_value(api::TableRoom::default()),
        to_value(api::Rcu::default()),
        to_value(api::RcuReader::default()),
        to_value(api::Route::default()),
        to_value(api::NextHop::default()),
        to_value(api::LabelRoute::default()),
        to_value(api::Status::default()),
        to_value(api::ConfigReply::default()),
        to_value(api::CommitReply::default()),
        to_value(api::BgpNeighbor::default()),
        to_value(api::BgpFamily::default()),
        to_value(api::BgpRoute::default()),
        to_value(api::RpkiCache::default()),
        to_value(api::BgpPolicyTest::default()),
        to_value(api::BgpPolicyStep::default()),
        to_value(api::BmpStation::default()),
        to_value(api::MrtLog::default()),
    ];
    for value in all {
        for name in value.unwrap().as_object().unwrap().keys() {
            assert!(
                words.contains(name.as_str()),
                "{name} is not in docs/cli.md"
            );
        }
    }
}

#[test]
fn bgp_summary_and_route() {
    let neighbor = api::BgpNeighbor::default();
    has(
        &neighbor,
        &[
            ("address", "string"),
            ("as", "number"),
            ("state", "string"),
            ("uptime_s", "number"),
            ("received", "number"),
            ("accepted", "number"),
            ("advertised", "number"),
            ("families", "array"),
            ("counts", "array"),
            ("timers_s", "object"),
        ],
    );
    let route = api::BgpRoute {
        med: Some(0),
        ..Default::default()
    };
    has(
        &route,
        &[
            ("prefix", "string"),
            ("neighbor", "string"),
            ("best", "bool"),
            ("next_hop", "string"),
            ("as_path", "string"),
            ("med", "number"),
            ("local_pref", "null"),
            ("communities", "array"),
            ("rpki", "string"),
            ("roas", "array"),
        ],
    );
}

#[test]
fn rpki_show() {
    let cache = api::RpkiCache {
        serial: Some(0),
        ..Default::default()
    };
    has(
        &cache,
        &[
            ("cache", "string"),
            ("address", "string"),
            ("port", "number"),
            ("state", "string"),
            ("version", "number"),
            ("session", "null"),
            ("serial", "number"),
            ("ipv4", "number"),
            ("ipv6", "number"),
            ("expires_s", "null"),
            ("error", "string"),
        ],
    );
}

#[test]
fn lsp_ping() {
    let probe = api::LspProbe {
        in_label: vec![api::LspLabel::default()],
        onward: vec![api::LspWay::default()],
        ..Default::default()
    };
    let numbers = ["sequence", "ttl", "rtt_ms", "code", "subcode"];
    let strings = [
        "verdict",
        "from",
        "text",
        "source",
        "interface",
        "next_hop",
        "router",
        "in_interface",
    ];
    has(&probe, &numbers.map(|n| (n, "number")));
    has(&probe, &strings.map(|n| (n, "string")));
    has(
        &probe,
        &["fec", "label", "in_label", "onward"].map(|n| (n, "array")),
    );
    has(&probe, &[("answered", "bool")]);
    has(
        &probe.in_label[0],
        &[
            ("label", "number"),
            ("tc", "number"),
            ("bottom", "bool"),
            ("ttl", "number"),
        ],
    );
    has(
        &probe.onward[0],
        &[
            ("router", "string"),
            ("interface", "string"),
            ("mtu", "number"),
            ("label", "array"),
            ("protocol", "string"),
        ],
    );
}
