//! From policies as they are written to what is run: names resolved, conditions in the order of what they cost, everything
//! that needs an allocation done.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::rpki::Validity;
use crate::types::{Family, FamilySet};

use super::asn::{AsnRange, AsnSet};
use super::aspath::AsPathSet;
use super::builtin;
use super::community::{
    Communities, CommunityPattern, CommunitySet, ExtCommunities, ExtPattern, LargeCommunities,
    LargePattern, Pattern,
};
use super::prefix::{PrefixRange, PrefixSet};
use super::run::{Act, Body, CommunityTest, Condition, Edit, Policy, PrefixTest, Rule, Test};
use super::spec::{
    Action, CommunityEdit, CommunityMatch, MatchSpec, NextHopSet, PolicySpec, RuleSpec, SetSpec,
};
use super::word::NumSet;

/// Deepest nesting of called policies.
const MAX_DEPTH: usize = 8;

/// The sets that policies name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sets {
    /// `[prefix-set]`
    pub prefix: BTreeMap<String, Arc<PrefixSet>>,
    /// `[as-set]`
    pub asn: BTreeMap<String, Arc<AsnSet>>,
    /// `[as-path-set]`
    pub as_path: BTreeMap<String, Arc<AsPathSet>>,
    /// `[community-set]`
    pub community: BTreeMap<String, Arc<Communities>>,
    /// `[ext-community-set]`
    pub ext_community: BTreeMap<String, Arc<ExtCommunities>>,
    /// `[large-community-set]`
    pub large_community: BTreeMap<String, Arc<LargeCommunities>>,
}

impl Sets {
    /// Makes sets that are the same, here and in `before`, one in memory.
    pub fn share(&mut self, before: &Self) {
        share(&mut self.prefix, &before.prefix);
        share(&mut self.asn, &before.asn);
        share(&mut self.as_path, &before.as_path);
        share(&mut self.community, &before.community);
        share(&mut self.ext_community, &before.ext_community);
        share(&mut self.large_community, &before.large_community);
    }
}

fn share<T: PartialEq>(sets: &mut BTreeMap<String, Arc<T>>, before: &BTreeMap<String, Arc<T>>) {
    let mut known: Vec<Arc<T>> = before.values().map(Arc::clone).collect();
    for set in sets.values_mut() {
        // Sets that differ mostly differ in their length or their first entry, so this takes no time.
        match known.iter().find(|same| **same == *set) {
            Some(same) => *set = Arc::clone(same),
            None => known.push(Arc::clone(set)),
        }
    }
}

/// What a policy asks for, so that its answer can be kept for routes that are the same in that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depends {
    /// The prefix.
    pub prefix: bool,
    /// The state in the RPKI, which follows from the prefix and the origin.
    pub rpki: bool,
    /// The neighbour that the policy is for: its address, AS, group or kind of session; or our AS on it.
    pub peer: bool,
    /// Where the route comes from: the protocol, or the neighbour that sent it.
    pub source: bool,
    /// The metric to the next hop.
    pub igp_metric: bool,
    /// Nothing: but it may set the next hop.
    pub sets_next_hop: bool,
}

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy {policy:?}, rule {rule}, {key}: {cause}")]
pub struct PolicyError {
    /// Its name.
    pub policy: String,
    /// The rule, counted from one; 0: the policy as a whole.
    pub rule: usize,
    /// The key in the rule: `match.prefix-set`.
    pub key: String,
    /// What is wrong.
    pub cause: Cause,
}

/// What can be wrong with a policy whose words are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A set that is not there.
    NoSet {
        /// As its section is called: `prefix-set`.
        kind: &'static str,
        /// As it was called.
        name: String,
    },
    /// A policy that is not there.
    NoPolicy(String),
    /// Policies that call each other in a circle: their names, the first again at the end.
    Cycle(Vec<String>),
    /// Calls nest too deep.
    TooDeep,
    /// The name of a built-in policy.
    BuiltIn,
    /// A rule that changes nothing and decides nothing.
    NoEffect,
    /// No route of these families can be within these prefixes, or have this next hop.
    Families(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSet { kind, name } => {
                write!(f, "there is no {kind} {name:?}; add it to [{kind}]")
            }
            Self::NoPolicy(name) => write!(f, "there is no policy {name:?}; add [policy.{name}]"),
            Self::Cycle(names) => write!(
                f,
                "policies call each other in a circle: {}; leave one of the calls out",
                names.join(" -> ")
            ),
            Self::TooDeep => write!(f, "calls nest deeper than {MAX_DEPTH}; call from fewer levels"),
            Self::BuiltIn => f.write_str("is built in; choose another name"),
            Self::NoEffect => f.write_str(
                "the rule changes nothing and decides nothing; write action = \"accept\" or \"reject\", or what it sets",
            ),
            Self::Families(what) => f.write_str(what),
        }
    }
}

