//! The API as a client sees it, with a control thread of a few lines behind it.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use api::blocking::Client;
use api::{Change, ConfigRequest, RouteQuery};
use ipnet::{IpNet, Ipv4Net};

use super::{Instance, Server};
use crate::config::Store;
use crate::request::{self, BgpCursor, Page, Request, RouteMatch};

const FILE: &str = "# ours\n[interface.wan0]\ndevice = \"tap:a\"\naddress = \"10.0.0.1/24\"\n";

struct Lab {
    // In the order in which they go.
    server: Option<Server>,
    control: Option<JoinHandle<Vec<String>>>,
    stop: Arc<AtomicBool>,
    dir: tempfile::TempDir,
    file: PathBuf,
}

/// Answers what it is asked; plans that have a route via 10.0.0.66 are refused.
fn control(requests: &crossbeam::channel::Receiver<Request>, stop: &AtomicBool) -> Vec<String> {
    let mut applied = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok(request) = requests.recv_timeout(Duration::from_millis(5)) else {
            continue;
        };
        match request {
            Request::BgpNeighbors { reply, .. } => reply.ok(vec![api::BgpNeighbor::default()]),
            Request::BgpRoutes {
                query,
                after,
                reply,
            } => {
                // Two pages: a family each.
                let family = after.map_or(query.families[0], |a| a.family);
                let later = query.families.iter().skip_while(|f| **f != family).nth(1);
                let row = api::BgpRoute {
                    family: family.name().into(),
                    ..Default::default()
                };
                reply.ok(Page {
                    rows: vec![row],
                    next: later.map(|f| BgpCursor {
                        family: *f,
                        from: None,
                    }),
                });
            }
            Request::BgpCommand { reply, .. } => reply.refuse("not now"),
            Request::BgpPolicy { reply, .. } => reply.refuse("not now"),
            Request::Explain { reply, .. } => reply.refuse("not now"),
            Request::Lsp { reply, .. } => reply.refuse("not now"),
            Request::Rpki { reply } => reply.ok(vec![]),
            Request::Ldp { reply } => reply.ok(Box::default()),
            Request::LdpBindings { reply, .. } => reply.refuse("not now"),
            Request::LabelRanges { reply } => reply.ok(api::LabelRanges::default()),
            Request::BgpDump { reply, .. } => reply.refuse("not now"),
            Request::BgpWatch { reply } => reply.ok(api::BgpWatch::default()),
            Request::Apply { plan, reply } => {
                let steps: Vec<String> = plan.steps().map(|s| s.to_string()).collect();
                if steps.iter().any(|s| s.contains("10.0.0.66")) {
                    reply.refuse("no room for the route; remove others");
                } else {
                    applied.extend(steps);
                    reply.ok(());
                }
            }
            Request::Routes {
                query,
                after,
                limit,
                reply,
            } => reply.ok(page(query.matching, after, limit)),
            Request::Labels { reply, .. } => reply.ok(Page {
                rows: vec![],
                next: None,
            }),
            Request::Interfaces { query, reply } => match query.name.as_str() {
                "" | "wan0" => reply.ok(vec![api::Interface {
                    name: "wan0".into(),
                    ..Default::default()
                }]),
                name => reply.refuse(format!("there is no interface {name:?}")),
            },
            Request::Neighbors { reply, .. } => reply.ok(vec![]),
            Request::Workers { reply, .. } => drop(reply),
            Request::Drops { reply, .. } => reply.ok(vec![]),
            Request::Vrfs { name, reply } => reply.ok(vec![api::Vrf {
                name,
                ..Default::default()
            }]),
            Request::Memory { reply } => reply.ok(api::Memory {
                writer_bytes: 9,
                ..Default::default()
            }),
            Request::Rcu { reply } => reply.ok(api::Rcu {
                epoch: 7,
                ..Default::default()
            }),
            Request::Status { reply } => reply.ok(api::Status {
                ready: true,
                ..Default::default()
            }),
        }
    }
    applied
}

