//! The entries of the file: a node, a link, an address, and what is wrong with each by itself. How they go together is in
//! [`text`](super::text).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use anyhow::{Context, Result, anyhow, ensure};
use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::text::{GUEST, IN_GUESTS, Node, Role};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileText {
    #[serde(default)]
    pub(super) about: String,
    pub(super) nodes: BTreeMap<String, NodeText>,
    pub(super) links: Vec<LinkText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Fields {
    role: String,
    runs: Option<String>,
    #[serde(rename = "as")]
    asn: Option<u32>,
    #[serde(default)]
    reflector: bool,
    #[serde(default)]
    announce: Vec<String>,
    #[serde(default)]
    routes: Vec<String>,
    #[serde(default)]
    config: String,
    #[serde(default)]
    setup: String,
}

/// `"host"`, or `{ role = "host", … }`.
pub(super) struct NodeText(pub(super) Fields);

impl<'de> Deserialize<'de> for NodeText {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = NodeText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a role, or a table with one: { role = \"appliance\", as = 65001 }")
            }

            fn visit_str<E: de::Error>(self, role: &str) -> Result<NodeText, E> {
                Ok(NodeText(Fields {
                    role: role.to_owned(),
                    runs: None,
                    asn: None,
                    reflector: false,
                    announce: vec![],
                    routes: vec![],
                    config: String::new(),
                    setup: String::new(),
                }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NodeText, A::Error> {
                Fields::deserialize(de::value::MapAccessDeserializer::new(map)).map(NodeText)
            }
        }
        d.deserialize_any(Either)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkText {
    pub(super) ends: Vec<String>,
    pub(super) addresses: Option<Vec<Vec<String>>>,
    pub(super) faults: Option<String>,
}

pub(super) fn node(name: String, f: Fields) -> Result<Node> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    ensure!(
        (1..=9).contains(&name.len())
            && name.chars().all(good)
            && name.starts_with(|c: char| c.is_ascii_lowercase()),
        "a name is a small letter, and up to eight small letters and digits"
    );
    ensure!(
        !["lo", "all", "default", "eth0"].contains(&name.as_str()),
        "devices are named after nodes, and the kernel has another use for this name: take another"
    );
    let net = |text: &String| -> Result<IpNet> {
        let net: IpNet = text
            .parse()
            .with_context(|| format!("`{text}` is no prefix, such as 203.0.113.0/24"))?;
        ensure!(
            net.trunc() == net,
            "{net} has bits behind its prefix length: did you mean {}?",
            net.trunc()
        );
        Ok(net)
    };
    let route = |text: &String| -> Result<(IpNet, IpAddr)> {
        let said = || {
            format!("`{text}` is no route: PREFIX via ADDRESS, such as 10.9.0.0/24 via 10.0.1.2")
        };
        let (prefix, via) = text.split_once(" via ").with_context(said)?;
        let (prefix, via) = (
            net(&prefix.trim().to_owned())?,
            via.trim().parse::<IpAddr>().with_context(said)?,
        );
        ensure!(
            prefix.addr().is_ipv4() == via.is_ipv4(),
            "`{text}`: the two are of different families"
        );
        Ok((prefix, via))
    };
    ensure!(
        f.asn != Some(0),
        "AS 0 names nobody: take a private one, 64512 to 65534"
    );
    let guest = f.role == GUEST;
    ensure!(
        guest || f.runs.is_none(),
        "`runs` says what a guest is: with role = \"guest\""
    );
    let role = if guest {
        inside(f.runs.as_deref().unwrap_or("host"))?
    } else {
        f.role.parse().map_err(|e: String| anyhow!(e))?
    };
    Ok(Node {
        role,
        guest,
        setup: f.setup,
        asn: f.asn,
        reflector: f.reflector,
        announce: f.announce.iter().map(net).collect::<Result<_>>()?,
        routes: f.routes.iter().map(route).collect::<Result<_>>()?,
        config: f.config,
        name,
    })
}

/// What a guest is to be.
fn inside(runs: &str) -> Result<Role> {
    let found = IN_GUESTS.into_iter().find(|r| r.name() == runs);
    found.with_context(|| {
        let names: Vec<&str> = IN_GUESTS.iter().map(|r| r.name()).collect();
        format!(
            "a guest can't run \"{runs}\": take one of {}, or leave the machine out with role = \"{runs}\"",
            names.join(", ")
        )
    })
}

pub(super) fn address(text: &str) -> Result<IpNet> {
    let net: IpNet = text.parse().with_context(|| {
        format!("`{text}` is no address with a prefix length, such as 10.0.1.1/24")
    })?;
    Ok(net)
}

/// Both ends have the same networks, at most one of a family, and different addresses.
pub(super) fn pairs(sides: &[Vec<IpNet>; 2]) -> Result<()> {
    for side in sides {
        for v4 in [true, false] {
            let n = side.iter().filter(|a| a.addr().is_ipv4() == v4).count();
            ensure!(
                n <= 1,
                "one end has {n} addresses of a family: at most one of each"
            );
        }
    }
    let find = |side: &[IpNet], like: &IpNet| {
        side.iter()
            .copied()
            .find(|a| a.addr().is_ipv4() == like.addr().is_ipv4())
    };
    ensure!(
        !sides[0].is_empty(),
        "no end has an address: leave `addresses` out, and they come by themselves"
    );
    for (mine, theirs) in [(&sides[0], &sides[1]), (&sides[1], &sides[0])] {
        for a in mine {
            let b = find(theirs, a).with_context(|| {
                format!("one end has {a}, the other has no address of that family")
            })?;
            ensure!(
                a.trunc() == b.trunc(),
                "{a} and {b} are not in one network: give both ends addresses of the same"
            );
            ensure!(
                a.addr() != b.addr(),
                "both ends have {}: give them different ones",
                a.addr()
            );
        }
    }
    Ok(())
}