/// All policies, ready to run, the built-in ones among them.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    all: BTreeMap<String, Arc<Policy>>,
}

impl Policies {
    /// Compiles every policy. One that is the same in `before` is taken from there, so that who holds it sees by
    /// [`Arc::ptr_eq`] that nothing changed.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn compile(
        specs: &BTreeMap<String, PolicySpec>,
        sets: &Sets,
        before: &Self,
    ) -> Result<Self, Vec<PolicyError>> {
        let mut errors = Vec::new();
        let built_in = builtin::all();
        for name in specs
            .keys()
            .filter(|name| built_in.contains_key(name.as_str()))
        {
            errors.push(error(name, 0, "", Cause::BuiltIn));
        }
        let mut specs: BTreeMap<&str, &PolicySpec> =
            specs.iter().map(|(k, v)| (k.as_str(), v)).collect();
        for (name, spec) in &built_in {
            specs.insert(name, spec);
        }
        nesting(&specs, &mut errors);
        for (name, spec) in &specs {
            for (i, rule) in spec.rules.iter().enumerate() {
                check(name, i + 1, rule, sets, &mut errors);
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let all = specs.keys().map(|name| {
            let policy = compile(name, &specs, sets);
            let same = before.all.get(*name).filter(|same| ***same == policy);
            let policy = same.map_or_else(|| Arc::new(policy), Arc::clone);
            ((*name).to_owned(), policy)
        });
        Ok(Self { all: all.collect() })
    }

    /// The policy of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Policy>> {
        self.all.get(name)
    }

    /// Every policy with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Policy>)> {
        self.all
            .iter()
            .map(|(name, policy)| (name.as_str(), policy))
    }
}

fn error(policy: &str, rule: usize, key: &str, cause: Cause) -> PolicyError {
    PolicyError {
        policy: policy.to_owned(),
        rule,
        key: key.to_owned(),
        cause,
    }
}

/// Finds calls of policies that are not there, circles, and calls that nest too deep.
fn nesting(specs: &BTreeMap<&str, &PolicySpec>, errors: &mut Vec<PolicyError>) {
    let mut depths: HashMap<&str, Option<usize>> = HashMap::new();
    for name in specs.keys() {
        depth(name, specs, &mut depths, &mut Vec::new(), errors);
    }
}

/// How deep the calls of a policy nest. `depths` has `None` for those whose depth is being found: the `path`.
fn depth<'a>(
    name: &'a str,
    specs: &BTreeMap<&'a str, &'a PolicySpec>,
    depths: &mut HashMap<&'a str, Option<usize>>,
    path: &mut Vec<&'a str>,
    errors: &mut Vec<PolicyError>,
) -> usize {
    if let Some(known) = depths.get(name) {
        return known.unwrap_or(0);
    }
    depths.insert(name, None);
    path.push(name);
    let mut deepest = 0;
    let rules = specs.get(name).map_or(&[][..], |spec| &spec.rules[..]);
    for (i, rule) in rules.iter().enumerate() {
        let Some(called) = &rule.call else { continue };
        let mut refuse = |cause| errors.push(error(name, i + 1, "call", cause));
        let Some((called, _)) = specs.get_key_value(called.as_str()) else {
            refuse(Cause::NoPolicy(called.clone()));
            continue;
        };
        if let Some(from) = path.iter().position(|p| p == called) {
            let circle = path[from..].iter().chain([called]);
            refuse(Cause::Cycle(circle.map(|p| (*p).to_owned()).collect()));
            continue;
        }
        let below = 1 + depth(called, specs, depths, path, errors);
        if below == MAX_DEPTH + 1 {
            errors.push(error(name, i + 1, "call", Cause::TooDeep));
        }
        deepest = deepest.max(below);
    }
    path.pop();
    depths.insert(name, Some(deepest));
    deepest
}

