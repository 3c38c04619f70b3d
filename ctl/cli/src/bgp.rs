//! `trunkctl bgp`: neighbours and routes, for people or as JSON, and what neighbours are to do. `watch`: dumps and monitors.

mod watch;

use std::io::{self, Write};

use api::blocking::Client;
use api::{BgpCommand, BgpNeighbor, BgpNeighborQuery, BgpRoute, BgpRouteQuery};

use crate::args::{BgpVerb, Cli, PolicyVerb};
use crate::failure::Failure;
use crate::table::Align::{Left, Right};
use crate::table::Table;
use crate::{Outcome, policy, show, value};

/// Does what was asked.
pub(crate) fn run(cli: &Cli, out: &mut dyn Write, verb: Option<&BgpVerb>) -> Outcome {
    match verb {
        None | Some(BgpVerb::Summary) => {
            let rows = neighbors(cli, "")?;
            if cli.json {
                show::json_rows(out, &rows)
            } else {
                Ok(summary(out, &rows)?)
            }
        }
        Some(BgpVerb::Neighbor(words)) => match order(&words.words)? {
            Order::Show(name) => {
                let rows = neighbors(cli, &name)?;
                if cli.json {
                    show::json_rows(out, &rows)
                } else {
                    Ok(rows.iter().try_for_each(|n| neighbor(out, n))?)
                }
            }
            Order::Do(command) => {
                Client::connect(&cli.socket)?.bgp_command(command)?;
                Ok(())
            }
        },
        Some(BgpVerb::Policy { verb }) => match verb {
            PolicyVerb::Test(words) => policy::run(cli, out, &words.words),
        },
        Some(BgpVerb::Route(words)) => routes(cli, out, query(&words.words)?),
        Some(BgpVerb::Mrt(words)) => watch::mrt(cli, out, &words.words),
        Some(BgpVerb::Bmp(words)) => watch::bmp(cli, out, &words.words),
    }
}

fn neighbors(cli: &Cli, name: &str) -> Result<Vec<BgpNeighbor>, Failure> {
    let query = BgpNeighborQuery {
        address: name.to_owned(),
    };
    Ok(Client::connect(&cli.socket)?
        .bgp_neighbors(query)?
        .neighbors)
}

// ---- words ----

/// What `bgp neighbor` is to do.
#[derive(Debug, PartialEq)]
enum Order {
    Show(String),
    Do(BgpCommand),
}

fn order(words: &[String]) -> Result<Order, Failure> {
    let usage = |text: String| {
        Failure::Usage(format!(
            "{text}; trunkctl bgp neighbor -h shows how it is written"
        ))
    };
    let Some((name, rest)) = words.split_first() else {
        return Ok(Order::Show(String::new()));
    };
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let (command, text) = match rest[..] {
        [] => return Ok(Order::Show(name.clone())),
        ["reset"] => ("reset", ""),
        ["reset", text] => ("reset", text),
        ["shutdown"] => ("shutdown", ""),
        ["shutdown", text] => ("shutdown", text),
        ["start"] => ("start", ""),
        ["refresh", "in"] => ("refresh-in", ""),
        ["refresh", "out"] => ("refresh-out", ""),
        ["refresh", ..] => return Err(usage("refresh what? in, or out".into())),
        ["shutdown" | "reset", ..] => {
            return Err(usage("the text is one word: put it in quotes".into()));
        }
        [word, ..] => {
            return Err(usage(format!(
                "unexpected {word:?}; one of reset, refresh in, refresh out, shutdown, start is wanted"
            )));
        }
    };
    Ok(Order::Do(BgpCommand {
        address: name.clone(),
        command: command.into(),
        text: text.into(),
    }))
}

fn query(words: &[String]) -> Result<BgpRouteQuery, Failure> {
    let mut query = BgpRouteQuery::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "longer" => query.longer = true,
            "vrf" => query.vrf = value(word, &mut words)?,
            "family" => query.family = value(word, &mut words)?,
            "received" => query.received = value(word, &mut words)?,
            "advertised" => query.advertised = value(word, &mut words)?,
            text if query.destination.is_empty() => {
                if text != "default" {
                    api::grammar::prefix(text)?;
                }
                text.clone_into(&mut query.destination);
            }
            text => {
                return Err(Failure::Usage(format!(
                    "unexpected {text:?}; one of longer, received, advertised, family is wanted"
                )));
            }
        }
    }
    if query.longer && query.destination.is_empty() {
        return Err(Failure::Usage(
            "\"longer\" needs the prefix that is meant: bgp route PREFIX longer".into(),
        ));
    }
    if !query.received.is_empty() && !query.advertised.is_empty() {
        return Err(Failure::Usage(
            "\"received\" or \"advertised\": one of them".into(),
        ));
    }
    Ok(query)
}

