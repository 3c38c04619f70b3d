//! Static routes from a file, a line each, in the words of `trunkctl route add`: `PREFIX via ADDRESS [dev NAME] [label L/L]
//! [vrf NAME]`.
//!
//! Blank lines, and what follows a `#`, are passed over. Most lines of such a file differ in their prefix alone, so what
//! follows the prefix is understood once for all lines that have the same: a million lines take a fraction of a second.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use api::grammar::{self, DISCARDS, RouteArgs, RouteBody};
use ipnet::IpNet;

use super::error::{MAX_PROBLEMS, Problem};
use super::model::{FileTarget, RouteFile, Target};
use super::terms;
use super::validate::{Own, fits_family};
use super::vrf::{self, Dest, VrfName};

/// Why the routes of a file can't be had.
#[derive(Debug)]
pub(super) enum Error {
    /// It can't be read.
    Io(std::io::Error),
    /// Some of its lines are wrong.
    Lines(Vec<Problem>),
}

/// Reads the file `path`, which the configuration calls `written`.
pub(super) fn read(written: &str, path: &Path) -> Result<RouteFile, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::Io)?;
    parse(written, path, &text).map_err(Error::Lines)
}

/// Understands the text of a route file.
fn parse(written: &str, path: &Path, text: &str) -> Result<RouteFile, Vec<Problem>> {
    let mut reader = Reader {
        path,
        known: HashMap::new(),
        targets: Vec::new(),
        problems: Vec::new(),
    };
    let mut rows: Vec<(Dest, u32, u32)> = Vec::with_capacity(text.len() / 40);
    for (number, line) in (1_u32..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        match reader.line(line, number) {
            Ok((prefix, target)) => {
                let vrf = reader.targets[target as usize].vrf.clone();
                rows.push((Dest { vrf, prefix }, number, target));
            }
            Err(message) => reader.wrong(number, String::new(), message),
        }
        if reader.problems.len() >= MAX_PROBLEMS {
            break;
        }
    }
    rows.sort_unstable_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    for pair in rows.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        let message = format!(
            "is there twice, first in line {}; several next hops go into one line",
            pair[0].1
        );
        reader.wrong(pair[1].1, pair[0].0.to_string(), message);
        if reader.problems.len() >= MAX_PROBLEMS {
            break;
        }
    }
    if !reader.problems.is_empty() {
        reader.problems.sort_by_key(|problem| problem.line);
        return Err(reader.problems);
    }
    let targets = reader.targets;
    let routes = rows
        .into_iter()
        .map(|(dest, _, at)| (dest, Arc::clone(&targets[at as usize].target)))
        .collect();
    Ok(RouteFile {
        written: written.to_owned(),
        path: path.to_owned(),
        routes,
        targets,
    })
}

struct Reader<'t> {
    path: &'t Path,
    /// What follows a prefix, to its place in `targets`.
    known: HashMap<&'t str, u32>,
    targets: Vec<FileTarget>,
    problems: Vec<Problem>,
}

impl<'t> Reader<'t> {
    fn wrong(&mut self, line: u32, key: String, message: String) {
        let line = line as usize;
        self.problems.push(Problem {
            file: Some(self.path.to_owned()),
            line,
            key,
            message,
        });
    }

    /// The prefix of a line, and the place of its target.
    fn line(&mut self, line: &'t str, number: u32) -> Result<(IpNet, u32), String> {
        let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if first == "default" || first == "unicast" || DISCARDS.contains(&first) {
            let args = grammar::route(line.split_whitespace()).map_err(|e| e.0)?;
            return self.rare(args, number);
        }
        let prefix = grammar::prefix(first).map_err(|e| e.0)?;
        terms::may_route(&prefix)?;
        let at = match self.known.get(rest) {
            Some(at) => *at,
            None => {
                let body = grammar::route_body(rest.split_whitespace()).map_err(|e| e.0)?;
                let (target, vrf) = target(body, None, &prefix)?;
                let at = self.add(target, vrf, number);
                self.known.insert(rest, at);
                at
            }
        };
        self.note(at, &prefix)
    }

    /// A line that does not begin with its prefix.
    fn rare(&mut self, args: RouteArgs, number: u32) -> Result<(IpNet, u32), String> {
        terms::may_route(&args.prefix)?;
        let (target, vrf) = target(args.body, args.discard, &args.prefix)?;
        let same = |have: &FileTarget| *have.target == target && have.vrf == vrf;
        let have = self.targets.iter().position(same);
        let at = match have.and_then(|at| u32::try_from(at).ok()) {
            Some(at) => at,
            None => self.add(target, vrf, number),
        };
        self.note(at, &args.prefix)
    }

    fn add(&mut self, target: Target, vrf: Option<VrfName>, line: u32) -> u32 {
        let at = u32::try_from(self.targets.len()).unwrap_or(u32::MAX);
        self.targets.push(FileTarget {
            target: Arc::new(target),
            vrf,
            line,
            four: false,
            six: false,
        });
        at
    }

    fn note(&mut self, at: u32, prefix: &IpNet) -> Result<(IpNet, u32), String> {
        let used = &mut self.targets[at as usize];
        match prefix {
            IpNet::V4(_) => used.four = true,
            IpNet::V6(_) => used.six = true,
        }
        Ok((*prefix, at))
    }
}