/// Checks what a rule names.
fn check(policy: &str, nth: usize, rule: &RuleSpec, sets: &Sets, errors: &mut Vec<PolicyError>) {
    let mut add = |key: &str, cause| errors.push(error(policy, nth, key, cause));
    for (part, spec) in [("match", &rule.matches), ("unless", &rule.unless)] {
        let mut named = |key: &str, kind, names: &[String], known: &dyn Fn(&str) -> bool| {
            for name in names.iter().filter(|name| !known(name)) {
                let name = name.clone();
                add(&format!("{part}.{key}"), Cause::NoSet { kind, name });
            }
        };
        named("prefix-set", "prefix-set", &spec.prefix_set, &|n| {
            sets.prefix.contains_key(n)
        });
        named("origin-as-set", "as-set", &spec.origin_as_set, &|n| {
            sets.asn.contains_key(n)
        });
        named("as-path-set", "as-path-set", &spec.as_path_set, &|n| {
            sets.as_path.contains_key(n)
        });
        named(
            "community-set",
            "community-set",
            &spec.community.set,
            &|n| sets.community.contains_key(n),
        );
        let (ext, large) = ("ext-community-set", "large-community-set");
        named(ext, ext, &spec.ext_community.set, &|n| {
            sets.ext_community.contains_key(n)
        });
        named(large, large, &spec.large_community.set, &|n| {
            sets.large_community.contains_key(n)
        });
    }
    let mut removed = |kind, names: &[String], known: &dyn Fn(&str) -> bool| {
        for name in names.iter().filter(|name| !known(name)) {
            let name = name.clone();
            add(&format!("set.remove-{kind}"), Cause::NoSet { kind, name });
        }
    };
    let set = &rule.set;
    removed("community-set", &set.community.remove_set, &|n| {
        sets.community.contains_key(n)
    });
    removed("ext-community-set", &set.ext_community.remove_set, &|n| {
        sets.ext_community.contains_key(n)
    });
    removed(
        "large-community-set",
        &set.large_community.remove_set,
        &|n| sets.large_community.contains_key(n),
    );
    if rule.set.is_empty() && rule.call.is_none() && rule.action == Action::Next {
        add("action", Cause::NoEffect);
    }
    if let Some((key, what)) = mixed(rule) {
        add(key, Cause::Families(what));
    }
}

/// True for the families whose prefixes and next hops are of IPv4.
fn is_v4(f: Family) -> bool {
    matches!(
        f,
        Family::Ipv4Unicast
            | Family::Ipv4Labeled
            | Family::Vpnv4
            | Family::Ipv4Flow
            | Family::Vpnv4Flow
    )
}

/// Does an address or prefix of that kind belong to routes of that family?
pub(super) fn fits(f: Family, address: IpAddr) -> bool {
    f != Family::RouteTarget && is_v4(f) == address.is_ipv4()
}

/// Conditions that no route fulfils, and settings that no route takes.
fn mixed(rule: &RuleSpec) -> Option<(&'static str, String)> {
    let families = &rule.matches.family;
    if families.is_empty() {
        return None;
    }
    let names: Vec<&str> = families.iter().map(|f| f.name()).collect();
    let names = names.join(", ");
    let none = |a: IpAddr| !families.iter().any(|f| fits(*f, a));
    let prefixes = &rule.matches.prefix;
    if !prefixes.is_empty() && prefixes.iter().all(|p| none(p.prefix().addr())) {
        let what = format!(
            "no route of {names} is within these prefixes; match the family that they are of"
        );
        return Some(("match.prefix", what));
    }
    match rule.set.next_hop {
        Some(NextHopSet::Address(a)) if none(a) => {
            let what = format!("{a} is no next hop for {names}; match the family that it is of");
            Some(("set.next-hop", what))
        }
        _ => None,
    }
}

