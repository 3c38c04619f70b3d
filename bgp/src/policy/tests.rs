//! What policies do with routes; keys and words there and back; and that answers may be kept by what `depends` names.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::attrs::{AttrBuf, Origin, SegmentKind};
use crate::rpki::Validity;
use crate::types::{Asn, Family, NextHop, Relation};

fn word(text: &str) -> Word<'static> {
    match text {
        "true" => Word::Flag(true),
        "false" => Word::Flag(false),
        _ => match text.parse() {
            Ok(n) if !text.starts_with(['+', '-']) => Word::Number(n),
            _ => Word::Text(text.to_owned().into()),
        },
    }
}

fn words(list: &str) -> Vec<Word<'static>> {
    list.split('|').map(word).collect()
}

fn conditions(pairs: &[(&str, &str)]) -> MatchSpec {
    let mut spec = MatchSpec::default();
    for (key, list) in pairs {
        spec.put(key, &words(list))
            .unwrap_or_else(|e| panic!("{key} = {list}: {}", e.message));
    }
    spec
}

fn settings(pairs: &[(&str, &str)]) -> SetSpec {
    let mut spec = SetSpec::default();
    for (key, list) in pairs {
        let list = if list.is_empty() { vec![] } else { words(list) };
        spec.put(key, &list)
            .unwrap_or_else(|e| panic!("{key}: {}", e.message));
    }
    spec
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn rule(matches: Pairs<'_>, set: Pairs<'_>, action: &str) -> RuleSpec {
    RuleSpec {
        matches: conditions(matches),
        set: settings(set),
        action: action.parse().unwrap(),
        ..RuleSpec::default()
    }
}

fn policy(rules: Vec<RuleSpec>, default: bool) -> PolicySpec {
    PolicySpec { rules, default }
}

fn prefixes(list: &[&str]) -> Arc<PrefixSet> {
    Arc::new(
        list.iter()
            .map(|p| p.parse::<PrefixRange>().unwrap())
            .collect(),
    )
}

fn sets() -> Sets {
    let mut sets = Sets::default();
    let customers = prefixes(&["203.0.113.0/24 le 28", "2001:db8::/32 ge 40 le 48"]);
    sets.prefix.insert("customers".into(), customers);
    sets.prefix
        .insert("ten".into(), prefixes(&["10.0.0.0/8 le 32"]));
    let asns = ["64500", "64510-64519"]
        .iter()
        .map(|a| a.parse::<AsnRange>().unwrap());
    sets.asn.insert("cone".into(), Arc::new(asns.collect()));
    let paths = ["_64510$", "^64500 64501"]
        .map(|p| p.parse().unwrap())
        .to_vec();
    sets.as_path
        .insert("paths".into(), Arc::new(AsPathSet::new(paths)));
    let set = ["64512:*", "no-export"].map(|p| p.parse().unwrap());
    sets.community
        .insert("ours".into(), Arc::new(CommunitySet::new(&set)));
    let set = ["target:64512:*"].map(|p| p.parse().unwrap());
    sets.ext_community
        .insert("targets".into(), Arc::new(CommunitySet::new(&set)));
    let set = ["64512:*:*"].map(|p| p.parse().unwrap());
    sets.large_community
        .insert("large".into(), Arc::new(CommunitySet::new(&set)));
    sets
}

fn compile(specs: Vec<(&str, PolicySpec)>) -> Result<Policies, Vec<PolicyError>> {
    let specs: BTreeMap<String, PolicySpec> =
        specs.into_iter().map(|(n, s)| (n.to_owned(), s)).collect();
    Policies::compile(&specs, &sets(), &Policies::default())
}

fn one(rules: Vec<RuleSpec>, default: bool) -> Arc<Policy> {
    let all = compile(vec![("p", policy(rules, default))]).unwrap();
    Arc::clone(all.get("p").unwrap())
}

fn peer() -> Peer<'static> {
    Peer {
        address: "198.51.100.3".parse().unwrap(),
        asn: Asn(64500),
        local_as: Asn(64999),
        relation: Relation::External,
        group: Some("transit"),
    }
}

/// A route from AS 64500 by 64501, originated in 64510.
fn route() -> AttrBuf {
    let mut b = AttrBuf::new();
    b.set_origin(Origin::Igp);
    b.set_as_path([(
        SegmentKind::Sequence,
        &[Asn(64500), Asn(64501), Asn(64510)][..],
    )]);
    b.set_med(50);
    for c in ["64512:1", "65000:7", "no-export"] {
        CommunityPattern::append(&mut b, c.parse().unwrap());
    }
    ExtPattern::append(&mut b, "target:64512:1".parse().unwrap());
    LargePattern::append(&mut b, "64512:1:2".parse().unwrap());
    b.next_hop = Some(NextHop::V4(Ipv4Addr::new(198, 51, 100, 3)));
    b
}

