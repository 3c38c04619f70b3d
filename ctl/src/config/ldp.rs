//! `[ldp]` and `[ldp.neighbor."ADDRESS"]`: with whom labels are told by LDP (RFC 5036), and for what.
//!
//! Labels are distributed unasked, each router by itself (downstream unsolicited, independent control), and all that come are
//! kept (liberal retention): that is what the crate `ldp` does, so there are no keys for it. Key files are read when the
//! configuration is, and what is in them is printed nowhere.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use ::bgp::policy::PrefixRange;
use api::grammar::nearest;
use ipnet::IpNet;
use toml::de::DeValue;
use toml_edit::{Array, DocumentMut, Item, Table as Toml, Value};

use super::bgp::{Secret, SecretFile, md5_key};
use super::model::Interface;
use super::reader::{At, Key, Log, Table, string};

/// Seconds, where nothing is said: RFC 5036 3.5.2 and 3.5.3.
const HELLO_HOLD: u16 = 15;
const HOLD: u16 = 180;

/// `[ldp]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ldp {
    /// Who we are.
    pub router_id: Ipv4Addr,
    /// Where sessions end: an address of the router.
    pub transport: Ipv4Addr,
    /// Where Hellos are sent, in order.
    pub interfaces: Vec<String>,
    /// Seconds that a Hello is good for.
    pub hello_hold: u16,
    /// Seconds without a word after which a session ends.
    pub hold: u16,
    /// What ends here is told with an explicit null.
    pub explicit_null: bool,
    /// Entropy labels (RFC 6790): we say that we can deal with them, and put them on where the end of an LSP says so.
    pub entropy: bool,
    /// A TTL of 255 in sessions, with who offers it too (RFC 6720).
    pub ttl_security: bool,
    /// The prefixes that get labels; empty: all that are connected or static.
    pub prefixes: Vec<PrefixRange>,
    /// `[ldp.neighbor]` by transport address: the key of TCP MD5.
    pub passwords: BTreeMap<Ipv4Addr, SecretFile>,
    /// Whether it was said, or is the router's.
    said: (bool, bool),
}

impl Ldp {
    /// Does this prefix get a label?
    #[must_use]
    pub fn labels(&self, p: &IpNet) -> bool {
        self.prefixes.is_empty() || self.prefixes.iter().any(|r| r.contains(p))
    }

    /// The key of TCP MD5 of who has that transport address.
    #[must_use]
    pub fn password(&self, peer: IpAddr) -> Option<&Secret> {
        match peer {
            IpAddr::V4(a) => Some(&self.passwords.get(&a)?.secret),
            IpAddr::V6(_) => None,
        }
    }
}

/// What was written.
#[derive(Debug)]
pub(super) struct Draft {
    at: usize,
    router_id: Option<At<Ipv4Addr>>,
    transport: Option<At<Ipv4Addr>>,
    interfaces: Vec<At<String>>,
    passwords: Vec<At<(Ipv4Addr, String)>>,
    rest: Ldp,
}

fn host(text: &str) -> Result<Ipv4Addr, String> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(a))
            if !(a.is_unspecified() || a.is_multicast() || a.is_broadcast() || a.is_loopback()) =>
        {
            Ok(a)
        }
        Ok(IpAddr::V6(_)) => Err(format!(
            "{text} is an IPv6 address; LDP is spoken over IPv4 here, write an address such as \"192.0.2.1\""
        )),
        _ => Err(format!(
            "{text:?} is no address of a host, such as \"192.0.2.1\""
        )),
    }
}

/// Reads the section, if it is there.
pub(super) fn section(root: &Table<'_>, log: &mut Log<'_>) -> Option<Draft> {
    let keys = [
        "router-id",
        "transport-address",
        "interfaces",
        "hello-hold-time",
        "hold-time",
        "explicit-null",
        "entropy-label",
        "ttl-security",
        "prefixes",
        "neighbor",
    ];
    let table = root.section("ldp", &keys, log)?;
    let (router_id, transport) = (
        table.read("router-id", log, host),
        table.read("transport-address", log, host),
    );
    let interfaces = texts(&table, "interfaces", log, |t| Ok(t.to_owned()));
    let prefixes = texts(&table, "prefixes", log, |t| {
        t.parse::<PrefixRange>().map_err(|e| e.to_string())
    });
    let seconds = |name, least, most, default, log: &mut Log<'_>| {
        let n = table.number(name, least, most, log);
        n.and_then(|n| u16::try_from(n).ok()).unwrap_or(default)
    };
    let rest = Ldp {
        router_id: Ipv4Addr::UNSPECIFIED,
        transport: Ipv4Addr::UNSPECIFIED,
        interfaces: Vec::new(),
        hello_hold: seconds("hello-hold-time", 3, 65_534, HELLO_HOLD, log),
        hold: seconds("hold-time", 3, 65_535, HOLD, log),
        explicit_null: table.boolean("explicit-null", log).unwrap_or(false),
        entropy: table.boolean("entropy-label", log).unwrap_or(false),
        ttl_security: table.boolean("ttl-security", log).unwrap_or(true),
        prefixes: prefixes.into_iter().map(|p| p.value).collect(),
        passwords: BTreeMap::new(),
        said: (router_id.is_some(), transport.is_some()),
    };
    Some(Draft {
        at: table.at,
        passwords: passwords(&table, log),
        router_id,
        transport,
        interfaces,
        rest,
    })
}