/// Compiles one policy with everything that it calls. Nothing can be missing any more.
fn compile(name: &str, specs: &BTreeMap<&str, &PolicySpec>, sets: &Sets) -> Policy {
    let mut compiler = Compiler {
        specs,
        sets,
        bodies: Vec::new(),
        known: HashMap::new(),
        prefixes: Vec::new(),
        depends: Depends::default(),
    };
    compiler.body(name);
    Policy {
        bodies: compiler.bodies.into_iter().flatten().collect(),
        prefixes: compiler.prefixes.into(),
        depends: compiler.depends,
    }
}

struct Compiler<'a> {
    specs: &'a BTreeMap<&'a str, &'a PolicySpec>,
    sets: &'a Sets,
    /// `None`: being compiled.
    bodies: Vec<Option<Body>>,
    known: HashMap<&'a str, usize>,
    prefixes: Vec<PrefixTest>,
    depends: Depends,
}

/// The sets of these names.
fn named<T>(all: &BTreeMap<String, Arc<T>>, names: &[String]) -> Box<[Arc<T>]> {
    names
        .iter()
        .filter_map(|name| all.get(name))
        .map(Arc::clone)
        .collect()
}

impl<'a> Compiler<'a> {
    fn body(&mut self, name: &str) -> usize {
        if let Some(at) = self.known.get(name) {
            return *at;
        }
        let at = self.bodies.len();
        self.bodies.push(None);
        let Some((name, spec)) = self.specs.get_key_value(name) else {
            return at;
        };
        self.known.insert(name, at);
        let rules = spec.rules.iter().map(|rule| self.rule(rule)).collect();
        self.bodies[at] = Some(Body {
            name: (*name).into(),
            rules,
            default: spec.default,
        });
        at
    }

    fn rule(&mut self, rule: &RuleSpec) -> Rule {
        let mut conditions = self.conditions(&rule.matches, false);
        conditions.extend(self.conditions(&rule.unless, true));
        Rule {
            name: rule.name.as_deref().map(Into::into),
            conditions: conditions.into(),
            call: rule.call.as_deref().map(|name| self.body(name)),
            acts: self.acts(&rule.set).into(),
            set: rule
                .set
                .entries()
                .map(|(key, value)| format!("{key} = {value}").into())
                .collect(),
            action: rule.action,
        }
    }

    /// The conditions of a `match` or `unless`, in the order of [`MatchSpec::KEYS`].
    fn conditions(&mut self, spec: &MatchSpec, negated: bool) -> Vec<Condition> {
        spec.entries()
            .map(|(key, value)| Condition {
                test: self.test(key, spec),
                negated,
                text: format!("{key} = {value}").into(),
            })
            .collect()
    }

    fn test(&mut self, key: &str, spec: &MatchSpec) -> Test {
        let asns = |all: &[AsnRange]| all.iter().copied().collect::<AsnSet>();
        let nets = |all: &[IpNet]| all.to_vec().into_boxed_slice();
        if let "neighbor" | "neighbor-as" | "session" | "group" = key {
            self.depends.peer = true;
        }
        if let "protocol" | "from-neighbor" | "from-group" = key {
            self.depends.source = true;
        }
        match key {
            "family" => Test::Family(spec.family.iter().copied().collect::<FamilySet>()),
            "protocol" => Test::Protocol(spec.protocol.clone().into()),
            "session" => Test::Session(spec.session.clone().into()),
            "group" => Test::Group(spec.group.clone().into()),
            "neighbor-as" => Test::NeighborAs(asns(&spec.neighbor_as)),
            "neighbor" => Test::Neighbor(nets(&spec.neighbor)),
            "from-group" => Test::FromGroup(spec.from_group.clone().into()),
            "from-neighbor" => Test::FromNeighbor(nets(&spec.from_neighbor)),
            "rpki" => {
                self.depends.rpki = true;
                let bit = |v: &Validity| 1 << *v as u8;
                Test::Rpki(spec.rpki.iter().map(bit).fold(0, |a, b| a | b))
            }
            "prefix" => self.prefix(few(&spec.prefix)),
            "prefix-set" => {
                let all = named(&self.sets.prefix, &spec.prefix_set);
                self.prefix(PrefixTest::Sets(all))
            }
            "origin" => Test::Origin(spec.origin.clone().into()),
            "local-pref" => spec.local_pref.map_or(Test::Never, Test::LocalPref),
            "med" => spec.med.map_or(Test::Never, Test::Med),
            "next-hop" => Test::NextHop(nets(&spec.next_hop)),
            "path-length" => spec.path_length.map_or(Test::Never, Test::PathLength),
            "origin-as" => Test::OriginAs(Box::new([Arc::new(asns(&spec.origin_as))])),
            "origin-as-set" => Test::OriginAs(named(&self.sets.asn, &spec.origin_as_set)),
            "as-path" => Test::AsPath(Box::new([Arc::new(AsPathSet::new(spec.as_path.clone()))])),
            "as-path-set" => Test::AsPath(named(&self.sets.as_path, &spec.as_path_set)),
            _ => self.community(key, spec),
        }
    }

