//! `trunkctl bgp mrt`: the routes as a file, and the files that the appliance writes. `trunkctl bgp bmp`: monitoring stations.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use api::blocking::Client;
use api::{BgpDumpQuery, BgpWatch, BgpWatchQuery, BmpStation, MrtLog};

use super::time;
use crate::args::Cli;
use crate::failure::Failure;
use crate::{Outcome, show, value};

/// What `bgp mrt` is to do.
#[derive(Debug, PartialEq)]
enum Order {
    Show,
    Dump(String, BgpDumpQuery),
}

fn order(words: &[String]) -> Result<Order, Failure> {
    let usage = |text: String| {
        Failure::Usage(format!(
            "{text}; trunkctl bgp mrt -h shows how it is written"
        ))
    };
    let mut words = words.iter();
    match words.next().map(String::as_str) {
        None => Ok(Order::Show),
        Some("show") if words.len() == 0 => Ok(Order::Show),
        Some("dump") => {
            let file = words
                .next()
                .ok_or_else(|| usage("to which file? - is the standard output".into()))?;
            let mut query = BgpDumpQuery::default();
            while let Some(word) = words.next() {
                match word.as_str() {
                    "received" => query.received = true,
                    "family" => query.family = value(word, &mut words)?,
                    other => {
                        return Err(usage(format!(
                            "unexpected {other:?}; received or family is wanted"
                        )));
                    }
                }
            }
            Ok(Order::Dump(file.clone(), query))
        }
        Some(other) => Err(usage(format!(
            "unexpected {other:?}; dump or show is wanted"
        ))),
    }
}

pub(super) fn mrt(cli: &Cli, out: &mut dyn Write, words: &[String]) -> Outcome {
    match order(words)? {
        Order::Show => {
            let log = watch(cli)?.mrt;
            match (cli.json, log) {
                (true, log) => show::json_rows(out, &log.into_iter().collect::<Vec<_>>()),
                (false, None) => Ok(writeln!(
                    out,
                    "nothing is written to files; [mrt] in the configuration begins it"
                )?),
                (false, Some(log)) => Ok(files(out, &log)?),
            }
        }
        Order::Dump(file, query) if file == "-" => dump(cli, query, out).map(|_| ()),
        Order::Dump(file, query) => {
            let (path, part) = (Path::new(&file), PathBuf::from(format!("{file}.part")));
            let octets = into(&part, |to| dump(cli, query, to)).and_then(|n| {
                std::fs::rename(&part, path).map_err(|e| failed(path, &e))?;
                Ok(n)
            });
            if octets.is_err() {
                // It may never have been made.
                let _ = std::fs::remove_file(&part);
            }
            let octets = octets?;
            if !cli.json {
                writeln!(out, "{octets} octets")?;
            }
            Ok(())
        }
    }
}

fn failed(path: &Path, e: &io::Error) -> Failure {
    Failure::Refused(format!("can't write {}: {e}", path.display()))
}

/// Has `write` fill a file, down to the disk.
fn into(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<u64, Failure>,
) -> Result<u64, Failure> {
    let file = File::create(path).map_err(|e| failed(path, &e))?;
    let mut to = io::BufWriter::with_capacity(1 << 18, file);
    let octets = write(&mut to)?;
    let file = to.into_inner().map_err(|e| failed(path, e.error()))?;
    file.sync_all().map_err(|e| failed(path, &e))?;
    Ok(octets)
}

/// The routes as they come: there may be a million.
fn dump(cli: &Cli, query: BgpDumpQuery, to: &mut dyn Write) -> Result<u64, Failure> {
    let mut client = Client::connect(&cli.socket)?;
    let (mut octets, mut error) = (0, None);
    let outcome = client.for_each_bgp_dump(query, |piece| {
        octets += piece.len() as u64;
        to.write_all(piece).map_err(|e| {
            error = Some(e);
            Box::new(tonic::Status::cancelled(""))
        })
    });
    match error {
        Some(e) => Err(Failure::Refused(format!("can't write the dump: {e}"))),
        None => {
            outcome?;
            Ok(octets)
        }
    }
}

