//! Damaged and odd messages from elsewhere, of which none may do more than be refused. They are not part of this repository:
//! name the folders that have them, and the test says so when they are not named.
//!
//! `TRUNKLINE_CAPTURES`: captures (pcap, pcapng) with BGP in them. `TRUNKLINE_MRT`: MRT files, gzipped or not.

use std::path::{Path, PathBuf};
use std::process::Command;

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

/// Every marker in a capture begins a message, or two octets of luck; each is read in every context.
#[test]
fn messages_of_captures_are_survived() {
    let mut markers = 0;
    for f in files("TRUNKLINE_CAPTURES") {
        let bytes = std::fs::read(&f).expect("a file that can be read");
        let at: Vec<usize> = (0..bytes.len().saturating_sub(18))
            .filter(|i| {
                bytes[*i..*i + 16] == [0xff; 16]
                    && bytes.get(i + 18).is_some_and(|k| (1..=5).contains(k))
            })
            .collect();
        for i in &at {
            let end = bytes.len().min(i + 65_535);
            for how in 0..=255 {
                bgp::fuzz::messages(&[&[how], &bytes[*i..end]].concat());
            }
        }
        markers += at.len();
    }
    println!("{markers} messages in captures");
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