    fn community(&self, key: &str, spec: &MatchSpec) -> Test {
        let (kind, which) = key.split_once("community").unwrap_or((key, ""));
        match kind {
            "" => Test::Community(self.kind(&spec.community, which)),
            "ext-" => Test::ExtCommunity(self.kind(&spec.ext_community, which)),
            "large-" => Test::LargeCommunity(self.kind(&spec.large_community, which)),
            _ => Test::Never,
        }
    }

    fn kind<P: Pattern>(&self, spec: &CommunityMatch<P>, which: &str) -> CommunityTest<P> {
        let set = |all: &[P]| Arc::new(CommunitySet::new(all));
        match which {
            "" => CommunityTest::Any(Box::new([set(&spec.any)])),
            "-all" => CommunityTest::All(spec.all.clone().into()),
            "-none" => CommunityTest::None(set(&spec.none)),
            _ => CommunityTest::Any(named(P::sets(self.sets), &spec.set)),
        }
    }

    /// Notes a test of the prefix; the same test is noted once.
    fn prefix(&mut self, test: PrefixTest) -> Test {
        self.depends.prefix = true;
        let have = self.prefixes.iter().position(|have| *have == test);
        Test::Prefix(have.unwrap_or_else(|| {
            self.prefixes.push(test);
            self.prefixes.len() - 1
        }))
    }

    fn acts(&mut self, set: &SetSpec) -> Vec<Act> {
        self.depends.igp_metric |= set.med == Some(NumSet::Igp);
        self.depends.sets_next_hop |= set.next_hop.is_some();
        self.depends.peer |=
            set.private_as.is_some() || !set.replace_as.is_empty() || set.prepend.is_some();
        let own = |p| Act::Prepend(p);
        let replaced = (!set.replace_as.is_empty())
            .then(|| Act::ReplaceAs(set.replace_as.iter().copied().collect()));
        let community = |e| Act::Community(e);
        [
            set.local_pref.map(Act::LocalPref),
            set.med.map(Act::Med),
            set.origin.map(Act::Origin),
            set.next_hop.map(Act::NextHop),
            set.blackhole.then_some(Act::Blackhole),
            set.private_as.map(Act::PrivateAs),
            replaced,
            set.prepend.map(own),
            set.label_index.map(Act::LabelIndex),
            self.edit::<CommunityPattern>(&set.community).map(community),
            self.edit::<ExtPattern>(&set.ext_community)
                .map(Act::ExtCommunity),
            self.edit::<LargePattern>(&set.large_community)
                .map(Act::LargeCommunity),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn edit<P: Pattern>(&self, spec: &CommunityEdit<P>) -> Option<Edit<P>> {
        if *spec == CommunityEdit::default() {
            return None;
        }
        let own = (!spec.remove.is_empty()).then(|| Arc::new(CommunitySet::new(&spec.remove)));
        let sets = named(P::sets(self.sets), &spec.remove_set);
        Some(Edit {
            set: spec.set.clone().map(Into::into),
            remove: own.into_iter().chain(sets).collect(),
            add: spec.add.clone().into(),
        })
    }
}

/// A few prefixes are tried one by one, more are a set.
fn few(prefixes: &[PrefixRange]) -> PrefixTest {
    match prefixes.len() {
        0..=4 => PrefixTest::Few(prefixes.into()),
        _ => PrefixTest::Sets(Box::new([Arc::new(PrefixSet::new(prefixes.to_vec()))])),
    }
}
