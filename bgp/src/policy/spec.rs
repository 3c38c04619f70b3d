//! Policies as they are written: rules of conditions, settings and an action.
//!
//! Nothing is resolved here: sets and called policies go by their names. [`MatchSpec::put`] and [`SetSpec::put`] read what
//! stands behind a key, `entries` gives it back in the same words; so a configuration of any format needs to know no more
//! than keys, words and lists, and what is shown of a rule is what was written.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::attrs::Origin;
use crate::rpki::Validity;
use crate::types::{Asn, Family, Relation};

use super::asn::AsnRange;
use super::aspath::AsPathPattern;
use super::community::{CommunityPattern, ExtPattern, LargePattern, Pattern};
use super::prefix::PrefixRange;
use super::word::{LabelIndex, NumMatch, NumRange, NumSet, Value, Word, WordError};

/// A policy: rules in their order, and what happens to a route that none of them decided about.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySpec {
    /// Tried one after the other.
    pub rules: Vec<RuleSpec>,
    /// True: accepted.
    pub default: bool,
}

/// A rule: if its conditions hold, the called policy does its part, then the settings are made, then the action decides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleSpec {
    /// To be shown; rules go by their place.
    pub name: Option<String>,
    /// Every key of it holds.
    pub matches: MatchSpec,
    /// No key of it holds.
    pub unless: MatchSpec,
    /// A policy whose changes stay if it accepts; if it rejects, the route is rejected.
    pub call: Option<String>,
    /// What is changed.
    pub set: SetSpec,
    /// What becomes of the route.
    pub action: Action,
}

/// What a rule decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// The route is taken, as it is now.
    Accept,
    /// It is not.
    Reject,
    /// The next rule goes on, with what this one set.
    #[default]
    Next,
}

impl Action {
    /// As in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Next => "next",
        }
    }
}

impl std::str::FromStr for Action {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        pick(s, &[Self::Accept, Self::Reject, Self::Next], Self::name)
    }
}

/// Where a route comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// From a neighbour.
    Bgp,
    /// The subnet of an interface.
    Connected,
    /// From the configuration.
    Static,
}

impl Protocol {
    /// As in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bgp => "bgp",
            Self::Connected => "connected",
            Self::Static => "static",
        }
    }
}

/// As in the configuration.
#[must_use]
pub fn relation_name(r: Relation) -> &'static str {
    match r {
        Relation::Internal => "ibgp",
        Relation::Confederation => "confederation",
        Relation::External => "ebgp",
    }
}

/// One of a few names.
fn pick<T: Copy>(s: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, String> {
    all.iter().copied().find(|t| name(*t) == s).ok_or_else(|| {
        let names: Vec<String> = all.iter().map(|t| format!("{:?}", name(*t))).collect();
        let (last, before) = names.split_last().map_or(("", &[][..]), |(l, b)| (l, b));
        format!("{s:?} is not {} or {last}", before.join(", "))
    })
}

/// Conditions about communities of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct CommunityMatch<P> {
    /// One of the route's matches one of these.
    pub any: Vec<P>,
    /// Each of these matches one of the route's.
    pub all: Vec<P>,
    /// None of the route's matches one of these.
    pub none: Vec<P>,
    /// One of the route's is in one of the sets of these names.
    pub set: Vec<String>,
}

impl<P> Default for CommunityMatch<P> {
    fn default() -> Self {
        Self {
            any: Vec::new(),
            all: Vec::new(),
            none: Vec::new(),
            set: Vec::new(),
        }
    }
}

