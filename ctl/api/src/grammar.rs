//! The words of a command, as iproute2 has them, into what the API takes.
//!
//! `trunkctl` reads its arguments and batch files with this, and the appliance its route files, so that the three agree.
//! What follows a `via` belongs to it; another `via`, or `nexthop`, or `backup`, begins the next hop. Only the form is checked
//! here: whether an interface exists, or a label may be used, the appliance says.

mod nearest;

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

pub use nearest::nearest;

use crate::v1::change::Change as Kind;
use crate::v1::{Change, InterfaceSpec, LabelSpec, NeighborSpec, NextHopSpec, RouteSpec};

/// A command that can't be understood: what is wrong and what would be right, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrammarError(pub String);

impl fmt::Display for GrammarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for GrammarError {}

type Parsed<T> = Result<T, GrammarError>;

fn wrong<T>(text: impl Into<String>) -> Parsed<T> {
    Err(GrammarError(text.into()))
}

/// A next hop, its form checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Hop {
    /// `via`
    pub address: Option<IpAddr>,
    /// `dev`
    pub interface: Option<String>,
    /// `label`, outermost first, each below 2^20.
    pub label: Vec<u32>,
    /// `weight`, 1 to 256; left out: 1.
    pub weight: Option<u16>,
    /// Written `backup ADDRESS`: carries while none of the others does.
    pub backup: bool,
}

impl Hop {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl From<Hop> for NextHopSpec {
    fn from(hop: Hop) -> Self {
        Self {
            address: hop.address.map(|a| a.to_string()).unwrap_or_default(),
            interface: hop.interface.unwrap_or_default(),
            label: hop.label,
            weight: hop.weight.map_or(0, u32::from),
            backup: hop.backup,
        }
    }
}

/// What a route does: everything after its prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RouteBody {
    /// Its next hops.
    pub hops: Vec<Hop>,
    /// `vrf`
    pub vrf: Option<String>,
    /// `via-table`: where next hops are looked up.
    pub via_table: Option<String>,
    /// `ttl`: "uniform" or "pipe".
    pub mpls_ttl: Option<&'static str>,
    /// `entropy-label`
    pub entropy_label: bool,
}

/// The sorts of routes that drop, as iproute2 names them.
pub const DISCARDS: [&str; 3] = ["blackhole", "unreachable", "prohibit"];

/// Reads a prefix: `203.0.113.0/24`, or an address alone for a prefix of its full length.
///
/// # Errors
/// It is not a prefix, or has bits set after its length.
pub fn prefix(text: &str) -> Parsed<IpNet> {
    let parsed = match text.split_once('/') {
        None => text
            .parse()
            .ok()
            .map(|address: IpAddr| IpNet::from(address)),
        Some((address, length)) => {
            let address: Option<IpAddr> = address.parse().ok();
            let most = if address.is_some_and(|a| a.is_ipv6()) {
                128
            } else {
                32
            };
            if let (Some(_), Some(length)) = (address, digits(length))
                && length > most
            {
                return wrong(format!(
                    "{text:?} is not a prefix: its length is 0 to {most}"
                ));
            }
            address
                .zip(digits(length))
                .and_then(|(a, l)| IpNet::new(a, u8::try_from(l).ok()?).ok())
        }
    };
    match parsed {
        None => wrong(format!(
            "{text:?} is not a prefix such as 203.0.113.0/24 or 2001:db8::/32"
        )),
        Some(net) if net.addr() != net.network() => wrong(format!(
            "{text:?} has bits set after its length; the prefix is {}",
            net.trunc()
        )),
        Some(net) => Ok(net),
    }
}

/// Digits alone: no sign, no blanks.
fn digits(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

fn number(word: &str, text: &str, from: u32, to: u32) -> Parsed<u32> {
    match digits(text) {
        Some(value) if (from..=to).contains(&value) => Ok(value),
        _ => wrong(format!(
            "{word} {text:?} is not a number from {from} to {to}"
        )),
    }
}

fn address(word: &str, text: &str) -> Parsed<IpAddr> {
    text.parse().or_else(|_| {
        let hint = if text.contains('/') {
            " (an address has no length)"
        } else {
            ""
        };
        wrong(format!("{word} {text:?} is not an address{hint}"))
    })
}

/// Reads `100/200`, outermost first.
///
/// # Errors
/// One of them is not a number below 2^20.
pub fn labels(text: &str) -> Parsed<Vec<u32>> {
    text.split('/')
        .map(|label| number("label", label, 0, (1 << 20) - 1))
        .collect()
}

fn ttl(text: &str) -> Parsed<&'static str> {
    match text {
        "uniform" => Ok("uniform"),
        "pipe" => Ok("pipe"),
        _ => wrong(format!("ttl {text:?} is not \"uniform\" or \"pipe\"")),
    }
}