fn input<'a>(b: &'a AttrBuf, prefix: &str) -> Input<'a> {
    Input {
        family: Family::Ipv4Unicast,
        prefix: Some(prefix.parse().unwrap()),
        view: b.view(),
        peer: peer(),
        protocol: Protocol::Bgp,
        from: None,
        rpki: Validity::NotFound,
        igp_metric: Some(7),
    }
}

/// The answer, and the route as it is then.
fn run(p: &Policy, i: &Input<'_>) -> (Outcome, AttrBuf) {
    let mut buf = AttrBuf::from_view(crate::attrs::View {
        octets: &[1, 2, 3],
        next_hop: None,
    });
    let outcome = p.run(i, &mut buf);
    let mut other = AttrBuf::new();
    let (same, trace) = p.explain(i, &mut other);
    assert_eq!(same, outcome, "{trace}");
    if outcome.changed {
        assert_eq!(buf, other, "{trace}");
        return (outcome, buf);
    }
    (outcome, AttrBuf::from_view(i.view))
}

#[test]
fn the_example_of_the_design() {
    let p = one(
        vec![rule(
            &[("prefix-set", "customers"), ("rpki", "valid|not-found")],
            &[("local-pref", "200"), ("add-community", "64512:100")],
            "accept",
        )],
        false,
    );
    let b = route();
    let (outcome, out) = run(&p, &input(&b, "203.0.113.64/26"));
    assert!(outcome.accept && outcome.changed);
    assert_eq!(out.view().local_pref(), Some(200));
    let all: Vec<String> = out.view().communities().map(|c| c.to_string()).collect();
    assert_eq!(all, ["64512:1", "65000:7", "no-export", "64512:100"]);
    assert!(!run(&p, &input(&b, "203.0.113.64/29")).0.accept);
    let invalid = Input {
        rpki: Validity::Invalid,
        ..input(&b, "203.0.113.0/24")
    };
    assert!(!run(&p, &invalid).0.accept);
    let (_, trace) = p.explain(&invalid, &mut AttrBuf::new());
    assert_eq!(
        trace.to_string(),
        "p rule 1: skipped, rpki = [\"valid\", \"not-found\"]: it is invalid\np: no rule decided, default reject"
    );
    let depends = p.depends();
    assert!(depends.prefix && depends.rpki && !depends.peer && !depends.source);
}

#[test]
fn next_goes_on_with_what_was_set() {
    let p = one(
        vec![
            rule(&[], &[("local-pref", "150"), ("med", "+10")], "next"),
            rule(
                &[("local-pref", "150"), ("med", "ge 60")],
                &[("med", "-100")],
                "next",
            ),
            rule(&[("med", "0")], &[("origin", "egp")], "accept"),
        ],
        false,
    );
    let b = route();
    let (outcome, out) = run(&p, &input(&b, "10.0.0.0/8"));
    assert!(outcome.accept);
    assert_eq!(
        (out.view().med(), out.view().origin()),
        (Some(0), Origin::Egp)
    );
    assert!(!p.depends_on_prefix());
    let (_, trace) = p.explain(&input(&b, "10.0.0.0/8"), &mut AttrBuf::new());
    assert_eq!(
        trace.to_string(),
        "p rule 1: holds, local-pref = 150, med = \"+10\", next\np rule 2: holds, med = \"-100\", next\np rule 3: holds, origin = \"egp\", accept"
    );
}

#[test]
fn a_call_keeps_what_it_set_or_ends_it_all() {
    let called = |default| {
        policy(
            vec![
                rule(&[("as-path", "64666")], &[], "reject"),
                rule(&[], &[("med", "5")], "next"),
            ],
            default,
        )
    };
    let mut caller = rule(
        &[("neighbor-as", "64500")],
        &[("local-pref", "7")],
        "accept",
    );
    caller.call = Some("called".into());
    caller.name = Some("first".into());
    let rules = vec![caller];
    let b = route();
    for accepts in [true, false] {
        let all = compile(vec![
            ("p", policy(rules.clone(), true)),
            ("called", called(accepts)),
        ])
        .unwrap();
        let p = all.get("p").unwrap();
        let (outcome, out) = run(p, &input(&b, "10.0.0.0/8"));
        assert_eq!(outcome.accept, accepts);
        assert_eq!(outcome.changed, accepts);
        if accepts {
            assert_eq!(
                (out.view().med(), out.view().local_pref()),
                (Some(5), Some(7))
            );
            let (_, trace) = p.explain(&input(&b, "10.0.0.0/8"), &mut AttrBuf::new());
            let lines: Vec<String> = trace.steps.iter().map(ToString::to_string).collect();
            assert_eq!(
                lines,
                [
                    "p rule 1 (first): holds, calls called",
                    "  called rule 1: skipped, as-path = \"64666\": the path is 64500 64501 64510",
                    "  called rule 2: holds, med = 5, next",
                    "  called: no rule decided, default accept",
                    "p rule 1 (first): holds, local-pref = 7, accept",
                ]
            );
        }
    }
}

