//! Which speaker shows which feature: the table of `docs/rfc-bgp.md`, and what the scenarios take their neighbours from, so that
//! neither can say what the other does not.

use std::fmt::Write as _;

use anyhow::Result;

use super::{Around, around, asn, neighbor, sections, setup};
use crate::peers::{Make, Setup, Speaker};
use crate::suite::Options;

/// Whether a speaker, of the version that Debian 12 has, is a neighbour for a feature; if not, why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// It is.
    Yes,
    /// It has no such thing, or none that can be asserted.
    No(&'static str),
}

/// A feature.
#[derive(Debug)]
pub struct Feature {
    /// Its name for people.
    pub name: &'static str,
    /// Where it is specified.
    pub rfc: &'static str,
    /// The scenarios that show it, one for all speakers, or one each in the order of [`Make::ALL`].
    pub scenarios: &'static [&'static str],
    /// As [`Make::ALL`].
    pub cells: [Cell; 4],
}

const fn row(
    name: &'static str,
    rfc: &'static str,
    scenarios: &'static [&'static str],
    cells: [Cell; 4],
) -> Feature {
    Feature {
        name,
        rfc,
        scenarios,
        cells,
    }
}

const ALL: [Cell; 4] = [Cell::Yes; 4];
const EACH: &[&str] = &["bgp/frr", "bgp/bird", "bgp/gobgp", "bgp/exabgp"];
const NONE: Cell = Cell::No("has none");

/// Features, and who shows them: FRR, BIRD, GoBGP, ExaBGP.
#[rustfmt::skip]
pub const TABLE: &[Feature] = {
    use Cell::{No, Yes};
    &[
        row("IPv4 and IPv6 unicast, both ways", "4271, 4760", EACH, ALL),
        row("AS numbers of four octets", "6793", EACH, ALL),
        row("communities, large communities", "1997, 8092", EACH, ALL),
        row("an old speaker, of two octets", "6793", &["bgp/two-octets"], [No("reads no AS4_PATH then"), Yes, NONE, Yes]),
        row("TCP MD5", "2385", &["bgp/md5"], ALL),
        row("GTSM", "5082", &["bgp/ttl-security"], ALL),
        row("several paths, both ways", "7911", &["bgp/add-path"], ALL),
        row("route refresh, we ask", "2918", &["bgp/refresh"], [Yes, Yes, Yes, No("its API does not show it")]),
        row("route refresh, it asks", "section 4 of 2918", &["bgp/refresh"], [Yes, Yes, No("keeps what it heard, asks nobody"), No("its API does not show it")]),
        row("its begin and end marks", "7313", &["bgp/refresh"], [Yes, Yes, No("not tried"), No("its API does not show it")]),
        row("extended messages", "8654", &["bgp/extended-messages"], [Yes, Yes, NONE, Yes]),
        row("roles, Only-to-Customer", "9234", &["bgp/roles"], [Yes, Yes, NONE, NONE]),
        row("IPv4 by IPv6 next hops", "8950", &["bgp/ipv6-next-hops"], ALL),
        row("unnumbered links", "8950", &["bgp/unnumbered"], [Yes, No("not tried"), No("not tried"), No("not tried")]),
        row("clients of our route reflection", "4456", &["bgp/reflection"], ALL),
        row("a member of our confederation", "5065", &["bgp/confederation"], [Yes, Yes, Yes, NONE]),
        row("dynamic neighbours", "", &["bgp/dynamic"], ALL),
        row("shut down, with a text", "9003", &["bgp/shutdown"], [Yes, Yes, Yes, No("cannot read the text")]),
        row("it restarts gracefully, we help", "4724", &["bgp/graceful"], ALL),
        row("we restart gracefully, it helps", "4724, 8538", &["bgp/graceful-restart"], [Yes, Yes, Yes, No("has no table")]),
        row("it is away for long, we keep its routes", "9494", &["bgp/long-lived-graceful-restart"], [Yes, Yes, Yes, NONE]),
        row("too many prefixes", "4486", &["bgp/max-prefix"], ALL),
        row("no policy: nothing in, nothing out", "8212", &["bgp/no-policy"], ALL),
    ]
};

/// The features that a scenario shows.
fn shown_by(scenario: &str) -> impl Iterator<Item = &'static Feature> {
    let is = move |f: &&Feature| f.scenarios.contains(&scenario);
    TABLE.iter().filter(move |f| is(f))
}

