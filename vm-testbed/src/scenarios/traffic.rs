//! Changes while frames flow: nothing is lost that need not be, and every frame is accounted for.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cases::{Bed, known_hosts, ports, to_host, to_router};
use crate::frame::Ip4;
use crate::lab::Wire;
use crate::lab::wait::{eventually, millis, secs, until};
use crate::suite::Options;

use super::{Skip, pages};

/// What a stream of frames came to.
#[derive(Debug)]
pub(super) struct Stream {
    sent: u64,
    came: u64,
    longest: Duration,
}

/// Sends frames from `from` to `to` while `work` goes on: in small handfuls, well below what the slowest driver forwards.
pub(super) fn stream<T>(
    from: &Wire,
    to: &Wire,
    sent: &[u8],
    out: &[u8],
    work: impl FnOnce() -> Result<T>,
) -> Result<(Stream, T)> {
    let (over, n) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|s| {
        s.spawn(|| {
            // Relaxed: counted by one thread, read after it was joined; the flag orders nothing else.
            while !over.load(Ordering::Relaxed) {
                for _ in 0..5 {
                    if from.send(sent).is_ok() {
                        n.fetch_add(1, Ordering::Relaxed);
                    }
                }
                std::thread::sleep(millis(1));
            }
        });
        let worked = work();
        over.store(true, Ordering::Relaxed);
        let (mut came, mut longest, mut last) = (0, Duration::ZERO, None::<Duration>);
        let mut take = |within: Duration| {
            let deadline = Instant::now() + within;
            while let Some(f) = to.next(deadline) {
                if f.frame == out {
                    came += 1;
                    if let Some(last) = last {
                        longest = longest.max(f.at.saturating_sub(last));
                    }
                    last = Some(f.at);
                }
            }
            came
        };
        let _ = until("all frames that were sent have come", secs(3), || {
            Ok(take(millis(100)) >= n.load(Ordering::Relaxed))
        });
        Ok((
            Stream {
                sent: n.load(Ordering::Relaxed),
                came,
                longest,
            },
            worked?,
        ))
    })
}

pub(super) fn no_loss(s: &Stream, at_least: u64) -> Result<()> {
    ensure!(
        s.longest < millis(500),
        "forwarding stood still for {:?}",
        s.longest
    );
    ensure!(s.sent >= at_least, "too few frames to tell: {s:?}");
    ensure!(
        s.came == s.sent,
        "{} of {} frames were lost: {s:?}",
        s.sent.abs_diff(s.came),
        s.sent
    );
    Ok(())
}

fn bed(name: &str, o: &Options, wires: usize, interfaces: usize) -> Result<Bed> {
    let mut bed = Bed::start(name, wires, &ports(&o.flavor, interfaces, |_| ""))?;
    for line in known_hosts(interfaces, &[2]) {
        bed.appliance.must(&line)?;
    }
    bed.flush_ports(&(1..=interfaces).collect::<Vec<_>>())?;
    Ok(bed)
}