#[test]
fn unless_is_none_of_these() {
    let mut r = rule(&[("prefix-set", "ten")], &[], "accept");
    r.unless = conditions(&[("prefix", "10.9.0.0/16 le 32"), ("origin-as", "65001")]);
    let p = one(vec![r], false);
    let b = route();
    assert!(run(&p, &input(&b, "10.0.0.0/8")).0.accept);
    let other = input(&b, "10.9.1.0/24");
    assert!(!run(&p, &other).0.accept);
    let (_, trace) = p.explain(&other, &mut AttrBuf::new());
    assert!(
        trace.to_string().starts_with(
            "p rule 1: skipped, unless prefix = \"10.9.0.0/16 le 32\": it is 10.9.1.0/24\n"
        ),
        "{trace}"
    );
    let mut from = route();
    from.set_as_path([(SegmentKind::Sequence, &[Asn(64500), Asn(65001)][..])]);
    assert!(!run(&p, &input(&from, "10.0.0.0/8")).0.accept);
}

/// Every key of a match, with words that hold for the route of these tests and words that do not.
const MATCHES: [(&str, &str, &str); 31] = [
    ("family", "ipv6-unicast|ipv4-unicast", "vpnv4"),
    ("protocol", "bgp", "static|connected"),
    ("session", "ebgp", "ibgp|confederation"),
    ("group", "customers|transit", "peers"),
    ("neighbor-as", "64500", "64501-64510|1"),
    ("neighbor", "198.51.100.0/24|192.0.2.1", "198.51.100.4"),
    ("from-group", "transit", "customers"),
    ("from-neighbor", "198.51.100.3", "2001:db8::/32"),
    ("rpki", "not-found|valid", "invalid"),
    ("prefix", "10.0.0.0/8 ge 16 le 24", "10.0.0.0/8"),
    ("prefix-set", "customers|ten", "customers"),
    ("origin", "igp|egp", "incomplete"),
    ("local-pref", "none", "100"),
    ("med", "ge 40 le 50", "none"),
    ("next-hop", "198.51.100.0/24", "192.0.2.0/24"),
    ("path-length", "3", "le 2"),
    ("origin-as", "1|64510-64511", "64500"),
    ("origin-as-set", "cone", ""),
    ("as-path", "^64500 .* 64510$|^$", "64502"),
    ("as-path-set", "paths", ""),
    ("community", "65000:7|1:1", "65001:*"),
    ("community-all", "65000:7|64512:*", "65000:7|1:1"),
    ("community-none", "1:1|2:*", "1:1|64512:*"),
    ("community-set", "ours", ""),
    ("ext-community", "target:64512:*", "soo:*"),
    (
        "ext-community-all",
        "target:*",
        "target:64512:1|target:64512:2",
    ),
    ("ext-community-none", "soo:*", "target:*"),
    ("large-community", "64512:1:*", "64512:2:*"),
    ("large-community-all", "*:*:2", "*:*:2|*:*:3"),
    ("large-community-none", "1:*:*", "64512:1-4:2"),
    ("large-community-set", "large", ""),
];

#[test]
fn every_condition_holds_where_it_should() {
    let b = route();
    let mut keys: Vec<&str> = MATCHES.iter().map(|m| m.0).collect();
    keys.push("ext-community-set");
    let mut known = MatchSpec::KEYS.to_vec();
    keys.sort_unstable();
    known.sort_unstable();
    assert_eq!(keys, known, "every key is tried");
    for (key, yes, no) in MATCHES {
        for (list, want) in [(yes, true), (no, false)] {
            if list.is_empty() {
                continue;
            }
            let p = one(vec![rule(&[(key, list)], &[], "accept")], false);
            let found = run(&p, &input(&b, "10.1.0.0/16")).0.accept;
            assert_eq!(found, want, "{key} = {list}");
            let (_, trace) = p.explain(&input(&b, "10.1.0.0/16"), &mut AttrBuf::new());
            assert_eq!(
                trace.to_string().contains(&format!("{key} = ")),
                !want,
                "{trace}"
            );
        }
    }
    // A route that has nothing: conditions about what it has do not hold, and do not fall over.
    let empty = AttrBuf::new();
    let bare = Input {
        family: Family::Ipv4Flow,
        prefix: None,
        protocol: Protocol::Static,
        ..input(&empty, "10.0.0.0/8")
    };
    for key in [
        "prefix",
        "med",
        "next-hop",
        "origin-as",
        "from-group",
        "community",
        "origin-as-set",
    ] {
        let (_, yes, _) = MATCHES.into_iter().find(|m| m.0 == key).unwrap();
        let p = one(vec![rule(&[(key, yes)], &[], "accept")], false);
        assert!(!run(&p, &bare).0.accept, "{key}");
        p.explain(&bare, &mut AttrBuf::new());
    }
}

