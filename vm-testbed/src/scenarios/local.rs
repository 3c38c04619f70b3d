//! The router's own addresses: the kernel serves them over TAPs, so ping, ssh and any TCP server work.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, anyhow, ensure};

use crate::cases::hostile::Dice;
use crate::lab::cmd;
use crate::lab::wait::{secs, until};
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

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn loopback(o: &Options) -> Result<()> {
    const OWN: [&str; 2] = ["192.0.2.1", "2001:db8:ff::1"];
    let add = "interface add loop0 device loopback address 192.0.2.1/32 address 2001:db8:ff::1/128";
    let _pages = pages(&o.flavor, 1)?;
    let mut lab = Lab::new("loopback")?;
    let r1 = lab.router("r1")?;
    let h1 = lab.host(&host(1), &r1, "e1")?;
    let h2 = lab.host(&host(2), &r1, "e2")?;
    // The same address in a VRF: one more loopback, of another table.
    let blue = "[vrf.blue]\n[interface.loop1]\ndevice = \"loopback\"\nvrf = \"blue\"\naddress = \"192.0.2.1/32\"\n";
    let mut a = lab.start("r1", &r1, &config(&o.flavor).section(blue))?;
    for to in OWN {
        ensure!(!answers(&h1, to)?, "{to} answers before it is there");
    }
    a.must(add)?;
    for to in OWN {
        for h in [&h1, &h2] {
            reach(h, to)?;
            ping(h, to, 20)?;
        }
        exchange(&r1, to, &h1).with_context(|| format!("TCP from a host to {to}"))?;
    }
    r1.run("ping -n -c 3 -i 0.05 -W 1 -I 192.0.2.1 10.0.2.2")?;
    r1.run("ping -n -c 3 -i 0.05 -W 1 -I 2001:db8:ff::1 2001:db8:2::2")?;
    // No link takes it away, and it is still there after a restart.
    r1.ip("link set e1 down")?;
    for to in OWN {
        ping(&h2, to, 20)?;
    }
    a.terminate()?;
    a.start_again()?;
    for to in OWN {
        reach(&h2, to)?;
    }
    a.must("interface del loop0")?;
    for to in OWN {
        ensure!(!answers(&h2, to)?, "{to} answers though it has gone");
    }
    a.law()?;
    a.stop()
}

fn answers(from: &Netns, to: &str) -> Result<bool> {
    Ok(from
        .finish(&format!("ping -n -c 2 -i 0.05 -W 1 {to}"))?
        .ok())
}

/// Bytes of the file that ssh brings over and back.
const FILE: usize = 400_000;

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn ssh(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut lab = Lab::new("ssh")?;
    let r1 = lab.router("r1")?;
    let h1 = lab.host(&host(1), &r1, "e1")?;
    let _h2 = lab.host(&host(2), &r1, "e2")?;
    let a = lab.start("r1", &r1, &config(&o.flavor))?;
    let _server = SshServer::start(lab.folder(), &r1)?;
    // By chance: ssh compresses what it can.
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let file: Vec<u8> = (0..FILE).map(|_| (dice.roll() >> 24) as u8).collect();
    fs::write(lab.folder().join("file"), &file)?;
    let there = r1.run("readlink /proc/self/ns/net")?;
    for to in ["10.0.1.1", "10.0.2.1", "2001:db8:1::1", "2001:db8:2::1"] {
        reach(&h1, to)?;
        let named = || format!("ssh to {to}");
        let at = remote(
            lab.folder(),
            &h1,
            to,
            "id -un; readlink /proc/self/ns/net",
            &[],
        )
        .with_context(named)?;
        ensure!(
            at == format!("root\n{there}").as_bytes(),
            "ssh to {to} led elsewhere: {}",
            String::from_utf8_lossy(&at)
        );
        let sum = remote(lab.folder(), &h1, to, "sha256sum", &file).with_context(named)?;
        let want = cmd::output(Command::new("sha256sum").arg(lab.folder().join("file")))?;
        ensure!(
            sum.first_chunk::<64>() == want.as_bytes().first_chunk(),
            "other bytes arrived at {to}: {}",
            String::from_utf8_lossy(&sum)
        );
        let fetch = format!("cat {}", lab.folder().join("file").display());
        let back = remote(lab.folder(), &h1, to, &fetch, &[]).with_context(named)?;
        ensure!(back == file, "other bytes came back from {to}");
    }
    // Without the key nobody gets in.
    fs::remove_file(lab.folder().join("home/.ssh/authorized_keys"))?;
    let refused = remote(lab.folder(), &h1, "10.0.1.1", "id", &[]);
    ensure!(refused.is_err(), "logged in without a key: {refused:?}");
    a.law()?;
    a.stop()
}

/// dropbear in a namespace, with a home of its own for root, so that nobody's keys are touched. Dropped, it is ended.
struct SshServer(Child);

impl SshServer {
    fn start(folder: &Path, ns: &Netns) -> Result<Self> {
        let home = folder.join("home");
        let ssh = home.join(".ssh");
        fs::create_dir_all(&ssh)?;
        for dir in [&home, &ssh] {
            fs::set_permissions(dir, Permissions::from_mode(0o700))?;
        }
        let key = |name: &str| -> Result<(PathBuf, String)> {
            let file = folder.join(name);
            let mut c = Command::new("dropbearkey");
            let said = cmd::output(c.args(["-t", "ed25519", "-f"]).arg(&file))?;
            let public = said.lines().find(|l| l.starts_with("ssh-ed25519 "));
            Ok((file, public.context("dropbearkey gave no key")?.to_owned()))
        };
        let (host_key, _) = key("host-key")?;
        let (_, public) = key("id")?;
        fs::write(ssh.join("authorized_keys"), public + "\n")?;
        // root's home is where its passwd entry says; this one is seen by the server alone.
        let passwd = folder.join("passwd");
        let home = home.display();
        fs::write(&passwd, format!("root:x:0:0:root:{home}:/bin/sh\n"))?;
        let script =
            "mount --bind \"$1\" /etc/passwd && exec dropbear -F -E -s -r \"$2\" -p 22 -P \"$3\"";
        let child = ns
            .command("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", script, "sh"])
            .args([&passwd, &host_key, &folder.join("dropbear.pid")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("dropbear.log"))?)
            .spawn()?;
        let server = Self(child);
        until("dropbear listens", secs(10), || {
            Ok(ns.run("cat /proc/net/tcp6")?.contains(":0016 "))
        })
        .with_context(|| fs::read_to_string(folder.join("dropbear.log")).unwrap_or_default())?;
        Ok(server)
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Logs in with the key, gives `input` to a command there, and returns what it printed.
fn remote(folder: &Path, from: &Netns, to: &str, line: &str, input: &[u8]) -> Result<Vec<u8>> {
    let mut c = from.command("timeout");
    c.args(["-k", "1", "30", "dbclient", "-T", "-y", "-i"])
        .arg(folder.join("id"))
        .args([&format!("root@{to}"), line])
        .env("HOME", folder.join("home"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = c.spawn()?;
    let stdin = child.stdin.take();
    let done = std::thread::scope(|s| {
        // The other side need not read all of it; what it did get, it says itself.
        s.spawn(move || stdin.map(|mut p| p.write_all(input)));
        child.wait_with_output()
    })?;
    ensure!(
        done.status.success(),
        "dbclient ended with {}: {}",
        done.status,
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(done.stdout)
}
