//! `trunkctl`, the command line of a Trunkline appliance.
//!
//! It only speaks the published API, and links no DPDK. The grammar of what follows a verb is iproute2's (`api::grammar`).
//! Exit status: 0 done, 1 refused, 2 usage, 3 the appliance can't be reached.
#![forbid(unsafe_code)]

mod args;
mod bgp;
mod doctor;
mod explain;
mod failure;
mod ldp;
mod lsp;
mod offline;
mod policy;
mod rpki;
mod show;
mod table;

use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use api::blocking::Client;
use api::{
    Change, ConfigReply, ConfigRequest, DropQuery, InterfaceQuery, LabelQuery, NeighborQuery,
    Route, RouteQuery, VrfQuery, WorkerQuery,
};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use args::{
    Cli, ConfigVerb, DropVerb, InterfaceVerb, LabelVerb, NeighVerb, Noun, RouteVerb, VrfVerb,
    Words, WorkerVerb,
};
use failure::Failure;

type Outcome = Result<(), Failure>;

fn main() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Ok(cli) => {
            let mut out = BufWriter::new(io::stdout().lock());
            run(&cli, &mut out).and_then(|()| out.flush().map_err(Failure::from))
        }
        Err(error) => return misunderstood(&error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Pipe) {
                let _ = writeln!(io::stderr(), "trunkctl: {failure}");
            }
            failure.code()
        }
    }
}

/// What clap has to say: help as it is, mistakes in one line.
fn misunderstood(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = io::stderr().write_all(text.as_bytes());
            ExitCode::from(2)
        }
        _ => {
            let lines = text
                .lines()
                .map(str::trim)
                .take_while(|line| !line.starts_with("Usage:"));
            let parts: Vec<&str> = lines
                .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
                .map(|line| {
                    line.trim_start_matches("error: ")
                        .trim_start_matches("tip: ")
                })
                .collect();
            let _ = writeln!(
                io::stderr(),
                "trunkctl: {}; trunkctl -h shows what there is",
                parts.join("; ")
            );
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli, out: &mut dyn Write) -> Outcome {
    match &cli.noun {
        Noun::Route { verb } => match verb {
            Some(RouteVerb::Add(words)) => change(cli, out, &["route", "add"], words),
            Some(RouteVerb::Replace(words)) => change(cli, out, &["route", "replace"], words),
            Some(RouteVerb::Del(words)) => change(cli, out, &["route", "del"], words),
            Some(RouteVerb::Show(words)) => routes(cli, out, route_query(&words.words)?),
            None => routes(cli, out, RouteQuery::default()),
        },
        Noun::Label { verb } => match verb {
            Some(LabelVerb::Add(words)) => change(cli, out, &["label", "add"], words),
            Some(LabelVerb::Replace(words)) => change(cli, out, &["label", "replace"], words),
            Some(LabelVerb::Del(words)) => change(cli, out, &["label", "del"], words),
            Some(LabelVerb::Show { label }) => labels(cli, out, LabelQuery { label: *label }),
            Some(LabelVerb::Ranges) => label_ranges(cli, out),
            None => labels(cli, out, LabelQuery::default()),
        },
        Noun::Interface { verb } => match verb {
            Some(InterfaceVerb::Add(words)) => change(cli, out, &["interface", "add"], words),
            Some(InterfaceVerb::Del(words)) => change(cli, out, &["interface", "del"], words),
            Some(InterfaceVerb::Show { name }) => interfaces(cli, out, name.as_deref()),
            None => interfaces(cli, out, None),
        },
        Noun::Neigh { verb } => match verb {
            Some(NeighVerb::Add(words)) => change(cli, out, &["neigh", "add"], words),
            Some(NeighVerb::Del(words)) => change(cli, out, &["neigh", "del"], words),
            Some(NeighVerb::Show(words)) => neighbors(cli, out, neighbor_query(&words.words)?),
            None => neighbors(cli, out, NeighborQuery::default()),
        },
        Noun::Bgp { verb } => bgp::run(cli, out, verb.as_ref()),
        Noun::Ldp { verb } => ldp::run(cli, out, verb.as_ref()),
        Noun::Lsp { verb } => lsp::run(cli, out, verb),
        Noun::Rpki { .. } => rpki::run(cli, out),
        Noun::Vrf { verb } => match verb {
            Some(VrfVerb::Show { name }) => vrfs(cli, out, name.as_deref()),
            None => vrfs(cli, out, None),
        },
        Noun::Worker { .. }
        | Noun::Drop { .. }
        | Noun::Memory { .. }
        | Noun::Rcu { .. }
        | Noun::Status { .. } => state(cli, out),
        Noun::Config { verb } => config(cli, out, verb),
        Noun::Batch { file } => batch(cli, out, file),
        Noun::Doctor {
            fix,
            nic,
            config,
            pages,
        } => {
            let fix = fix.then_some(doctor::Fix {
                nics: nic,
                config: config.as_deref(),
                pages: *pages,
            });
            doctor::run(cli.json, &cli.socket, out, fix.as_ref())
        }
        Noun::Completions { shell } => {
            // Made in memory: the generator gives up on a pipe that is closed.
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "trunkctl", &mut text);
            Ok(out.write_all(&text)?)
        }
        Noun::Explain { words, verify } => explain::run(cli, out, words, *verify),
        Noun::Capture(_) => later("capture"),
        Noun::Top(_) => later("top"),
    }
}