/// Every key of `set`, with words, and what the route of these tests becomes.
const SETS: [(&str, &str, &str); 31] = [
    ("local-pref", "200", "pref 200"),
    ("local-pref", "+10", "pref 110"),
    ("local-pref", "-200", "pref 0"),
    ("local-pref", "remove", "same"),
    ("med", "igp", "med 7"),
    ("med", "+4294967295", "med 4294967295"),
    ("med", "remove", "no med"),
    ("origin", "incomplete", "origin incomplete"),
    ("next-hop", "192.0.2.1", "hop 192.0.2.1"),
    ("next-hop", "2001:db8::1", "same"),
    ("next-hop", "self", "same"),
    ("next-hop", "unchanged", "same"),
    ("blackhole", "true", "hop 192.0.0.8"),
    ("private-as", "remove", "path 64500 64501 64510"),
    ("private-as", "replace", "path 64500 64501 64510"),
    ("replace-as", "64501-64502", "path 64500 64999 64510"),
    ("prepend", "self", "path 64999 64500 64501 64510"),
    ("prepend", "1|1|1", "path 1 1 1 64500 64501 64510"),
    ("label-index", "7", "same"),
    ("label-index", "remove", "same"),
    (
        "set-community",
        "1:2|blackhole",
        "communities 1:2 blackhole",
    ),
    ("set-community", "", "communities"),
    (
        "remove-community",
        "64512:*",
        "communities 65000:7 no-export",
    ),
    ("remove-community-set", "ours", "communities 65000:7"),
    (
        "add-community",
        "64512:1|1:1",
        "communities 64512:1 65000:7 no-export 1:1",
    ),
    ("set-ext-community", "soo:1:1", "ext soo:1:1"),
    ("remove-ext-community-set", "targets", "ext"),
    (
        "add-ext-community",
        "target:1:1",
        "ext target:64512:1 target:1:1",
    ),
    ("remove-ext-community", "soo:*", "same"),
    ("set-large-community", "1:2:3", "large 1:2:3"),
    ("add-large-community", "1:2:3", "large 64512:1:2 1:2:3"),
];

fn shown(out: &AttrBuf, what: &str) -> String {
    let v = out.view();
    let join = |words: Vec<String>| words.iter().map(|w| format!(" {w}")).collect::<String>();
    match what {
        "pref" => format!("pref {}", v.local_pref().unwrap()),
        "med" => format!("med {}", v.med().unwrap()),
        "no" => v.med().map_or("no med", |_| "med").into(),
        "origin" => format!("origin {}", v.origin().name()),
        "hop" => format!("hop {}", v.next_hop.unwrap()),
        "path" => format!("path {}", v.as_path()),
        "communities" => {
            format!(
                "communities{}",
                join(v.communities().map(|c| c.to_string()).collect())
            )
        }
        "ext" => format!(
            "ext{}",
            join(v.ext_communities().map(|c| c.to_string()).collect())
        ),
        "large" => format!(
            "large{}",
            join(v.large_communities().map(|c| c.to_string()).collect())
        ),
        _ => if *out == route() { "same" } else { "other" }.into(),
    }
}

#[test]
fn every_setting_does_what_it_says() {
    let b = route();
    for (key, list, want) in SETS {
        let p = one(vec![rule(&[], &[(key, list)], "accept")], false);
        let (outcome, out) = run(&p, &input(&b, "10.1.0.0/16"));
        let what = want.split(' ').next().unwrap();
        assert_eq!(shown(&out, what), want, "{key} = {list}");
        let same = out == b;
        assert_eq!(outcome.changed, !same, "{key} = {list}");
        let hop = match (key, list) {
            ("next-hop", "self") => NextHopRule::Own,
            ("next-hop", "unchanged") => NextHopRule::Unchanged,
            ("next-hop", "192.0.2.1") | ("blackhole", _) => NextHopRule::Given,
            _ => NextHopRule::Session,
        };
        assert_eq!(outcome.next_hop, hop, "{key} = {list}");
    }
    let tried: std::collections::BTreeSet<&str> = SETS.iter().map(|s| s.0).collect();
    let rest = ["remove-large-community", "remove-large-community-set"];
    for key in SetSpec::KEYS {
        assert_ne!(tried.contains(key), rest.contains(&key), "{key}");
    }
    let p = one(
        vec![rule(
            &[],
            &[("remove-large-community", "*:1-2:*")],
            "accept",
        )],
        false,
    );
    assert_eq!(
        shown(&run(&p, &input(&b, "10.0.0.0/8")).1, "large"),
        "large"
    );
    let p = one(
        vec![rule(
            &[],
            &[("remove-large-community-set", "large")],
            "accept",
        )],
        false,
    );
    assert_eq!(
        shown(&run(&p, &input(&b, "10.0.0.0/8")).1, "large"),
        "large"
    );
}