/// A table of 5,000 routes, given out in pages, some of them empty.
fn page(matching: RouteMatch, after: Option<IpNet>, limit: usize) -> Page<api::Route, IpNet> {
    let all =
        (0..5000_u32).map(|i| IpNet::from(Ipv4Net::new((0x6440_0000 + i).into(), 32).unwrap()));
    let rest: Vec<IpNet> = all
        .filter(|p| after.is_none_or(|after| *p > after))
        .take(limit.min(700))
        .collect();
    let rows = rest.iter().filter(|p| match matching {
        RouteMatch::All => true,
        RouteMatch::Exact(want) | RouteMatch::Longest(want) => **p == want,
        RouteMatch::Within(want) => want.contains(*p),
    });
    let rows = rows
        .map(|p| api::Route {
            prefix: p.to_string(),
            ..Default::default()
        })
        .collect();
    Page {
        rows,
        next: rest.last().copied(),
    }
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.toml");
        std::fs::write(&file, FILE).unwrap();
        let (asker, requests) = request::channel(|| {});
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let control = std::thread::spawn(move || control(&requests, &stopped));
        let instance = Instance::claim(&dir.path().join("t.sock")).unwrap();
        let server = Server::start(instance, Store::load(&file).unwrap(), asker).unwrap();
        Self {
            server: Some(server),
            control: Some(control),
            stop,
            dir,
            file,
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("t.sock")
    }

    fn client(&self) -> Client {
        Client::connect(self.socket()).unwrap()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap()
    }

    /// Stops the control thread; what it applied.
    fn applied(&mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.control.take().unwrap().join().unwrap()
    }
}

fn changes(lines: &[&str]) -> Vec<Change> {
    lines
        .iter()
        .map(|line| api::grammar::change(line.split_whitespace()).unwrap())
        .collect()
}

fn config(text: &str) -> ConfigRequest {
    ConfigRequest {
        text: text.into(),
        path: String::new(),
    }
}

#[test]
fn a_commit_is_saved_and_applied_or_neither() {
    let mut lab = Lab::new();
    let mut client = lab.client();
    let reply = client
        .commit(changes(&[
            "route add 192.0.2.0/24 via 10.0.0.2",
            "label add 16 pop",
        ]))
        .unwrap();
    assert_eq!(reply.changed, 2);
    let saved = lab.text();
    assert!(
        saved.starts_with(FILE) && saved.contains("192.0.2.0/24"),
        "{saved}"
    );

    let error = client
        .commit(changes(&["route add 192.0.3.0/24 via 10.0.0.66"]))
        .unwrap_err();
    assert_eq!(error.code(), tonic::Code::FailedPrecondition);
    assert_eq!(
        error.message(),
        "no room for the route; remove others; nothing was changed"
    );
    assert_eq!(lab.text(), saved, "the file is restored");

    let error = client
        .commit(changes(&["route add 192.0.2.0/24 via 10.0.0.3"]))
        .unwrap_err();
    assert!(
        error
            .message()
            .starts_with("route 192.0.2.0/24: is there already"),
        "{error}"
    );
    // The refused ones are no part of what runs.
    client
        .commit(changes(&["route add 192.0.3.0/24 via 10.0.0.3"]))
        .unwrap();
    assert_eq!(
        client.show_config(Default::default()).unwrap().text,
        lab.text()
    );
    let expected = [
        "+ label 16 pop",
        "+ route 192.0.2.0/24 via 10.0.0.2",
        "+ route 192.0.3.0/24 via 10.0.0.3",
    ];
    assert_eq!(lab.applied(), expected);
}