/// Conditions. An empty list, or `None`: that is not asked. A list holds if one of its words does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MatchSpec {
    /// `family`
    pub family: Vec<Family>,
    /// `protocol`
    pub protocol: Vec<Protocol>,
    /// `neighbor`: the address of the neighbour that the policy is for is in one of these.
    pub neighbor: Vec<IpNet>,
    /// `neighbor-as`: its AS.
    pub neighbor_as: Vec<AsnRange>,
    /// `session`
    pub session: Vec<Relation>,
    /// `group`: its peer group.
    pub group: Vec<String>,
    /// `from-neighbor`: likewise of the neighbour that the route was learned from.
    pub from_neighbor: Vec<IpNet>,
    /// `from-group`
    pub from_group: Vec<String>,
    /// `prefix`
    pub prefix: Vec<PrefixRange>,
    /// `prefix-set`
    pub prefix_set: Vec<String>,
    /// `rpki`
    pub rpki: Vec<Validity>,
    /// `next-hop`
    pub next_hop: Vec<IpNet>,
    /// `origin`
    pub origin: Vec<Origin>,
    /// `origin-as`: the last of the path.
    pub origin_as: Vec<AsnRange>,
    /// `origin-as-set`
    pub origin_as_set: Vec<String>,
    /// `path-length`, as routes are compared by it.
    pub path_length: Option<NumRange>,
    /// `as-path`
    pub as_path: Vec<AsPathPattern>,
    /// `as-path-set`
    pub as_path_set: Vec<String>,
    /// `med`
    pub med: Option<NumMatch>,
    /// `local-pref`
    pub local_pref: Option<NumMatch>,
    /// `community`, `community-all`, `community-none`, `community-set`
    pub community: CommunityMatch<CommunityPattern>,
    /// `ext-community` and so on.
    pub ext_community: CommunityMatch<ExtPattern>,
    /// `large-community` and so on.
    pub large_community: CommunityMatch<LargePattern>,
}

/// Reads each word; names the one that is wrong.
fn each<T>(
    words: &[Word<'_>],
    read: impl Fn(&Word<'_>) -> Result<T, String>,
) -> Result<Vec<T>, WordError> {
    if words.is_empty() {
        return Err(
            "an empty list holds for nothing; leave the key out, or name something"
                .to_owned()
                .into(),
        );
    }
    let read = |(nth, word): (usize, &Word<'_>)| {
        read(word).map_err(|message| WordError {
            nth: Some(nth),
            message,
        })
    };
    words.iter().enumerate().map(read).collect()
}

fn one<T>(
    words: &[Word<'_>],
    read: impl Fn(&Word<'_>) -> Result<T, String>,
) -> Result<T, WordError> {
    match words {
        [word] => Ok(read(word)?),
        _ => Err("one value is wanted here, not a list".to_owned().into()),
    }
}

fn name(word: &Word<'_>) -> Result<String, String> {
    word.as_text("customers").map(str::to_owned)
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    example: &'static str,
) -> impl Fn(&Word<'_>) -> Result<T, String> {
    move |word| {
        word.as_text(example)?
            .parse()
            .map_err(|e: T::Err| e.to_string())
    }
}

/// Text or a number: AS numbers go without quotes, ranges with.
fn number<T: std::str::FromStr<Err: std::fmt::Display>>(word: &Word<'_>) -> Result<T, String> {
    word.plain()?.parse().map_err(|e: T::Err| e.to_string())
}

fn network(word: &Word<'_>) -> Result<IpNet, String> {
    let text = word.as_text("192.0.2.0/24")?;
    let net = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(net), _) => net,
        (_, Ok(address)) => address.into(),
        _ => {
            return Err(format!(
                "{text:?} is neither an address nor a prefix such as \"192.0.2.0/24\""
            ));
        }
    };
    match net.trunc() {
        same if same == net => Ok(net),
        other => Err(format!(
            "{text:?} has bits set after its length; the prefix is {other}"
        )),
    }
}

/// A list in as few words as it takes: one word stands for a list of itself.
fn list<T>(all: &[T], word: impl Fn(&T) -> Word<'static>) -> Option<Value> {
    match all {
        [] => None,
        [only] => Some(Value::One(word(only))),
        all => Some(Value::Many(all.iter().map(word).collect())),
    }
}

fn asn(range: &AsnRange) -> Word<'static> {
    match range.single() {
        Some(asn) => Word::Number(asn.0.into()),
        None => Word::text(range),
    }
}

fn net(n: &IpNet) -> Word<'static> {
    if n.prefix_len() == n.max_prefix_len() {
        Word::text(n.addr())
    } else {
        Word::text(n)
    }
}