fn packet() -> Ip4 {
    Ip4::udp("10.0.1.2", "10.0.2.2", 100)
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn interfaces(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let bed = bed("interfaces", o, 4, 2)?;
    let (sent, out) = (
        to_router(1, &packet().bytes()),
        to_host(2, 2, &packet().ttl(63).bytes()),
    );
    let a = &bed.appliance;
    let (s, ()) = stream(bed.wire(1), bed.wire(2), &sent, &out, || {
        for _ in 0..4 {
            for p in [3, 4] {
                let device = o.flavor.device(&format!("e{p}"));
                a.must(&format!("interface add p{p} device {device} address 10.0.{p}.1/24 address 2001:db8:{p}::1/64"))?;
            }
            a.must("interface add p3.7 address 10.3.7.1/24")?;
            until("p3 and p4 are up", secs(5), || {
                let all = a.json("interface show")?;
                let all = all.as_array().context("no array")?;
                Ok(all.len() == 5 && all.iter().all(|i| i["link"] == "up"))
            })?;
            for name in ["p3.7", "p4", "p3"] {
                a.must(&format!("interface del {name}"))?;
            }
        }
        Ok(())
    })?;
    no_loss(&s, 500)?;
    bed.law()?;
    bed.appliance.stop()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn routes(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let bed = bed("routes", o, 2, 2)?;
    let p = Ip4::udp("10.0.1.2", "100.64.0.9", 100);
    let (sent, out) = (to_router(1, &p.bytes()), to_host(2, 2, &p.ttl(63).bytes()));
    let a = &bed.appliance;
    a.must("route add 100.64.0.0/10 via 10.0.2.2")?;
    let batch = |verb: &str| -> String {
        (0..4000)
            .map(|i| {
                format!(
                    "route {verb} 100.64.{}.{}/30 via 10.0.2.2\n",
                    i / 64,
                    i % 64 * 4
                )
            })
            .collect()
    };
    let file = |name: &str, text: String| -> Result<std::path::PathBuf> {
        let path = a.config().with_file_name(name);
        std::fs::write(&path, text)?;
        Ok(path)
    };
    let (add, del) = (
        file("add", batch("add"))?,
        file("del", batch("del").replace(" via 10.0.2.2", ""))?,
    );
    let (s, ()) = stream(bed.wire(1), bed.wire(2), &sent, &out, || {
        for _ in 0..3 {
            a.must(&format!("batch {}", add.display()))?;
            a.must("route replace 100.64.0.0/10 via 10.0.2.2 weight 2")?;
            a.must(&format!("batch {}", del.display()))?;
        }
        Ok(())
    })?;
    no_loss(&s, 200)?;
    let left = a.json("route show 100.64.0.0/10 longer")?;
    ensure!(
        left.as_array().is_some_and(|l| l.len() == 1),
        "routes are left: {left}"
    );
    bed.law()?;
    bed.appliance.stop()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn link(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut bed = bed("link", o, 3, 3)?;
    bed.appliance
        .must("route add 198.51.100.0/24 via 10.0.2.2 via 10.0.3.2")?;
    let flows: Vec<Vec<u8>> = (0..60u16)
        .map(|i| {
            to_router(
                1,
                &Ip4::udp_ports("10.0.1.2", "198.51.100.9", 2000 + i, 53, 20).bytes(),
            )
        })
        .collect();
    let link = |bed: &Bed, p: usize, want: &str| {
        eventually(&format!("the link of p{p} is {want}"), secs(5), || {
            let all = bed.appliance.json(&format!("interface show p{p}"))?;
            Ok((all[0]["link"] == want).then_some(()))
        })
    };
    let send = |bed: &mut Bed, ports: &[usize]| -> Result<[usize; 2]> {
        for f in &flows {
            bed.wire(1).send(f)?;
        }
        let seen = bed.flush_ports(ports)?;
        let udp = |p: usize| {
            seen.iter()
                .filter(|(q, f)| *q == p && f[12..14] == [8, 0])
                .count()
        };
        Ok([udp(2), udp(3)])
    };
    let [a, b] = send(&mut bed, &[1, 2, 3])?;
    ensure!(
        a + b == 60 && a > 5 && b > 5,
        "60 flows over two links: {a} and {b}"
    );
    bed.far().ip("link set e2-far down")?;
    link(&bed, 2, "down")?;
    eventually("all flows take the other link", secs(5), || {
        Ok((send(&mut bed, &[1, 3])?[1] == 60).then_some(()))
    })?;
    bed.far().ip("link set e2-far up")?;
    link(&bed, 2, "up")?;
    eventually("they come back", secs(5), || {
        let [a, b] = send(&mut bed, &[1, 2, 3])?;
        Ok((a + b == 60 && a > 5 && b > 5).then_some(()))
    })?;
    bed.law()?;
    bed.appliance.stop()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn overload(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut bed = bed("overload", o, 2, 2)?;
    let frames: Vec<Vec<u8>> = vec![
        to_router(1, &packet().bytes()),
        to_router(1, &packet().ttl(1).bytes()),
        to_router(1, &Ip4::echo("10.0.1.2", "10.0.1.1", 1, 1).bytes()),
        to_router(1, &Ip4::udp("10.0.1.2", "10.0.2.77", 100).bytes()),
        to_router(1, &Ip4::udp("10.0.1.2", "192.0.2.9", 100).bytes()),
        to_router(
            1,
            &Ip4::udp("10.0.1.2", "10.0.2.2", 1400)
                .with(|p| p.df = false)
                .bytes(),
        ),
    ];
    let end = Instant::now() + secs(3);
    let mut n = 0;
    while Instant::now() < end {
        // The kernel's queue may be full: then the frame never was on the wire.
        let _ = bed.wire(1).send(&frames[n % frames.len()]);
        n += 1;
    }
    let c = bed.appliance.law()?;
    ensure!(c.0["p1"].rx > 1000, "too few frames to tell: {c:?}");
    bed.flush()?;
    bed.law()?;
    bed.appliance.stop()
}

/// Plays every capture of a folder into both ports, all frames addressed to the router.
///
/// # Errors
/// When it fails.
pub fn hostile(o: &Options) -> Result<()> {
    let Some(folder) = &o.hostile else {
        return Err(Skip("no folder of captures was given (--hostile DIR)".into()).into());
    };
    let _pages = pages(&o.flavor, 1)?;
    let config = ports(&o.flavor, 2, |_| "mpls = true").interface_on(
        "p1.100",
        "",
        &["10.1.100.1/24"],
        "mpls = true",
    );
    let mut bed = Bed::start("hostile-captures", 2, &config)?;
    for line in known_hosts(2, &[2])
        .into_iter()
        .chain(crate::cases::mpls::tables())
    {
        bed.appliance.must(&line)?;
    }
    let mut files = vec![];
    captures(folder, &mut files)?;
    ensure!(!files.is_empty(), "no captures in {}", folder.display());
    let (mut frames, mut unread) = (0, 0);
    for file in &files {
        match play(&mut bed, file).with_context(|| format!("{}", file.display()))? {
            0 => unread += 1,
            n => frames += n,
        }
        bed.flush()
            .with_context(|| format!("after {}", file.display()))?;
    }
    println!(
        "      {} captures, {frames} frames; {unread} captures hold no Ethernet frame that can be read",
        files.len()
    );
    ensure!(frames > 0, "no frame could be read");
    bed.law()?;
    bed.appliance.stop()
}

fn captures(folder: &Path, files: &mut Vec<std::path::PathBuf>) -> Result<()> {
    for e in std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = e?.path();
        if path.is_dir() {
            captures(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|x| x == "pcap" || x == "pcapng")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

/// The frames of a capture. Captures are hostile too: of one that is broken, what comes before the break counts.
fn frames_of(file: &Path) -> Result<Vec<Vec<u8>>> {
    let open = std::fs::File::open(file)?;
    let mut frames = vec![];
    if file.extension().is_some_and(|x| x == "pcapng") {
        let Ok(mut pcap) = pcap_file::pcapng::PcapNgReader::new(open) else {
            return Ok(frames);
        };
        while let Some(Ok(block)) = pcap.next_block() {
            if let pcap_file::pcapng::Block::EnhancedPacket(p) = block {
                frames.push(p.data.into_owned());
            }
        }
    } else {
        let Ok(mut pcap) = pcap_file::pcap::PcapReader::new(open) else {
            return Ok(frames);
        };
        while let Some(Ok(p)) = pcap.next_packet() {
            frames.push(p.data.into_owned());
        }
    }
    Ok(frames)
}

/// Sends each frame as it is, and once more addressed to the router, at both ports.
fn play(bed: &mut Bed, file: &Path) -> Result<u64> {
    let mut n = 0;
    for mut frame in frames_of(file)? {
        if frame.len() < 14 || frame.len() > 3000 {
            continue;
        }
        // The kernel refuses frames beyond the port's MTU; those never were on the wire.
        n += u64::from(bed.wire(1).send(&frame).is_ok());
        for port in [1, 2] {
            frame[..6].copy_from_slice(&crate::cases::router(port));
            n += u64::from(bed.wire(port).send(&frame).is_ok());
        }
        // In handfuls that the ports' rings can hold: what is missed there is not put to the test.
        if n % 60 < 3 {
            bed.flush()?;
        }
    }
    Ok(n)
}