#[test]
fn forgetting_a_neighbour_is_applied_and_not_saved() {
    let mut lab = Lab::new();
    let mut client = lab.client();
    let reply = client
        .commit(changes(&["neigh del 10.0.0.9 dev wan0"]))
        .unwrap();
    assert_eq!((reply.changed, lab.text().as_str()), (1, FILE));
    assert_eq!(lab.applied(), ["- neigh 10.0.0.9 dev wan0 (learned)"]);
}

#[test]
fn what_cannot_be_saved_is_not_applied() {
    let mut lab = Lab::new();
    let mut client = lab.client();
    // A directory where the new file would be written: no one can make it, root neither.
    std::fs::create_dir(lab.dir.path().join(".t.toml.new")).unwrap();
    let error = client
        .commit(changes(&["route add 192.0.2.0/24 via 10.0.0.2"]))
        .unwrap_err();
    assert!(
        error.message().starts_with("cannot save ")
            && error.message().ends_with("nothing was changed"),
        "{error}"
    );
    assert_eq!(lab.text(), FILE);
    assert!(lab.applied().is_empty());
}

#[test]
fn configurations_are_checked_compared_and_applied() {
    let mut lab = Lab::new();
    let mut client = lab.client();
    let next = FILE.replace("10.0.0.1/24", "10.0.0.5/24");
    client.check_config(config(&next)).unwrap();
    let error = client.check_config(config("[sytem]\n")).unwrap_err();
    assert!(
        error
            .message()
            .contains("t.toml:1: sytem: unknown key; did you mean \"system\"?"),
        "{error}"
    );
    let steps = client.diff_config(config(&next)).unwrap().steps;
    let changed = "~ interface wan0 device tap:a address 10.0.0.5/24 mtu 1500 (was wan0 device tap:a address 10.0.0.1/24 mtu 1500)";
    assert_eq!(steps, [changed]);
    assert_eq!(lab.text(), FILE, "nothing changed yet");
    assert_eq!(client.apply_config(config(&next)).unwrap().changed, 1);
    assert_eq!(lab.text(), next);
    let restart = format!("{next}[dataplane]\nmemory = \"no-huge\"\n");
    let steps = client.diff_config(config(&restart)).unwrap().steps;
    assert_eq!(
        steps,
        ["! dataplane.memory: hugepages -> no-huge (needs a restart)"]
    );
    let error = client.apply_config(config(&restart)).unwrap_err();
    assert!(error.message().contains("restart trunkline"), "{error}");
    assert_eq!(lab.text(), next);
    assert_eq!(lab.applied(), [changed]);
}

#[test]
fn a_reload_takes_the_file_over() {
    let mut lab = Lab::new();
    std::fs::write(
        &lab.file,
        format!("{FILE}[[route]]\nprefix = \"192.0.2.0/24\"\nvia = \"10.0.0.2\"\n"),
    )
    .unwrap();
    lab.server.as_ref().unwrap().reload();
    let (mut client, end) = (lab.client(), Instant::now() + Duration::from_secs(10));
    while !client
        .show_config(Default::default())
        .unwrap()
        .text
        .contains("192.0.2.0")
    {
        assert!(Instant::now() < end, "not reloaded in time");
    }
    assert_eq!(lab.applied(), ["+ route 192.0.2.0/24 via 10.0.0.2"]);
}

#[test]
fn long_tables_come_in_pages() {
    let lab = Lab::new();
    let mut client = lab.client();
    let all = client.routes(RouteQuery::default()).unwrap();
    assert_eq!(all.len(), 5000);
    assert!(all.is_sorted_by_key(|r| r.prefix.parse::<IpNet>().unwrap()));
    let query = |destination: &str, longer| RouteQuery {
        destination: destination.into(),
        longer,
        ..Default::default()
    };
    assert_eq!(
        client.routes(query("100.64.16.0/24", true)).unwrap().len(),
        256
    );
    assert_eq!(client.routes(query("100.64.19.1", false)).unwrap().len(), 1);
    let error = client
        .routes(RouteQuery {
            protocol: "ospf".into(),
            ..Default::default()
        })
        .unwrap_err();
    assert!(error.message().contains("the protocols are bgp"), "{error}");
    let error = client.routes(query("100.64.19.1/24", false)).unwrap_err();
    assert!(
        error.message().contains("the prefix is 100.64.19.0/24"),
        "{error}"
    );
}