#[test]
fn confederations_and_private_numbers() {
    let mut b = route();
    let numbers = [Asn(64512), Asn(1), Asn(4_200_000_000), Asn(65535)];
    b.set_as_path([(SegmentKind::Sequence, &numbers[..])]);
    let confederate = Input {
        peer: Peer {
            relation: Relation::Confederation,
            ..peer()
        },
        ..input(&b, "10.0.0.0/8")
    };
    for (set, want) in [
        (("private-as", "remove"), "path 1 65535"),
        (("private-as", "replace"), "path 64999 1 64999 65535"),
        (("prepend", "self"), "path (64999) 64512 1 4200000000 65535"),
    ] {
        let p = one(vec![rule(&[], &[set], "accept")], false);
        assert!(p.depends().peer);
        assert_eq!(shown(&run(&p, &confederate).1, "path"), want);
    }
}

#[test]
fn blackholes_and_shutdowns() {
    let mut r = rule(
        &[("community", "blackhole"), ("prefix", "0.0.0.0/0 ge 32")],
        &[],
        "accept",
    );
    r.set = settings(&[("blackhole", "true")]);
    let p = one(vec![r], false);
    let mut b = route();
    CommunityPattern::retain(&mut b, |_| false);
    CommunityPattern::append(&mut b, "blackhole".parse().unwrap());
    let (_, out) = run(&p, &input(&b, "10.0.0.1/32"));
    assert!(is_discard(&out.next_hop.unwrap()));
    assert_eq!(
        shown(&out, "communities"),
        "communities blackhole no-export"
    );
    CommunityPattern::append(&mut b, "no-advertise".parse().unwrap());
    let (_, out) = run(&p, &input(&b, "10.0.0.1/32"));
    assert_eq!(
        shown(&out, "communities"),
        "communities blackhole no-advertise"
    );
    assert!(!is_discard(&b.next_hop.unwrap()));
    assert!(is_discard(&NextHop::V6("100::99".parse().unwrap())));
    assert!(!is_discard(&NextHop::V6("100:0:0:1::1".parse().unwrap())));

    let all = compile(vec![]).unwrap();
    let names: Vec<&str> = all.iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "accept-all",
            "graceful-shutdown",
            "reject-all",
            "reject-invalid"
        ]
    );
    let mut b = route();
    let verdict = |name: &str, i: &Input<'_>| run(all.get(name).unwrap(), i);
    assert!(verdict("accept-all", &input(&b, "10.0.0.0/8")).0.accept);
    assert!(!verdict("reject-all", &input(&b, "10.0.0.0/8")).0.accept);
    assert!(
        !verdict("graceful-shutdown", &input(&b, "10.0.0.0/8"))
            .0
            .changed
    );
    let invalid = Input {
        rpki: Validity::Invalid,
        ..input(&b, "10.0.0.0/8")
    };
    assert!(!verdict("reject-invalid", &invalid).0.accept);
    assert!(verdict("reject-invalid", &input(&b, "10.0.0.0/8")).0.accept);
    CommunityPattern::append(&mut b, "graceful-shutdown".parse().unwrap());
    let (_, out) = verdict("graceful-shutdown", &input(&b, "10.0.0.0/8"));
    assert_eq!(shown(&out, "pref"), "pref 0");
}

