//! Who is told what BGP hears: `[bmp.NAME]`, stations of the BGP Monitoring Protocol (RFC 7854), and `[mrt]`, files (RFC 6396).

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use toml::de::DeValue;
use toml_edit::{Array, DocumentMut, Item, Table as Toml, Value};

use super::reader::{Key, Log, Table, string};

/// The port that stations listen on where nothing is said: none is assigned, and this one is usual.
pub const BMP_PORT: u16 = 11_019;
/// Seconds between two reports of statistics, where nothing is said.
const STATISTICS: u32 = 60;
/// Seconds until another file is begun, and how many stay, where nothing is said.
const ROTATE: u32 = 900;
const KEEP: u32 = 96;

/// What a station is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Monitor {
    /// Routes as neighbours send them.
    PrePolicy,
    /// Routes as import policies leave them.
    PostPolicy,
    /// Routes that are chosen (RFC 9069).
    LocRib,
}

impl Monitor {
    const ALL: [Self; 3] = [Self::PrePolicy, Self::PostPolicy, Self::LocRib];

    /// As in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrePolicy => "pre-policy",
            Self::PostPolicy => "post-policy",
            Self::LocRib => "loc-rib",
        }
    }
}

/// `[bmp.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bmp {
    /// The station's address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Our end, if it is given.
    pub source: Option<IpAddr>,
    /// What it is told of; not empty, each once, in order.
    pub monitor: Vec<Monitor>,
    /// Seconds between two reports of statistics; 0: none.
    pub statistics: u32,
}

impl Bmp {
    /// Where the station is.
    #[must_use]
    pub fn at(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// `[mrt]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mrt {
    /// The directory for what neighbours say.
    pub updates: PathBuf,
    /// Seconds until another file is begun.
    pub rotate: u32,
    /// So many files stay; 0: all.
    pub keep: u32,
}

/// Both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// `[bmp.*]` by name.
    pub bmp: BTreeMap<String, Bmp>,
    /// `[mrt]`
    pub mrt: Option<Mrt>,
}

/// Reads both sections, if they are there.
pub(super) fn sections(root: &Table<'_>, log: &mut Log<'_>) -> Watch {
    Watch {
        bmp: stations(root, log),
        mrt: mrt(root, log),
    }
}

fn stations(root: &Table<'_>, log: &mut Log<'_>) -> BTreeMap<String, Bmp> {
    let mut all = BTreeMap::new();
    let Some(value) = root.get("bmp") else {
        return all;
    };
    let place = Key::Of(&root.key, "bmp");
    let form = "write [bmp.NAME] above the keys of a station";
    let DeValue::Table(named) = value.get_ref() else {
        log.at(
            value.span().start,
            place,
            format!("a table by name is wanted; {form}"),
        );
        return all;
    };
    for (name, value) in named {
        let (at, word): (usize, &str) = (name.span().start, name.get_ref());
        let key = Key::Of(&place, word);
        let DeValue::Table(entries) = value.get_ref() else {
            log.at(at, key, format!("a table is wanted; {form}"));
            continue;
        };
        let known = ["address", "port", "source-address", "monitor", "statistics"];
        let table = Table::new(entries, at, key, &known, &[], log);
        if let Some(station) = station(&table, log) {
            all.insert(word.to_owned(), station);
        }
    }
    all
}

fn host(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(a) if a.is_unspecified() || a.is_multicast() => {
            Err(format!("{a} is no address of a host"))
        }
        Ok(a) => Ok(a),
        Err(_) => Err(format!("{text:?} is no address such as \"192.0.2.20\"")),
    }
}

fn station(table: &Table<'_>, log: &mut Log<'_>) -> Option<Bmp> {
    let address = table.read("address", log, host);
    if table.get("address").is_none() {
        let message = "is missing; write where the station is: address = \"192.0.2.20\"";
        log.at(table.at, Key::Of(&table.key, "address"), message);
    }
    let port = table.number("port", 1, 65_535, log);
    let source = table.read("source-address", log, host);
    if let (Some(a), Some(s)) = (&address, &source)
        && a.value.is_ipv4() != s.value.is_ipv4()
    {
        let message = format!(
            "{} and the station's {} are not of one family",
            s.value, a.value
        );
        log.at(s.at, Key::Of(&table.key, "source-address"), message);
    }
    Some(Bmp {
        address: address?.value,
        port: port.and_then(|p| u16::try_from(p).ok()).unwrap_or(BMP_PORT),
        source: source.map(|s| s.value),
        monitor: monitor(table, log),
        statistics: table
            .number("statistics", 0, 86_400, log)
            .unwrap_or(STATISTICS),
    })
}