fn later(what: &str) -> Outcome {
    Err(Failure::Usage(format!(
        "\"{what}\" is not in this version; trunkctl -h shows what there is"
    )))
}

// ---- changes ----

fn change(cli: &Cli, out: &mut dyn Write, verb: &[&str], words: &Words) -> Outcome {
    let words = words.words.iter().map(String::as_str);
    let change = api::grammar::change(verb.iter().copied().chain(words)).map_err(|e| {
        let command = verb.join(" ");
        Failure::Usage(format!(
            "{command}: {e}; trunkctl {command} -h shows how it is written"
        ))
    })?;
    commit(cli, out, vec![change])
}

fn commit(cli: &Cli, out: &mut dyn Write, changes: Vec<Change>) -> Outcome {
    let reply = Client::connect(&cli.socket)?.commit(changes)?;
    if cli.json {
        show::json(out, &reply)
    } else {
        Ok(())
    }
}

/// One command a line, applied as one commit.
fn batch(cli: &Cli, out: &mut dyn Write, file: &Path) -> Outcome {
    let text = read(file)?;
    let mut changes = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        if words.clone().next().is_none() {
            continue;
        }
        let change = api::grammar::change(words).map_err(|e| {
            Failure::Usage(format!(
                "{}:{number}: {e}; nothing was changed",
                file.display()
            ))
        })?;
        changes.push(change);
    }
    commit(cli, out, changes)
}

/// The text of a file, or of standard input.
fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let outcome = if file == Path::new("-") {
        io::stdin().lock().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut opened| opened.read_to_string(&mut text))
    };
    match outcome {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::Refused(format!(
            "cannot read {}: {error}",
            file.display()
        ))),
    }
}

// ---- shows ----

/// The value that must follow a word.
fn value<'w>(word: &str, words: &mut impl Iterator<Item = &'w String>) -> Result<String, Failure> {
    words
        .next()
        .cloned()
        .ok_or_else(|| Failure::Usage(format!("what follows \"{word}\" is missing")))
}

fn route_query(words: &[String]) -> Result<RouteQuery, Failure> {
    let mut query = RouteQuery::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "longer" => query.longer = true,
            "vrf" => query.vrf = value(word, &mut words)?,
            "protocol" | "proto" => query.protocol = value(word, &mut words)?,
            text if query.destination.is_empty() => {
                if text != "default" {
                    api::grammar::prefix(text)?;
                }
                text.clone_into(&mut query.destination);
            }
            text => {
                return Err(Failure::Usage(format!(
                    "unexpected {text:?}; one of longer, protocol, vrf is wanted"
                )));
            }
        }
    }
    if query.longer && query.destination.is_empty() {
        return Err(Failure::Usage(
            "\"longer\" needs the prefix that is meant: route show PREFIX longer".into(),
        ));
    }
    Ok(query)
}