#[test]
fn what_is_missing_is_named() {
    let call = |name: &str| RuleSpec {
        call: Some(name.into()),
        ..RuleSpec::default()
    };
    let errors = compile(vec![
        ("a", policy(vec![call("b"), call("nobody")], true)),
        (
            "b",
            policy(
                vec![
                    rule(&[("prefix-set", "customers|costumers")], &[], "accept"),
                    call("c"),
                ],
                true,
            ),
        ),
        ("c", policy(vec![call("a"), call("c")], true)),
        ("accept-all", policy(vec![], true)),
        ("d", policy(vec![rule(&[], &[], "next")], true)),
        (
            "e",
            policy(
                vec![
                    rule(
                        &[("family", "ipv6-unicast"), ("prefix", "10.0.0.0/8")],
                        &[],
                        "accept",
                    ),
                    rule(
                        &[("family", "ipv4-unicast")],
                        &[("next-hop", "2001:db8::1")],
                        "accept",
                    ),
                    rule(
                        &[("as-path-set", "x"), ("origin-as-set", "y")],
                        &[("remove-large-community-set", "z")],
                        "accept",
                    ),
                ],
                true,
            ),
        ),
    ])
    .unwrap_err();
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let want = [
        "policy \"accept-all\", rule 0, : is built in",
        "policy \"c\", rule 1, call: policies call each other in a circle: a -> b -> c -> a;",
        "policy \"c\", rule 2, call: policies call each other in a circle: c -> c;",
        "policy \"a\", rule 2, call: there is no policy \"nobody\"",
        "policy \"b\", rule 1, match.prefix-set: there is no prefix-set \"costumers\"",
        "policy \"d\", rule 1, action: the rule changes nothing",
        "policy \"e\", rule 1, match.prefix: no route of ipv6-unicast is within",
        "policy \"e\", rule 2, set.next-hop: 2001:db8::1 is no next hop for ipv4-unicast",
        "policy \"e\", rule 3, match.origin-as-set: there is no as-set \"y\"",
        "policy \"e\", rule 3, match.as-path-set: there is no as-path-set \"x\"",
        "policy \"e\", rule 3, set.remove-large-community-set: there is no large-community-set \"z\"",
    ];
    assert_eq!(texts.len(), want.len(), "{texts:#?}");
    for start in want {
        assert!(
            texts.iter().any(|t| t.starts_with(start)),
            "{start} in {texts:#?}"
        );
    }
    let deep = |n: usize| {
        let names: Vec<String> = (0..=n).map(|i| format!("p{i:02}")).collect();
        let specs = (0..=n).map(|i| {
            let rules = if i == n {
                vec![]
            } else {
                vec![call(&names[i + 1])]
            };
            (names[i].as_str(), policy(rules, true))
        });
        compile(specs.collect()).err()
    };
    assert_eq!(deep(8), None);
    let errors = deep(12).unwrap();
    assert_eq!((errors.len(), &errors[0].cause), (1, &Cause::TooDeep));
}

#[test]
fn words_that_are_none_are_refused_with_what_would_be() {
    for (key, list, part) in [
        ("family", "ipv4", "no family is called \"ipv4\""),
        ("protocol", "ospf", "\"bgp\", \"connected\" or \"static\""),
        ("rpki", "unknown", "\"valid\", \"invalid\" or \"not-found\""),
        ("neighbor", "x", "neither an address nor a prefix"),
        ("neighbor", "10.0.0.1/8", "the prefix is 10.0.0.0/8"),
        ("med", "gt 5", "\"ge 3\""),
        ("med", "ge 5 le 3", "holds for no number"),
        ("path-length", "none", "neither a number"),
        ("path-length", "1|2", "one value is wanted"),
        ("local-pref", "x", "or \"none\""),
        ("prefix", "10.0.0.0/8 le 4", "lengths go up to 32"),
        ("as-path", "[0-9]", "whole AS numbers"),
        ("origin-as", "x", "64512-65534"),
        ("community", "x", "\"64512:*\""),
        ("ext-community-none", "x", "\"target:*\""),
        ("large-community-all", "1:1", "\"64512:1:*\""),
        ("large-community-set", "1", "\"customers\""),
        ("community-some", "1:1", "no key \"community-some\""),
        ("x", "1", "no key \"x\""),
    ] {
        let e = MatchSpec::default().put(key, &words(list)).unwrap_err();
        assert!(e.message.contains(part), "{key}: {}", e.message);
    }
    let e = MatchSpec::default()
        .put("community", &words("1:1|x"))
        .unwrap_err();
    assert_eq!(e.nth, Some(1));
    assert!(MatchSpec::default().put("community", &[]).is_err());
    for (key, list, part) in [
        ("local-pref", "igp", "\"+10\", \"-10\" or \"remove\""),
        ("med", "4294967296", "\"igp\" or \"remove\""),
        ("med", "+-1", "\"+10\""),
        ("next-hop", "peer", "\"unchanged\""),
        ("next-hop", "224.0.0.1", "not the address of a neighbour"),
        ("blackhole", "1", "true or false"),
        ("private-as", "x", "\"remove\" or \"replace\""),
        ("prepend", "0", "from 1 to 4294967295"),
        ("prepend", "self|1", "another rule"),
        ("label-index", "1048576", "below 1048576"),
        ("label-index", "drop", "\"remove\""),
        ("add-community", "1:*", "is no community"),
        ("set-community-set", "x", "no key"),
        ("add-other-community", "1:1", "no key"),
    ] {
        let e = SetSpec::default().put(key, &words(list)).unwrap_err();
        assert!(e.message.contains(part), "{key}: {}", e.message);
    }
    let many = vec![Word::Text("self".into()); 26];
    assert!(SetSpec::default().put("prepend", &many).is_err());
}