/// The words that are left, and the one before them.
struct Words<'a, I> {
    rest: I,
    last: &'a str,
}

impl<'a, I: Iterator<Item = &'a str>> Words<'a, I> {
    fn next(&mut self) -> Option<&'a str> {
        let word = self.rest.next()?;
        self.last = word;
        Some(word)
    }

    /// The word that must follow the last one.
    fn value(&mut self, what: &str) -> Parsed<&'a str> {
        let after = self.last;
        self.next()
            .map_or_else(|| wrong(format!("{what} is missing after \"{after}\"")), Ok)
    }
}

/// Sets what may be set once.
fn once<T>(slot: &mut Option<T>, word: &str, value: T) -> Parsed<()> {
    if slot.replace(value).is_some() {
        wrong(format!("\"{word}\" is given twice"))
    } else {
        Ok(())
    }
}

fn unknown<T>(word: &str, known: &[&str]) -> Parsed<T> {
    match nearest(word, known) {
        Some(near) => wrong(format!("unknown word {word:?}; did you mean \"{near}\"?")),
        None => wrong(format!(
            "unknown word {word:?}; one of {} is wanted",
            known.join(", ")
        )),
    }
}

/// Reads what follows a route's prefix: `via A dev D label 100/200 weight N …`.
///
/// # Errors
/// A word is unknown, or what must follow it is missing or wrong.
pub fn route_body<'a>(words: impl Iterator<Item = &'a str>) -> Parsed<RouteBody> {
    let mut words = Words {
        rest: words,
        last: "the prefix",
    };
    let mut body = RouteBody::default();
    let mut hop: Option<Hop> = None;
    while let Some(word) = words.next() {
        hop_word(word, &mut words, &mut body, &mut hop)?;
    }
    finish(&mut body, hop)?;
    Ok(body)
}

fn hop_word<'a, I: Iterator<Item = &'a str>>(
    word: &str,
    words: &mut Words<'a, I>,
    body: &mut RouteBody,
    open: &mut Option<Hop>,
) -> Parsed<()> {
    match word {
        "nexthop" => {
            let done = open.replace(Hop::default());
            return finish(body, done);
        }
        "via" => {
            let mut text = words.value("an address")?;
            if matches!(text, "inet" | "inet6") {
                text = words.value("an address")?;
            }
            let address = address("via", text)?;
            if open.as_ref().is_some_and(|hop| hop.address.is_some()) {
                finish(body, open.take())?;
            }
            open.get_or_insert_default().address = Some(address);
        }
        "backup" => {
            if open.as_ref().is_some_and(|hop| !hop.is_empty()) {
                finish(body, open.take())?;
            }
            let mut hop = Hop {
                backup: true,
                ..Hop::default()
            };
            match words.value("an address")? {
                "dev" => hop.interface = Some(words.value("an interface")?.to_owned()),
                "via" => hop.address = Some(address("via", words.value("an address")?)?),
                text => hop.address = Some(address(word, text)?),
            }
            *open = Some(hop);
        }
        "dev" => {
            let name = words.value("an interface")?.to_owned();
            once(&mut open.get_or_insert_default().interface, word, name)?;
        }
        "label" => {
            let stack = labels(words.value("a label or several, as 100/200,")?)?;
            let hop = open.get_or_insert_default();
            if !hop.label.is_empty() {
                return wrong(
                    "\"label\" is given twice; a stack is written 100/200, outermost first",
                );
            }
            hop.label = stack;
        }
        "weight" => {
            let weight = number(word, words.value("a number")?, 1, 256)?;
            once(
                &mut open.get_or_insert_default().weight,
                word,
                u16::try_from(weight).unwrap_or(1),
            )?;
        }
        "vrf" => once(&mut body.vrf, word, words.value("a name")?.to_owned())?,
        "via-table" => {
            let name = words.value("a name")?.to_owned();
            once(&mut body.via_table, word, name)?;
        }
        "ttl" => once(
            &mut body.mpls_ttl,
            word,
            ttl(words.value("\"uniform\" or \"pipe\"")?)?,
        )?,
        "entropy-label" => body.entropy_label = true,
        _ => {
            return unknown(
                word,
                &[
                    "via",
                    "dev",
                    "label",
                    "weight",
                    "nexthop",
                    "backup",
                    "vrf",
                    "via-table",
                    "ttl",
                    "entropy-label",
                ],
            );
        }
    }
    Ok(())
}