const RELATIONS: [Relation; 3] = [
    Relation::Internal,
    Relation::Confederation,
    Relation::External,
];
const ORIGINS: [Origin; 3] = [Origin::Igp, Origin::Egp, Origin::Incomplete];
const PROTOCOLS: [Protocol; 3] = [Protocol::Bgp, Protocol::Connected, Protocol::Static];
const VALIDITIES: [Validity; 3] = [Validity::Valid, Validity::Invalid, Validity::NotFound];

impl<P: Pattern> CommunityMatch<P> {
    /// `which`: what follows the kind's name in the key.
    fn put(&mut self, key: &str, which: &str, words: &[Word<'_>]) -> Result<(), WordError> {
        let patterns = || each(words, parsed("64512:100"));
        match which {
            "" => self.any = patterns()?,
            "-all" => self.all = patterns()?,
            "-none" => self.none = patterns()?,
            "-set" => self.set = each(words, name)?,
            _ => return Err(unknown(key).into()),
        }
        Ok(())
    }

    fn entries(&self, keys: [&'static str; 4]) -> [(&'static str, Option<Value>); 4] {
        let [any, all, none, set] = keys;
        let text = |p: &P| Word::text(p);
        [
            (any, list(&self.any, text)),
            (all, list(&self.all, text)),
            (none, list(&self.none, text)),
            (set, list(&self.set, |s| Word::text(s))),
        ]
    }
}

impl MatchSpec {
    /// The keys there are, cheap conditions first: the order in which they are asked.
    pub const KEYS: [&'static str; 32] = [
        "family",
        "protocol",
        "session",
        "group",
        "neighbor-as",
        "neighbor",
        "from-group",
        "from-neighbor",
        "rpki",
        "prefix",
        "prefix-set",
        "origin",
        "local-pref",
        "med",
        "next-hop",
        "path-length",
        "origin-as",
        "origin-as-set",
        "as-path",
        "as-path-set",
        "community",
        "community-all",
        "community-none",
        "community-set",
        "ext-community",
        "ext-community-all",
        "ext-community-none",
        "ext-community-set",
        "large-community",
        "large-community-all",
        "large-community-none",
        "large-community-set",
    ];

