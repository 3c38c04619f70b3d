//! MRT: dumps and journals that other people's programs read, and tables of theirs that come back as a neighbour's.
//! RFC 6396.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Around, address, around, asn, neighbor, router, sections, setup};
use crate::lab::cmd;
use crate::lab::wait::{eventually, secs, until};
use crate::peers::mrt::Table;
use crate::peers::raw::Raw;
use crate::peers::{Announce, Bird, Setup};
use crate::suite::Options;

const V4: &str = "198.51.100.0/24";
const V6: &str = "2001:db8:aaaa::/48";

/// What bgpdump says of a file, a line a route or message, `|` between fields.
fn bgpdump(file: &Path) -> Result<Vec<Vec<String>>> {
    let mut c = Command::new("bgpdump");
    let text = cmd::output(c.args(["-v", "-m"]).arg(file))?;
    let fields = |l: &str| l.split('|').map(str::to_owned).collect();
    Ok(text.lines().map(fields).collect())
}

fn dump(lab: &Around, name: &str, more: &str) -> Result<PathBuf> {
    let file = lab.lab.folder().join(name);
    lab.a
        .must(&format!("bgp mrt dump {} {more}", file.display()))?;
    Ok(file)
}

/// Neighbour 1 with routes of both families.
fn first() -> Setup {
    setup(1)
        .announce(Announce::new(V4).community("65001:7").med(20))
        .announce(Announce::new(V6))
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn mrt(o: &Options) -> Result<()> {
    let folder = crate::lab::signals::folder().join("bb-mrt-updates");
    let watch = format!(
        "[mrt]\nupdates = \"{}\"\nrotate = 86400\n",
        folder.display()
    );
    let bgp = sections(&[
        neighbor(1, asn(1), ""),
        neighbor(2, asn(2), "default-originate = false"),
        watch,
    ]);
    let lab = around("bb-mrt", &o.flavor, 2, &bgp)?;
    let s1 = first();
    let p1 = Bird::start(lab.lab.folder(), "bird", &lab.spaces[0], &s1)?;
    lab.established(&p1, &s1)?;
    lab.wait_routes(V4, 1)?;
    lab.wait_routes(V6, 1)?;
    dumped(&lab)?;
    replayed(&lab, &p1)?;
    p1.cli("disable s4")?;
    lab.wait_routes(&format!("{V4} received {}", address(1)), 0)?;
    written(&lab, &folder)?;
    drop(p1);
    lab.a.stop()?;
    // What waited was written at the end.
    let states = updates(&folder)?;
    let down = |l: &Vec<String>| l[2] == "STATE" && l[3] == address(1).to_string();
    let last = states.iter().rfind(|l| down(l)).context("no STATE")?;
    ensure!(last[5..] == ["6", "1"], "{last:?}");
    Ok(())
}

fn dumped(lab: &Around) -> Result<()> {
    let lines = bgpdump(&dump(lab, "rib.mrt", "")?)?;
    let path = asn(1).to_string();
    let of = |prefix: &str| -> Result<&Vec<String>> {
        let found = lines
            .iter()
            .find(|l| l[0] == "TABLE_DUMP2" && l[5] == prefix);
        found.with_context(|| format!("no {prefix} in {lines:?}"))
    };
    let v4 = of(V4)?;
    let got = [&v4[3], &v4[4], &v4[6], &v4[7], &v4[8], &v4[10], &v4[11]];
    let me = address(1).to_string();
    let want = [&me, &path, &path, "IGP", &me, "20", "65001:7"];
    ensure!(got == want, "{got:?}, not {want:?}");
    let v6 = of(V6)?;
    ensure!(v6[8] == "2001:db8:1::2" && v6[6] == path, "of {V6}: {v6:?}");
    ensure!(lines.len() == 2, "more than two: {lines:?}");
    // Of one family; to the standard output, too.
    let lines = bgpdump(&dump(lab, "rib6.mrt", "received family ipv6-unicast")?)?;
    ensure!(lines.len() == 1 && lines[0][5] == V6, "{lines:?}");
    let full = lab.a.ctl("bgp mrt dump /dev/full/no")?;
    ensure!(
        !full.ok() && full.stderr.contains("can't write"),
        "{full:?}"
    );
    Ok(())
}

/// BIRD writes its table down, and that comes back as another neighbour's.
fn replayed(lab: &Around, bird: &Bird) -> Result<()> {
    let file = lab.lab.folder().join("bird.mrt");
    bird.cli(&format!(
        "mrt dump table \"master4\" to \"{}\"",
        file.display()
    ))?;
    let table = eventually("BIRD has written its table", secs(5), || {
        Ok(Table::read(&file).ok().filter(|t| !t.is_empty()))
    })?;
    play(lab, &table, |lab, raw| {
        let paths = lab.wait_routes(&format!("{V4} received {}", address(2)), 1)?;
        ensure!(paths[0]["next_hop"] == address(2).to_string(), "{paths:?}");
        raw.say(&crate::peers::raw::message(4, &[]))?;
        Ok(())
    })?;
    let Some(real) = std::env::var_os("TRUNKLINE_TABLE") else {
        return Ok(());
    };
    // A table of the Internet's, and both ways.
    let table = Table::read(Path::new(&real))?;
    play(lab, &table, |lab, raw| {
        let me = address(2).to_string();
        let begin = std::time::Instant::now();
        until("all of it is there", secs(60), || {
            let n = lab.neighbor(&me)?;
            raw.say(&crate::peers::raw::message(4, &[]))?;
            ensure!(n["state"] == "Established", "{n}");
            Ok(n["counts"][0]["complete"] == true)
        })?;
        let took = begin.elapsed();
        let begin = std::time::Instant::now();
        let lines = bgpdump(&dump(lab, "real.mrt", "family ipv4-unicast")?)?;
        let theirs = lines.iter().filter(|l| l[3] == me).count();
        ensure!(theirs == table.len(), "{theirs} of {}", table.len());
        crate::progress::note(&format!(
            "{theirs} routes of {real:?} in after {took:.1?}, dumped and read in {:.1?}",
            begin.elapsed()
        ));
        Ok(())
    })
}

/// Announces a table as neighbour 2, for as long as `look` takes.
fn play(lab: &Around, table: &Table, look: impl Fn(&Around, &mut Raw) -> Result<()>) -> Result<()> {
    let me = std::net::Ipv4Addr::new(10, 0, 2, 2);
    // Keepalives are few: no hold time that would run out meanwhile.
    // One that was there a moment ago is held down for a second or two: its connections are refused.
    let mut raw = eventually("the appliance takes neighbour 2", secs(20), || {
        Raw::open(&lab.spaces[1], me, router(2), asn(2), 90).map(Some)
    })?;
    table.announce(&mut raw, asn(2), me)?;
    look(lab, &mut raw)?;
    drop(raw);
    until("it is gone", secs(10), || {
        Ok(lab.neighbor(&me.to_string())?["state"] != "Established")
    })
}

/// The messages in the files.
fn updates(folder: &Path) -> Result<Vec<Vec<String>>> {
    let mut all = vec![];
    for entry in std::fs::read_dir(folder)? {
        all.extend(bgpdump(&entry?.path())?);
    }
    Ok(all)
}

fn written(lab: &Around, folder: &Path) -> Result<()> {
    let me = address(1).to_string();
    let path = asn(1).to_string();
    let all = eventually("the withdrawal is written", secs(10), || {
        let all = updates(folder)?;
        let gone = all.iter().any(|l| l[2] == "W" && l[5] == V4);
        Ok(gone.then_some(all))
    })?;
    let of = |what: &str, prefix: &str, from: &str| {
        all.iter()
            .filter(|l| l[2] == what && l.get(5).is_some_and(|p| p == prefix) && l[3] == from)
            .count()
    };
    ensure!(of("A", V4, &me) == 1 && of("A", V6, &me) == 1, "{all:?}");
    ensure!(of("W", V4, &me) == 1, "{all:?}");
    let second = address(2).to_string();
    ensure!(of("A", V4, &second) == 1, "{all:?}");
    let a = all.iter().find(|l| l[2] == "A" && l[5] == V4);
    ensure!(a.is_some_and(|l| l[6] == path && l[4] == path), "{a:?}");
    let shown = lab.a.json("bgp mrt")?;
    ensure!(
        shown[0]["error"] == "" && shown[0]["dropped_records"] == 0,
        "{shown}"
    );
    ensure!(shown[0]["records"].as_u64().unwrap_or(0) > 4, "{shown}");
    Ok(())
}
