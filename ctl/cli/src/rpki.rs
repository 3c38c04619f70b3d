//! `trunkctl rpki show`: the caches of the RPKI, for people or as JSON.

use std::io::{self, Write};

use api::RpkiCache;
use api::blocking::Client;

use crate::args::Cli;
use crate::bgp::time;
use crate::table::Align::{Left, Right};
use crate::table::Table;
use crate::{Outcome, show};

/// Does what was asked.
pub(crate) fn run(cli: &Cli, out: &mut dyn Write) -> Outcome {
    let rows = Client::connect(&cli.socket)?
        .rpki(Default::default())?
        .caches;
    if cli.json {
        return show::json_rows(out, &rows);
    }
    Ok(caches(out, &rows)?)
}

fn caches(out: &mut dyn Write, rows: &[RpkiCache]) -> io::Result<()> {
    let mut table = Table::new(&[
        ("CACHE", Left),
        ("STATE", Left),
        ("VERSION", Right),
        ("SESSION", Right),
        ("SERIAL", Right),
        ("IPV4", Right),
        ("IPV6", Right),
        ("CHANGED", Right),
        ("EXPIRES", Right),
        ("PROBLEM", Left),
    ]);
    let number = |n: Option<u32>| n.map_or("-".into(), |n| n.to_string());
    let after = |s: Option<f64>| s.map_or("-".into(), time);
    for c in rows {
        let state = match c.coming {
            0 => c.state.clone(),
            n => format!("{}, {n} so far", c.state),
        };
        let ago = c
            .changed_ago_s
            .map_or("-".into(), |s| format!("{} ago", time(s)));
        table.row([
            c.cache.clone(),
            state,
            c.version.to_string(),
            number(c.session),
            number(c.serial),
            c.ipv4.to_string(),
            c.ipv6.to_string(),
            ago,
            after(c.expires_s),
            c.error.clone(),
        ]);
    }
    table.print(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_a_line() {
        let c = RpkiCache {
            cache: "192.0.2.10".into(),
            state: "idle".into(),
            version: 1,
            session: Some(7),
            serial: Some(42),
            ipv4: 500_000,
            ipv6: 120_000,
            changed_ago_s: Some(61.0),
            expires_s: Some(7000.0),
            error: "it closed the connection".into(),
            ..RpkiCache::default()
        };
        let mut out = Vec::new();
        caches(&mut out, &[c, RpkiCache::default()]).unwrap();
        let text = String::from_utf8(out).unwrap();
        let line = "192.0.2.10  idle         1        7      42  500000  120000  1m 1s ago   1h 56m  it closed the connection\n";
        assert!(text.contains(line), "{text}");
    }
}