    /// Takes what stands behind a key. A single value is a list of one word.
    ///
    /// # Errors
    /// What is wrong with one of the words, or with the key.
    pub fn put(&mut self, key: &str, words: &[Word<'_>]) -> Result<(), WordError> {
        if let Some(which) = key.strip_prefix("community") {
            return self.community.put(key, which, words);
        }
        if let Some(which) = key.strip_prefix("ext-community") {
            return self.ext_community.put(key, which, words);
        }
        if let Some(which) = key.strip_prefix("large-community") {
            return self.large_community.put(key, which, words);
        }
        match key {
            "family" => self.family = each(words, parsed("ipv4-unicast"))?,
            "protocol" => {
                self.protocol = each(words, |w| {
                    pick(w.as_text("static")?, &PROTOCOLS, Protocol::name)
                })?;
            }
            "session" => {
                self.session = each(words, |w| {
                    pick(w.as_text("ebgp")?, &RELATIONS, relation_name)
                })?;
            }
            "group" => self.group = each(words, name)?,
            "neighbor-as" => self.neighbor_as = each(words, number)?,
            "neighbor" => self.neighbor = each(words, network)?,
            "from-group" => self.from_group = each(words, name)?,
            "from-neighbor" => self.from_neighbor = each(words, network)?,
            "rpki" => {
                self.rpki = each(words, |w| {
                    pick(w.as_text("valid")?, &VALIDITIES, Validity::name)
                })?;
            }
            "prefix" => self.prefix = each(words, parsed("203.0.113.0/24 le 28"))?,
            "prefix-set" => self.prefix_set = each(words, name)?,
            "origin" => {
                self.origin = each(words, |w| pick(w.as_text("igp")?, &ORIGINS, Origin::name))?;
            }
            "local-pref" => self.local_pref = Some(one(words, NumMatch::read)?),
            "med" => self.med = Some(one(words, NumMatch::read)?),
            "next-hop" => self.next_hop = each(words, network)?,
            "path-length" => self.path_length = Some(one(words, NumRange::read)?),
            "origin-as" => self.origin_as = each(words, number)?,
            "origin-as-set" => self.origin_as_set = each(words, name)?,
            "as-path" => self.as_path = each(words, number)?,
            "as-path-set" => self.as_path_set = each(words, name)?,
            _ => return Err(unknown(key).into()),
        }
        Ok(())
    }

    /// What is asked, key by key, in the order of [`MatchSpec::KEYS`].
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let words = |all: &[String]| list(all, |s| Word::text(s));
        let origin = |o: &Origin| Word::text(o.name());
        let first = [
            ("family", list(&self.family, |f| Word::text(f))),
            ("protocol", list(&self.protocol, |p| Word::text(p.name()))),
            (
                "session",
                list(&self.session, |r| Word::text(relation_name(*r))),
            ),
            ("group", words(&self.group)),
            ("neighbor-as", list(&self.neighbor_as, asn)),
            ("neighbor", list(&self.neighbor, net)),
            ("from-group", words(&self.from_group)),
            ("from-neighbor", list(&self.from_neighbor, net)),
            ("rpki", list(&self.rpki, |v| Word::text(v.name()))),
            ("prefix", list(&self.prefix, |p| Word::text(p))),
            ("prefix-set", words(&self.prefix_set)),
            ("origin", list(&self.origin, origin)),
            ("local-pref", self.local_pref.map(|n| Value::One(n.word()))),
            ("med", self.med.map(|n| Value::One(n.word()))),
            ("next-hop", list(&self.next_hop, net)),
            (
                "path-length",
                self.path_length.map(|n| Value::One(n.word())),
            ),
            ("origin-as", list(&self.origin_as, asn)),
            ("origin-as-set", words(&self.origin_as_set)),
            ("as-path", list(&self.as_path, |p| Word::text(p))),
            ("as-path-set", words(&self.as_path_set)),
        ];
        let [.., c, ca, cn, cs, e, ea, en, es, l, la, ln, ls] = Self::KEYS;
        first
            .into_iter()
            .chain(self.community.entries([c, ca, cn, cs]))
            .chain(self.ext_community.entries([e, ea, en, es]))
            .chain(self.large_community.entries([l, la, ln, ls]))
            .filter_map(|(key, value)| Some((key, value?)))
    }

    /// True: nothing is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn unknown(key: &str) -> String {
    format!("there is no key {key:?} here")
}

/// What becomes of the next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHopSet {
    /// This address.
    Address(IpAddr),
    /// Our own address on the session.
    Own,
    /// What it was, whatever the session would make of it.
    Unchanged,
}

/// Whose number is prepended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrependAs {
    /// Our own on the session.
    Own,
    /// This one.
    Number(Asn),
}

/// An AS number in front of the path, so many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepend {
    /// Whose.
    pub asn: PrependAs,
    /// How often: 1 to 25.
    pub count: u8,
}

impl Prepend {
    /// Most times.
    pub const MOST: u8 = 25;
}

/// What becomes of private AS numbers in the path (RFC 6996).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivateAs {
    /// They are taken out.
    Remove,
    /// Ours stands in their place.
    Replace,
}

/// What becomes of communities of one kind, in this order: set, remove, add.
#[derive(Clone, Debug, PartialEq)]
pub struct CommunityEdit<P: Pattern> {
    /// These, instead of all others of this kind; an empty list: none.
    pub set: Option<Vec<P::Item>>,
    /// Those that match one of these go.
    pub remove: Vec<P>,
    /// Those in the sets of these names go.
    pub remove_set: Vec<String>,
    /// These come, if they are not there.
    pub add: Vec<P::Item>,
}

impl<P: Pattern> Default for CommunityEdit<P> {
    fn default() -> Self {
        Self {
            set: None,
            remove: Vec::new(),
            remove_set: Vec::new(),
            add: Vec::new(),
        }
    }
}

