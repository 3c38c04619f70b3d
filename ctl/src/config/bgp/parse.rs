//! The text of `[bgp]`: every key known, every value of its kind, each with its place for the checks that come later.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use net::Label;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::reader::{At, Key, Log, Table, mistyped, number, string};
use super::super::terms;
use super::settings::Settings;
use super::value::{OwnLabel, PolicyName, Word};
use super::{Bgp, Neighbor, Network, Origin, PeerKey, Redistribute, Speaker};

/// What a key belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::config) enum Scope {
    Speaker,
    Group(String),
    Neighbor(PeerKey),
}

/// `[bgp]`, well formed, with the places of its keys.
#[derive(Debug)]
pub(in crate::config) struct Draft {
    pub(super) at: usize,
    pub(super) bgp: Bgp,
    /// Of each table, and of each key in it.
    pub(super) places: HashMap<Scope, (usize, HashMap<&'static str, usize>)>,
}

const KEYS: [&str; 23] = [
    "as",
    "listen",
    "port",
    "install",
    "hold-time",
    "connect-retry",
    "restart-time",
    "restart-deferral",
    "cluster-id",
    "confederation",
    "multipath",
    "backup",
    "label-delay",
    "med",
    "prefer-oldest",
    "best-external",
    "distance",
    "next-hop-by-default",
    "networks",
    "redistribute",
    "neighbor",
    "group",
    "router-id",
];

/// Reads `[bgp]`, if it is there.
pub(in crate::config) fn section(root: &Table<'_>, log: &mut Log<'_>) -> Option<Draft> {
    let known = &KEYS[..KEYS.len() - 1];
    let value = root.get("bgp")?;
    let key = Key::Of(&root.key, "bgp");
    let DeValue::Table(entries) = value.get_ref() else {
        mistyped(value, key, "a table", log);
        return None;
    };
    let later = [(
        "router-id",
        "stands in [system]: router-id = \"192.0.2.1\"; leave it out here",
    )];
    let table = Table::new(entries, value.span().start, key, known, &later, log);
    let mut places = HashMap::new();
    let speaker = speaker(&table, &mut places, log);
    let groups = groups(&table, &mut places, log);
    let neighbors = neighbors(&table, &mut places, log);
    Some(Draft {
        at: table.at,
        bgp: Bgp {
            speaker,
            groups,
            neighbors,
        },
        places,
    })
}

type Places = HashMap<Scope, (usize, HashMap<&'static str, usize>)>;

/// The value of a key of `[bgp]`.
fn value<T: Word>(
    table: &Table<'_>,
    name: &'static str,
    own: &mut HashMap<&'static str, usize>,
    log: &mut Log<'_>,
) -> Option<T> {
    let value = table.get(name)?;
    own.insert(name, value.span().start);
    T::read(value, Key::Of(&table.key, name), log)
}

fn speaker(table: &Table<'_>, places: &mut Places, log: &mut Log<'_>) -> Speaker {
    let mut own = HashMap::new();
    let asn = match table.get("as") {
        Some(_) => table.number("as", 1, u32::MAX, log),
        None => {
            let key = Key::Of(&table.key, "as");
            log.at(
                table.at,
                key,
                "is missing here; write our AS number: as = 64512",
            );
            None
        }
    };
    let default = Speaker::new(asn.unwrap_or(0));
    let port = table.number("port", 1, 65_535, log);
    let speaker = Speaker {
        listen: listen(table, log),
        port: port
            .and_then(|p| u16::try_from(p).ok())
            .unwrap_or(default.port),
        install: table.boolean("install", log).unwrap_or(default.install),
        hold_time: value(table, "hold-time", &mut own, log),
        connect_retry: value(table, "connect-retry", &mut own, log),
        restart_time: value(table, "restart-time", &mut own, log),
        restart_deferral: value(table, "restart-deferral", &mut own, log),
        cluster_id: value(table, "cluster-id", &mut own, log),
        confederation: value(table, "confederation", &mut own, log),
        multipath: value(table, "multipath", &mut own, log).unwrap_or_default(),
        backup: value(table, "backup", &mut own, log).unwrap_or_default(),
        label_delay: table
            .number("label-delay", 0, 300, log)
            .unwrap_or(default.label_delay),
        med: value(table, "med", &mut own, log).unwrap_or_default(),
        prefer_oldest: table.boolean("prefer-oldest", log).unwrap_or(false),
        best_external: table.boolean("best-external", log).unwrap_or(false),
        distance: value(table, "distance", &mut own, log).unwrap_or_default(),
        next_hop_by_default: table.boolean("next-hop-by-default", log).unwrap_or(false),
        networks: networks(table, log),
        redistribute: redistribute(table, log),
        ..default
    };
    for name in ["listen", "networks", "redistribute"] {
        if let Some(value) = table.get(name) {
            own.insert(name, value.span().start);
        }
    }
    places.insert(Scope::Speaker, (table.at, own));
    speaker
}

fn listen(table: &Table<'_>, log: &mut Log<'_>) -> Vec<IpAddr> {
    let key = Key::Of(&table.key, "listen");
    let mut all = Vec::new();
    for value in table.list("listen") {
        let Some(text) = string(value, key, log) else {
            continue;
        };
        match text.value.parse::<IpAddr>() {
            Ok(a) if a.is_unspecified() => {
                let message = "is every address; leave \"listen\" out for that";
                log.at(text.at, key, format!("{a} {message}"));
            }
            Ok(a) if all.contains(&a) => {
                log.at(text.at, key, format!("{a} is there twice; leave one out"));
            }
            Ok(a) => all.push(a),
            Err(_) => log.at(
                text.at,
                key,
                format!(
                    "{:?} is not an address such as \"198.51.100.2\"",
                    text.value
                ),
            ),
        }
    }
    all
}

/// What an entry says, the policy that it names, and the label and the label index that it is to have.
struct Entry<'t> {
    text: At<&'t str>,
    policy: Option<PolicyName>,
    label: Option<OwnLabel>,
    index: Option<u32>,
}

/// An entry that is a string, or a table with it under `name` and others of these keys.
fn with_policy<'t>(
    value: &'t Spanned<DeValue<'t>>,
    key: Key<'t>,
    name: &'static str,
    known: &[&'static str],
    example: &str,
    log: &mut Log<'_>,
) -> Option<Entry<'t>> {
    match value.get_ref() {
        DeValue::String(_) => Some(Entry {
            text: string(value, key, log)?,
            policy: None,
            label: None,
            index: None,
        }),
        DeValue::Table(entries) => {
            let at = value.span().start;
            let table = Table::new(entries, at, key, known, &[], log);
            if table.get(name).is_none() {
                log.at(at, Key::Of(&key, name), "is missing here");
            }
            let policy = (table.get("policy"))
                .and_then(|value| PolicyName::read(value, Key::Of(&key, "policy"), log));
            let label = (table.get("label"))
                .and_then(|value| OwnLabel::read(value, Key::Of(&key, "label"), log));
            let index = table.get("label-index").and_then(|value| {
                let place = Key::Of(&key, "label-index");
                if label.is_none() {
                    let message =
                        "is of labelled routes; add a label, such as label = \"implicit-null\"";
                    log.at(value.span().start, place, message);
                }
                number(value, place, 0, Label::MAX.get(), log)
            });
            let value = entries.get(name)?;
            Some(Entry {
                text: string(value, Key::Of(&key, name), log)?,
                policy,
                label,
                index,
            })
        }
        _ => {
            mistyped(value, key, example, log);
            None
        }
    }
}

