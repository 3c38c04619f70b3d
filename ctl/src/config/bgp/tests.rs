//! `[bgp]`: what is read, inherited, refused and printed.

use std::path::Path;
use std::sync::Arc;

use ::bgp::types::{Family, Role};
use proptest::prelude::*;

use super::super::model::Valid;
use super::super::parse::parse;
use super::super::validate::Files;
use super::*;

const BASE: &str = "[system]\nrouter-id = \"192.0.2.1\"\n[interface.wan0]\ndevice = \"tap:a\"\naddress = [\"10.0.0.1/24\", \"2001:db8::1/64\"]\n";

fn read(path: &Path, text: &str) -> Result<Arc<Valid>, String> {
    let valid = parse(path, text).and_then(|c| c.validate(path, text, Files::Read));
    valid.map(Arc::new).map_err(|e| e.to_string())
}

fn config(text: &str) -> Result<Arc<Valid>, String> {
    read(Path::new("/etc/t.toml"), &format!("{BASE}{text}"))
}

fn bgp(text: &str) -> Arc<Bgp> {
    config(text).unwrap().bgp.clone().unwrap()
}

const FULL: &str = r#"
[bgp]
as = 64512
listen = ["10.0.0.1"]
port = 1179
install = false
hold-time = 30
restart-time = 60
restart-deferral = 30
cluster-id = "192.0.2.9"
confederation = { id = 64999, members = [64514, 64513] }
multipath = { ebgp = 4, ibgp = 2, relaxed = true }
backup = ["unicast", "vpn"]
label-delay = 20
med = { always-compare = true }
distance = { ebgp = 30 }
prefer-oldest = true
best-external = true
next-hop-by-default = true
networks = ["203.0.113.0/24", "2001:db8:7::/48"]
redistribute = ["static", "connected"]

[bgp.group.transit]
as = "external"
families = ["ipv4-unicast", "ipv6-unicast"]
role = "customer"
role-strict = true
max-prefix = { limit = 1000000, warn = 90, restart = 900 }
hold-time = 9
description = "transit"

[bgp.neighbor."10.0.0.2"]
group = "transit"
as = 64600
description = "Bob"
add-path = { receive = true, send = true, max = 4 }
graceful-restart = "full"
shutdown = "moving the rack"
ttl-security = 1
allowas-in = 2

[bgp.neighbor."10.1.0.0/16"]
as = "internal"
route-reflector-client = true
max-prefix = 500

[bgp.neighbor.wan0]
as = "external"
extended-next-hop = true
shutdown = true

[bgp.neighbor."fe80::7%wan0"]
as = 4200000000
multihop = 3
source-address = "2001:db8::1"
"#;

#[test]
fn all_of_it() {
    let b = bgp(FULL);
    let s = &b.speaker;
    assert_eq!((s.asn, s.port, s.install), (64512, 1179, false));
    assert_eq!(s.confederation.as_ref().unwrap().members, [64513, 64514]);
    assert_eq!((s.distance.ebgp, s.distance.ibgp), (30, 200));
    assert_eq!(s.networks.len(), 2);
    assert_eq!(s.redistribute[0].source, Origin::Connected);
    let keys: Vec<String> = b.neighbors.keys().map(ToString::to_string).collect();
    assert_eq!(keys, ["10.0.0.2", "fe80::7%wan0", "10.1.0.0/16", "wan0"]);
    let one = |key: &str| {
        let (_, n) = b
            .neighbors
            .iter()
            .find(|(k, _)| k.to_string() == key)
            .unwrap();
        b.settings(n)
    };
    let bob = one("10.0.0.2");
    // Its own word, its group's, the speaker's.
    assert_eq!(bob.asn, Some(PeerAs::Number(64600)));
    assert_eq!(bob.description, Some(Text("Bob".into())));
    assert_eq!(
        (bob.role, bob.hold_time),
        (Some(Role::Customer), Some(HoldTime(9)))
    );
    assert!(bob.families.unwrap().0.contains(Family::Ipv6Unicast));
    assert_eq!(bob.shutdown, Some(Shutdown::Yes("moving the rack".into())));
    assert_eq!(bob.max_prefix.unwrap().restart, Some(900));
    assert_eq!(one("10.1.0.0/16").hold_time, Some(HoldTime(30)));
    assert_eq!(one("10.1.0.0/16").max_prefix.unwrap().limit, 500);
    assert_eq!(one("wan0").shutdown, Some(Shutdown::Yes(String::new())));
    assert!(b.is_external(&bob) && !b.is_external(&one("10.1.0.0/16")));
}