/// Settings, made in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SetSpec {
    /// `local-pref`
    pub local_pref: Option<NumSet>,
    /// `med`
    pub med: Option<NumSet>,
    /// `origin`
    pub origin: Option<Origin>,
    /// `next-hop`
    pub next_hop: Option<NextHopSet>,
    /// `blackhole`: packets for this route are dropped here (RFC 7999 3.3); NO_EXPORT is added unless the route has that
    /// or NO_ADVERTISE (3.2).
    pub blackhole: bool,
    /// `private-as`
    pub private_as: Option<PrivateAs>,
    /// `replace-as`: ours in the place of these.
    pub replace_as: Vec<AsnRange>,
    /// `prepend`
    pub prepend: Option<Prepend>,
    /// `label-index`, of labelled routes (RFC 8669).
    pub label_index: Option<LabelIndex>,
    /// `set-community`, `remove-community`, `remove-community-set`, `add-community`
    pub community: CommunityEdit<CommunityPattern>,
    /// `set-ext-community` and so on.
    pub ext_community: CommunityEdit<ExtPattern>,
    /// `set-large-community` and so on.
    pub large_community: CommunityEdit<LargePattern>,
}

impl<P: Pattern> CommunityEdit<P>
where
    <P::Item as std::str::FromStr>::Err: std::fmt::Display,
{
    fn put(&mut self, what: &str, words: &[Word<'_>]) -> Result<(), WordError> {
        let item = |w: &Word<'_>| {
            let text = w.as_text("64512:100")?;
            text.parse::<P::Item>().map_err(|e| e.to_string())
        };
        match what {
            "set" if words.is_empty() => self.set = Some(Vec::new()),
            "set" => self.set = Some(each(words, item)?),
            "add" => self.add = each(words, item)?,
            "remove" => self.remove = each(words, parsed("64512:*"))?,
            _ => self.remove_set = each(words, name)?,
        }
        Ok(())
    }

    fn entries(&self, keys: [&'static str; 4]) -> [(&'static str, Option<Value>); 4] {
        let [set, remove, remove_set, add] = keys;
        let item = |c: &P::Item| Word::text(c);
        let all = |all: &Vec<P::Item>| list(all, item).unwrap_or(Value::Many(Vec::new()));
        [
            (set, self.set.as_ref().map(all)),
            (remove, list(&self.remove, |p| Word::text(p))),
            (remove_set, list(&self.remove_set, |s| Word::text(s))),
            (add, list(&self.add, item)),
        ]
    }
}

impl SetSpec {
    /// The keys there are, in the order in which they are carried out.
    pub const KEYS: [&'static str; 21] = [
        "local-pref",
        "med",
        "origin",
        "next-hop",
        "blackhole",
        "private-as",
        "replace-as",
        "prepend",
        "label-index",
        "set-community",
        "remove-community",
        "remove-community-set",
        "add-community",
        "set-ext-community",
        "remove-ext-community",
        "remove-ext-community-set",
        "add-ext-community",
        "set-large-community",
        "remove-large-community",
        "remove-large-community-set",
        "add-large-community",
    ];

