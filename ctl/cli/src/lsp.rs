//! `trunkctl lsp ping|trace`: whether a label switched path leads where it should, and which way (RFC 8029).

use std::io::{self, Write};

use api::blocking::Client;
use api::{LspProbe, LspQuery, LspWay};

use crate::args::{Cli, LspVerb};
use crate::failure::Failure;
use crate::table::Align::{Left, Right};
use crate::table::Table;
use crate::{Outcome, show, value};

/// Does what was asked. A path that does not lead to its end is a refusal.
pub(crate) fn run(cli: &Cli, out: &mut dyn Write, verb: &LspVerb) -> Outcome {
    let (what, words) = match verb {
        LspVerb::Ping(words) => ("ping", words),
        LspVerb::Trace(words) => ("trace", words),
    };
    let query = query(what, &words.words)?;
    let mut client = Client::connect(&cli.socket)?;
    let mut rows: Vec<LspProbe> = Vec::new();
    let mut broken = None;
    let live = !cli.json && what == "ping";
    let outcome = client.for_each_lsp_probe(query, |row| {
        if live && broken.is_none() {
            let heading = match rows.is_empty() {
                true => head(out, &row),
                false => Ok(()),
            };
            let printed = heading
                .and_then(|()| line(out, &row))
                .and_then(|()| out.flush());
            if let Err(e) = printed {
                broken = Some(Failure::from(e));
                return Err(Box::new(tonic::Status::cancelled("")));
            }
        }
        rows.push(row);
        Ok(())
    });
    if let Some(failure) = broken {
        return Err(failure);
    }
    outcome?;
    match (cli.json, what) {
        (true, _) => show::json_rows(out, &rows)?,
        (false, "ping") => summary(out, &rows)?,
        (false, _) => trace(out, &rows)?,
    }
    judged(what, &rows)
}

fn query(what: &str, words: &[String]) -> Result<LspQuery, Failure> {
    let usage = |text: String| {
        Failure::Usage(format!(
            "{text}; trunkctl lsp {what} -h shows how it is written"
        ))
    };
    let mut query = LspQuery {
        what: what.to_owned(),
        ..LspQuery::default()
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut next = || value(word, &mut words);
        let number = |text: String| {
            let n: Option<u32> = text.parse().ok().filter(|n| *n > 0);
            n.ok_or_else(|| usage(format!("{word} {text:?} is not a number from 1 on")))
        };
        match word.as_str() {
            "vrf" => query.vrf = next()?,
            "rd" => query.rd = next()?,
            "type" => query.r#type = next()?,
            "count" => query.count = number(next()?)?,
            "interval" => query.interval_ms = number(next()?)?,
            "timeout" => query.timeout_ms = number(next()?)?,
            "ttl" => query.ttl = number(next()?)?,
            "to" => query.destination = next()?,
            "size" => query.size = number(next()?)?,
            "path" => query.path = number(next()?)?,
            "router-alert" => query.router_alert = true,
            text if query.prefix.is_empty() => {
                api::grammar::prefix(text)?;
                text.clone_into(&mut query.prefix);
            }
            text => {
                return Err(usage(format!(
                    "unexpected {text:?}; one of vrf, rd, type, count, interval, timeout, ttl, to, size, path, router-alert is wanted"
                )));
            }
        }
    }
    if query.prefix.is_empty() {
        return Err(usage("the FEC is missing: a prefix or an address".into()));
    }
    Ok(query)
}

/// A label stack as the command line has it.
fn stack(labels: impl Iterator<Item = u32>) -> String {
    let one = |l: u32| match l {
        0 | 2 => "explicit-null".to_owned(),
        3 => "implicit-null".to_owned(),
        n => n.to_string(),
    };
    let all: Vec<String> = labels.map(one).collect();
    match all.is_empty() {
        true => "none".into(),
        false => all.join("/"),
    }
}

fn head(out: &mut dyn Write, row: &LspProbe) -> io::Result<()> {
    writeln!(
        out,
        "{} from {}, label {}, via {} dev {}",
        row.fec.join(" over "),
        row.source,
        stack(row.label.iter().copied()),
        row.next_hop,
        row.interface
    )
}

/// What a router says, with the depth of its label stack that it says it of.
fn says(row: &LspProbe) -> String {
    match row.subcode {
        0 => row.text.clone(),
        depth => format!("{} (depth {depth})", row.text),
    }
}

fn line(out: &mut dyn Write, row: &LspProbe) -> io::Result<()> {
    match row.answered {
        true => writeln!(
            out,
            "{}: {} after {:.2} ms: {}",
            row.sequence,
            row.from,
            row.rtt_ms,
            says(row)
        ),
        false => writeln!(out, "{}: no answer", row.sequence),
    }
}

fn summary(out: &mut dyn Write, rows: &[LspProbe]) -> io::Result<()> {
    let ends = rows.iter().filter(|r| r.verdict == "end").count();
    let answered: Vec<f64> = rows
        .iter()
        .filter(|r| r.answered)
        .map(|r| r.rtt_ms)
        .collect();
    writeln!(
        out,
        "{} sent, {ends} answered by the end of the path, {} by others, {} by nobody",
        rows.len(),
        answered.len() - ends,
        rows.len() - answered.len()
    )?;
    if answered.is_empty() {
        return Ok(());
    }
    let least = answered.iter().copied().fold(f64::INFINITY, f64::min);
    let most = answered.iter().copied().fold(0.0, f64::max);
    let mean = answered.iter().sum::<f64>() / answered.len() as f64;
    writeln!(
        out,
        "after {least:.2} / {mean:.2} / {most:.2} ms (least, mean, most)"
    )
}

