//! `trunkctl bgp policy test`: what a policy does with a route, rule by rule.

use std::io::{self, Write};

use api::blocking::Client;
use api::{BgpPolicyQuery, BgpPolicyTest, BgpRoute};

use crate::args::Cli;
use crate::failure::Failure;
use crate::{Outcome, show, value};

/// Does what was asked.
pub(crate) fn run(cli: &Cli, out: &mut dyn Write, words: &[String]) -> Outcome {
    let query = query(words)?;
    let result = Client::connect(&cli.socket)?.test_bgp_policy(query)?;
    if cli.json {
        return show::json(out, &result);
    }
    Ok(print(out, &result)?)
}

const OPTIONS: &str = "in, out, neighbor, received, best, next-hop, as-path, origin, local-pref, med, community, ext-community, large-community, rpki, protocol, metric";

fn query(words: &[String]) -> Result<BgpPolicyQuery, Failure> {
    let usage = |text: String| {
        Failure::Usage(format!(
            "{text}; trunkctl bgp policy test -h shows how it is written"
        ))
    };
    let mut words = words.iter();
    let (Some(policy), Some(prefix)) = (words.next(), words.next()) else {
        return Err(usage(
            "the policy and the prefix of the route are wanted: bgp policy test POLICY PREFIX"
                .into(),
        ));
    };
    api::grammar::prefix(prefix)?;
    let mut query = BgpPolicyQuery {
        policy: policy.clone(),
        prefix: prefix.clone(),
        ..BgpPolicyQuery::default()
    };
    while let Some(word) = words.next() {
        let mut next = || value(word, &mut words);
        let number = |text: String| {
            let n: Option<u32> = text.parse().ok();
            n.ok_or_else(|| {
                usage(format!(
                    "{word} {text:?} is not a number up to {}",
                    u32::MAX
                ))
            })
        };
        match word.as_str() {
            "in" | "import" => query.export = false,
            "out" | "export" => query.export = true,
            "best" => query.best = true,
            "neighbor" | "neighbour" => query.neighbor = next()?,
            "received" => query.received = next()?,
            "next-hop" => query.next_hop = next()?,
            "as-path" => query.as_path = Some(next()?),
            "origin" => query.origin = next()?,
            "local-pref" => query.local_pref = Some(number(next()?)?),
            "med" => query.med = Some(number(next()?)?),
            "metric" => query.metric = Some(number(next()?)?),
            "community" => query.communities.push(next()?),
            "ext-community" => query.ext_communities.push(next()?),
            "large-community" => query.large_communities.push(next()?),
            "rpki" => query.rpki = next()?,
            "protocol" => query.protocol = next()?,
            other => {
                return Err(usage(format!(
                    "unexpected {other:?}; one of {OPTIONS} is wanted"
                )));
            }
        }
    }
    if query.best && !query.received.is_empty() {
        return Err(usage("\"received\" or \"best\": one of them".into()));
    }
    Ok(query)
}

fn print(out: &mut dyn Write, t: &BgpPolicyTest) -> io::Result<()> {
    t.notes
        .iter()
        .try_for_each(|n| writeln!(out, "note: {n}"))?;
    t.steps
        .iter()
        .try_for_each(|s| writeln!(out, "{}", s.text))?;
    let Some(after) = &t.after else {
        return writeln!(out, "rejected");
    };
    let none = BgpRoute::default();
    let before = t.before.as_ref().unwrap_or(&none);
    match t.changed {
        true => writeln!(out, "accepted, with")?,
        false => writeln!(out, "accepted as it is")?,
    }
    let number = |n: Option<u32>| n.map_or("none".into(), |n| n.to_string());
    let list = |all: &[String]| match all.is_empty() {
        true => "none".into(),
        false => all.join(" "),
    };
    type Row = (&'static str, fn(&BgpRoute) -> Option<u32>);
    let mut line = |name: &str, old: String, new: String| -> io::Result<()> {
        match old == new {
            true => Ok(()),
            false => writeln!(out, "    {name:<18} {new} (was {old})"),
        }
    };
    line("next-hop", before.next_hop.clone(), after.next_hop.clone())?;
    line("as-path", before.as_path.clone(), after.as_path.clone())?;
    line("origin", before.origin.clone(), after.origin.clone())?;
    let numbers: [Row; 2] = [("local-pref", |r| r.local_pref), ("med", |r| r.med)];
    for (name, of) in numbers {
        line(name, number(of(before)), number(of(after)))?;
    }
    line(
        "communities",
        list(&before.communities),
        list(&after.communities),
    )?;
    line(
        "ext-communities",
        list(&before.ext_communities),
        list(&after.ext_communities),
    )?;
    line(
        "large-communities",
        list(&before.large_communities),
        list(&after.large_communities),
    )?;
    match t.next_hop_by.as_str() {
        "self" => writeln!(out, "    next-hop           our own address on the session"),
        "unchanged" => writeln!(out, "    next-hop           left as it is on the session"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(|w| w.replace('_', " ")).collect()
    }

    #[test]
    fn routes_are_described() {
        let q = query(&words(
            "p 10.0.0.0/8 out neighbor 192.0.2.1 as-path 1_2 med 7 community 1:2 community no-export rpki valid",
        ))
        .unwrap();
        assert!(q.export && !q.best);
        assert_eq!(
            (q.policy.as_str(), q.as_path.as_deref()),
            ("p", Some("1 2"))
        );
        assert_eq!((q.med, q.communities.len()), (Some(7), 2));
        for line in [
            "p",
            "p 10.0.0.1/8",
            "p 10.0.0.0/8 med x",
            "p 10.0.0.0/8 community",
            "p 10.0.0.0/8 dance",
            "p 10.0.0.0/8 best received 192.0.2.1",
        ] {
            let error = query(&words(line));
            assert!(matches!(error, Err(Failure::Usage(_))), "{line}");
        }
    }

    #[test]
    fn what_changed_is_said() {
        let before = BgpRoute {
            med: Some(5),
            ..BgpRoute::default()
        };
        let after = BgpRoute {
            communities: vec!["1:2".into()],
            ..BgpRoute::default()
        };
        let t = BgpPolicyTest {
            accepted: true,
            changed: true,
            before: Some(before),
            after: Some(after),
            notes: vec!["mind the gap".into()],
            ..BgpPolicyTest::default()
        };
        let mut out = Vec::new();
        print(&mut out, &t).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "note: mind the gap\naccepted, with\n    med                none (was 5)\n    communities        1:2 (was none)\n"
        );
    }
}
