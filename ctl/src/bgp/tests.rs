//! Drivers that speak with each other over the loopback, and with strangers.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp::types::Family;
use mio::{Events, Poll};

use super::*;
use crate::config::{Store, Valid};
use crate::neigh::{Neighbours, Params};
use crate::request::{BgpRouteQuery, BgpSide, RouteMatch};

/// A driver, and what it stands on: no interfaces, so the kernel's addresses.
pub(super) struct Lab {
    poll: Poll,
    pub(super) driver: Driver,
    rib: Rib,
    labels: crate::labels::Manager,
    valid: Arc<Valid>,
    neigh: Neighbours,
    dir: tempfile::TempDir,
}

fn no_interfaces() -> &'static BTreeMap<String, crate::control::router::Iface> {
    static NONE: BTreeMap<String, crate::control::router::Iface> = BTreeMap::new();
    &NONE
}

fn no_names() -> &'static BTreeMap<::net::IfaceId, String> {
    static NONE: BTreeMap<::net::IfaceId, String> = BTreeMap::new();
    &NONE
}

fn no_vrfs() -> &'static BTreeMap<crate::config::VrfName, ::net::VrfId> {
    static NONE: BTreeMap<crate::config::VrfName, ::net::VrfId> = BTreeMap::new();
    &NONE
}

impl Lab {
    pub(super) fn new(text: &str) -> Self {
        let poll = Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let mut lab = Self {
            poll,
            driver: Driver::new(registry),
            rib: Rib::new(),
            labels: crate::labels::Manager::default(),
            valid: Arc::default(),
            neigh: Neighbours::new(Params::default()),
            dir: tempfile::tempdir().unwrap(),
        };
        lab.configure(text).unwrap();
        lab
    }

    pub(super) fn configure(&mut self, text: &str) -> Result<(), String> {
        let path = self.dir.path().join("t.toml");
        std::fs::write(self.dir.path().join("key"), "geheim\n").unwrap();
        std::fs::write(self.dir.path().join("ao"), "1 2 hmac-sha-1-96 geheim\n").unwrap();
        std::fs::write(&path, text).unwrap();
        let store = Store::load(&path).map_err(|e| e.to_string())?;
        let next = Arc::clone(store.running());
        let prepared = self.driver.prepare(&next)?;
        self.valid = Arc::clone(&next);
        self.with(|driver, rib, links| driver.apply(&next, prepared, rib, links, Instant::now()));
        Ok(())
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut Driver, &mut Rib, &Links<'_>) -> T) -> T {
        let links = Links {
            ifaces: no_interfaces(),
            names: no_names(),
            vrfs: no_vrfs(),
            host: None,
            neigh: &self.neigh,
            valid: &self.valid,
        };
        f(&mut self.driver, &mut self.rib, &links)
    }

    pub(super) fn turn(&mut self) {
        self.turn_at(Instant::now());
    }

    /// A turn at another time.
    pub(super) fn turn_at(&mut self, now: Instant) {
        let mut events = Events::with_capacity(64);
        let wait = Duration::from_millis(2);
        self.poll.poll(&mut events, Some(wait)).unwrap();
        for e in &events {
            let over = e.is_error() || e.is_read_closed();
            let (readable, writable) = (e.is_readable() || over, e.is_writable() || over);
            self.driver.event(e.token().0, readable, writable);
        }
        let valid = Arc::clone(&self.valid);
        let mut labels = std::mem::take(&mut self.labels);
        self.with(|driver, rib, links| {
            driver.turn(now, rib, &mut labels, &valid, links);
            driver.write_out(rib, links, now);
        });
        self.labels = labels;
    }

    pub(super) fn neighbors(&mut self) -> Vec<api::BgpNeighbor> {
        self.driver
            .show_neighbors("", Instant::now())
            .unwrap_or_default()
    }

    pub(super) fn states(&mut self) -> Vec<String> {
        self.neighbors().into_iter().map(|n| n.state).collect()
    }

