//! Damaged and odd messages: none of them ends a session that RFC 7606 says survives, and none the process.
//!
//! Some thousands are made here from those of `tests/conformance`, the same ones each time. Those from elsewhere are not part of
//! this repository: name the folders that have them, and the tests say so when they are not named.
//!
//! `TRUNKLINE_CAPTURES`: captures (pcap, pcapng) with BGP in them. `TRUNKLINE_MRT`: MRT files, gzipped or not.

#[path = "harness/bed.rs"]
mod bed;
#[path = "harness/judge.rs"]
mod judge;

use std::path::{Path, PathBuf};
use std::process::Command;

use bed::{Bed, Tally};

fn files(variable: &str) -> Vec<PathBuf> {
    let Some(dir) = std::env::var_os(variable) else {
        eprintln!("{variable} is not set: nothing was read");
        return Vec::new();
    };
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{variable}: {e}"));
    let mut all: Vec<PathBuf> = entries.flatten().map(|f| f.path()).collect();
    all.retain(|f| f.is_file());
    all.sort();
    assert!(!all.is_empty(), "{variable} names an empty folder");
    all
}

/// Whether a message of more than 4,096 octets, or fewer than its type has, or with a header that is wrong otherwise.
fn is_update(message: &[u8]) -> bool {
    let whole = |len: [u8; 2]| usize::from(u16::from_be_bytes(len)) == message.len();
    message.len() <= 4096
        && message.starts_with(&[0xff; 16])
        && matches!(message[16..], [a, b, 2, _, _, _, _, ..] if whole([a, b]))
}

fn sum(beds: &[Bed]) -> Tally {
    beds.iter().fold(Tally::default(), |sum, b| Tally {
        messages: sum.messages + b.tally.messages,
        survived: sum.survived + b.tally.survived,
        ended: sum.ended + b.tally.ended,
    })
}

/// The hexadecimal octets in quotes of a line of `events.jsonl`, behind each other.
fn octets_of(line: &str) -> Vec<u8> {
    let quoted = line.split('"').skip(1).step_by(2);
    let hex = quoted.filter(|q| q.chars().all(|c| c.is_ascii_hexdigit() || c == ' '));
    let digits: Vec<u8> = hex
        .flat_map(|q| q.chars().filter_map(|c| Some(c.to_digit(16)? as u8)))
        .collect();
    digits.chunks_exact(2).map(|d| d[0] << 4 | d[1]).collect()
}

/// UPDATEs of the conformance cases: their withdrawn routes, their attributes, their NLRI.
fn seeds() -> Vec<[Vec<u8>; 3]> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let mut folders: Vec<_> = std::fs::read_dir(root)
        .expect("the folder of cases")
        .map(|f| f.expect("an entry").path())
        .collect();
    folders.sort();
    let mut all = Vec::new();
    for f in folders {
        let text = std::fs::read_to_string(f.join("events.jsonl")).expect("events");
        for line in text.lines().filter(|l| l.contains("\"update\"")) {
            let part = |key: &str, end: char| {
                let rest = line.split_once(&format!("\"{key}\":")).map_or("", |r| r.1);
                octets_of(rest.split_once(end).map_or(rest, |r| r.0))
            };
            all.push([
                part("withdrawn", ','),
                part("attributes", ']'),
                part("nlri", '}'),
            ]);
        }
    }
    assert!(all.len() > 100, "{} UPDATEs in the cases", all.len());
    all
}

/// xorshift64: the same run each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n.max(1)
    }

    fn spoil(&mut self, o: &mut Vec<u8>) {
        const EDGES: [u8; 10] = [0, 1, 3, 14, 15, 16, 32, 33, 0x80, 0xff];
        let at = self.below(o.len());
        let edge = EDGES[self.below(EDGES.len())];
        match self.below(6) {
            0 => o.truncate(at),
            1 => o.insert(at, edge),
            2 if o.len() < 1500 => o.extend_from_within(at..),
            3 => _ = o.get_mut(at).map(|b| *b = edge),
            4 => _ = o.get_mut(at).map(|b| *b ^= 1 << (edge & 7)),
            _ => {}
        }
    }
}