fn watch(cli: &Cli) -> Result<BgpWatch, Failure> {
    Ok(Client::connect(&cli.socket)?.bgp_watch(BgpWatchQuery {})?)
}

pub(super) fn bmp(cli: &Cli, out: &mut dyn Write, words: &[String]) -> Outcome {
    if let Some(word) = words.iter().find(|w| *w != "show") {
        return Err(Failure::Usage(format!(
            "unexpected {word:?}; trunkctl bgp bmp shows the stations"
        )));
    }
    let all = watch(cli)?.stations;
    match (cli.json, all.is_empty()) {
        (true, _) => show::json_rows(out, &all),
        (false, true) => Ok(writeln!(
            out,
            "no monitoring station is told of anything; [bmp.NAME] in the configuration begins it"
        )?),
        (false, false) => Ok(all.iter().try_for_each(|s| station(out, s))?),
    }
}

fn station(out: &mut dyn Write, s: &BmpStation) -> io::Result<()> {
    writeln!(
        out,
        "{} {}, {} for {}",
        s.name,
        s.address,
        s.state,
        time(s.since_s)
    )?;
    let mut line = |name: &str, text: String| match text.as_str() {
        "" => Ok(()),
        text => writeln!(out, "  {name:<11} {text}"),
    };
    line("told of", s.monitor.join(", "))?;
    if s.state == "connected" {
        let complete = if s.complete {
            ", all that there was"
        } else {
            ""
        };
        line(
            "told",
            format!("{} messages, {} octets{complete}", s.messages, s.bytes),
        )?;
        line(
            "waiting",
            format!("{} octets, {} changes", s.queued_bytes, s.queued_changes),
        )?;
    }
    if s.resyncs > 0 {
        let text = format!("{} times: it was too slow for the changes", s.resyncs);
        line("told anew", text)?;
    }
    line("last error", s.last_error.clone())
}

fn files(out: &mut dyn Write, log: &MrtLog) -> io::Result<()> {
    writeln!(out, "updates in {}", log.directory)?;
    let mut line = |name: &str, text: String| match text.as_str() {
        "" => Ok(()),
        text => writeln!(out, "  {name:<10} {text}"),
    };
    line("file", log.file.clone())?;
    line(
        "written",
        format!("{} records, {} octets", log.records, log.written_bytes),
    )?;
    let lost = |n: u64, what: &str| match n {
        0 => String::new(),
        n => format!("{n} {what}"),
    };
    line(
        "dropped",
        lost(log.dropped_records, "records: the disk was too slow"),
    )?;
    line(
        "lost",
        lost(log.lost_bytes, "octets that could not be written"),
    )?;
    line("error", log.error.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_are_asked_for() {
        let order = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            order(&words)
        };
        assert_eq!(order("").unwrap(), Order::Show);
        assert_eq!(order("show").unwrap(), Order::Show);
        let query = BgpDumpQuery {
            received: true,
            family: "ipv6-unicast".into(),
        };
        assert_eq!(
            order("dump f family ipv6-unicast received").unwrap(),
            Order::Dump("f".into(), query)
        );
        for line in ["dump", "show x", "dmp", "dump f g", "dump f family"] {
            assert!(matches!(order(line), Err(Failure::Usage(_))), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_shown() {
        let log = MrtLog {
            directory: "/d".into(),
            records: 3,
            lost_bytes: 9,
            error: "/d: No space left".into(),
            ..MrtLog::default()
        };
        let mut out = Vec::new();
        files(&mut out, &log).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("9 octets that could not be written"),
            "{text}"
        );
        assert!(
            text.contains("No space left") && !text.contains("dropped"),
            "{text}"
        );
    }
}