fn finish(body: &mut RouteBody, hop: Option<Hop>) -> Parsed<()> {
    let Some(hop) = hop else { return Ok(()) };
    if hop.is_empty() {
        return wrong("\"nexthop\" has neither \"via ADDRESS\" nor \"dev NAME\"");
    }
    if hop.address.is_none() && hop.interface.is_none() {
        return wrong("a next hop needs \"via ADDRESS\" or \"dev NAME\"");
    }
    body.hops.push(hop);
    Ok(())
}

/// A route: its prefix, what it does, and whether it drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteArgs {
    /// Where to.
    pub prefix: IpNet,
    /// One of [`DISCARDS`].
    pub discard: Option<&'static str>,
    /// The rest.
    pub body: RouteBody,
}

impl From<RouteArgs> for RouteSpec {
    fn from(args: RouteArgs) -> Self {
        Self {
            prefix: args.prefix.to_string(),
            via: args.body.hops.into_iter().map(NextHopSpec::from).collect(),
            discard: args.discard.unwrap_or_default().to_owned(),
            vrf: args.body.vrf.unwrap_or_default(),
            via_table: args.body.via_table.unwrap_or_default(),
            mpls_ttl: args.body.mpls_ttl.unwrap_or_default().to_owned(),
            entropy_label: args.body.entropy_label,
        }
    }
}

/// Reads `[blackhole|unreachable|prohibit] PREFIX …`. `default` is 0.0.0.0/0, or ::/0 if the first `via` is of IPv6.
///
/// # Errors
/// As [`prefix`] and [`route_body`]; a route that drops has no next hop.
pub fn route<'a>(mut words: impl Iterator<Item = &'a str>) -> Parsed<RouteArgs> {
    let mut first = words.next();
    let discard = first.and_then(|word| DISCARDS.into_iter().find(|d| *d == word));
    if discard.is_some() || first == Some("unicast") {
        first = words.next();
    }
    let Some(first) = first else {
        return wrong("a prefix is missing, such as 203.0.113.0/24");
    };
    let known = (first != "default").then(|| prefix(first)).transpose()?;
    let body = route_body(words)?;
    if let (Some(discard), false) = (discard, body.hops.is_empty()) {
        return wrong(format!(
            "a route that is \"{discard}\" has no next hop; leave out via, dev and label"
        ));
    }
    if body.hops.is_empty() && body.via_table.is_some() {
        return wrong("\"via-table\" is where next hops are looked up, and there is none");
    }
    let six = body
        .hops
        .first()
        .and_then(|hop| hop.address)
        .is_some_and(|a| a.is_ipv6());
    let prefix = known.unwrap_or_else(|| {
        if six {
            ipnet::Ipv6Net::default().into()
        } else {
            ipnet::Ipv4Net::default().into()
        }
    });
    Ok(RouteArgs {
        prefix,
        discard,
        body,
    })
}

