//! LDP with FRR's ldpd, which nobody here wrote; what is told is asserted from both sides, and what is sent is read by tcpdump.
//!
//! ```text
//!   n1: ldpd 192.0.2.1 ── p1 appliance 192.0.2.5 p2 ── n2: ldpd 192.0.2.12, and routes behind it
//! ```
//! So the appliance connects to n1, and n2 to the appliance (RFC 5036 2.5.2).
//! The build machines' kernel has no MPLS, so ldpd's labels are its own business here: the appliance pushes and swaps, and the
//! labelled frames that n1 would send are sent by hand.

pub mod entropy;
pub mod hostile;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::pages;
use crate::frame::{Ip4, Lse, MPLS, eth, labelled};
use crate::lab::tcpdump::seen;
use crate::lab::wait::{eventually, secs, until};
use crate::lab::wire::Wire;
use crate::lab::{Appliance, Flavor, Host, Lab, Netns};
use crate::peers::Ldpd;
use crate::suite::Options;

/// The appliance's identifier.
const US: &str = "192.0.2.5";
/// What lies behind n2, which has a label for it.
const FAR: &str = "203.0.113.0/24";
/// An address in it.
const THERE: &str = "203.0.113.9";

/// The identifier of neighbour `n`.
fn id(n: u8) -> String {
    match n {
        1 => "192.0.2.1".into(),
        _ => "192.0.2.12".into(),
    }
}

/// An appliance and the namespaces around it.
pub(super) struct Around {
    pub(super) a: Appliance,
    pub(super) spaces: Vec<Netns>,
    pub(super) lab: Lab,
}

/// The appliance with two links. `ldp` are further lines of `[ldp]`, in which `FOLDER` is the lab's, with a key in `ldp-key`.
pub(super) fn around(name: &str, flavor: &Flavor, ldp: &str) -> Result<Around> {
    let mut lab = Lab::new(name)?;
    std::fs::write(lab.folder().join("ldp-key"), "secret\n")?;
    let ldp = ldp.replace("FOLDER", &lab.folder().display().to_string());
    let ns = lab.router("dut")?;
    let mut spaces = vec![];
    let mut config = flavor
        .config("dut")
        .route(FAR, "10.0.2.2", "")
        .section("[label-range]\ndynamic = \"5000-5999\"\n");
    for n in 1..=2u8 {
        let own = format!("10.0.{n}.2/24");
        let host = Host::new(&format!("n{n}"), &[&own]).gateway(&format!("10.0.{n}.1"));
        let space = lab.host(&host, &ns, &format!("e{n}"))?;
        space.ip(&format!("addr add {}/32 dev lo", id(n)))?;
        spaces.push(space);
        let ours = format!("10.0.{n}.1/24");
        let whole = format!("{US}/32");
        let mut addresses = vec![ours.as_str()];
        if n == 1 {
            addresses.push(&whole);
        }
        config = config
            .interface(
                &format!("p{n}"),
                &format!("e{n}"),
                &addresses,
                "mpls = true",
            )
            .route(&format!("{}/32", id(n)), &format!("10.0.{n}.2"), "");
    }
    routes_of_n2(&spaces[1])?;
    let config = config.section(&format!(
        "[ldp]\nrouter-id = \"{US}\"\ninterfaces = [\"p1\", \"p2\"]\nhello-hold-time = 3\nhold-time = 15\n{ldp}"
    ));
    let a = lab.start("dut", &ns, &config)?;
    Ok(Around { a, spaces, lab })
}

/// What n2's kernel has to know: the rest, and [`FAR`] by a neighbour on the link that never answers. ldpd has a label for what
/// goes on over an interface of its own; for what does not, it ends the path (implicit null).
fn routes_of_n2(n2: &Netns) -> Result<()> {
    n2.ip("route replace default via 10.0.2.1")?;
    n2.ip(&format!("route replace {FAR} via 10.0.2.77"))
        .map(drop)
}

impl Around {
    /// Starts the ldpd of neighbour `n`.
    pub(super) fn ldpd(&self, n: u8, more: &str) -> Result<Ldpd> {
        let space = &self.spaces[usize::from(n) - 1];
        Ldpd::start(self.lab.folder(), &format!("n{n}"), space, &id(n), more)
    }

    /// What the appliance says of neighbour `n`.
    pub(super) fn neighbor(&self, n: u8) -> Result<Option<Value>> {
        let all = self.a.json("ldp neighbors")?;
        let name = format!("{}:0", id(n));
        let mut all = all.as_array().context("no array")?.iter();
        Ok(all.find(|v| v["neighbor"] == name.as_str()).cloned())
    }