/// A list of strings.
fn texts<T>(
    table: &Table<'_>,
    name: &str,
    log: &mut Log<'_>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Vec<At<T>> {
    let key = Key::Of(&table.key, name);
    let mut out = Vec::new();
    for entry in table.list(name) {
        let Some(text) = string(entry, key, log) else {
            continue;
        };
        match read(text.value) {
            Ok(value) => out.push(At { at: text.at, value }),
            Err(message) => log.at(text.at, key, message),
        }
    }
    out
}

fn passwords(table: &Table<'_>, log: &mut Log<'_>) -> Vec<At<(Ipv4Addr, String)>> {
    let mut out = Vec::new();
    let Some(value) = table.get("neighbor") else {
        return out;
    };
    let place = Key::Of(&table.key, "neighbor");
    let form = "write [ldp.neighbor.\"ADDRESS\"] above the keys of a neighbour";
    let DeValue::Table(named) = value.get_ref() else {
        let message = format!("a table by address is wanted; {form}");
        log.at(value.span().start, place, message);
        return out;
    };
    for (name, value) in named {
        let (at, word): (usize, &str) = (name.span().start, name.get_ref());
        let key = Key::Of(&place, word);
        let DeValue::Table(entries) = value.get_ref() else {
            log.at(at, key, format!("a table is wanted; {form}"));
            continue;
        };
        let neighbor = Table::new(entries, at, key, &["password-file"], &[], log);
        let address = host(word).map_err(|e| log.at(at, key, e));
        let file = neighbor.read("password-file", log, |text| match text {
            "" => Err("the name of a file is wanted".into()),
            _ => Ok(text.to_owned()),
        });
        if neighbor.get("password-file").is_none() {
            let key = Key::Of(&neighbor.key, "password-file");
            log.at(at, key, "is missing; without one, leave the neighbour out");
        }
        if let (Ok(address), Some(file)) = (address, file) {
            out.push(At {
                at: file.at,
                value: (address, file.value),
            });
        }
    }
    out
}

/// What is around it.
pub(super) struct Around<'a> {
    /// The configuration's file: names of key files are relative to it.
    pub(super) file: &'a Path,
    /// `system.router-id`
    pub(super) router_id: Option<Ipv4Addr>,
    /// The interfaces.
    pub(super) interfaces: &'a BTreeMap<String, Interface>,
    /// What runs, whose keys are not read again.
    pub(super) keep: Option<&'a Ldp>,
}

/// Checks it against the rest.
pub(super) fn validate(draft: Draft, around: &Around<'_>, log: &mut Log<'_>) -> Ldp {
    let mut out = draft.rest;
    let id = draft.router_id.map(|a| a.value).or(around.router_id);
    match id {
        Some(id) => out.router_id = id,
        None => log.at(
            draft.at,
            "ldp.router-id",
            "is missing; write it here or as router-id in [system], such as \"192.0.2.1\"",
        ),
    }
    let (at, transport) = match (&draft.transport, id) {
        (Some(a), _) => (a.at, Some(a.value)),
        (None, id) => (draft.at, id),
    };
    if let Some(a) = transport {
        out.transport = a;
        let own = |i: &Interface| {
            i.vrf.is_none() && i.addresses.iter().any(|n| n.addr() == IpAddr::V4(a))
        };
        if !around.interfaces.values().any(own) {
            log.at(
                at,
                "ldp.transport-address",
                format!(
                    "{a} is no address of the router; name one that an interface has, or give \"{a}/32\" to one"
                ),
            );
        }
    }
    if draft.interfaces.is_empty() {
        log.at(
            draft.at,
            "ldp.interfaces",
            "is missing; list those with neighbours: interfaces = [\"wan0\"]",
        );
    }
    for At { at, value: name } in draft.interfaces {
        let verdict = match around.interfaces.get(&name) {
            _ if out.interfaces.contains(&name) => Err(format!("{name:?} is there twice")),
            None => Err(no_interface(&name, around.interfaces)),
            Some(i) if i.vrf.is_some() => Err(format!(
                "interface {name} is in a VRF; LDP is spoken in the global table alone, leave it out"
            )),
            Some(i) if !i.mpls => Err(format!(
                "interface {name} takes no labelled frames; write mpls = true in [interface.{name}]"
            )),
            Some(i) if !i.addresses.iter().any(|n| n.addr().is_ipv4()) => Err(format!(
                "interface {name} has no IPv4 address, which Hellos come from; give it one"
            )),
            Some(_) => Ok(()),
        };
        match verdict {
            Ok(()) => out.interfaces.push(name),
            Err(message) => log.at(at, "ldp.interfaces", message),
        }
    }
    for At {
        at,
        value: (address, written),
    } in draft.passwords
    {
        let key = format!("ldp.neighbor.\"{address}\".password-file");
        let kept = around.keep.and_then(|l| l.passwords.get(&address));
        let secret = match kept.filter(|k| k.written == written) {
            Some(have) => Ok(have.secret.clone()),
            None => md5_key(&written, around.file),
        };
        match secret {
            Ok(secret) => drop(
                out.passwords
                    .insert(address, SecretFile { written, secret }),
            ),
            Err(message) => log.at(at, key, message),
        }
    }
    out
}