    pub(super) fn routes(&mut self, side: BgpSide) -> Vec<api::BgpRoute> {
        let query = BgpRouteQuery {
            matching: RouteMatch::All,
            families: vec![Family::Ipv4Unicast, Family::Ipv6Unicast],
            vrf: String::new(),
            side,
        };
        let (mut out, mut after) = (Vec::new(), None);
        loop {
            let page = self
                .driver
                .show_routes(::net::VrfId::GLOBAL, &query, after, Instant::now())
                .unwrap();
            out.extend(page.rows);
            after = page.next;
            if after.is_none() {
                return out;
            }
        }
    }
}

/// Turns all of them until `is_so`.
pub(super) fn until(
    what: &str,
    labs: &mut [&mut Lab],
    mut is_so: impl FnMut(&mut [&mut Lab]) -> bool,
) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so(labs) {
        if Instant::now() > deadline {
            let states: Vec<_> = labs.iter_mut().map(|l| l.neighbors()).collect();
            panic!("never: {what}; {states:#?}");
        }
        labs.iter_mut().for_each(|l| l.turn());
    }
}

pub(super) fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

/// The configuration of speaker `n`, whose neighbours follow.
pub(super) fn config(n: u8, port: u16, rest: &str) -> String {
    format!(
        "[system]\nrouter-id = \"192.0.2.{n}\"\n[bgp]\nas = {}\nlisten = [\"127.0.0.{n}\"]\nport = {port}\nconnect-retry = 1\n{rest}",
        64511 + u32::from(n)
    )
}

/// A neighbour of speaker `n`: speaker `to`.
pub(super) fn neighbor(n: u8, to: u8, port: u16, rest: &str) -> String {
    format!(
        "[bgp.neighbor.\"127.0.0.{to}\"]\nas = {}\nsource-address = \"127.0.0.{n}\"\nport = {port}\nfamilies = [\"ipv4-unicast\", \"ipv6-unicast\"]\nimport = \"accept-all\"\nexport = \"accept-all\"\n{rest}",
        64511 + u32::from(to)
    )
}

pub(super) fn are_up(labs: &mut [&mut Lab]) -> bool {
    labs.iter_mut().all(|l| l.states() == ["Established"])
}