/// Who shows a feature, by the scenario and the RFC.
#[must_use]
pub fn makes(scenario: &str, rfc: &str) -> Vec<Make> {
    let mut all = vec![];
    for f in shown_by(scenario).filter(|f| f.rfc.starts_with(rfc)) {
        let yes = Make::ALL.iter().zip(f.cells).filter(|c| c.1 == Cell::Yes);
        all.extend(yes.map(|c| *c.0));
    }
    assert!(!all.is_empty(), "{scenario}: the table has nobody");
    all
}

/// The table as `docs/rfc-bgp.md` has it.
#[must_use]
pub fn page() -> String {
    let mut text = String::from(
        "| | RFC | FRR 8.4 | BIRD 2.0.12 | GoBGP 3.10 | ExaBGP 4.2 | shown by |\n|---|---|---|---|---|---|---|\n",
    );
    for f in TABLE {
        let cells = f.cells.map(|c| match c {
            Cell::Yes => "yes",
            Cell::No(why) => why,
        });
        let names: Vec<String> = f.scenarios.iter().map(|s| format!("`{s}`")).collect();
        let (cells, names) = (cells.join(" | "), names.join(", "));
        let _ = writeln!(text, "| {} | {} | {cells} | {names} |", f.name, f.rfc);
    }
    text
}

/// A neighbour of a [`Party`].
pub struct Guest {
    /// Its number.
    pub n: u8,
    /// What it is.
    pub make: Make,
    /// What it was told.
    pub setup: Setup,
    /// It.
    pub speaker: Box<dyn Speaker>,
}

/// What is special about a neighbour: lines of its section, and what it is told itself.
pub struct Special {
    /// Its AS, if it is not the usual one of its number.
    pub asn: u32,
    /// More lines of its section in the appliance's configuration.
    pub ours: String,
    /// What it is told.
    pub theirs: Setup,
}

impl Special {
    /// Nothing is.
    #[must_use]
    pub fn none(n: u8) -> Self {
        Self {
            asn: asn(n),
            ours: String::new(),
            theirs: setup(n),
        }
    }

    /// These lines on either side.
    #[must_use]
    pub fn of(n: u8, ours: &str, theirs: &str) -> Self {
        Self {
            ours: ours.to_owned(),
            theirs: setup(n).neighbor(theirs),
            ..Self::none(n)
        }
    }
}

/// The appliance and one neighbour of each make, with all sessions established.
pub struct Party {
    /// The appliance, and room for one more neighbour: its number is that of guests plus one.
    pub lab: Around,
    /// Its neighbours.
    pub guests: Vec<Guest>,
}

impl Party {
    /// Starts an appliance and its neighbours; `bgp` are lines of `[bgp]`.
    ///
    /// # Errors
    /// When a session does not come up.
    pub fn start(
        name: &str,
        o: &Options,
        makes: &[Make],
        bgp: &str,
        special: impl Fn(Make, u8) -> Special,
    ) -> Result<Self> {
        let numbered = makes.iter().zip(1..);
        let all: Vec<(Make, u8, Special)> =
            numbered.map(|(m, n)| (*m, n, special(*m, n))).collect();
        let ours = all.iter().map(|(_, n, s)| neighbor(*n, s.asn, &s.ours));
        let mut ours: Vec<String> = ours.collect();
        let more = u8::try_from(all.len())? + 1;
        ours.insert(0, bgp.to_owned());
        if !bgp.contains(&format!("{}\"", super::address(more))) {
            ours.push(neighbor(more, asn(more), ""));
        }
        let lab = around(name, &o.flavor, more, &sections(&ours))?;
        let mut guests = vec![];
        for (make, n, s) in all {
            let speaker = lab.start(n, make, &s.theirs)?;
            guests.push(Guest {
                n,
                make,
                setup: s.theirs,
                speaker,
            });
        }
        for g in &guests {
            lab.established(g.speaker.as_ref(), &g.setup)?;
        }
        Ok(Self { lab, guests })
    }

    /// The number of the neighbour that there is room for.
    #[must_use]
    pub fn more(&self) -> u8 {
        self.guests.len() as u8 + 1
    }

    /// Takes everything down, the appliance first, which must go quietly.
    ///
    /// # Errors
    /// When it does not.
    pub fn end(self, mut others: Vec<Box<dyn Speaker>>) -> Result<()> {
        others.extend(self.guests.into_iter().map(|g| g.speaker));
        self.lab.end(others)
    }
}