fn target(
    body: RouteBody,
    discard: Option<&str>,
    prefix: &IpNet,
) -> Result<(Target, Option<VrfName>), String> {
    let vrf = body.vrf.as_deref().map(vrf::name).transpose()?;
    if let Some(discard) = discard {
        return Ok((Target::Discard(terms::discard(discard)?), vrf));
    }
    if body.hops.is_empty() {
        return Err(format!(
            "where {prefix} goes is missing: via ADDRESS or dev NAME"
        ));
    }
    let mpls_ttl = body.mpls_ttl.map(terms::ttl).transpose()?;
    let hops = terms::next_hops(body.hops)?;
    let via_table = body.via_table.as_deref().map(vrf::table_name).transpose()?;
    let target = Target::Via {
        hops,
        mpls_ttl,
        via_table,
        entropy: body.entropy_label,
    };
    Ok((target, vrf))
}

impl RouteFile {
    /// Checks each thing that its routes do against what is the router's own.
    pub(super) fn check(&self, own: &Own<'_>) -> Result<(), Error> {
        let mut problems = Vec::new();
        for used in &self.targets {
            if let Err(message) = used.vrf.as_deref().map_or(Ok(()), |vrf| own.has_vrf(vrf)) {
                problems.push(Problem {
                    file: Some(self.path.clone()),
                    line: used.line as usize,
                    key: String::new(),
                    message,
                });
                continue;
            }
            let Target::Via {
                hops, via_table, ..
            } = &*used.target
            else {
                continue;
            };
            let found = own.check_table(used.vrf.as_ref(), via_table.as_ref(), hops);
            let four = if used.four {
                fits_family(hops, false)
            } else {
                Ok(())
            };
            let six = if used.six {
                fits_family(hops, true)
            } else {
                Ok(())
            };
            if let Err(message) = found.and(four).and(six) {
                let file = Some(self.path.clone());
                problems.push(Problem {
                    file,
                    line: used.line as usize,
                    key: String::new(),
                    message,
                });
            }
            if problems.len() >= MAX_PROBLEMS {
                break;
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Error::Lines(problems))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn read_text(text: &str) -> Result<RouteFile, Vec<String>> {
        parse("r.txt", Path::new("/d/r.txt"), text)
            .map_err(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn lines_share_what_they_do() {
        let text = "# ours\n\n10.2.0.0/16 via 10.0.0.1\n10.1.0.0/16 via 10.0.0.1 # again\n\
                    2001:db8::/32 via fe80::1 dev wan0 label 100/200\nblackhole 10.3.0.0/16\ndefault via 10.0.0.1\n";
        let file = read_text(text).unwrap();
        let prefixes: Vec<String> = file.routes.iter().map(|(p, _)| p.to_string()).collect();
        assert_eq!(
            prefixes,
            [
                "0.0.0.0/0",
                "10.1.0.0/16",
                "10.2.0.0/16",
                "10.3.0.0/16",
                "2001:db8::/32"
            ]
        );
        assert!(Arc::ptr_eq(&file.routes[1].1, &file.routes[2].1));
        assert!(
            Arc::ptr_eq(&file.routes[0].1, &file.routes[2].1),
            "the default route goes there too"
        );
        assert_eq!(file.targets.len(), 3);
    }

    #[test]
    fn mistakes_have_their_line() {
        let text = "10.0.0.0/8 via 1.2.3.4\n10.1.0.1/16 via 1.2.3.4\n10.0.0.0/8 via 1.2.3.4\n224.0.0.0/8 via 1.2.3.4\n\
                    10.9.0.0/16\n10.8.0.0/16 via 1.2.3.4 vrf b/e\nx\n10.7.0.0/16 via 1.2.3.4 label 5";
        let errors = read_text(text).unwrap_err();
        let starts = [
            "/d/r.txt:2: \"10.1.0.1/16\" has bits set after its length; the prefix is 10.1.0.0/16",
            "/d/r.txt:3: 10.0.0.0/8: is there twice, first in line 1",
            "/d/r.txt:4: 224.0.0.0/8 is multicast",
            "/d/r.txt:5: where 10.9.0.0/16 goes is missing",
            "/d/r.txt:6: \"b/e\" can't be a VRF's name",
            "/d/r.txt:7: \"x\" is not a prefix",
            "/d/r.txt:8: label 5 is reserved",
        ];
        assert_eq!(errors.len(), starts.len(), "{errors:#?}");
        for (error, start) in errors.iter().zip(starts) {
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn a_million_lines_are_quick() {
        use std::fmt::Write;
        let mut text = String::new();
        for i in 0..1_000_000_u32 {
            let [_, a, b, c] = i.to_be_bytes();
            let _ = writeln!(text, "{}.{b}.{c}.0/24 via 198.51.100.{}", a + 16, 2 + i % 7);
        }
        let start = Instant::now();
        let file = read_text(&text).unwrap();
        let took = start.elapsed();
        assert_eq!((file.routes.len(), file.targets.len()), (1_000_000, 7));
        assert!(took.as_secs_f64() < 3.0, "{took:?}");
        println!("a million lines: {took:?}");
    }
}