/// It is of labelled routes alone (RFC 8669 3.1): the table above has those of others.
#[test]
fn a_label_index_is_set_and_taken_away() {
    let b = route();
    let labeled = Input {
        family: Family::Ipv4Labeled,
        ..input(&b, "10.1.0.0/16")
    };
    let p = one(vec![rule(&[], &[("label-index", "7")], "accept")], false);
    let (outcome, out) = run(&p, &labeled);
    assert!(outcome.changed);
    assert_eq!(out.view().label_index(), Some(7));
    let p = one(
        vec![rule(&[], &[("label-index", "remove")], "accept")],
        false,
    );
    let with = Input {
        view: out.view(),
        ..labeled
    };
    assert_eq!(run(&p, &with).1, b);
}

#[test]
fn what_did_not_change_is_the_same_thing() {
    let spec = |pref: &str| {
        policy(
            vec![rule(
                &[("prefix-set", "ten")],
                &[("local-pref", pref)],
                "accept",
            )],
            false,
        )
    };
    let specs =
        |a: &str, b: &str| BTreeMap::from([("a".to_owned(), spec(a)), ("b".to_owned(), spec(b))]);
    let first = sets();
    let before = Policies::compile(&specs("1", "2"), &first, &Policies::default()).unwrap();
    let mut second = sets();
    second.prefix.insert(
        "tenths".into(),
        prefixes(&["10.0.0.0/9 le 32", "10.128.0.0/9 le 32", "10.0.0.0/8"]),
    );
    second.share(&first);
    assert!(Arc::ptr_eq(&first.prefix["ten"], &second.prefix["ten"]));
    assert!(
        Arc::ptr_eq(&second.prefix["tenths"], &second.prefix["ten"]),
        "the same set"
    );
    let after = Policies::compile(&specs("1", "3"), &second, &before).unwrap();
    let same = |name: &str| Arc::ptr_eq(before.get(name).unwrap(), after.get(name).unwrap());
    assert!(same("a") && !same("b") && same("accept-all"));
    let mut third = sets();
    third
        .prefix
        .insert("ten".into(), prefixes(&["10.0.0.0/8 le 31"]));
    let after = Policies::compile(&specs("1", "2"), &third, &before).unwrap();
    assert!(!Arc::ptr_eq(
        before.get("a").unwrap(),
        after.get("a").unwrap()
    ));
}

fn some_matches() -> impl Strategy<Value = MatchSpec> {
    subsequence(MATCHES.to_vec(), 0..4).prop_flat_map(|keys| {
        keys.into_iter()
            .map(|(key, yes, no)| {
                let lists = if no.is_empty() {
                    vec![yes]
                } else {
                    vec![yes, no]
                };
                (Just(key), select(lists))
            })
            .collect::<Vec<_>>()
            .prop_map(|pairs| conditions(&pairs))
    })
}

fn some_sets() -> impl Strategy<Value = SetSpec> {
    subsequence(SETS.to_vec(), 0..5)
        .prop_map(|all| settings(&all.iter().map(|s| (s.0, s.1)).collect::<Vec<_>>()))
}

fn some_rule() -> impl Strategy<Value = RuleSpec> {
    let action = select(vec![
        Action::Accept,
        Action::Reject,
        Action::Next,
        Action::Next,
    ]);
    let call = prop_oneof![3 => Just(None), 1 => Just(Some("called".to_owned()))];
    (some_matches(), some_matches(), some_sets(), action, call).prop_map(
        |(matches, unless, set, action, call)| RuleSpec {
            name: None,
            matches,
            unless,
            call,
            set,
            action,
        },
    )
}

fn some_policy() -> impl Strategy<Value = Arc<Policy>> {
    let rules = || prop::collection::vec(some_rule(), 0..5);
    (rules(), rules(), any::<(bool, bool)>()).prop_filter_map("is refused", |(a, mut b, (x, y))| {
        b.iter_mut().for_each(|r| r.call = None);
        let all = compile(vec![("p", policy(a, x)), ("called", policy(b, y))]).ok()?;
        all.get("p").map(Arc::clone)
    })
}