fn networks(table: &Table<'_>, log: &mut Log<'_>) -> Vec<Network> {
    let key = Key::Of(&table.key, "networks");
    let example =
        "a prefix, or a table such as { prefix = \"203.0.113.0/24\", policy = \"ours\" },";
    let mut all: Vec<Network> = Vec::new();
    for value in table.list("networks") {
        let known = ["prefix", "policy", "label", "label-index"];
        let entry = with_policy(value, key, "prefix", &known, example, log);
        let Some(Entry {
            text,
            policy,
            label,
            index,
        }) = entry
        else {
            continue;
        };
        if let Some(other) = all.iter().find(|n| index.is_some() && n.index == index) {
            let message = format!(
                "label-index {} is that of {} too; each prefix needs its own",
                index.unwrap_or_default(),
                other.prefix
            );
            log.at(text.at, key, message);
        }
        match terms::route_prefix(text.value) {
            Ok(p) if all.iter().any(|n| n.prefix == p) => {
                log.at(text.at, key, format!("{p} is there twice; leave one out"));
            }
            Ok(prefix) => all.push(Network {
                prefix,
                policy,
                label,
                index,
            }),
            Err(message) => log.at(text.at, key, message),
        }
    }
    all.sort_by_key(|n| n.prefix);
    all
}

fn redistribute(table: &Table<'_>, log: &mut Log<'_>) -> Vec<Redistribute> {
    let key = Key::Of(&table.key, "redistribute");
    let example =
        "\"connected\", \"static\", or a table such as { from = \"static\", policy = \"ours\" },";
    let mut all: Vec<Redistribute> = Vec::new();
    for value in table.list("redistribute") {
        let known = ["from", "policy", "label"];
        let entry = with_policy(value, key, "from", &known, example, log);
        let Some(Entry {
            text,
            policy,
            label,
            ..
        }) = entry
        else {
            continue;
        };
        let known = [Origin::Connected, Origin::Static];
        match known.into_iter().find(|o| o.name() == text.value) {
            Some(o) if all.iter().any(|r| r.source == o) => {
                let message = format!("{} is there twice; leave one out", text.value);
                log.at(text.at, key, message);
            }
            Some(source) => all.push(Redistribute {
                source,
                policy,
                label,
            }),
            None => {
                let message = format!("{:?} is not \"connected\" or \"static\"", text.value);
                log.at(text.at, key, message);
            }
        }
    }
    all.sort_by_key(|r| r.source);
    all
}