/// Reads `300 swap 400/500 via …`, `301 pop via …`, `302 pop`.
///
/// # Errors
/// A word is unknown, missing or wrong.
pub fn label<'a>(mut words: impl Iterator<Item = &'a str>) -> Parsed<LabelSpec> {
    let label = label_value(words.next())?;
    let (action, out) = match words.next() {
        Some("pop") => ("pop", Vec::new()),
        Some("swap" | "as") => match words.next() {
            Some(stack) => ("swap", labels(stack)?),
            None => return wrong("the labels to swap to are missing, as in \"swap 400/500\""),
        },
        Some(word) => {
            return wrong(format!(
                "unknown action {word:?}; \"swap L/L\" or \"pop\" is wanted"
            ));
        }
        None => {
            return wrong(
                "what to do is missing: \"swap L/L via ADDRESS\", \"pop via ADDRESS\" or \"pop\"",
            );
        }
    };
    let body = route_body(words)?;
    if body.via_table.is_some() {
        return wrong("\"via-table\" is for routes; next hops of labels are in the global table");
    }
    if action == "swap" && body.hops.is_empty() {
        return wrong("\"swap\" needs a next hop: via ADDRESS");
    }
    let mut via: Vec<NextHopSpec> = Vec::with_capacity(body.hops.len());
    for hop in body.hops {
        if action == "pop" && !hop.label.is_empty() {
            return wrong("\"pop\" pushes no labels; use \"swap\" to replace the label by others");
        }
        let mut hop = NextHopSpec::from(hop);
        if hop.label.is_empty() {
            hop.label.clone_from(&out);
        }
        via.push(hop);
    }
    Ok(LabelSpec {
        label,
        action: action.to_owned(),
        via,
        vrf: body.vrf.unwrap_or_default(),
        mpls_ttl: body.mpls_ttl.unwrap_or_default().to_owned(),
    })
}

fn label_value(word: Option<&str>) -> Parsed<u32> {
    match word {
        Some(text) => number("label", text, 0, (1 << 20) - 1),
        None => wrong("a label is missing, such as 300"),
    }
}

/// Reads `ADDRESS [lladdr MAC] dev NAME`.
///
/// # Errors
/// A word is unknown, missing or wrong.
pub fn neighbor<'a>(words: impl Iterator<Item = &'a str>) -> Parsed<NeighborSpec> {
    let mut words = Words {
        rest: words,
        last: "neigh",
    };
    let address = address("neighbour", words.value("an address")?)?;
    let (mut lladdr, mut interface) = (None, None);
    while let Some(word) = words.next() {
        match word {
            "lladdr" => once(
                &mut lladdr,
                word,
                words.value("an Ethernet address")?.to_owned(),
            )?,
            "dev" => once(
                &mut interface,
                word,
                words.value("an interface")?.to_owned(),
            )?,
            _ => return unknown(word, &["lladdr", "dev"]),
        }
    }
    Ok(NeighborSpec {
        address: address.to_string(),
        interface: interface.unwrap_or_default(),
        lladdr: lladdr.unwrap_or_default(),
    })
}

/// Reads `NAME [device DEVICE] [address A/L]… [mtu N] [mpls] [queues N]`.
///
/// # Errors
/// A word is unknown, missing or wrong.
pub fn interface<'a>(words: impl Iterator<Item = &'a str>) -> Parsed<InterfaceSpec> {
    let mut words = Words {
        rest: words,
        last: "interface",
    };
    let name = words.value("a name")?.to_owned();
    let mut spec = InterfaceSpec {
        name,
        ..InterfaceSpec::default()
    };
    let (mut device, mut mtu, mut queues) = (None, None, None);
    while let Some(word) = words.next() {
        match word {
            "device" => once(
                &mut device,
                word,
                words.value("a device, such as af_packet:eth1,")?.to_owned(),
            )?,
            "address" => spec.address.push(
                words
                    .value("an address, such as 198.51.100.2/31,")?
                    .to_owned(),
            ),
            "mtu" => once(
                &mut mtu,
                word,
                number(word, words.value("a number")?, 68, 65535)?,
            )?,
            "queues" => once(
                &mut queues,
                word,
                number(word, words.value("a number")?, 1, 1024)?,
            )?,
            "mpls" => spec.mpls = true,
            _ => return unknown(word, &["device", "address", "mtu", "queues", "mpls"]),
        }
    }
    spec.device = device.unwrap_or_default();
    spec.mtu = mtu.unwrap_or_default();
    spec.queues = queues.unwrap_or_default();
    Ok(spec)
}

