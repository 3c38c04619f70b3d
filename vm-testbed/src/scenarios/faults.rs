//! BGP over bad links: what is lost, late or out of order on the way is TCP's affair and must cost no session; what is cut
//! must be found out. The link's faults are made by our own box ([`crate::lab::middlebox`]).

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::bgp::{AS, address, asn, neighbor, setup};
use super::reach;
use crate::lab::wait::{secs, until};
use crate::lab::{Appliance, Faults, Flavor, Lab, Middlebox, Netns};
use crate::peers::{Announce, Bird, Setup, Speaker};
use crate::suite::Options;

/// How many routes BIRD has.
const ROUTES: usize = 600;

/// An appliance and a BIRD, and between them a link of ours.
struct Bad {
    a: Appliance,
    bird: Bird,
    link: Middlebox,
    host: Netns,
    setup: Setup,
    _lab: Lab,
}

/// Side 0 of the link is the appliance's.
fn start(name: &str, flavor: &Flavor, faults: Faults) -> Result<Bad> {
    let mut lab = Lab::new(name)?;
    let (router, host) = (lab.router("dut")?, lab.space("n1")?);
    let middle = lab.space("mid")?;
    let ends = lab.halves((&router, "e1"), (&host, "eth0"), &middle)?;
    Lab::port_end(&router, "e1")?;
    host.ip("link set eth0 up")?;
    for address in ["10.0.1.2/24", "2001:db8:1::2/64 nodad"] {
        let (address, nodad) = address.split_once(' ').unwrap_or((address, ""));
        host.ip(&format!("addr add {address} dev eth0 {nodad}"))?;
    }
    let link = Middlebox::start(&middle, [&ends[0], &ends[1]], faults, 1)?;
    let config = flavor
        .config("dut")
        .interface("p1", "e1", &["10.0.1.1/24", "2001:db8:1::1/64"], "")
        .section(&format!(
            "[bgp]\nas = {AS}\nhold-time = 9\n{}",
            neighbor(1, asn(1), "")
        ));
    let a = lab.start("dut", &router, &config)?;
    let mut setup = setup(1);
    for n in 0..ROUTES {
        let prefix = format!("198.{}.{}.0/24", 18 + n / 256, n % 256);
        // Paths that differ, so that they do not all fit into one message.
        setup = setup.announce(Announce::new(&prefix).community(&format!("65001:{n}")));
    }
    let bird = Bird::start(lab.folder(), "bird", &host, &setup)?;
    Ok(Bad {
        a,
        bird,
        link,
        host,
        setup,
        _lab: lab,
    })
}

impl Bad {
    fn neighbor(&self) -> Result<Value> {
        let all = self.a.json(&format!("bgp neighbor {}", address(1)))?;
        Ok(all[0].clone())
    }

    fn accepted(&self) -> Result<usize> {
        let all = self.a.json("bgp summary")?;
        Ok(all[0]["accepted"].as_u64().unwrap_or(0) as usize)
    }

    /// The session is up on both sides and has brought all routes.
    fn whole(&self) -> Result<()> {
        self.bird.wait_established(self.setup.peer)?;
        until("all routes have come", secs(60), || {
            let n = self.accepted()?;
            ensure!(n == ROUTES, "{n} of {ROUTES}");
            Ok(true)
        })
        .with_context(|| format!("the link: {:?}", self.link.tally()))
    }

    fn ends(self) -> Result<()> {
        self.a.stop()
    }
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn lossy(o: &Options) -> Result<()> {
    let faults = "loss=5 reorder=20 duplicate=5 corrupt=2 delay-ms=2 jitter-ms=2".parse()?;
    let bad = start("faults-lossy", &o.flavor, faults)?;
    bad.whole()?;
    // It goes on through keepalives and changes: all routes again, four times.
    for _ in 0..4 {
        bad.a
            .must(&format!("bgp neighbor {} refresh in", address(1)))?;
        let before = bad.link.tally()[1].came;
        until("the routes come again", secs(30), || {
            Ok(bad.link.tally()[1].came > before + 10)
        })?;
        bad.whole()?;
    }
    let n = bad.neighbor()?;
    ensure!(
        n["state"] == "Established" && n["last_reset"].as_str().unwrap_or_default().is_empty(),
        "the session was lost: {n}"
    );
    for (side, t) in bad.link.tally().iter().enumerate() {
        ensure!(
            t.lost > 0 && t.reordered > 0 && t.duplicated > 0 && t.corrupted + t.lost < t.came,
            "the link was too good from side {side}: {t:?}"
        );
    }
    // Frames with a wrong bit were thrown away by name, or by the kernel's checksums; none was forwarded as it was.
    bad.ends()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn delayed(o: &Options) -> Result<()> {
    let bad = start("faults-delayed", &o.flavor, Faults::delay(150))?;
    bad.whole()?;
    reach(&bad.host, "10.0.1.1")?;
    let out = bad.host.finish("ping -n -c 5 -i 0.2 -W 5 10.0.1.1")?;
    let ms = super::round_trip(&out.text())?;
    ensure!(ms >= 300.0, "150 ms each way, and back after {ms} ms");
    let n = bad.neighbor()?;
    ensure!(
        n["last_reset"].as_str().unwrap_or_default().is_empty(),
        "the session was lost: {n}"
    );
    bad.ends()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn cut(o: &Options) -> Result<()> {
    let bad = start("faults-cut", &o.flavor, Faults::default())?;
    bad.whole()?;
    bad.link.set(Faults::cut());
    // Nothing is seen but silence: the link stays up, and the hold timer finds it out.
    until("the hold timer expires", secs(30), || {
        let links = bad.a.json("interface show p1")?;
        ensure!(links[0]["link"] == "up", "the link is down: {links}");
        let n = bad.neighbor()?;
        let why = n["last_reset"].as_str().unwrap_or_default().to_owned();
        ensure!(why.contains("hold timer expired"), "{n}");
        Ok(true)
    })?;
    until("its routes are gone", secs(10), || {
        let routes = bad.a.json("route show protocol bgp")?;
        Ok(routes.as_array().is_some_and(Vec::is_empty))
    })?;
    bad.link.set(Faults::default());
    bad.whole()?;
    bad.ends()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn carrier(o: &Options) -> Result<()> {
    let bad = start("faults-carrier", &o.flavor, Faults::default())?;
    bad.whole()?;
    bad.link.carrier(0, false)?;
    until("the session ends with its link", secs(30), || {
        let n = bad.neighbor()?;
        let why = n["last_reset"].as_str().unwrap_or_default().to_lowercase();
        ensure!(!why.is_empty(), "{n}");
        // Seen, not waited for: the hold timer has no part in it.
        ensure!(!why.contains("hold timer"), "{n}");
        Ok(n["state"] != "Established")
    })?;
    bad.link.carrier(0, true)?;
    bad.whole()?;
    bad.ends()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn one_way(o: &Options) -> Result<()> {
    let bad = start("faults-one-way", &o.flavor, Faults::default())?;
    bad.whole()?;
    // We still hear it; it hears nothing of us, and says so when its hold timer expires.
    bad.link.set_from(0, Faults::cut());
    until("the neighbour gives us up", secs(30), || {
        let n = bad.neighbor()?;
        let why = n["last_reset"].as_str().unwrap_or_default().to_lowercase();
        ensure!(why.contains("hold timer expired"), "{n}");
        Ok(true)
    })?;
    bad.link.set(Faults::default());
    bad.whole()?;
    bad.ends()
}