    pub(super) fn operational(&self, n: u8) -> Result<bool> {
        Ok(self
            .neighbor(n)?
            .is_some_and(|v| v["state"] == "operational"))
    }

    /// Waits until both sides call the session operational.
    pub(super) fn up(&self, n: u8, ldpd: &Ldpd) -> Result<()> {
        until(&format!("n{n}: both are operational"), secs(40), || {
            Ok(self.operational(n)? && ldpd.operational(US)?)
        })
    }

    /// The labels of [`FAR`]: ours, and n2's.
    fn labels(&self, n2: &Ldpd) -> Result<(u32, u32)> {
        eventually(
            "both have told a label for what is behind n2",
            secs(20),
            || {
                let b = &self.a.json(&format!("ldp bindings {FAR}"))?[0];
                let ours = b["local"].as_u64();
                let remote = b["remote"].as_array().into_iter().flatten();
                let mut theirs = remote.filter(|r| r["neighbor"] == format!("{}:0", id(2)));
                let theirs = theirs.next().and_then(|r| r["label"].as_u64());
                let Some((ours, theirs)) = ours.zip(theirs) else {
                    return Ok(None);
                };
                let seen = n2.binding(FAR, US)?;
                let same = seen == Some((theirs.to_string(), ours.to_string()));
                Ok(same.then_some((u32::try_from(ours)?, u32::try_from(theirs)?)))
            },
        )
    }
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn frr(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let key = "[ldp.neighbor.\"192.0.2.12\"]\npassword-file = \"FOLDER/ldp-key\"\n";
    let mut x = around("ldp-frr", &o.flavor, key)?;
    let mut d1 = x.ldpd(1, "")?;
    let mut d2 = x.ldpd(2, &format!(" neighbor {US} password secret\n"))?;
    told(&x, &d1, &d2)?;
    let labels = x.labels(&d2)?;
    forwarded(&x, labels).context("labels as they were told")?;
    cut(&x, &d2, labels)?;
    lost(&x, &mut d2)?;
    drop(d2);
    let d2 = x.ldpd(2, &format!(" neighbor {US} password secret\n"))?;
    x.up(2, &d2)?;
    let again = x.labels(&d2)?;
    ensure!(again.0 == labels.0, "another label: {labels:?}, {again:?}");
    reloaded(&x, &d1, &d2)?;
    x.a.law()?;
    x.a.terminate()?;
    x.a.start_again()?;
    x.up(1, &d1)?;
    x.up(2, &d2)?;
    let after = x.labels(&d2)?;
    ensure!(
        after.0 == labels.0,
        "another label after a restart: {labels:?}, {after:?}"
    );
    forwarded(&x, after).context("after a restart")?;
    d1.daemon().stop()?;
    x.a.stop()
}

/// Both sides have the same labels of everything.
fn told(x: &Around, d1: &Ldpd, d2: &Ldpd) -> Result<()> {
    x.up(1, d1)?;
    x.up(2, d2)?;
    for (d, n) in [(d1, 1u8), (d2, 2)] {
        let own = format!("{}/32", id(n));
        for (prefix, theirs, ours) in [
            (format!("{US}/32"), None, Some("imp-null")),
            (format!("10.0.{n}.0/24"), Some("imp-null"), Some("imp-null")),
            (own, Some("imp-null"), None),
        ] {
            until(
                &format!("n{n} has both labels of {prefix}"),
                secs(20),
                || {
                    let Some((local, remote)) = d.binding(&prefix, US)? else {
                        return Ok(false);
                    };
                    let is = |label: &str, want: Option<&str>| match want {
                        Some(w) => label == w,
                        None => label.parse::<u32>().is_ok_and(|l| l >= 16),
                    };
                    // n has a route to us by its gateway only where it asks: the default route is no FEC of that address.
                    Ok(is(&remote, ours) && (theirs.is_none() || is(&local, theirs)))
                },
            )?;
        }
    }
    let rows = x.a.json("label show")?;
    let rows = rows.as_array().context("no array")?;
    let far = rows.iter().find(|r| r["fec"] == FAR);
    let far = far.with_context(|| format!("no label of {FAR}: {rows:?}"))?;
    ensure!(
        far["owner"] == "ldp" && far["action"] == "swap" && far["protocol"] == "ldp",
        "{far}"
    );
    Ok(())
}

/// Packets that n1 sends get n2's label, and frames with ours have it swapped: as n2's tcpdump reads them.
fn forwarded(x: &Around, (ours, theirs): (u32, u32)) -> Result<()> {
    let route = x.a.json(&format!("route show {THERE}"))?;
    ensure!(
        route[0]["protocol"] == "ldp" && route[0]["via"][0]["label"][0] == theirs,
        "{route}"
    );
    let (n1, n2) = (&x.spaces[0], &x.spaces[1]);
    let ping = || n1.finish(&format!("ping -n -c 1 -W 1 {THERE}")).map(drop);
    seen(
        (n2, "eth0"),
        "mpls",
        &[
            &format!("label {theirs}"),
            "[S], ttl 63",
            "ICMP echo request",
        ],
        ping,
    )
    .context("pushed")?;
    let wire = Wire::open(n1, "eth0")?;
    let packet = Ip4::udp("10.0.1.2", THERE, 30).bytes();
    let frame = eth(
        mac(x.a.ns(), "p1")?,
        mac(n1, "eth0")?,
        MPLS,
        &labelled(&[Lse::new(ours).ttl(40)], &packet),
    );
    seen(
        (n2, "eth0"),
        "mpls",
        &[&format!("label {theirs}"), "[S], ttl 39", "UDP"],
        || wire.send(&frame),
    )
    .context("swapped")
}

/// The address of a device.
pub(super) fn mac(ns: &Netns, dev: &str) -> Result<[u8; 6]> {
    let text = ns.run(&format!("cat /sys/class/net/{dev}/address"))?;
    let octets = text.trim().split(':').map(|o| u8::from_str_radix(o, 16));
    let octets: Result<Vec<u8>, _> = octets.collect();
    octets?.try_into().ok().context("no MAC address")
}

/// The link to n2 is cut: its label is used no more, and the session comes back with the link.
fn cut(x: &Around, d2: &Ldpd, labels: (u32, u32)) -> Result<()> {
    let n2 = &x.spaces[1];
    n2.ip("link set eth0 down")?;
    until("the neighbour has gone", secs(20), || {
        Ok(x.neighbor(2)?.is_none() && x.operational(1)?)
    })?;
    let route = x.a.json(&format!("route show {FAR}"))?;
    let with_label = route.as_array().into_iter().flatten();
    let mut ldp = with_label.filter(|r| r["protocol"] == "ldp" && r["installed"] == true);
    ensure!(ldp.next().is_none(), "{route}");
    n2.ip("link set eth0 up")?;
    // Its kernel has forgotten them with the link.
    routes_of_n2(n2)?;
    x.up(2, d2).context("the link is back")?;
    let again = x.labels(d2)?;
    ensure!(again.0 == labels.0, "another label: {labels:?}, {again:?}");
    forwarded(x, again).context("the link is back")
}

/// ldpd is killed: packets go plain, as the route is still there.
fn lost(x: &Around, d2: &mut Ldpd) -> Result<()> {
    d2.daemon().kill()?;
    until("packets go without a label", secs(30), || {
        let route = x.a.json(&format!("route show {THERE}"))?;
        Ok(route[0]["protocol"] == "static" && !x.operational(2)?)
    })?;
    ensure!(x.operational(1)?, "the other session has gone too");
    Ok(())
}

/// Another null and other times, by a commit: both sessions go on, and FRR has the new label.
fn reloaded(x: &Around, d1: &Ldpd, d2: &Ldpd) -> Result<()> {
    let file = x.a.config();
    let text = std::fs::read_to_string(file)?;
    let next = file.with_extension("next");
    let since = |n: u8| -> Result<f64> {
        let v = x.neighbor(n)?.context("it has gone")?;
        v["uptime_s"].as_f64().context("no uptime")
    };
    let before = [since(1)?, since(2)?];
    std::fs::write(
        &next,
        text.replace(
            "hello-hold-time = 3",
            "hello-hold-time = 4\nexplicit-null = true",
        ),
    )?;
    x.a.must(&format!("config apply {}", next.display()))?;
    for d in [d1, d2] {
        until("it has the explicit null", secs(20), || {
            let b = d.binding(&format!("{US}/32"), US)?;
            Ok(b.is_some_and(|b| b.1 == "exp-null" || b.1 == "0"))
        })?;
    }
    ensure!(
        since(1)? >= before[0] && since(2)? >= before[1],
        "a session began anew"
    );
    Ok(())
}