fn some_route() -> impl Strategy<Value = AttrBuf> {
    let community = select(vec!["64512:1", "64512:9", "65000:7", "1:1", "no-export"]);
    let asn = select(vec![64500u32, 64501, 64502, 64510, 65001]);
    (
        prop::collection::vec(asn, 0..4),
        prop::collection::vec(community, 0..4),
        prop::option::of(0u32..100),
        any::<bool>(),
    )
        .prop_map(|(path, communities, med, base)| {
            let mut b = if base { route() } else { AttrBuf::new() };
            let path: Vec<Asn> = path.into_iter().map(Asn).collect();
            b.set_as_path([(SegmentKind::Sequence, &path[..])]);
            b.next_hop = route().next_hop;
            for c in communities {
                CommunityPattern::append(&mut b, c.parse().unwrap());
            }
            if let Some(med) = med {
                b.set_med(med);
            }
            b
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn entries_are_read_again(matches in some_matches(), set in some_sets()) {
        let mut back = MatchSpec::default();
        for (key, value) in matches.entries() {
            let words = match value { Value::One(w) => vec![w], Value::Many(w) => w };
            back.put(key, &words).unwrap();
        }
        prop_assert_eq!(back, matches);
        let mut back = SetSpec::default();
        for (key, value) in set.entries() {
            let words = match value { Value::One(w) => vec![w], Value::Many(w) => w };
            back.put(key, &words).unwrap();
        }
        prop_assert_eq!(back, set);
    }

    #[test]
    fn answers_may_be_kept_by_what_they_depend_on(
        p in some_policy(), b in some_route(), places in prop::collection::vec(0usize..6, 2),
        states in prop::collection::vec(0usize..3, 2), other_peer in any::<bool>(), other_source in any::<bool>(), metric in 0u32..3,
    ) {
        let nets = ["10.1.0.0/16", "10.0.0.0/8", "10.1.2.0/25", "203.0.113.0/26", "192.0.2.0/24", "0.0.0.0/0"];
        let rpki = [Validity::Valid, Validity::Invalid, Validity::NotFound];
        let at = |i: usize| Input { rpki: rpki[states[i]], ..input(&b, nets[places[i]]) };
        let first = run(&p, &at(0));
        let key = |i: usize| p.prefix_key(at(i).prefix, at(i).rpki).unwrap();
        if key(0) == key(1) {
            prop_assert_eq!(&run(&p, &at(1)), &first);
        }
        if !p.depends_on_prefix() {
            prop_assert_eq!(key(0), PrefixKey::default());
            prop_assert_eq!(key(1), PrefixKey::default());
        }
        let depends = p.depends();
        let mut i = at(0);
        if other_peer && !depends.peer {
            // Where a route comes from is the neighbour at import; at export it is said apart.
            i.from = Some(i.peer);
            i.peer = Peer { address: "192.0.2.9".parse().unwrap(), asn: Asn(1), local_as: Asn(2), relation: Relation::Internal, group: None };
        }
        if other_source && !depends.source {
            i.protocol = Protocol::Static;
        }
        if !depends.igp_metric {
            i.igp_metric = Some(metric);
        }
        prop_assert_eq!(&run(&p, &i), &first);
    }

    /// What is accepted unchanged is what came; a called policy leaves no marks unless it accepts.
    #[test]
    fn canonical_form_stays(p in some_policy(), b in some_route(), net in select(vec!["10.1.0.0/16", "203.0.113.0/26"])) {
        let (outcome, out) = run(&p, &input(&b, net));
        if outcome.accept {
            let codes: Vec<u8> = out.view().iter().map(|a| a.code).collect();
            prop_assert!(codes.windows(2).all(|w| w[0] < w[1]), "{:?}", codes);
            let octets: usize = out.view().iter().map(|a| a.value.len() + if a.flags & 0x10 == 0 { 3 } else { 4 }).sum();
            prop_assert_eq!(octets, out.view().octets.len());
            for attr in out.view().iter() {
                prop_assert!(!attr.value.is_empty() || attr.code == 2, "an attribute without a value");
            }
        }
        prop_assert_eq!(outcome.changed, outcome.accept && out.view() != b.view());
    }
}

/// A net that nobody could be within by mistake.
#[test]
fn nets_of_any_length() {
    let p = one(
        vec![rule(
            &[("prefix", "0.0.0.0/0 le 32|::/0 le 128")],
            &[],
            "accept",
        )],
        false,
    );
    let b = route();
    for net in ["0.0.0.0/0", "255.255.255.255/32", "::/0", "ffff::/16"] {
        let family = if net.contains(':') {
            Family::Ipv6Unicast
        } else {
            Family::Ipv4Unicast
        };
        let i = Input {
            family,
            prefix: Some(net.parse::<IpNet>().unwrap()),
            ..input(&b, "0.0.0.0/0")
        };
        assert!(run(&p, &i).0.accept, "{net}");
    }
}