#[test]
fn reads_are_answered_or_refused() {
    let lab = Lab::new();
    let mut client = lab.client();
    let status = client.status(Default::default()).unwrap();
    assert_eq!(
        (status.ready, status.pid, status.config),
        (true, std::process::id(), lab.file.display().to_string())
    );
    assert_eq!(client.rcu(Default::default()).unwrap().epoch, 7);
    assert_eq!(client.memory(Default::default()).unwrap().writer_bytes, 9);
    let error = client
        .interfaces(api::InterfaceQuery { name: "x".into() })
        .unwrap_err();
    assert_eq!(error.message(), "there is no interface \"x\"");
    // A reply that is dropped.
    let error = client.workers(Default::default()).unwrap_err();
    assert_eq!(error.code(), tonic::Code::Unavailable);
}

#[test]
fn commits_from_many_come_one_after_the_other() {
    let mut lab = Lab::new();
    std::thread::scope(|scope| {
        for who in 0..6 {
            let socket = lab.socket();
            scope.spawn(move || {
                let mut client = Client::connect(socket).unwrap();
                for i in 0..5 {
                    let line = format!("route add 192.0.2.{}/32 via 10.0.0.2", who * 10 + i);
                    client.commit(changes(&[&line])).unwrap();
                }
            });
        }
    });
    assert_eq!(Store::load(&lab.file).unwrap().running().routes.len(), 30);
    assert_eq!(lab.applied().len(), 30);
}

#[test]
fn it_stops_promptly_and_leaves_nothing() {
    let mut lab = Lab::new();
    let mut client = lab.client();
    client.rcu(Default::default()).unwrap();
    let idle = UnixStream::connect(lab.socket()).unwrap();
    let start = Instant::now();
    drop(lab.server.take());
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    let left: Vec<_> = std::fs::read_dir(lab.dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["t.toml"]);
    let error = Client::connect(lab.socket()).unwrap_err().to_string();
    assert!(
        error.contains("there is no such socket; start it"),
        "{error}"
    );
    drop(idle);
    lab.applied();
}

#[test]
fn routes_of_bgp_come_in_pages_by_family() {
    let lab = Lab::new();
    let mut client = lab.client();
    let mut ask = |query: api::BgpRouteQuery| {
        let mut families = Vec::new();
        let done = client.for_each_bgp_route(query, |r| {
            families.push(r.family);
            Ok(())
        });
        done.map(|()| families).map_err(|e| e.message().to_owned())
    };
    let all = api::BgpRouteQuery::default();
    assert_eq!(ask(all.clone()).unwrap(), ["ipv4-unicast", "ipv6-unicast"]);
    let of = |destination: &str, family: &str| api::BgpRouteQuery {
        destination: destination.into(),
        family: family.into(),
        ..Default::default()
    };
    assert_eq!(ask(of("2001:db8::/32", "")).unwrap(), ["ipv6-unicast"]);
    assert_eq!(ask(of("", "ipv6-unicast")).unwrap(), ["ipv6-unicast"]);
    assert!(
        ask(of("", "ipx"))
            .unwrap_err()
            .contains("no family is called")
    );
    assert!(
        ask(of("10.0.0.1/8", ""))
            .unwrap_err()
            .contains("10.0.0.0/8")
    );
    let both = api::BgpRouteQuery {
        received: "a".into(),
        advertised: "b".into(),
        ..Default::default()
    };
    assert!(ask(both).unwrap_err().contains("one of them"));
    let refused = client.bgp_command(api::BgpCommand::default()).unwrap_err();
    assert_eq!(refused.message(), "not now");
}