    /// Takes what stands behind a key. A single value is a list of one word.
    ///
    /// # Errors
    /// What is wrong with one of the words, or with the key.
    pub fn put(&mut self, key: &str, words: &[Word<'_>]) -> Result<(), WordError> {
        if let Some((what, kind)) = key.split_once('-')
            && let Some((kind, rest)) = kind.split_once("community")
            && matches!(
                (what, rest),
                ("set" | "add" | "remove", "") | ("remove", "-set")
            )
        {
            let what = if rest.is_empty() { what } else { "remove-set" };
            return match kind {
                "" => self.community.put(what, words),
                "ext-" => self.ext_community.put(what, words),
                "large-" => self.large_community.put(what, words),
                _ => Err(unknown(key).into()),
            };
        }
        match key {
            "local-pref" => {
                self.local_pref = Some(one(words, |w| NumSet::read(w, false))?);
            }
            "med" => self.med = Some(one(words, |w| NumSet::read(w, true))?),
            "origin" => {
                let origin = |w: &Word<'_>| pick(w.as_text("igp")?, &ORIGINS, Origin::name);
                self.origin = Some(one(words, origin)?);
            }
            "next-hop" => self.next_hop = Some(one(words, next_hop)?),
            "blackhole" => {
                self.blackhole = one(words, |w| match w {
                    Word::Flag(b) => Ok(*b),
                    _ => Err("true or false is wanted".into()),
                })?;
            }
            "private-as" => {
                self.private_as = Some(one(words, |w| {
                    let all = [PrivateAs::Remove, PrivateAs::Replace];
                    pick(w.as_text("remove")?, &all, PrivateAs::name)
                })?);
            }
            "replace-as" => self.replace_as = each(words, number)?,
            "prepend" => self.prepend = Some(prepend(words)?),
            "label-index" => self.label_index = Some(one(words, LabelIndex::read)?),
            _ => return Err(unknown(key).into()),
        }
        Ok(())
    }

    /// What is set, key by key, in the order of [`SetSpec::KEYS`].
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let text = |t: &'static str| Value::One(Word::text(t));
        let first = [
            ("local-pref", self.local_pref.map(|n| Value::One(n.word()))),
            ("med", self.med.map(|n| Value::One(n.word()))),
            ("origin", self.origin.map(|o| text(o.name()))),
            ("next-hop", self.next_hop.map(|n| Value::One(n.word()))),
            (
                "blackhole",
                self.blackhole.then_some(Value::One(Word::Flag(true))),
            ),
            ("private-as", self.private_as.map(|p| text(p.name()))),
            ("replace-as", list(&self.replace_as, asn)),
            ("prepend", self.prepend.map(Prepend::value)),
            (
                "label-index",
                self.label_index.map(|n| Value::One(n.word())),
            ),
        ];
        let [.., s, r, rs, a, se, re, res, ae, sl, rl, rls, al] = Self::KEYS;
        first
            .into_iter()
            .chain(self.community.entries([s, r, rs, a]))
            .chain(self.ext_community.entries([se, re, res, ae]))
            .chain(self.large_community.entries([sl, rl, rls, al]))
            .filter_map(|(key, value)| Some((key, value?)))
    }

    /// True: nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl PrivateAs {
    const fn name(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Replace => "replace",
        }
    }
}

fn next_hop(word: &Word<'_>) -> Result<NextHopSet, String> {
    let text = word.as_text("self")?;
    let address = match text {
        "self" => return Ok(NextHopSet::Own),
        "unchanged" => return Ok(NextHopSet::Unchanged),
        _ => text.parse::<IpAddr>().map_err(|_| {
            format!("{text:?} is not \"self\", \"unchanged\" or an address such as \"192.0.2.1\"")
        })?,
    };
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Err(format!("{address} is not the address of a neighbour"));
    }
    Ok(NextHopSet::Address(address))
}

impl NextHopSet {
    fn word(self) -> Word<'static> {
        match self {
            Self::Address(a) => Word::text(a),
            Self::Own => Word::text("self"),
            Self::Unchanged => Word::text("unchanged"),
        }
    }
}

/// An AS number or `self`, as often as it is to be prepended.
fn prepend(words: &[Word<'_>]) -> Result<Prepend, WordError> {
    let numbers = each(words, |word| match word {
        Word::Text(t) if t == "self" => Ok(PrependAs::Own),
        _ => {
            let found = word.plain()?.parse().ok().filter(|a: &Asn| !a.is_zero());
            found.map(PrependAs::Number).ok_or_else(|| {
                format!("{word} is neither \"self\" nor an AS number from 1 to 4294967295")
            })
        }
    })?;
    let asn = numbers[0];
    if let Some(nth) = numbers.iter().position(|other| *other != asn) {
        return Err(WordError {
            nth: Some(nth),
            message: "one rule prepends one AS number; use another rule for the other".into(),
        });
    }
    match u8::try_from(numbers.len()) {
        Ok(count) if count <= Prepend::MOST => Ok(Prepend { asn, count }),
        _ => Err(format!("at most {} times", Prepend::MOST).into()),
    }
}

impl Prepend {
    fn value(self) -> Value {
        let word = match self.asn {
            PrependAs::Own => Word::text("self"),
            PrependAs::Number(asn) => Word::Number(asn.0.into()),
        };
        match self.count {
            1 => Value::One(word),
            n => Value::Many(vec![word; n.into()]),
        }
    }
}