fn onward(w: &LspWay) -> String {
    format!("{} label {}", w.router, stack(w.label.iter().copied()))
}

fn trace(out: &mut dyn Write, rows: &[LspProbe]) -> io::Result<()> {
    let Some(first) = rows.first() else {
        return Ok(());
    };
    head(out, first)?;
    let mut table = Table::new(&[
        ("HOP", Right),
        ("ROUTER", Left),
        ("CAME WITH", Left),
        ("GOES ON TO", Left),
        ("MS", Right),
        ("SAYS", Left),
    ]);
    for r in rows {
        let ways: Vec<String> = r.onward.iter().map(onward).collect();
        let of = |text: String| if r.answered { text } else { "-".into() };
        table.row([
            r.ttl.to_string(),
            of(r.from.clone()),
            match r.router.is_empty() {
                true => "-".into(),
                false => format!("label {}", stack(r.in_label.iter().map(|l| l.label))),
            },
            match ways.is_empty() {
                true => "-".into(),
                false => ways.join(", "),
            },
            of(format!("{:.2}", r.rtt_ms)),
            match r.answered {
                true => says(r),
                false => "no answer".into(),
            },
        ]);
    }
    table.print(out)
}

/// Whether the path is whole: a ping is answered by its end, a trace reaches it.
fn judged(what: &str, rows: &[LspProbe]) -> Outcome {
    let good = match what {
        "ping" => rows.iter().any(|r| r.verdict == "end"),
        _ => rows.last().is_some_and(|r| r.verdict == "end"),
    };
    if good {
        return Ok(());
    }
    let last = rows.iter().rev().find(|r| r.answered);
    Err(Failure::Refused(match last {
        Some(r) if r.verdict == "onward" => {
            format!(
                "nobody answers behind {}, from where the path goes on",
                r.from
            )
        }
        Some(r) => format!("the path is broken at {}: {}", r.from, says(r)),
        None => "nobody answers".into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::LspLabel;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_asked_is_described() {
        let line = "10.1.0.0/16 vrf blue type vpn count 3 interval 100 timeout 500 ttl 9 to 127.0.0.7 size 200 path 2 router-alert";
        let q = query("trace", &words(line)).unwrap();
        let wanted = LspQuery {
            what: "trace".into(),
            prefix: "10.1.0.0/16".into(),
            vrf: "blue".into(),
            r#type: "vpn".into(),
            count: 3,
            interval_ms: 100,
            timeout_ms: 500,
            ttl: 9,
            router_alert: true,
            destination: "127.0.0.7".into(),
            size: 200,
            path: 2,
            rd: String::new(),
        };
        assert_eq!(q, wanted);
        let q = query("ping", &words("10.1.0.0/16 rd 64512:1")).unwrap();
        assert_eq!((q.rd.as_str(), q.vrf.as_str()), ("64512:1", ""));
        for (line, part) in [
            ("", "the FEC is missing"),
            ("count 3", "the FEC is missing"),
            ("10.1.0.0/33", "is not a prefix"),
            ("10.1.0.0/16 10.2.0.0/16", "one of vrf, rd, type"),
            ("10.1.0.0/16 count", "is missing"),
            ("10.1.0.0/16 count 0", "is not a number"),
            ("10.1.0.0/16 ttl x", "is not a number"),
        ] {
            let e = query("ping", &words(line)).unwrap_err().to_string();
            assert!(e.contains(part), "{line}: {e}");
        }
    }

    fn row(ttl: u32, verdict: &str) -> LspProbe {
        LspProbe {
            sequence: ttl,
            ttl,
            answered: verdict != "lost",
            verdict: verdict.into(),
            from: format!("192.0.2.{ttl}"),
            text: "what it says".into(),
            subcode: 1,
            fec: vec!["ldp 10.1.0.0/16".into(), "vpn 10.2.0.0/16".into()],
            label: vec![100, 200],
            router: "192.0.2.1".into(),
            in_label: vec![LspLabel {
                label: 100,
                ..LspLabel::default()
            }],
            onward: vec![LspWay {
                router: "10.0.2.2".into(),
                label: vec![3, 200],
                ..LspWay::default()
            }],
            ..LspProbe::default()
        }
    }

    fn printed(f: impl Fn(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        f(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_trace_is_a_table() {
        let text = printed(|out| trace(out, &[row(1, "onward"), row(2, "lost")]));
        for part in [
            "ldp 10.1.0.0/16 over vpn 10.2.0.0/16",
            "label 100/200",
            "label 100 ",
            "10.0.2.2 label implicit-null/200",
            "what it says (depth 1)",
            "no answer",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    }

    #[test]
    fn the_outcome_says_where_it_ends() {
        let why = |what, rows: &[LspProbe]| match judged(what, rows) {
            Ok(()) => String::new(),
            Err(e) => e.to_string(),
        };
        assert_eq!(why("trace", &[row(1, "onward"), row(2, "end")]), "");
        assert_eq!(why("ping", &[row(1, "end"), row(2, "lost")]), "");
        assert_eq!(why("ping", &[]), "nobody answers");
        let broken = why("trace", &[row(1, "onward"), row(2, "broken")]);
        assert_eq!(
            broken,
            "the path is broken at 192.0.2.2: what it says (depth 1)"
        );
        let silent = why("trace", &[row(1, "onward"), row(2, "lost")]);
        assert!(
            silent.starts_with("nobody answers behind 192.0.2.1"),
            "{silent}"
        );
        let text = printed(|out| summary(out, &[row(1, "end"), row(2, "broken"), row(3, "lost")]));
        assert!(
            text.starts_with(
                "3 sent, 1 answered by the end of the path, 1 by others, 1 by nobody\n"
            ),
            "{text}"
        );
    }
}
