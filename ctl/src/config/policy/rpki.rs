//! `[rpki]`: the caches that say which AS may originate what.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ::bgp::rpki::{CacheId, Settings};
use toml_edit::{Array, Item, Table as Toml, Value};

use super::super::reader::{Key, Log, Table, string};

/// The port of the protocol, RFC 8210 9.
const PORT: u16 = 323;

/// A cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for Cache {
    /// The address alone if the port is the usual one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            PORT => self.address.fmt(f),
            port => SocketAddr::new(self.address, port).fmt(f),
        }
    }
}

/// Which of several caches are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Use {
    /// All of them; what they say is taken together.
    #[default]
    All,
    /// The first that answers; the others are in reserve, in their order.
    First,
}

impl Use {
    const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::First => "first",
        }
    }
}

/// `[rpki]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rpki {
    /// Each with its number among those of the routing process: its place here. At least one.
    pub caches: Vec<Cache>,
    /// Which of them are asked.
    pub rule: Use,
    /// Intervals in the place of those that the caches say.
    pub settings: Settings,
}

impl fmt::Display for Rpki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rpki")?;
        self.caches
            .iter()
            .try_for_each(|c| write!(f, " cache {c}"))?;
        if self.rule != Use::default() {
            write!(f, " use {}", self.rule.name())?;
        }
        let Settings {
            refresh,
            retry,
            expire,
        } = self.settings;
        for (key, value) in [("refresh", refresh), ("retry", retry), ("expire", expire)] {
            value.map_or(Ok(()), |v| write!(f, " {key} {v}"))?;
        }
        Ok(())
    }
}

/// Reads `[rpki]`, if it is there.
pub(super) fn section(root: &Table<'_>, log: &mut Log<'_>) -> Option<Rpki> {
    let known = ["cache", "use", "refresh", "retry", "expire"];
    let table = root.section("rpki", &known, log)?;
    let key = Key::Of(&table.key, "cache");
    let mut caches: Vec<Cache> = Vec::new();
    for value in table.list("cache") {
        let Some(text) = string(value, key, log) else {
            continue;
        };
        match cache(text.value) {
            Ok(cache) if caches.contains(&cache) => {
                log.at(text.at, key, format!("{cache} is there twice"))
            }
            Ok(cache) => caches.push(cache),
            Err(message) => log.at(text.at, key, message),
        }
    }
    if caches.len() > CacheId::MOST {
        let message = format!(
            "{} caches; at most {} are possible",
            caches.len(),
            CacheId::MOST
        );
        log.at(table.at, key, message);
    }
    if table.list("cache").is_empty() {
        let message =
            "is missing; write which caches to ask: cache = [\"192.0.2.10\", \"192.0.2.11:8282\"]";
        log.at(table.at, key, message);
    }
    let rule = table.read("use", log, |text| match text {
        "all" => Ok(Use::All),
        "first" => Ok(Use::First),
        _ => Err(format!(
            "{text:?} is not \"all\" (what all caches say is taken together) or \"first\" (the first that answers is asked)"
        )),
    });
    // RFC 8210 6.
    let settings = Settings {
        refresh: table.number("refresh", 1, 86_400, log),
        retry: table.number("retry", 1, 7200, log),
        expire: table.number("expire", 600, 172_800, log),
    };
    let longest = settings.refresh.max(settings.retry);
    if let (Some(expire), Some(longest)) = (settings.expire, longest)
        && expire <= longest
    {
        let message = format!(
            "{expire} is not longer than refresh and retry; {} would be",
            longest + 1
        );
        log.at(table.at, Key::Of(&table.key, "expire"), message);
    }
    Some(Rpki {
        caches,
        rule: rule.map(|r| r.value).unwrap_or_default(),
        settings,
    })
}

fn cache(text: &str) -> Result<Cache, String> {
    let found = match (text.parse::<IpAddr>(), text.parse::<SocketAddr>()) {
        (Ok(address), _) => Some(Cache {
            address,
            port: PORT,
        }),
        (_, Ok(socket)) => Some(Cache {
            address: socket.ip(),
            port: socket.port(),
        }),
        _ => None,
    };
    let good = |c: &Cache| c.port != 0 && !c.address.is_unspecified() && !c.address.is_multicast();
    if let Some(IpAddr::V6(a)) = found.map(|c| c.address)
        && a.is_unicast_link_local()
    {
        return Err(format!(
            "{text:?} is link-local, and nothing says on which interface; use another address of the cache"
        ));
    }
    found.filter(good).ok_or_else(|| {
        format!("{text:?} is no cache: an address, with its port unless that is {PORT}: \"192.0.2.10\", \"192.0.2.10:8282\", \"[2001:db8::10]:8282\"")
    })
}

impl Rpki {
    pub(super) fn to_table(&self) -> Toml {
        let mut table = Toml::new();
        let all: Array = self.caches.iter().map(ToString::to_string).collect();
        table.insert("cache", Item::Value(all.into()));
        if self.rule != Use::default() {
            table.insert("use", Item::Value(self.rule.name().into()));
        }
        let Settings {
            refresh,
            retry,
            expire,
        } = self.settings;
        for (key, value) in [("refresh", refresh), ("retry", retry), ("expire", expire)] {
            if let Some(value) = value {
                table.insert(key, Item::Value(Value::from(i64::from(value))));
            }
        }
        table
    }
}