/// Each table of a table by name.
fn each<'t>(
    table: &'t Table<'t>,
    name: &'static str,
    form: &str,
    log: &mut Log<'_>,
    mut one: impl FnMut(&'t str, &'t DeTable<'t>, usize, Key<'_>, &mut Log<'_>),
) {
    let Some(value) = table.get(name) else { return };
    let place = Key::Of(&table.key, name);
    let DeValue::Table(all) = value.get_ref() else {
        let message = format!("a table by name is wanted; write {form} above its keys");
        log.at(value.span().start, place, message);
        return;
    };
    for (name, value) in all {
        let (at, word): (usize, &str) = (name.span().start, name.get_ref());
        let key = Key::Of(&place, word);
        match value.get_ref() {
            DeValue::Table(entries) => one(word, entries, at, key, log),
            _ => log.at(
                at,
                key,
                format!("a table is wanted; write {form} above its keys"),
            ),
        }
        if log.is_full() {
            break;
        }
    }
}

fn groups(table: &Table<'_>, places: &mut Places, log: &mut Log<'_>) -> BTreeMap<String, Settings> {
    let mut groups = BTreeMap::new();
    each(
        table,
        "group",
        "[bgp.group.NAME]",
        log,
        |name, entries, at, key, log| {
            let table = Table::new(entries, at, key, Settings::KEYS, &[], log);
            let mut own = HashMap::new();
            let settings = Settings::read(&table, &mut own, log);
            places.insert(Scope::Group(name.to_owned()), (at, own));
            groups.insert(name.to_owned(), settings);
        },
    );
    groups
}

fn neighbors(
    table: &Table<'_>,
    places: &mut Places,
    log: &mut Log<'_>,
) -> BTreeMap<PeerKey, Neighbor> {
    let mut known = vec!["group"];
    known.extend(Settings::KEYS);
    let mut neighbors = BTreeMap::new();
    let form = "[bgp.neighbor.\"ADDRESS\"]";
    each(
        table,
        "neighbor",
        form,
        log,
        |name, entries, at, key, log| {
            let table = Table::new(entries, at, key, &known, &[], log);
            let peer = match peer(name) {
                Ok(peer) => peer,
                Err(message) => return log.at(at, key, message),
            };
            let mut own = HashMap::new();
            let settings = Settings::read(&table, &mut own, log);
            let group = table.string("group", log);
            if let Some(group) = &group {
                own.insert("group", group.at);
            }
            if neighbors.contains_key(&peer) {
                log.at(at, key, format!("is {peer}, which is there already"));
                return;
            }
            places.insert(Scope::Neighbor(peer.clone()), (at, own));
            let group = group.map(|g| g.value.to_owned());
            neighbors.insert(
                peer,
                Neighbor {
                    group,
                    own: settings,
                },
            );
        },
    );
    neighbors
}

/// What the name of a neighbour means.
fn peer(name: &str) -> Result<PeerKey, String> {
    let (address, dev) = match name.split_once('%') {
        Some((address, dev)) => (address, Some(dev)),
        None => (name, None),
    };
    if let Ok(address) = address.parse::<IpAddr>() {
        return address_key(address, dev);
    }
    if dev.is_some() {
        return Err(format!(
            "{name:?} is not a link-local address with its interface, such as \"fe80::1%wan0\""
        ));
    }
    if name.contains('/') {
        let prefix = api::grammar::prefix(name).map_err(|e| e.0)?;
        let lone = prefix.prefix_len() == prefix.max_prefix_len();
        return match lone {
            true => address_key(prefix.addr(), None),
            false => dynamic(prefix),
        };
    }
    match terms::interface_name(name) {
        Ok(()) if !looks_like_an_address(name) => Ok(PeerKey::Interface(name.to_owned())),
        _ => Err(format!(
            "{name:?} is not a neighbour: an address (\"198.51.100.3\", \"fe80::1%wan0\"), a prefix whose members may connect (\"10.0.0.0/24\"), or an interface (\"wan0\")"
        )),
    }
}

fn looks_like_an_address(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

fn address_key(address: IpAddr, dev: Option<&str>) -> Result<PeerKey, String> {
    let link_local = matches!(address, IpAddr::V6(a) if a.is_unicast_link_local());
    let wrong = if address.is_unspecified() {
        "is no address of a host"
    } else if address.is_multicast() || address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST) {
        "is not the address of one neighbour"
    } else if link_local && dev.is_none_or(str::is_empty) {
        return Err(format!(
            "{address} is link-local, so it needs its interface: \"{address}%wan0\""
        ));
    } else {
        return Ok(PeerKey::Address(address, dev.map(str::to_owned)));
    };
    Err(format!("{address} {wrong}"))
}

fn dynamic(prefix: IpNet) -> Result<PeerKey, String> {
    match prefix.addr().is_multicast() {
        true => Err(format!("{prefix} is multicast, where nobody connects from")),
        false => Ok(PeerKey::Prefix(prefix)),
    }
}
