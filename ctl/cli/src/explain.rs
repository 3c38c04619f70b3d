//! `trunkctl explain`: what becomes of one packet, and why.

use std::io::{self, Write};

use api::blocking::Client;
use api::{BgpPolicyTest, BgpRoute, ExplainQuery, Explanation};

use crate::args::Cli;
use crate::failure::Failure;
use crate::{Outcome, show, value};

/// Does what was asked. A `--verify` that fails is a refusal: the answer was not true.
pub(crate) fn run(cli: &Cli, out: &mut dyn Write, words: &[String], verify: bool) -> Outcome {
    let query = ExplainQuery {
        verify,
        ..query(words)?
    };
    let told = Client::connect(&cli.socket)?.explain(query)?;
    if cli.json {
        show::json(out, &told)?;
    } else {
        print(out, &told)?;
    }
    match told.verified {
        Some(false) => Err(Failure::Refused(
            "what was explained is not what the data path did".into(),
        )),
        _ => Ok(()),
    }
}

fn query(words: &[String]) -> Result<ExplainQuery, Failure> {
    let usage = |text: String| {
        Failure::Usage(format!(
            "{text}; trunkctl explain -h shows how it is written"
        ))
    };
    let mut query = ExplainQuery::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut next = || value(word, &mut words);
        let number = |text: String| {
            let n: Option<u32> = text.parse().ok();
            n.ok_or_else(|| usage(format!("{word} {text:?} is not a number")))
        };
        match word.as_str() {
            "from" => query.source = next()?,
            "in" | "iif" => query.interface = next()?,
            "label" => query.label = api::grammar::labels(&next()?)?,
            "proto" | "protocol" => query.protocol = next()?,
            "sport" => query.source_port = number(next()?)?,
            "dport" => query.destination_port = number(next()?)?,
            "ttl" => query.ttl = number(next()?)?,
            "size" => query.size = number(next()?)?,
            "vrf" => query.vrf = next()?,
            text if query.destination.is_empty() => {
                if text.parse::<std::net::IpAddr>().is_err() {
                    return Err(usage(format!("{text:?} is not an address")));
                }
                text.clone_into(&mut query.destination);
            }
            text => {
                return Err(usage(format!(
                    "unexpected {text:?}; one of from, in, label, proto, sport, dport, ttl, size, vrf is wanted"
                )));
            }
        }
    }
    if query.destination.is_empty() {
        return Err(usage("the destination is missing: an address".into()));
    }
    Ok(query)
}

fn print(out: &mut dyn Write, told: &Explanation) -> io::Result<()> {
    for step in &told.steps {
        writeln!(out, "{}", step.text)?;
        if step.what == "lookup" {
            candidates(out, told)?;
        }
    }
    told.notes
        .iter()
        .try_for_each(|n| writeln!(out, "note: {n}"))
}

fn candidates(out: &mut dyn Write, told: &Explanation) -> io::Result<()> {
    for c in &told.routes {
        let mut text = Vec::new();
        if let Some(route) = &c.route {
            show::route(&mut text, route)?;
        }
        for (i, line) in String::from_utf8_lossy(&text).lines().enumerate() {
            match i {
                0 => writeln!(out, "    {line}    ({})", c.why)?,
                _ => writeln!(out, "    {line}")?,
            }
        }
    }
    if !told.bgp.is_empty() {
        writeln!(out, "  of BGP's paths to it")?;
    }
    told.bgp.iter().try_for_each(|p| path(out, p))?;
    policy(out, "import policy", told.policy.as_ref())?;
    let leak = "policy for what leaks";
    policy(out, leak, told.leak_policy.as_ref())
}

fn policy(out: &mut dyn Write, what: &str, test: Option<&BgpPolicyTest>) -> io::Result<()> {
    let Some(test) = test else { return Ok(()) };
    writeln!(out, "  the {what} {:?} says of the best", test.policy)?;
    for step in &test.steps {
        writeln!(out, "    {}", step.text)?;
    }
    Ok(())
}

fn path(out: &mut dyn Write, p: &BgpRoute) -> io::Result<()> {
    let from = match p.neighbor.as_str() {
        "" => "the router itself",
        name => name,
    };
    let mut what = match (p.fate.as_str(), p.problem.as_str()) {
        (fate, "") => fate.to_owned(),
        (_, problem) => problem.to_owned(),
    };
    if let Some(left) = p.counts_in_s {
        what += &format!("; {}", crate::bgp::label_is_back(left));
    }
    let table = match p.leaked_from.as_str() {
        "" => String::new(),
        table => format!(" in {table}"),
    };
    writeln!(
        out,
        "    from {from}{table} via {} as-path [{}]    ({what})",
        p.next_hop, p.as_path
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{ExplainRoute, ExplainStep, Route};

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn packets_are_described() {
        let line = "203.0.113.9 from 10.0.0.1 in lan0 label 300/16 proto tcp sport 7 dport 80 ttl 3 size 99";
        let q = query(&words(line)).unwrap();
        let wanted = ExplainQuery {
            destination: "203.0.113.9".into(),
            source: "10.0.0.1".into(),
            interface: "lan0".into(),
            label: vec![300, 16],
            protocol: "tcp".into(),
            source_port: 7,
            destination_port: 80,
            ttl: 3,
            size: 99,
            ..ExplainQuery::default()
        };
        assert_eq!(q, wanted);
        for (line, part) in [
            ("", "is not an address"),
            ("10.0.0.0/8", "is not an address"),
            ("from 10.0.0.1", "destination is missing"),
            ("10.0.0.1 wibble", "one of from, in"),
            ("10.0.0.1 sport many", "is not a number"),
            ("10.0.0.1 label", "is missing"),
        ] {
            let e = query(&words(line)).unwrap_err().to_string();
            assert!(e.contains(part), "{line}: {e}");
        }
    }

    #[test]
    fn the_way_is_told_in_order() {
        let step = |what: &str, text: &str| ExplainStep {
            what: what.into(),
            text: text.into(),
            ..ExplainStep::default()
        };
        let route = |prefix: &str| Route {
            prefix: prefix.into(),
            protocol: "static".into(),
            ..Route::default()
        };
        let told = Explanation {
            steps: vec![
                step("packet", "a packet"),
                step("lookup", "is in 10.0.0.0/8"),
                step("end", "leaves"),
            ],
            routes: vec![
                ExplainRoute {
                    route: Some(route("10.0.0.0/8")),
                    why: "in use".into(),
                },
                ExplainRoute {
                    route: Some(route("0.0.0.0/0")),
                    why: "/0 is shorter than /8".into(),
                },
            ],
            bgp: vec![BgpRoute {
                neighbor: "192.0.2.1".into(),
                fate: "best".into(),
                ..BgpRoute::default()
            }],
            notes: vec!["mind this".into()],
            ..Explanation::default()
        };
        let mut out = Vec::new();
        print(&mut out, &told).unwrap();
        let text = String::from_utf8(out).unwrap();
        let places: Vec<usize> = [
            "a packet",
            "is in",
            "(in use)",
            "(/0 is shorter than /8)",
            "from 192.0.2.1",
            "leaves",
            "note: mind this",
        ]
        .iter()
        .map(|p| text.find(p).unwrap_or_else(|| panic!("{p}: {text}")))
        .collect();
        assert!(places.is_sorted(), "{text}");
    }
}