// ---- shows ----

/// A time in two words at most: `3d 4h`, `5m 6s`, `7s`.
pub(crate) fn time(seconds: f64) -> String {
    let s = seconds.max(0.0) as u64;
    let parts = [
        (s / 86_400, "d"),
        (s / 3600 % 24, "h"),
        (s / 60 % 60, "m"),
        (s % 60, "s"),
    ];
    let first = parts.iter().position(|(n, _)| *n > 0).unwrap_or(3);
    let words: Vec<String> = parts[first..]
        .iter()
        .take(2)
        .map(|(n, unit)| format!("{n}{unit}"))
        .collect();
    words.join(" ")
}

fn state(n: &BgpNeighbor) -> String {
    if n.shutdown {
        "Idle (shut down)".into()
    } else {
        n.state.clone()
    }
}

fn number(n: u32) -> String {
    if n == 0 { "?".into() } else { n.to_string() }
}

fn summary(out: &mut dyn Write, rows: &[BgpNeighbor]) -> io::Result<()> {
    let mut table = Table::new(&[
        ("NEIGHBOR", Left),
        ("AS", Right),
        ("STATE", Left),
        ("SINCE", Right),
        ("RECEIVED", Right),
        ("ACCEPTED", Right),
        ("ADVERTISED", Right),
        ("DESCRIPTION", Left),
    ]);
    for n in rows {
        table.row([
            n.address.clone(),
            number(n.r#as),
            state(n),
            time(n.uptime_s),
            n.received.to_string(),
            n.accepted.to_string(),
            n.advertised.to_string(),
            n.description.clone(),
        ]);
    }
    table.print(out)
}

fn neighbor(out: &mut dyn Write, n: &BgpNeighbor) -> io::Result<()> {
    let asn = number(n.r#as);
    writeln!(
        out,
        "{} AS {asn} {}, {} for {}",
        n.address,
        n.relation,
        state(n),
        time(n.uptime_s)
    )?;
    let mut line = |name: &str, text: &str| -> io::Result<()> {
        match text {
            "" => Ok(()),
            text => writeln!(out, "  {name:<14} {text}"),
        }
    };
    line("description", &n.description)?;
    line("router-id", &n.router_id)?;
    if !n.remote.is_empty() {
        line("connection", &format!("{} to {}", n.local, n.remote))?;
    }
    line("local AS", &n.local_as.to_string())?;
    if n.dynamic {
        line("dynamic", "it came by itself")?;
    }
    let held = format!("hold {} s, keepalive {} s", n.hold_time_s, n.keepalive_s);
    line("times", if n.router_id.is_empty() { "" } else { &held })?;
    line("agreed", &n.capabilities.join(", "))?;
    for f in &n.counts {
        let mut text = format!(
            "{} received, {} accepted, {} advertised",
            f.received, f.accepted, f.advertised
        );
        if f.stale {
            text += ", some of before its restart";
        }
        if f.complete {
            text += ", complete";
        }
        line(&f.family, &text)?;
    }
    let messages = format!(
        "{} in ({} updates), {} out ({} updates)",
        n.messages_received, n.updates_received, n.messages_sent, n.updates_sent
    );
    line("messages", &messages)?;
    if n.malformed > 0 {
        line("malformed", &format!("{} updates, survived", n.malformed))?;
    }
    if n.queued_bytes > 0 {
        line("queued", &format!("{} octets", n.queued_bytes))?;
    }
    let ago = |text: &str, seconds: f64| match text {
        "" => String::new(),
        text => format!("{text} ({} ago)", time(seconds)),
    };
    line("last reset", &ago(&n.last_reset, n.last_reset_ago_s))?;
    if n.last_error != n.last_reset {
        line("last error", &ago(&n.last_error, n.last_error_ago_s))?;
    }
    Ok(())
}

/// Routes, printed as they come: there may be a million.
fn routes(cli: &Cli, out: &mut dyn Write, query: BgpRouteQuery) -> Outcome {
    let mut client = Client::connect(&cli.socket)?;
    let in_full = !query.destination.is_empty() && !query.longer;
    if !cli.json {
        return each(&mut client, query, |r| {
            let shown = if in_full {
                whole(out, r)
            } else {
                route(out, r)
            };
            Ok(shown?)
        });
    }
    let mut array = show::Array::new(out);
    each(&mut client, query, |r| array.row(r))?;
    array.finish()
}

fn each(
    client: &mut Client,
    query: BgpRouteQuery,
    mut print: impl FnMut(&BgpRoute) -> Outcome,
) -> Outcome {
    let mut failed = None;
    let outcome = client.for_each_bgp_route(query, |route| {
        print(&route).map_err(|failure| {
            failed = Some(failure);
            Box::new(tonic::Status::cancelled(""))
        })
    });
    match failed {
        Some(failure) => Err(failure),
        None => Ok(outcome?),
    }
}

/// A path in one line; columns of a fixed width, so that tables of any length can be printed as they come.
fn route(out: &mut dyn Write, r: &BgpRoute) -> io::Result<()> {
    let mark = match (r.best, r.problem.is_empty()) {
        (true, _) => "*",
        (false, true) if r.backup => "b",
        (false, true) => " ",
        (false, false) => "x",
    };
    let prefix = match r.rd.as_str() {
        "" => r.prefix.clone(),
        rd => format!("{rd} {}", r.prefix),
    };
    let from = if r.neighbor.is_empty() {
        "own"
    } else {
        &r.neighbor
    };
    let mut tail = format!("{} {}", r.as_path, &r.origin[..r.origin.len().min(1)]);
    if r.path_id != 0 {
        tail += &format!(" id {}", r.path_id);
    }
    if matches!(r.rpki.as_str(), "valid" | "invalid") {
        tail += &format!(" ({})", r.rpki);
    }
    if !r.stale.is_empty() {
        tail += &format!(" ({})", r.stale);
    }
    if !r.leaked_from.is_empty() {
        tail += &format!(" (leaked from {})", r.leaked_from);
    }
    if !r.problem.is_empty() {
        tail += &format!(" ({})", r.problem);
    }
    if let Some(left) = r.counts_in_s {
        tail += &format!(" ({})", label_is_back(left));
    }
    if !r.label.is_empty() {
        tail += &format!(" label {}", stack(&r.label));
    }
    let line = format!(
        "{mark} {:<20} {:<20} {:<20} {}",
        prefix,
        r.next_hop,
        from,
        tail.trim()
    );
    writeln!(out, "{}", line.trim_end())
}

/// What that means for a path.
pub(crate) fn label_is_back(left: f64) -> String {
    format!("its label is back, and counts in full in {left:.0} s")
}

/// Labels as they are written, outermost first.
fn stack(labels: &[u32]) -> String {
    let all: Vec<String> = labels.iter().map(u32::to_string).collect();
    all.join("/")
}

/// A path with all that is known of it.
fn whole(out: &mut dyn Write, r: &BgpRoute) -> io::Result<()> {
    route(out, r)?;
    let mut line = |name: &str, text: String| -> io::Result<()> {
        match text.as_str() {
            "" => Ok(()),
            text => writeln!(out, "    {name:<18} {text}"),
        }
    };
    line("origin", r.origin.clone())?;
    line(
        "local-pref",
        r.local_pref.map(|n| n.to_string()).unwrap_or_default(),
    )?;
    line("med", r.med.map(|n| n.to_string()).unwrap_or_default())?;
    line("communities", r.communities.join(" "))?;
    line("ext-communities", r.ext_communities.join(" "))?;
    line("large-communities", r.large_communities.join(" "))?;
    line("label", stack(&r.label))?;
    let local = r.local_label.map(|l| l.to_string());
    line("local-label", local.unwrap_or_default())?;
    let index = r.label_index.map(|n| match r.originator_srgb.is_empty() {
        true => n.to_string(),
        false => format!("{n}, SRGB of its origin {}", r.originator_srgb.join(" ")),
    });
    line("label-index", index.unwrap_or_default())?;
    line("not so labelled", r.label_index_problem.clone())?;
    line("originator", r.originator_id.clone())?;
    line("clusters", r.cluster_list.join(" "))?;
    line("aggregator", r.aggregator.clone())?;
    line(
        "only-to-customer",
        r.otc.map(|n| n.to_string()).unwrap_or_default(),
    )?;
    let roas = match r.roas.is_empty() {
        true => String::new(),
        false => format!(" by {}", r.roas.join(", ")),
    };
    line("rpki", format!("{}{roas}", r.rpki))?;
    line("age", time(r.age_s))?;
    line("decision", r.fate.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn neighbours_are_ordered_about() {
        let order = |line: &str| order(&words(line));
        assert_eq!(order("").unwrap(), Order::Show(String::new()));
        assert_eq!(order("10.0.0.2").unwrap(), Order::Show("10.0.0.2".into()));
        let Order::Do(command) = order("wan0 shutdown bye").unwrap() else {
            panic!()
        };
        assert_eq!(
            (
                command.address.as_str(),
                command.command.as_str(),
                command.text.as_str()
            ),
            ("wan0", "shutdown", "bye")
        );
        let Order::Do(command) = order("fe80::1%wan0 refresh out").unwrap() else {
            panic!()
        };
        assert_eq!(command.command, "refresh-out");
        for line in [
            "10.0.0.2 refresh",
            "10.0.0.2 shutdown two words",
            "10.0.0.2 dance",
        ] {
            assert!(matches!(order(line), Err(Failure::Usage(_))), "{line}");
        }
    }

    #[test]
    fn routes_are_asked_for() {
        let q = query(&words(
            "10.0.0.0/8 longer received 192.0.2.1 family ipv4-unicast",
        ))
        .unwrap();
        assert!(q.longer && q.destination == "10.0.0.0/8");
        assert_eq!(
            (q.received.as_str(), q.family.as_str()),
            ("192.0.2.1", "ipv4-unicast")
        );
        for line in [
            "longer",
            "received a advertised b",
            "10.0.0.0/8 10.0.0.0/8",
            "10.0.0.1/8",
            "family",
        ] {
            assert!(
                matches!(query(&words(line)), Err(Failure::Usage(_))),
                "{line}"
            );
        }
    }

    #[test]
    fn times() {
        let all = [
            (0.4, "0s"),
            (59.9, "59s"),
            (61.0, "1m 1s"),
            (7200.0, "2h 0m"),
            (90_061.0, "1d 1h"),
        ];
        for (seconds, text) in all {
            assert_eq!(time(seconds), text);
        }
    }

    #[test]
    fn a_path_is_a_line() {
        let mut r = BgpRoute {
            prefix: "203.0.113.0/24".into(),
            neighbor: "198.51.100.3".into(),
            next_hop: "198.51.100.3".into(),
            origin: "igp".into(),
            as_path: "64513 64514".into(),
            best: true,
            ..BgpRoute::default()
        };
        let mut out = Vec::new();
        route(&mut out, &r).unwrap();
        let line = String::from_utf8(out).unwrap();
        assert_eq!(
            line,
            "* 203.0.113.0/24       198.51.100.3         198.51.100.3         64513 64514 i\n"
        );
        r.label = vec![100, 200];
        let mut out = Vec::new();
        route(&mut out, &r).unwrap();
        assert!(
            String::from_utf8(out)
                .unwrap()
                .ends_with("64514 i label 100/200\n")
        );
        (r.best, r.backup) = (false, true);
        let mut out = Vec::new();
        route(&mut out, &r).unwrap();
        assert!(out.starts_with(b"b 203.0.113.0/24 "));
        r.label.clear();
        r.leaked_from = "red".into();
        let mut out = Vec::new();
        route(&mut out, &r).unwrap();
        let line = String::from_utf8(out).unwrap();
        assert!(line.ends_with("64514 i (leaked from red)\n"), "{line}");
        r.leaked_from.clear();
        r.local_label = Some(16);
        r.label_index = Some(7);
        r.originator_srgb = vec!["16000-23999".into()];
        r.rpki = "invalid".into();
        r.roas = vec!["203.0.113.0/24 le 24 AS 64500".into()];
        let mut out = Vec::new();
        whole(&mut out, &r).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("64514 i (invalid)\n"), "{text}");
        let index = "label-index        7, SRGB of its origin 16000-23999\n";
        assert!(text.contains(index), "{text}");
        assert!(
            text.contains("rpki               invalid by 203.0.113.0/24 le 24 AS 64500\n"),
            "{text}"
        );
    }
}