#[test]
fn it_reads_back() {
    let config = config(FULL).unwrap();
    let text = config.to_toml();
    let back = read(Path::new("/etc/t.toml"), &text).unwrap();
    assert_eq!(back, config, "{text}");
}

#[test]
fn mistakes_are_named() {
    let head = "[bgp]\nas = 64512\n";
    let peer = "[bgp]\nas = 64512\n[bgp.neighbor.\"10.0.0.2\"]\n";
    for (text, start, part) in [
        (
            "[bgp]\n",
            "/etc/t.toml:6: bgp.as: is missing here",
            "as = 64512",
        ),
        (
            "[bgp]\nas = 0\n",
            "/etc/t.toml:7: bgp.as: 0 is not a number from 1",
            "",
        ),
        (
            "[bgp]\nas = 1\nrouter-id = \"1.2.3.4\"\n",
            "/etc/t.toml:8: bgp.router-id: stands in [system]",
            "",
        ),
        (
            "[bgp]\nas = 1\nlissten = []\n",
            "/etc/t.toml:8: bgp.lissten: unknown key; did you mean \"listen\"",
            "",
        ),
        (
            "[bgp]\nas = 1\nlisten = [\"10.0.0.9\"]\n",
            "/etc/t.toml:8: bgp.listen: 10.0.0.9 is no address of this router",
            "10.0.0.1",
        ),
        (
            "[bgp]\nas = 1\nlisten = [\"::\"]\n",
            "/etc/t.toml:8: bgp.listen: :: is every address",
            "leave",
        ),
        (
            "[bgp]\nas = 1\nhold-time = 2\n",
            "/etc/t.toml:8: bgp.hold-time: is 0 (never), or 3",
            "",
        ),
        (
            "[bgp]\nas = 1\nnetworks = [\"10.0.0.1/8\"]\n",
            "/etc/t.toml:8: bgp.networks: \"10.0.0.1/8\" has bits set",
            "",
        ),
        (
            "[bgp]\nas = 1\nnetworks = [{ prefix = \"10.0.0.0/8\", label-index = 1 }]\n",
            "/etc/t.toml:8: bgp.networks.label-index: is of labelled routes; add a label",
            "implicit-null",
        ),
        (
            "[bgp]\nas = 1\nnetworks = [{ prefix = \"10.0.0.0/8\", label = \"local\", label-index = 1048576 }]\n",
            "/etc/t.toml:8: bgp.networks.label-index: 1048576 is not a number from 0 to 1048575",
            "",
        ),
        (
            "[bgp]\nas = 1\nnetworks = [{ prefix = \"10.0.0.0/8\", label = \"local\", label-index = 1 }]\n",
            "/etc/t.toml:8: bgp.networks: label-index 1 of 10.0.0.0/8 is that of a label in the SRGB, and there is none",
            "srgb = ",
        ),
        (
            "[label-range]\nsrgb = \"16000-16009\"\n[bgp]\nas = 1\nnetworks = [{ prefix = \"10.0.0.0/8\", label = \"local\", label-index = 10 }]\n",
            "/etc/t.toml:10: bgp.networks: label-index 10 of 10.0.0.0/8 is beyond label-range.srgb (16000-16009), which has 10",
            "make the range larger",
        ),
        (
            "[label-range]\nsrgb = \"16000-16009\"\n[bgp]\nas = 1\nnetworks = [{ prefix = \"10.0.0.0/8\", label = \"local\", label-index = 1 }, { prefix = \"11.0.0.0/8\", label = \"local\", label-index = 1 }]\n",
            "/etc/t.toml:10: bgp.networks: label-index 1 is that of 10.0.0.0/8 too",
            "its own",
        ),
        (
            "[bgp]\nas = 1\nnetworks = [{ policy = \"x\" }]\n",
            "/etc/t.toml:8: bgp.networks.prefix: is missing",
            "",
        ),
        (
            "[bgp]\nas = 1\nredistribute = [\"ospf\"]\n",
            "/etc/t.toml:8: bgp.redistribute: \"ospf\" is not \"connected\"",
            "",
        ),
        (
            "[bgp]\nas = 1\nredistribute = [{ from = \"static\", policy = \"x\" }]\n",
            "/etc/t.toml:8: bgp.redistribute: there is no policy \"x\"",
            "[policy.x]",
        ),
        (
            "[bgp]\nas = 1\nmultipath = 4\n",
            "/etc/t.toml:8: bgp.multipath: a table such as",
            "",
        ),
        (
            "[bgp]\nas = 1\nbackup = true\n",
            "/etc/t.toml:8: bgp.backup: a list such as",
            "[] for none",
        ),
        (
            "[bgp]\nas = 1\nbackup = [\"vpnv4\"]\n",
            "/etc/t.toml:8: bgp.backup: no routes are called \"vpnv4\"; there are unicast, labeled-unicast, vpn",
            "",
        ),
        (
            "[bgp]\nas = 1\nbackup = [\"vpn\", \"vpn\"]\n",
            "/etc/t.toml:8: bgp.backup: vpn is there twice",
            "leave one out",
        ),
        (
            "[bgp]\nas = 1\nneighbor = 4\n",
            "/etc/t.toml:8: bgp.neighbor: a table by name is wanted",
            "",
        ),
        (
            &format!("{head}[bgp.neighbor.\"10.0.0.300\"]\nas = 1\n"),
            "/etc/t.toml:8: bgp.neighbor.\"10.0.0.300\": \"10.0.0.300\" is not a neighbour",
            "fe80::1%wan0",
        ),
        (
            &format!("{head}[bgp.neighbor.\"10.0.0.1\"]\nas = 1\n"),
            "/etc/t.toml:8: bgp.neighbor.\"10.0.0.1\": 10.0.0.1 is the router's own address",
            "",
        ),
        (
            &format!("{head}[bgp.neighbor.\"fe80::1\"]\nas = 1\n"),
            "/etc/t.toml:8: bgp.neighbor.\"fe80::1\": fe80::1 is link-local",
            "%wan0",
        ),
        (
            &format!("{head}[bgp.neighbor.\"10.0.0.1/8\"]\nas = 1\n"),
            "/etc/t.toml:8: bgp.neighbor.\"10.0.0.1/8\": \"10.0.0.1/8\" has bits set",
            "",
        ),
        (
            &format!("{head}[bgp.neighbor.wan1]\nas = 1\n"),
            "/etc/t.toml:8: bgp.neighbor.wan1: there is no interface \"wan1\"",
            "\"wan0\"",
        ),
        (
            &format!(
                "{head}[bgp.neighbor.\"2001:db8::5\"]\nas = 1\n[bgp.neighbor.\"2001:db8:0::5\"]\nas = 1\n"
            ),
            "/etc/t.toml:",
            "there already",
        ),
        (
            &format!("{peer}passive = true\n"),
            "/etc/t.toml:8: bgp.neighbor.\"10.0.0.2\".as: is missing here",
            "\"internal\"",
        ),
        (
            &format!("{peer}as = \"extern\"\n"),
            "/etc/t.toml:9: bgp.neighbor.\"10.0.0.2\".as: \"extern\" is not",
            "without quotes",
        ),
        (
            &format!("{peer}as = 1\ngroup = \"x\"\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.0.0.2\".group: there is no group \"x\"",
            "[bgp.group.x]",
        ),
        (
            &format!("{peer}as = 1\nimport = \"x\"\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.0.0.2\".import: there is no policy \"x\"",
            "[policy.x]",
        ),
        (
            &format!("{peer}as = 1\nfamilies = []\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.0.0.2\".families: is empty",
            "",
        ),
        (
            &format!("{peer}as = 1\nfamilies = [\"ipv4-flowspec\"]\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.0.0.2\".families: sessions for ipv4-flowspec are not in this version",
            "ipv4-unicast",
        ),
        (
            &format!("{peer}as = 1\nfamilies = [\"rt-constraint\"]\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.0.0.2\".families: rt-constraint says which VPN routes are wanted",
            "add \"vpnv4\" or \"vpnv6\"",
        ),
        (
            &format!("{peer}as = 1\nfamilies = [\"ipv4-unicst\"]\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.0.0.2\".families: no family",
            "did you mean \"ipv4-unicast\"",
        ),
        (
            &format!("{peer}as = 1\nttl-security = 1\nmultihop = 2\n"),
            "/etc/t.toml:11: bgp.neighbor.\"10.0.0.2\".multihop: contradicts ttl-security",
            "",
        ),
        (
            &format!("{peer}as = 1\nroute-reflector-client = true\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.0.0.2\".route-reflector-client: is for internal",
            "",
        ),
        (
            &format!("{peer}as = \"internal\"\nrole = \"peer\"\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.0.0.2\".role: is for external",
            "",
        ),
        (
            &format!("{peer}as = 1\nrole-strict = true\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.0.0.2\".role-strict: says nothing without a role",
            "",
        ),
        (
            &format!("{peer}as = 1\nrole = \"boss\"\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.0.0.2\".role: \"boss\" is not one of",
            "\"rs-client\"",
        ),
        (
            &format!("{peer}as = 1\nvrf = \"x\"\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.0.0.2\".vrf: there is no VRF \"x\"",
            "[vrf.x]",
        ),
        (
            &format!("{peer}as = 1\nsite-of-origin = \"64512:1\"\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.0.0.2\".site-of-origin: \"64512:1\" is not",
            "soo:64512:7",
        ),
        (
            &format!("{peer}as = 1\nsite-of-origin = \"soo:64512:1\"\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.0.0.2\".site-of-origin: is about a neighbour in a VRF",
            "",
        ),
        (
            &format!("{peer}as = 1\nvrf = \"x\"\nfamilies = [\"vpnv4\"]\n[vrf.x]\n"),
            "/etc/t.toml:11: bgp.neighbor.\"10.0.0.2\".families: a CE has unicast routes only",
            "",
        ),
        (
            &format!("{peer}as = 64512\nvrf = \"x\"\n[vrf.x]\n"),
            "/etc/t.toml:9: bgp.neighbor.\"10.0.0.2\".as: a CE within our own AS",
            "RFC 6368",
        ),
        (
            &format!("{peer}as = 1\nlocal-as = 64512\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.0.0.2\".local-as: is our AS anyway",
            "",
        ),
        (
            &format!("{peer}as = 1\nsource-address = \"10.0.0.9\"\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.0.0.2\".source-address: 10.0.0.9 is no address",
            "",
        ),
        (
            &format!("{peer}as = 1\nsource-address = \"2001:db8::1\"\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.0.0.2\".source-address: 2001:db8::1 is of another IP version",
            "",
        ),
        (
            &format!("{peer}as = 1\npassword-file = \"/nonexistent/k\"\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.0.0.2\".password-file: cannot read /nonexistent/k",
            "",
        ),
        (
            &format!("{peer}as = 1\nmax-prefix = {{ warn = 5 }}\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.0.0.2\".max-prefix.limit: is missing",
            "",
        ),
        (
            &format!("{peer}as = 1\nmax-prefix = {{ limit = 5, warn = 101 }}\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.0.0.2\".max-prefix.warn: 101 is not",
            "1 to 100",
        ),
        (
            &format!("{head}[bgp.neighbor.\"10.9.0.0/16\"]\nas = 1\npassive = false\n"),
            "/etc/t.toml:10: bgp.neighbor.\"10.9.0.0/16\".passive: can't be false",
            "",
        ),
        (
            &format!("{head}[bgp.group.g]\nexport = \"y\"\n"),
            "/etc/t.toml:9: bgp.group.g.export: there is no policy \"y\"",
            "",
        ),
        (
            &format!("{peer}as = 1\ngraceful-restart = \"off\"\nlong-lived-stale-time = 5\n"),
            "/etc/t.toml:11: bgp.neighbor.\"10.0.0.2\".long-lived-stale-time: needs",
            "",
        ),
    ] {
        let error = config(text).expect_err(text);
        let line = error.lines().next().unwrap();
        assert!(
            line.starts_with(start) && line.contains(part),
            "{text}\n{error}"
        );
    }
    let error = read(Path::new("t"), "[bgp]\nas = 1\n").unwrap_err();
    assert!(
        error.starts_with("t:1: system.router-id: is missing; BGP needs"),
        "{error}"
    );
}

#[test]
fn without_interfaces_the_kernels_addresses_are_used() {
    let text = "[system]\nrouter-id = \"192.0.2.1\"\n[bgp]\nas = 1\nlisten = [\"127.0.0.1\"]\n[bgp.neighbor.\"127.0.0.2\"]\nas = 2\nsource-address = \"127.0.0.1\"\n[bgp.neighbor.eth7]\nas = 3\n";
    read(Path::new("t"), text).unwrap();
}

#[test]
fn secrets_are_read_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.toml");
    std::fs::write(dir.path().join("key"), "geheim\n").unwrap();
    std::fs::write(dir.path().join("ao"), "1 2 hmac-sha-1-96 geheim\n").unwrap();
    let text = format!(
        "{BASE}[bgp]\nas = 64512\n[bgp.neighbor.\"10.0.0.2\"]\nas = 1\npassword-file = \"key\"\n[bgp.neighbor.\"10.0.0.3\"]\nas = 1\ntcp-ao-file = \"ao\"\n"
    );
    let old = read(&path, &text).unwrap();
    let b = old.bgp.clone().unwrap();
    assert!(b.secrets().all(|s| !s.secret.0.is_empty()));
    assert_eq!(b.secrets().count(), 2);
    // Another key is a change, though no word of the configuration is another.
    std::fs::write(dir.path().join("key"), "geheimer\n").unwrap();
    let new = read(&path, &text).unwrap();
    let plan = new.diff(&old);
    let lines: Vec<String> = plan.steps().map(|s| s.to_string()).collect();
    assert_eq!(
        lines,
        [
            "~ bgp neighbor 10.0.0.2: as = 1, password-file = \"key\" (a key or a file of it changed)"
        ]
    );
    assert_eq!(plan.len(), 1);
    for shown in [format!("{old:?}{new:?}{plan:?}"), old.to_toml()] {
        assert!(!shown.contains("geheim"), "{shown}");
    }
    // A command leaves it for "config apply".
    let keep = parse(&path, &text)
        .and_then(|c| c.validate(&path, &text, Files::Keep(&old)))
        .unwrap();
    assert_eq!(keep, *old);
    std::fs::write(dir.path().join("ao"), "1 2 md5 geheim\n").unwrap();
    let error = read(&path, &text).unwrap_err();
    assert!(
        error.contains("tcp-ao-file: ao line 1: is not SEND-ID") && !error.contains("geheim"),
        "{error}"
    );
}

#[test]
fn changes_are_told_by_neighbour() {
    let one = config("[bgp]\nas = 1\n[bgp.group.g]\nas = 2\n[bgp.neighbor.\"10.0.0.2\"]\ngroup = \"g\"\n[bgp.neighbor.\"10.0.0.3\"]\nas = 3\n").unwrap();
    let two = config("[bgp]\nas = 1\nport = 1179\n[bgp.group.g]\nas = 4\n[bgp.neighbor.\"10.0.0.2\"]\ngroup = \"g\"\n[bgp.neighbor.\"10.0.0.4\"]\nas = 3\n").unwrap();
    let lines = |to: &Arc<Valid>, from: &Valid| -> Vec<String> {
        to.diff(from).steps().map(|s| s.to_string()).collect()
    };
    assert_eq!(
        lines(&two, &one),
        [
            "~ bgp: as = 1, port = 1179 (was as = 1)",
            "~ bgp group g: as = 4 (was as = 2)",
            "~ bgp neighbor 10.0.0.2: as = 4 (was as = 2)",
            "- bgp neighbor 10.0.0.3: as = 3",
            "+ bgp neighbor 10.0.0.4: as = 3",
        ]
    );
    let none = config("").unwrap();
    assert_eq!(lines(&none, &one).len(), 4);
    assert_eq!(lines(&one, &one).len(), 0);
}

fn settings() -> impl Strategy<Value = Settings> {
    let asn = prop_oneof![Just(PeerAs::External), (2_u32..).prop_map(PeerAs::Number)];
    let shutdown = prop_oneof![Just(Shutdown::No), "[ -~é]{0,9}".prop_map(Shutdown::Yes)];
    let max_prefix = (1_u32.., 1_u8..=100, prop::option::of(1_u32..1_000_000)).prop_map(
        |(limit, warn, restart)| MaxPrefix {
            limit,
            warn,
            restart,
        },
    );
    let add_path = (any::<bool>(), any::<bool>(), any::<u8>())
        .prop_map(|(send, receive, max)| AddPath { send, receive, max });
    let families = prop::sample::subsequence(vec![Family::Ipv4Unicast, Family::Ipv6Unicast], 1..=2)
        .prop_map(|all| Families(all.into_iter().collect()));
    use prop::option::of;
    (
        (
            of(asn),
            of(shutdown),
            of(max_prefix),
            of(add_path),
            of(families),
        ),
        (
            of(any::<bool>()),
            of(3_u16..),
            of(1_u32..=65535),
            of("[a-z \"\\\\]{1,9}"),
            of(1_u32..=10),
        ),
    )
        .prop_map(
            |((asn, shutdown, max_prefix, add_path, families), (yes, hold, port, text, number))| {
                Settings {
                    asn,
                    shutdown,
                    max_prefix,
                    add_path,
                    families,
                    next_hop_self: yes,
                    extended_messages: yes.map(|y| !y),
                    hold_time: hold.map(HoldTime),
                    connect_retry: port.map(Number),
                    description: text.map(Text),
                    allowas_in: number.map(Number),
                    graceful_restart: yes
                        .map(|y| if y { Graceful::Full } else { Graceful::Helper }),
                    ..Settings::default()
                }
            },
        )
}

/// A configuration of BGP that is good beside an interface 10.0.0.1/24.
pub(in crate::config) fn some_bgp() -> impl Strategy<Value = Bgp> {
    let groups = prop::collection::btree_map("[a-z]{1,5}", settings(), 0..3);
    let key = prop_oneof![
        (2_u8..9).prop_map(|n| PeerKey::Address(IpAddr::from([192, 0, 2, n]), None)),
        (8_u8..31)
            .prop_map(|n| PeerKey::Prefix(IpNet::new(IpAddr::from([100, 0, 0, 0]), n).unwrap())),
    ];
    let neighbors = prop::collection::btree_map(key, (settings(), any::<bool>()), 0..4);
    let numbers = (
        2_u32..,
        1_u16..,
        any::<[bool; 4]>(),
        1_u8..9,
        prop::option::of(1_u32..4096),
    );
    (groups, neighbors, numbers).prop_map(
        |(groups, neighbors, (asn, port, [install, a, b, c], n, restart))| {
            let first = groups.keys().next().cloned();
            let neighbors = neighbors.into_iter().map(|(key, (mut own, grouped))| {
                own.asn = own.asn.or(Some(PeerAs::External));
                let group = first.clone().filter(|_| grouped);
                (key, Neighbor { group, own })
            });
            let speaker = Speaker {
                port,
                install,
                prefer_oldest: a,
                best_external: b,
                next_hop_by_default: c,
                multipath: Multipath {
                    ebgp: n,
                    ibgp: 1,
                    relaxed: a,
                },
                backup: Backup {
                    unicast: c,
                    labeled: a,
                    vpn: b,
                },
                med: Med {
                    always_compare: b,
                    missing_as_worst: c,
                },
                label_delay: asn % 301,
                restart_time: restart.filter(|r| *r < 4096).map(Number),
                restart_deferral: restart.filter(|r| *r <= 3600).map(Number),
                ..Speaker::new(asn)
            };
            Bgp {
                speaker,
                groups,
                neighbors: neighbors.collect(),
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(bgp in some_bgp()) {
        let mut valid = (*config("").unwrap()).clone();
        valid.bgp = Some(Arc::new(bgp));
        let text = valid.to_toml();
        match read(Path::new("t"), &text) {
            Ok(back) => prop_assert_eq!(&*back, &valid, "{}", text),
            Err(error) => prop_assert!(false, "{}\n{}", error, text),
        }
    }

    #[test]
    fn a_line_for_each_difference(from in some_bgp(), to in some_bgp()) {
        let (from, to) = (Some(Arc::new(from)), Some(Arc::new(to)));
        prop_assert_eq!(steps(from.as_ref(), to.as_ref()).is_empty(), from == to);
        prop_assert!(steps(to.as_ref(), to.as_ref()).is_empty());
    }

    #[test]
    fn any_text(text in "([a-z\\[\\]\"={}., 0-9/:%\\-]{0,20}\n){0,8}") {
        let _ = config(&format!("[bgp]\nas = 1\n{text}"));
        let _ = config(&format!("[bgp]\nas = 1\n[bgp.neighbor.\"10.0.0.2\"]\n{text}"));
    }
}