fn no_interface(name: &str, all: &BTreeMap<String, Interface>) -> String {
    let names: Vec<&str> = all.keys().map(String::as_str).collect();
    let hint = match nearest(name, &names) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if names.is_empty() => "no interface is configured".to_owned(),
        None => format!("the interfaces are {}", names.join(", ")),
    };
    format!("there is no interface {name:?}; {hint}")
}

impl Ldp {
    fn table(&self) -> Toml {
        let mut table = Toml::new();
        let mut set = |key: &str, value: Value| drop(table.insert(key, Item::Value(value)));
        if self.said.0 {
            set("router-id", self.router_id.to_string().into());
        }
        if self.said.1 {
            set("transport-address", self.transport.to_string().into());
        }
        let names: Array = self.interfaces.iter().map(String::as_str).collect();
        set("interfaces", names.into());
        for (key, value, default) in [
            ("hello-hold-time", self.hello_hold, HELLO_HOLD),
            ("hold-time", self.hold, HOLD),
        ] {
            if value != default {
                set(key, i64::from(value).into());
            }
        }
        if self.explicit_null {
            set("explicit-null", true.into());
        }
        if self.entropy {
            set("entropy-label", true.into());
        }
        if !self.ttl_security {
            set("ttl-security", false.into());
        }
        if !self.prefixes.is_empty() {
            let all: Array = self.prefixes.iter().map(ToString::to_string).collect();
            set("prefixes", all.into());
        }
        table
    }

    /// Writes the section.
    pub(super) fn print(&self, doc: &mut DocumentMut) {
        let mut table = self.table();
        let mut neighbors = Toml::new();
        neighbors.set_implicit(true);
        for (address, file) in &self.passwords {
            let mut one = Toml::new();
            one.insert("password-file", toml_edit::value(file.written.as_str()));
            neighbors.insert(&address.to_string(), Item::Table(one));
        }
        if !neighbors.is_empty() {
            table.insert("neighbor", Item::Table(neighbors));
        }
        doc.insert("ldp", Item::Table(table));
    }
}

/// A change of `[ldp]`, as `config diff` shows it: as it was, as it becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct LdpStep(pub Option<Arc<Ldp>>, pub Option<Arc<Ldp>>);

/// What differs.
pub(super) fn step(from: Option<&Arc<Ldp>>, to: Option<&Arc<Ldp>>) -> Option<LdpStep> {
    (from != to).then(|| LdpStep(from.cloned(), to.cloned()))
}

impl fmt::Display for LdpStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |l: &Ldp| -> String {
            let table = l.table();
            let words = table
                .iter()
                .map(|(k, v)| format!("{k} = {}", v.to_string().trim()));
            let keys = l.passwords.keys().map(|a| format!("a key for {a}"));
            words.chain(keys).collect::<Vec<_>>().join(", ")
        };
        let (old, new) = (self.0.as_deref().map(text), self.1.as_deref().map(text));
        match (&old, &new) {
            (None, Some(new)) => write!(f, "+ ldp: {new}"),
            (Some(old), None) => write!(f, "- ldp: {old}"),
            (Some(old), Some(new)) if old == new => write!(f, "~ ldp: {new} (a key changed)"),
            (Some(old), Some(new)) => write!(f, "~ ldp: {new} (was {old})"),
            (None, None) => Ok(()),
        }
    }
}