fn neighbor_query(words: &[String]) -> Result<NeighborQuery, Failure> {
    let mut query = NeighborQuery::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "dev" => query.interface = value(word, &mut words)?,
            text if query.address.is_empty() && text.parse::<std::net::IpAddr>().is_ok() => {
                text.clone_into(&mut query.address);
            }
            text => {
                return Err(Failure::Usage(format!(
                    "{text:?} is not an address, nor \"dev NAME\""
                )));
            }
        }
    }
    Ok(query)
}

fn drop_query(words: &[String]) -> Result<DropQuery, Failure> {
    let mut words = words.iter().filter(|word| *word != "dev");
    let interface = words.next().cloned().unwrap_or_default();
    match words.next() {
        None => Ok(DropQuery { interface }),
        Some(word) => Err(Failure::Usage(format!(
            "unexpected {word:?}; drop show takes one interface: dev NAME"
        ))),
    }
}

/// The routing table, printed as it comes: it may be long.
fn routes(cli: &Cli, out: &mut dyn Write, query: RouteQuery) -> Outcome {
    let mut client = Client::connect(&cli.socket)?;
    if !cli.json {
        return each_route(&mut client, query, |route| Ok(show::route(out, route)?));
    }
    let mut array = show::Array::new(out);
    each_route(&mut client, query, |route| array.row(route))?;
    array.finish()
}