fn monitor(table: &Table<'_>, log: &mut Log<'_>) -> Vec<Monitor> {
    let key = Key::Of(&table.key, "monitor");
    let Some(value) = table.get("monitor") else {
        return vec![Monitor::PrePolicy];
    };
    let mut all = Vec::new();
    for entry in table.list("monitor") {
        let Some(text) = string(entry, key, log) else {
            continue;
        };
        match Monitor::ALL.into_iter().find(|m| m.name() == text.value) {
            Some(m) => all.push(m),
            None => {
                let known = Monitor::ALL.map(|m| format!("\"{}\"", m.name()));
                let message = format!("{:?} is not one of {}", text.value, known.join(", "));
                log.at(text.at, key, message);
            }
        }
    }
    all.sort_unstable();
    all.dedup();
    if table.list("monitor").is_empty() {
        let message = "is empty; name what the station is told of, such as \"pre-policy\"";
        log.at(value.span().start, key, message);
    }
    all
}

fn mrt(root: &Table<'_>, log: &mut Log<'_>) -> Option<Mrt> {
    let table = root.section("mrt", &["updates", "rotate", "keep"], log)?;
    let updates = table.read("updates", log, |text| match text {
        text if text.starts_with('/') => Ok(PathBuf::from(text)),
        text => Err(format!(
            "{text:?} is not the whole name of a directory, from the / on"
        )),
    });
    if table.get("updates").is_none() {
        let message =
            "is missing; write a directory for the files: updates = \"/var/lib/trunkline/mrt\"";
        log.at(table.at, Key::Of(&table.key, "updates"), message);
    }
    Some(Mrt {
        updates: updates?.value,
        rotate: table.number("rotate", 1, 86_400, log).unwrap_or(ROTATE),
        keep: table.number("keep", 0, 1_000_000, log).unwrap_or(KEEP),
    })
}

fn set(table: &mut Toml, key: &str, value: impl Into<Value>) {
    table.insert(key, Item::Value(value.into()));
}

impl Watch {
    /// Writes the sections.
    pub(super) fn print(&self, doc: &mut DocumentMut) {
        let mut all = Toml::new();
        all.set_implicit(true);
        for (name, b) in &self.bmp {
            let mut table = Toml::new();
            set(&mut table, "address", b.address.to_string());
            if b.port != BMP_PORT {
                set(&mut table, "port", i64::from(b.port));
            }
            if let Some(source) = b.source {
                set(&mut table, "source-address", source.to_string());
            }
            if b.monitor != [Monitor::PrePolicy] {
                let names: Array = b.monitor.iter().map(|m| m.name()).collect();
                set(&mut table, "monitor", names);
            }
            if b.statistics != STATISTICS {
                set(&mut table, "statistics", i64::from(b.statistics));
            }
            all.insert(name, Item::Table(table));
        }
        if !all.is_empty() {
            doc.insert("bmp", Item::Table(all));
        }
        if let Some(m) = &self.mrt {
            let mut table = Toml::new();
            set(&mut table, "updates", m.updates.display().to_string());
            if m.rotate != ROTATE {
                set(&mut table, "rotate", i64::from(m.rotate));
            }
            if m.keep != KEEP {
                set(&mut table, "keep", i64::from(m.keep));
            }
            doc.insert("mrt", Item::Table(table));
        }
    }
}

/// A change of `[bmp.*]` or `[mrt]`, as `config diff` shows it.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchStep {
    /// A station, by name: as it was, as it becomes.
    Bmp(String, Option<Bmp>, Option<Bmp>),
    /// `[mrt]`: as it was, as it becomes.
    Mrt(Option<Mrt>, Option<Mrt>),
}

/// What differs.
pub(super) fn steps(from: &Watch, to: &Watch) -> Vec<WatchStep> {
    let names = from.bmp.keys().chain(to.bmp.keys());
    let names: std::collections::BTreeSet<&String> = names.collect();
    let one = |name: &String| {
        let (a, b) = (from.bmp.get(name), to.bmp.get(name));
        (a != b).then(|| WatchStep::Bmp(name.clone(), a.cloned(), b.cloned()))
    };
    let mut all: Vec<WatchStep> = names.into_iter().filter_map(one).collect();
    if from.mrt != to.mrt {
        all.push(WatchStep::Mrt(from.mrt.clone(), to.mrt.clone()));
    }
    all
}

impl fmt::Display for WatchStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn sign<T>(from: &Option<T>, to: &Option<T>) -> &'static str {
            match (from, to) {
                (None, _) => "+",
                (_, None) => "-",
                _ => "~",
            }
        }
        match self {
            Self::Bmp(name, from, to) => {
                write!(f, "{} bmp {name}", sign(from, to))?;
                to.as_ref().or(from.as_ref()).map_or(Ok(()), |b| {
                    let names: Vec<_> = b.monitor.iter().map(|m| m.name()).collect();
                    write!(f, ": {}, {}", b.at(), names.join(", "))
                })
            }
            Self::Mrt(from, to) => {
                write!(f, "{} mrt", sign(from, to))?;
                to.as_ref().or(from.as_ref()).map_or(Ok(()), |m| {
                    write!(f, ": updates in {}", m.updates.display())
                })
            }
        }
    }
}