#[test]
fn two_speakers_tell_each_other_their_networks() {
    let port = free_port();
    let networks = "networks = [\"203.0.113.0/24\", \"2001:db8:7::/48\"]\n";
    let mut a = Lab::new(&config(
        1,
        port,
        &(networks.to_owned() + &neighbor(1, 2, port, "description = \"Bob\"\n")),
    ));
    let mut b = Lab::new(&config(2, port, &neighbor(2, 1, port, "")));
    until("both are up", &mut [&mut a, &mut b], are_up);
    until("the route is there", &mut [&mut a, &mut b], |l| {
        let is_it = |r: &api::BgpRoute| r.prefix == "203.0.113.0/24";
        l[1].routes(BgpSide::Table).iter().any(is_it)
    });
    let route = b
        .routes(BgpSide::Table)
        .into_iter()
        .find(|r| r.prefix == "203.0.113.0/24")
        .unwrap();
    assert_eq!(
        (route.as_path.as_str(), route.next_hop.as_str()),
        ("64512", "127.0.0.1")
    );
    // An address of the loopback is no next hop of anybody's (RFC 4271 6.3), and that is said.
    assert_eq!((route.neighbor.as_str(), route.best), ("127.0.0.1", false));
    assert!(route.problem.contains("next hop"), "{}", route.problem);
    let of_b = b.neighbors().remove(0);
    assert_eq!((of_b.r#as, of_b.received, of_b.accepted), (64512, 1, 0));
    assert_eq!(of_b.families, ["ipv4-unicast", "ipv6-unicast"]);
    let of_a = a.neighbors().remove(0);
    assert_eq!(
        (of_a.description.as_str(), of_a.router_id.as_str()),
        ("Bob", "192.0.2.2")
    );
    let told = a.routes(BgpSide::Advertised("127.0.0.2".into()));
    assert!(
        told.iter().any(|r| r.prefix == "203.0.113.0/24"),
        "{told:?}"
    );
    let error = a
        .driver
        .show_neighbors("127.0.0.77", Instant::now())
        .unwrap_err();
    assert!(
        error.0.contains("no neighbour is called 127.0.0.77"),
        "{error}"
    );

    // What is taken out of the configuration is withdrawn.
    let without = config(1, port, &neighbor(1, 2, port, ""));
    a.configure(&without).unwrap();
    until("it is withdrawn", &mut [&mut a, &mut b], |l| {
        l[1].routes(BgpSide::Table).is_empty()
    });
    assert!(
        are_up(&mut [&mut a, &mut b]),
        "and no session was disturbed"
    );
}

#[test]
fn signed_near_and_by_itself() {
    let port = free_port();
    let near = "password-file = \"key\"\nttl-security = 1\n";
    let mut a = Lab::new(&config(1, port, &neighbor(1, 2, port, near)));
    let dynamic = format!("[bgp.neighbor.\"127.0.0.0/24\"]\nas = \"external\"\n{near}");
    let mut b = Lab::new(&config(2, port, &dynamic));
    until("both are up", &mut [&mut a, &mut b], are_up);
    let n = b.neighbors().remove(0);
    assert_eq!(
        (n.address.as_str(), n.dynamic, n.r#as),
        ("127.0.0.1", true, 64512)
    );
    // Another key: who has none is not heard.
    drop(a);
    until("it has gone", &mut [&mut b], |l| l[0].states().is_empty());
    let mut a = Lab::new(&config(
        1,
        port,
        &neighbor(1, 2, port, "ttl-security = 1\n"),
    ));
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        a.turn();
        b.turn();
    }
    assert!(b.states().is_empty() && a.states() != ["Established"]);
}

#[test]
fn what_is_no_longer_configured_is_told_and_goes() {
    let port = free_port();
    let mut a = Lab::new(&config(1, port, &neighbor(1, 2, port, "")));
    let mut b = Lab::new(&config(2, port, &neighbor(2, 1, port, "")));
    until("both are up", &mut [&mut a, &mut b], are_up);
    a.configure("").unwrap();
    until(
        "the neighbour has heard of it",
        &mut [&mut a, &mut b],
        |l| l[1].states() != ["Established"],
    );
    let reset = b.neighbors().remove(0).last_reset.to_lowercase();
    assert!(
        reset.contains("de-configured") || reset.contains("deconfigured"),
        "{reset}"
    );
    until("nothing is left", &mut [&mut a, &mut b], |l| {
        l[0].driver.speaker.is_none()
    });
    assert!(
        TcpStream::connect(("127.0.0.1", port)).is_err(),
        "nobody listens"
    );
    // And again.
    a.configure(&config(1, port, &neighbor(1, 2, port, "")))
        .unwrap();
    until("both are up again", &mut [&mut a, &mut b], are_up);
}

#[test]
fn commands() {
    let port = free_port();
    let mut a = Lab::new(&config(1, port, &neighbor(1, 2, port, "")));
    let mut b = Lab::new(&config(2, port, &neighbor(2, 1, port, "")));
    until("both are up", &mut [&mut a, &mut b], are_up);
    let command = |lab: &mut Lab, command: &str, text: &str| {
        let order = api::BgpCommand {
            address: "127.0.0.2".into(),
            command: command.into(),
            text: text.into(),
        };
        lab.with(|d, rib, links| d.command(&order, links, rib, Instant::now()))
    };
    command(&mut a, "refresh-in", "").unwrap();
    command(&mut a, "refresh-out", "").unwrap();
    command(&mut a, "shutdown", "moving the rack").unwrap();
    until("it is told why", &mut [&mut a, &mut b], |l| {
        l[1].neighbors()[0].last_reset.contains("moving the rack")
    });
    assert!(a.neighbors()[0].shutdown);
    let error = command(&mut a, "refresh-in", "").unwrap_err();
    assert!(!error.0.is_empty());
    command(&mut a, "start", "").unwrap();
    until("both are up again", &mut [&mut a, &mut b], are_up);
    command(&mut a, "reset", "").unwrap();
    until("it was reset", &mut [&mut a, &mut b], |l| {
        l[0].neighbors()[0].established == 3 || l[0].states() != ["Established"]
    });
    until("both are up once more", &mut [&mut a, &mut b], are_up);
    assert!(
        command(&mut a, "dance", "")
            .unwrap_err()
            .0
            .contains("there are reset")
    );
    assert!(command(&mut a, "reset", &"x".repeat(256)).is_err());
}

/// Connects from an address of the loopback.
fn knock(from: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, from], 0)).into())?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}