/// The same prefixes with path identifiers (RFC 7911 3); the end as it is where it can't be told apart.
fn with_ids(mut o: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(one) = o
        .first()
        .and_then(|b| o.get(..1 + usize::from(*b).div_ceil(8)))
    {
        out.extend([0, 0, 0, 7]);
        out.extend(one);
        o = &o[one.len()..];
    }
    [&out, o].concat()
}

fn framed(parts: &[Vec<u8>; 3], lie: usize) -> Vec<u8> {
    let len = |n: usize| (n as u16).to_be_bytes();
    let [withdrawn, attributes, nlri] = parts;
    // Now and then a length inside lies, and that of the message does not.
    let (w, a) = match lie {
        0 => (withdrawn.len() + 1, attributes.len()),
        1 => (withdrawn.len(), attributes.len() + 1),
        2 => (withdrawn.len(), attributes.len().saturating_sub(1)),
        _ => (withdrawn.len(), attributes.len()),
    };
    let body = [&len(w)[..], withdrawn, &len(a), attributes, nlri].concat();
    [&[0xff; 16][..], &len(19 + body.len()), &[2], &body].concat()
}

#[test]
fn sessions_survive_what_rfc_7606_says_they_survive() {
    let seeds = seeds();
    let mut beds = Bed::all();
    let mut dice = Dice(0x5eed_7606);
    for n in 0..40_000 {
        let mut parts = seeds[dice.below(seeds.len())].clone();
        if n % 2 == 1 {
            parts = [with_ids(&parts[0]), parts[1].clone(), with_ids(&parts[2])];
        }
        for _ in 0..dice.below(4) {
            let which = dice.below(4).min(2);
            dice.spoil(&mut parts[which]);
        }
        let message = framed(&parts, dice.below(40));
        beds[n % 4].update(&message);
    }
    let t = sum(&beds);
    println!("{t:?}");
    assert!(t.survived > 10_000 && t.ended > 1_000, "{t:?}");
}

/// Where messages begin in a file: at markers.
fn markers(bytes: &[u8]) -> Vec<usize> {
    (0..bytes.len().saturating_sub(18))
        .filter(|i| {
            bytes[*i..*i + 16] == [0xff; 16]
                && bytes.get(i + 18).is_some_and(|k| (1..=5).contains(k))
        })
        .collect()
}

/// Every marker in a capture begins a message, or two octets of luck; each is read in every context, and said to a speaker.
#[test]
fn messages_of_captures_are_survived() {
    let mut beds = Bed::all();
    for f in files("TRUNKLINE_CAPTURES") {
        let bytes = std::fs::read(&f).expect("a file that can be read");
        for at in markers(&bytes) {
            let rest = &bytes[at..bytes.len().min(at + 65_535)];
            for how in 0..=255 {
                bgp::fuzz::messages(&[&[how], rest].concat());
            }
            let len = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
            for bed in &mut beds {
                match rest.get(..len) {
                    Some(message) if is_update(message) => bed.update(message),
                    _ => bed.anything(rest),
                }
            }
        }
    }
    println!("messages in captures: {:?}", sum(&beds));
}

fn plain(f: &Path) -> Vec<u8> {
    let bytes = std::fs::read(f).expect("a file that can be read");
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes;
    }
    let out = Command::new("gzip").arg("-dc").arg(f).output();
    out.expect("gzip is installed").stdout
}

#[test]
fn mrt_files_are_read() {
    for f in files("TRUNKLINE_MRT") {
        let bytes = plain(&f);
        let found = bgp::fuzz::mrt(&bytes);
        println!(
            "{}: {found} routes and messages in {} octets",
            f.display(),
            bytes.len()
        );
        assert!(found > 0, "{} has nothing that can be read", f.display());
    }
}

/// The UPDATEs in them are said to speakers that agreed on what their senders had.
#[test]
fn messages_of_mrt_files_are_survived() {
    let mut beds = Bed::all();
    for f in files("TRUNKLINE_MRT") {
        let bytes = plain(&f);
        let mut data = &bytes[..];
        while let Ok(Some((record, rest))) = bgp::mrt::Record::parse(data) {
            data = rest;
            if let Ok(bgp::mrt::Entry::Message(m)) = bgp::mrt::Entry::parse(&record)
                && is_update(m.octets)
            {
                let bed = usize::from(!m.as4) * 2 + usize::from(m.add_path);
                beds[bed].update(m.octets);
            }
        }
    }
    println!("messages in MRT files: {:?}", sum(&beds));
}