/// Ends early when printing fails, so that the rest of a long table is not asked for in vain.
fn each_route(
    client: &mut Client,
    query: RouteQuery,
    mut print: impl FnMut(&Route) -> Outcome,
) -> Outcome {
    let mut failed = None;
    let outcome = client.for_each_route(query, |route| {
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

fn labels(cli: &Cli, out: &mut dyn Write, query: LabelQuery) -> Outcome {
    let rows = Client::connect(&cli.socket)?.labels(query)?;
    if cli.json {
        return show::json_rows(out, &rows);
    }
    Ok(rows.iter().try_for_each(|row| show::label(out, row))?)
}

fn label_ranges(cli: &Cli, out: &mut dyn Write) -> Outcome {
    let all = Client::connect(&cli.socket)?.label_ranges(Default::default())?;
    if cli.json {
        return show::json_rows(out, &all.ranges);
    }
    Ok(show::label_ranges(out, &all)?)
}

fn interfaces(cli: &Cli, out: &mut dyn Write, name: Option<&str>) -> Outcome {
    let query = InterfaceQuery {
        name: name.unwrap_or_default().to_owned(),
    };
    let rows = Client::connect(&cli.socket)?.interfaces(query)?.interfaces;
    if cli.json {
        show::json_rows(out, &rows)
    } else {
        Ok(show::interfaces(out, &rows)?)
    }
}

fn neighbors(cli: &Cli, out: &mut dyn Write, query: NeighborQuery) -> Outcome {
    let rows = Client::connect(&cli.socket)?.neighbors(query)?.neighbors;
    if cli.json {
        show::json_rows(out, &rows)
    } else {
        Ok(show::neighbors(out, &rows)?)
    }
}

/// What is asked of the workers.
fn worker_query(cli: &Cli) -> WorkerQuery {
    let reset = matches!(
        &cli.noun,
        Noun::Worker {
            verb: Some(WorkerVerb::Show { reset: true })
        }
    );
    WorkerQuery { reset }
}

fn vrfs(cli: &Cli, out: &mut dyn Write, name: Option<&str>) -> Outcome {
    let name = name.unwrap_or_default().to_owned();
    let rows = Client::connect(&cli.socket)?.vrfs(VrfQuery { name })?.vrfs;
    if cli.json {
        show::json_rows(out, &rows)
    } else {
        Ok(show::vrfs(out, &rows)?)
    }
}

/// What can only be looked at.
fn state(cli: &Cli, out: &mut dyn Write) -> Outcome {
    let dropped = match &cli.noun {
        Noun::Drop {
            verb: Some(DropVerb::Show(words)),
        } => drop_query(&words.words)?,
        _ => DropQuery::default(),
    };
    let mut client = Client::connect(&cli.socket)?;
    match &cli.noun {
        Noun::Worker { .. } => {
            let rows = client.workers(worker_query(cli))?.workers;
            if cli.json {
                show::json_rows(out, &rows)
            } else {
                Ok(show::workers(out, &rows)?)
            }
        }
        Noun::Drop { .. } => {
            let rows = client.drops(dropped)?.drops;
            if cli.json {
                show::json_rows(out, &rows)
            } else {
                Ok(show::drops(out, &rows)?)
            }
        }
        Noun::Memory { .. } => {
            let memory = client.memory(Default::default())?;
            if cli.json {
                show::json(out, &memory)
            } else {
                Ok(show::memory(out, &memory)?)
            }
        }
        Noun::Rcu { .. } => {
            let rcu = client.rcu(Default::default())?;
            if cli.json {
                show::json(out, &rcu)
            } else {
                Ok(show::rcu(out, &rcu)?)
            }
        }
        _ => {
            let status = client.status(Default::default())?;
            if cli.json {
                show::json(out, &status)
            } else {
                Ok(show::status(out, &status)?)
            }
        }
    }
}

// ---- configuration ----

fn config(cli: &Cli, out: &mut dyn Write, verb: &ConfigVerb) -> Outcome {
    let connect = || Client::connect(&cli.socket).map_err(Failure::from);
    match verb {
        ConfigVerb::Show => {
            let config = connect()?.show_config(Default::default())?;
            if !cli.json {
                return Ok(out.write_all(config.text.as_bytes())?);
            }
            let value: serde_json::Value = toml::from_str(&config.text).map_err(|e| {
                Failure::Refused(format!("{} is not TOML: {}", config.path, e.message()))
            })?;
            show::json(out, &value)
        }
        ConfigVerb::Check { file } => {
            let request = request(file)?;
            let reply = match connect() {
                Ok(mut client) => client.check_config(request)?,
                Err(unreachable) => {
                    offline::check(&request, unreachable)?;
                    ConfigReply::default()
                }
            };
            if cli.json {
                return show::json(out, &reply);
            }
            Ok(writeln!(out, "{}: no mistakes found", file.display())?)
        }
        ConfigVerb::Diff { file } => {
            let reply = connect()?.diff_config(request(file)?)?;
            if cli.json {
                show::json(out, &reply)
            } else {
                steps(out, &reply, "would change nothing")
            }
        }
        ConfigVerb::Apply { more, .. } if !more.is_empty() => Err(Failure::Usage(format!(
            "{:?} after the file: confirmed commits are not in this version",
            more.join(" ")
        ))),
        ConfigVerb::Apply { file, .. } => {
            let reply = connect()?.apply_config(request(file)?)?;
            if cli.json {
                show::json(out, &reply)
            } else {
                steps(out, &reply, "changes nothing")
            }
        }
        ConfigVerb::Confirm(_) => later("config confirm"),
        ConfigVerb::Rollback(_) => later("config rollback"),
        ConfigVerb::History(_) => later("config history"),
    }
}

fn request(file: &Path) -> Result<ConfigRequest, Failure> {
    let path = if file == Path::new("-") {
        String::new()
    } else {
        let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        whole.to_string_lossy().into_owned()
    };
    Ok(ConfigRequest {
        text: read(file)?,
        path,
    })
}

fn steps(out: &mut dyn Write, reply: &ConfigReply, nothing: &str) -> Outcome {
    for step in &reply.steps {
        writeln!(out, "{step}")?;
    }
    let shown = reply.steps.len() as u64;
    match reply.changed {
        0 if shown == 0 => writeln!(out, "{nothing}")?,
        n if n > shown => writeln!(out, "… and {} more", n - shown)?,
        _ => {}
    }
    Ok(())
}