/// Reads a whole command that changes something: `route add …`, `label del …`, as a line of a batch has it.
///
/// # Errors
/// It is not such a command, or something in it is wrong.
pub fn change<'a>(mut words: impl Iterator<Item = &'a str>) -> Parsed<Change> {
    let Some(noun) = words.next() else {
        return wrong("a command is missing");
    };
    let nouns = ["route", "label", "neigh", "interface"];
    let noun = match noun {
        "neighbor" | "neighbour" => "neigh",
        _ => match nouns.iter().find(|known| **known == noun) {
            Some(noun) => noun,
            None => return wrong(not_a_noun(noun, &nouns)),
        },
    };
    let verbs: &[&str] = if matches!(noun, "route" | "label") {
        &["add", "replace", "del"]
    } else {
        &["add", "del"]
    };
    let Some(verb) = words.next() else {
        return wrong(format!(
            "what to do with the {noun} is missing: {}",
            verbs.join(", ")
        ));
    };
    let change = match (noun, verb) {
        ("route", "add") => Kind::RouteAdd(routed(words)?),
        ("route", "replace" | "change") => Kind::RouteReplace(routed(words)?),
        ("route", "del" | "delete") => Kind::RouteDelete(route(words)?.into()),
        ("label", "add") => Kind::LabelAdd(label(words)?),
        ("label", "replace" | "change") => Kind::LabelReplace(label(words)?),
        ("label", "del" | "delete") => Kind::LabelDelete(LabelSpec {
            label: alone(words, label_value)?,
            ..LabelSpec::default()
        }),
        ("neigh", "add") => Kind::NeighborAdd(resolved(words)?),
        ("neigh", "del" | "delete") => Kind::NeighborDelete(neighbor(words)?),
        ("interface", "add") => Kind::InterfaceAdd(interface(words)?),
        ("interface", "del" | "delete") => {
            let name = |word: Option<&str>| {
                word.map_or_else(|| wrong("a name is missing"), |name| Ok(name.to_owned()))
            };
            Kind::InterfaceDelete(InterfaceSpec {
                name: alone(words, name)?,
                ..InterfaceSpec::default()
            })
        }
        ("route" | "label" | "neigh" | "interface", "show" | "list" | "get") => {
            return wrong(format!(
                "\"{noun} {verb}\" changes nothing, so it can't be part of a commit"
            ));
        }
        (_, verb) => return unknown(verb, verbs),
    };
    Ok(Change {
        change: Some(change),
    })
}

/// A route that goes somewhere.
fn routed<'a>(words: impl Iterator<Item = &'a str>) -> Parsed<RouteSpec> {
    let args = route(words)?;
    if args.discard.is_none() && args.body.hops.is_empty() {
        return wrong(format!(
            "where {} goes is missing: via ADDRESS, dev NAME, or \"blackhole\" before the prefix",
            args.prefix
        ));
    }
    Ok(args.into())
}

/// A neighbour that is fully told.
fn resolved<'a>(words: impl Iterator<Item = &'a str>) -> Parsed<NeighborSpec> {
    let spec = neighbor(words)?;
    match (spec.lladdr.is_empty(), spec.interface.is_empty()) {
        (true, _) => wrong("the Ethernet address is missing: lladdr MAC"),
        (_, true) => wrong("the interface is missing: dev NAME"),
        _ => Ok(spec),
    }
}

/// One word and nothing after it.
fn alone<'a, T>(
    mut words: impl Iterator<Item = &'a str>,
    read: impl FnOnce(Option<&'a str>) -> Parsed<T>,
) -> Parsed<T> {
    let value = read(words.next())?;
    match words.next() {
        None => Ok(value),
        Some(word) => wrong(format!("nothing is expected here, but there is {word:?}")),
    }
}

/// Nouns and verbs of the command line that later versions have.
pub const LATER: [&str; 2] = ["capture", "top"];

fn not_a_noun(noun: &str, known: &[&str]) -> String {
    if LATER.contains(&noun) {
        return format!("\"{noun}\" is not in this version");
    }
    if matches!(noun, "bgp" | "explain") {
        return format!(
            "\"{noun} …\" changes no configuration, so it can't be part of a commit; run it by itself"
        );
    }
    match nearest(noun, known) {
        Some(near) => format!("unknown command {noun:?}; did you mean \"{near}\"?"),
        None => format!(
            "unknown command {noun:?}; one of {} is wanted",
            known.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests;