#[test]
fn strangers_and_floods_disturb_nobody() {
    let port = free_port();
    let more = "[bgp.neighbor.\"127.0.0.9\"]\nas = 64599\npassive = true\n";
    let mut a = Lab::new(&config(1, port, &(neighbor(1, 2, port, "") + more)));
    let mut b = Lab::new(&config(2, port, &neighbor(2, 1, port, "")));
    let up = |l: &mut [&mut Lab]| l[1].states() == ["Established"];
    until("both are up", &mut [&mut a, &mut b], up);
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    for from in [8, 9] {
        for _ in 0..200 {
            drop(knock(from, at));
            a.turn();
            b.turn();
        }
    }
    until("only the session is left", &mut [&mut a, &mut b], |l| {
        l[0].driver.conns.len() <= 2 && l[0].states().contains(&"Established".into())
    });
    assert!(up(&mut [&mut a, &mut b]));

    // One that may come, and talks nonsense, reads why it is sent away.
    let mut stream = None;
    until("it is let in", &mut [&mut a, &mut b], |_| {
        // After so many failures its session may be idle for a moment.
        stream = knock(9, at).ok();
        stream.is_some()
    });
    let mut stream = stream.unwrap();
    stream.set_nonblocking(true).unwrap();
    let _ = stream.write_all(&[0; 19]);
    let mut heard = Vec::new();
    until("it hears why", &mut [&mut a, &mut b], |_| {
        let mut octets = [0; 4096];
        match stream.read(&mut octets) {
            Ok(0) => true,
            Ok(n) => {
                heard.extend_from_slice(&octets[..n]);
                false
            }
            Err(e) => e.kind() != std::io::ErrorKind::WouldBlock,
        }
    });
    // Idle, it is refused at once and hears nothing; else the last message is a NOTIFICATION of a header that is wrong.
    if !heard.is_empty() {
        let last = &heard[heard.len() - 21..];
        assert_eq!((last[18], last[19]), (3, 1), "{heard:?}");
    }
}

#[test]
fn what_can_not_be_had_is_refused_and_changes_nothing() {
    let port = free_port();
    let mut a = Lab::new(&config(1, port, ""));
    let taken = TcpListener::bind("127.0.0.7:0").unwrap();
    let at = taken.local_addr().unwrap().port();
    let error = a.configure(&config(7, at, "")).unwrap_err();
    assert!(
        error.contains("can't listen on 127.0.0.7") && error.contains("set listen or port"),
        "{error}"
    );
    // It still listens where it did.
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    let ao = "[bgp.neighbor.\"127.0.0.2\"]\nas = 1\ntcp-ao-file = \"ao\"\n";
    match a.configure(&config(1, port, ao)) {
        Ok(()) => {}
        Err(e) => assert!(
            e.starts_with("bgp.neighbor.\"127.0.0.2\".tcp-ao-file: this kernel has no TCP-AO"),
            "{e}"
        ),
    }
}

#[test]
fn sockets_of_neighbours() {
    let text = config(
        1,
        1179,
        "[bgp.neighbor.\"127.0.0.2\"]\nas = 1\n[bgp.neighbor.\"127.0.0.3\"]\nas = \"internal\"\n[bgp.neighbor.\"127.0.0.4\"]\nas = 1\nmultihop = 7\n[bgp.neighbor.\"127.0.0.5\"]\nas = 1\nttl-security = 2\n",
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.toml");
    std::fs::write(&path, text).unwrap();
    let store = Store::load(&path).unwrap();
    let bgp = store.running().bgp.clone().unwrap();
    let ttls: Vec<_> = (bgp.neighbors.values())
        .map(|n| translate::wire(&bgp, &bgp.settings(n), None))
        .map(|w| (w.ttl, w.least_ttl))
        .collect();
    let expected = [
        (Some(1), None),
        (None, None),
        (Some(7), None),
        (Some(255), Some(254)),
    ];
    assert_eq!(ttls, expected);
}
