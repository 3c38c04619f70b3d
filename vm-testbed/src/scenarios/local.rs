//! The router's own addresses: the kernel serves them over TAPs, so ping, ssh and any TCP server work.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use anyhow::{Context, Result, anyhow, ensure};

use crate::lab::wait::secs;
use crate::lab::{Lab, Netns};
use crate::suite::Options;

use super::hosts::{config, host};
use super::{pages, ping, reach};

/// Bytes sent in each direction: enough for TCP to open its window.
const BYTES: usize = 3_000_000;

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn services(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut lab = Lab::new("local")?;
    let r1 = lab.router("r1")?;
    let h1 = lab.host(&host(1), &r1, "e1")?;
    let h2 = lab.host(&host(2), &r1, "e2")?;
    let a = lab.start("r1", &r1, &config(&o.flavor))?;
    for to in ["10.0.1.1", "10.0.2.1", "2001:db8:1::1", "2001:db8:2::1"] {
        reach(&h1, to)?;
        ping(&h1, to, 20)?;
        // The largest packet that fits, and one that has to be put together again.
        for size in [1452, 4000] {
            h1.run(&format!("ping -n -c 2 -i 0.05 -W 1 -s {size} {to}"))?;
        }
        exchange(&r1, to, &h1).with_context(|| format!("TCP from a host to {to}"))?;
    }
    for to in ["10.0.1.2", "10.0.2.2", "2001:db8:2::2"] {
        let server = if to.contains(".1.2") { &h1 } else { &h2 };
        reach(&r1, to)?;
        exchange(server, to, &r1).with_context(|| format!("TCP from the router to {to}"))?;
    }
    // A host two hops away must find its way back, though the router's kernel has no route to it but ours.
    h2.ip("addr add 198.51.100.9/32 dev lo")?;
    a.must("route add 198.51.100.0/24 via 10.0.2.2")?;
    h2.run("ping -n -c 3 -i 0.05 -W 1 -I 198.51.100.9 10.0.1.1")?;
    let link_local = r1.ip("-6 -o addr show scope link")?;
    ensure!(
        link_local.contains("fe80::"),
        "no link-local address at the router's TAPs: {link_local}"
    );
    a.law()?;
    a.stop()
}

/// A TCP server at `address` inside `server`, a client in `client`: bytes both ways, all of them right.
fn exchange(server: &Netns, address: &str, client: &Netns) -> Result<()> {
    let at = (address.parse::<std::net::IpAddr>()?, 0);
    let listener = server.enter(|| Ok(TcpListener::bind(at)?))?;
    let to = listener.local_addr()?;
    std::thread::scope(|s| {
        let served = s.spawn(move || -> Result<()> {
            let (mut c, _) = listener.accept()?;
            c.set_read_timeout(Some(secs(20)))?;
            let mut got = vec![];
            c.read_to_end(&mut got)?;
            c.write_all(&got)?;
            Ok(())
        });
        let sent: Vec<u8> = (0..BYTES).map(|i| (i % 253) as u8).collect();
        let got = client.enter(|| {
            let mut c = TcpStream::connect_timeout(&to, secs(5))?;
            c.set_read_timeout(Some(secs(20)))?;
            c.set_write_timeout(Some(secs(20)))?;
            c.write_all(&sent)?;
            c.shutdown(Shutdown::Write)?;
            let mut got = vec![];
            c.read_to_end(&mut got)?;
            Ok(got)
        });
        if got.is_err() {
            // Wakes a server that still waits for somebody to connect.
            let _ = server.enter(|| Ok(TcpStream::connect_timeout(&to, secs(1))?));
        }
        let served = served.join().map_err(|_| anyhow!("the server panicked"))?;
        ensure!(got? == sent, "other bytes came back");
        served
    })
}
