//! The binary as a user meets it: exit status, one line on stderr, JSON, help. The appliance is a stand-in that notes what it is told.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use api::trunkline_server::{Trunkline, TrunklineServer};
use api::*;
use serde_json::Value;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Streaming};

type Answer<T> = Result<Response<T>, tonic::Status>;
type Stream<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, tonic::Status>> + Send>>;

/// Notes commits; refuses routes to 192.0.2.0/24; has a long routing table.
#[derive(Clone, Default)]
struct Appliance {
    commits: Arc<Mutex<Vec<Vec<Change>>>>,
}

#[tonic::async_trait]
impl Trunkline for Appliance {
    type ShowRoutesStream = Stream<Routes>;
    type ShowLabelsStream = Stream<Labels>;
    type ShowBgpRoutesStream = Stream<api::BgpRoutes>;
    type DumpBgpStream = Stream<api::BgpDump>;
    type ProbeLspStream = Stream<api::LspProbes>;

    async fn get_status(&self, _: Request<StatusRequest>) -> Answer<Status> {
        Ok(Response::new(Status {
            name: "pe1".into(),
            ready: true,
            ..Default::default()
        }))
    }

    async fn commit(&self, call: Request<Streaming<CommitRequest>>) -> Answer<CommitReply> {
        let (mut stream, mut changes) = (call.into_inner(), Vec::new());
        while let Some(message) = stream.message().await? {
            changes.extend(message.changes);
        }
        if format!("{changes:?}").contains("192.0.2.0/24") {
            return Err(tonic::Status::failed_precondition(
                "route 192.0.2.0/24: is there already; use \"route replace\"",
            ));
        }
        let changed = changes.len() as u64;
        self.commits.lock().unwrap().push(changes);
        Ok(Response::new(CommitReply { changed }))
    }

    async fn check_config(&self, call: Request<ConfigRequest>) -> Answer<ConfigReply> {
        let request = call.into_inner();
        match request.text.contains("sytem") {
            true => Err(tonic::Status::failed_precondition(format!(
                "{}:1: sytem: unknown key",
                request.path
            ))),
            false => Ok(Response::new(ConfigReply::default())),
        }
    }

    async fn diff_config(&self, _: Request<ConfigRequest>) -> Answer<ConfigReply> {
        Ok(Response::new(ConfigReply {
            steps: vec!["+ label 16 pop".into()],
            changed: 3,
        }))
    }

    async fn apply_config(&self, _: Request<ConfigRequest>) -> Answer<ConfigReply> {
        Ok(Response::new(ConfigReply::default()))
    }

    async fn show_config(&self, _: Request<ShowConfigRequest>) -> Answer<ConfigText> {
        let text = "# ours\n[interface.wan0]\nmtu = 1500\n".into();
        Ok(Response::new(ConfigText {
            path: "/etc/t.toml".into(),
            text,
        }))
    }

    async fn show_routes(&self, call: Request<RouteQuery>) -> Answer<Self::ShowRoutesStream> {
        let query = call.into_inner();
        let chunk = move |_| {
            let route = Route {
                prefix: query.destination.clone(),
                protocol: query.protocol.clone(),
                ..Default::default()
            };
            Ok(Routes {
                routes: vec![route; 1000],
            })
        };
        Ok(Response::new(Box::pin(tokio_stream::iter(
            (0..200).map(chunk),
        ))))
    }

    async fn show_labels(&self, call: Request<LabelQuery>) -> Answer<Self::ShowLabelsStream> {
        let label = call.into_inner().label.unwrap_or(16);
        let labels = vec![LabelRoute {
            label,
            action: "pop".into(),
            ..Default::default()
        }];
        Ok(Response::new(Box::pin(tokio_stream::iter([Ok(Labels {
            labels,
        })]))))
    }

    async fn explain(&self, call: Request<ExplainQuery>) -> Answer<Explanation> {
        let query = call.into_inner();
        let text = format!("a packet to {}", query.destination);
        let step = ExplainStep {
            what: "packet".into(),
            text,
            ..Default::default()
        };
        Ok(Response::new(Explanation {
            destination: query.destination,
            steps: vec![step],
            verified: query.verify.then_some(query.source.is_empty()),
            ..Default::default()
        }))
    }

    async fn probe_lsp(&self, call: Request<LspQuery>) -> Answer<Self::ProbeLspStream> {
        let query = call.into_inner();
        if query.prefix == "192.0.2.0/24" {
            return Err(tonic::Status::failed_precondition("there is no LSP"));
        }
        let one = move |sequence: u32| {
            let end = sequence == query.count && query.prefix != "10.9.0.0/16";
            let probe = LspProbe {
                sequence,
                ttl: query.ttl,
                answered: end,
                verdict: if end { "end" } else { "lost" }.into(),
                from: "10.0.0.3".into(),
                text: "replying router is an egress for the FEC".into(),
                label: vec![100, 200],
                fec: vec!["ldp 10.1.0.0/16".into()],
                ..Default::default()
            };
            Ok(LspProbes {
                probes: vec![probe],
            })
        };
        let all: Vec<_> = (1..=query.count).map(one).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(all))))
    }

    async fn test_bgp_policy(&self, call: Request<BgpPolicyQuery>) -> Answer<BgpPolicyTest> {
        let query = call.into_inner();
        if query.policy != "known" {
            let text = format!("no policy is called {:?}", query.policy);
            return Err(tonic::Status::failed_precondition(text));
        }
        let step = BgpPolicyStep {
            text: "known: no rule decided, default reject".into(),
            what: "default".into(),
            ..Default::default()
        };
        Ok(Response::new(BgpPolicyTest {
            policy: query.policy,
            steps: vec![step],
            ..Default::default()
        }))
    }

    async fn show_label_ranges(&self, _: Request<LabelRangeQuery>) -> Answer<LabelRanges> {
        let range = LabelRange {
            range: "dynamic".into(),
            first: 100_000,
            last: 100_009,
            used: 2,
            held: 1,
            free: 7,
        };
        Ok(Response::new(LabelRanges {
            ranges: vec![range],
            hold_s: 60.0,
        }))
    }

    async fn show_ldp(&self, _: Request<LdpQuery>) -> Answer<Ldp> {
        Ok(Response::new(Ldp {
            summary: Some(LdpSummary {
                router_id: "192.0.2.1".into(),
                neighbors: 2,
                operational: 1,
                ..Default::default()
            }),
            neighbors: vec![LdpNeighbor {
                neighbor: "192.0.2.2:0".into(),
                state: "operational".into(),
                uptime_s: 61.0,
                address: "192.0.2.2".into(),
                received: 7,
                ..Default::default()
            }],
            interfaces: vec![LdpInterface {
                interface: "wan0".into(),
                up: true,
                hello_hold_s: 15,
                adjacencies: 1,
            }],
        }))
    }

    type ShowLdpBindingsStream = Stream<LdpBindings>;

    async fn show_ldp_bindings(
        &self,
        call: Request<LdpBindingQuery>,
    ) -> Answer<Self::ShowLdpBindingsStream> {
        let binding = LdpBinding {
            fec: call.into_inner().prefix,
            local: Some(3),
            ..Default::default()
        };
        let bindings = vec![binding];
        Ok(Response::new(Box::pin(tokio_stream::iter([Ok(
            LdpBindings { bindings },
        )]))))
    }

    async fn show_rpki(&self, _: Request<RpkiQuery>) -> Answer<Rpki> {
        let cache = RpkiCache {
            cache: "192.0.2.10".into(),
            state: "connecting".into(),
            error: "can't connect: Connection refused".into(),
            ..Default::default()
        };
        Ok(Response::new(Rpki {
            caches: vec![cache],
        }))
    }

    async fn show_bgp_neighbors(
        &self,
        call: Request<api::BgpNeighborQuery>,
    ) -> Answer<api::BgpNeighbors> {
        let address = call.into_inner().address;
        let neighbor = api::BgpNeighbor {
            address: if address.is_empty() {
                "198.51.100.3".into()
            } else {
                address
            },
            r#as: 64513,
            state: "Established".into(),
            uptime_s: 61.0,
            received: 3,
            families: vec!["ipv4-unicast".into()],
            ..Default::default()
        };
        Ok(Response::new(api::BgpNeighbors {
            neighbors: vec![neighbor],
        }))
    }

    async fn show_bgp_routes(
        &self,
        call: Request<api::BgpRouteQuery>,
    ) -> Answer<Self::ShowBgpRoutesStream> {
        let query = call.into_inner();
        let route = api::BgpRoute {
            prefix: "203.0.113.0/24".into(),
            neighbor: query.received,
            origin: "igp".into(),
            as_path: "64513".into(),
            ..Default::default()
        };
        let routes = vec![route; 2];
        Ok(Response::new(Box::pin(tokio_stream::iter([Ok(
            api::BgpRoutes { routes },
        )]))))
    }

    async fn dump_bgp(&self, call: Request<api::BgpDumpQuery>) -> Answer<Self::DumpBgpStream> {
        let query = call.into_inner();
        if query.family == "vpnv4" {
            return Err(tonic::Status::failed_precondition("not that one"));
        }
        let piece = |octets: &[u8]| {
            Ok(api::BgpDump {
                octets: octets.to_vec(),
            })
        };
        let last: &[u8] = if query.received {
            b"received"
        } else {
            b"routes"
        };
        Ok(Response::new(Box::pin(tokio_stream::iter([
            piece(b"peers "),
            piece(last),
        ]))))
    }

    async fn show_bgp_watch(&self, _: Request<api::BgpWatchQuery>) -> Answer<api::BgpWatch> {
        Ok(Response::new(api::BgpWatch {
            stations: vec![api::BmpStation {
                name: "near".into(),
                state: "waiting".into(),
                last_error: "Connection refused".into(),
                ..Default::default()
            }],
            mrt: Some(api::MrtLog {
                directory: "/var/lib/mrt".into(),
                error: "No space left on device".into(),
                ..Default::default()
            }),
        }))
    }

    async fn command_bgp(&self, call: Request<api::BgpCommand>) -> Answer<api::BgpCommandReply> {
        let c = call.into_inner();
        match (c.command.as_str(), c.text.as_str()) {
            ("shutdown", "bye now") => Ok(Response::new(api::BgpCommandReply {})),
            (command, _) => Err(tonic::Status::failed_precondition(format!("not {command}"))),
        }
    }

    async fn show_interfaces(&self, call: Request<InterfaceQuery>) -> Answer<Interfaces> {
        match call.into_inner().name.as_str() {
            "" | "wan0" => {
                let wan = Interface {
                    name: "wan0".into(),
                    rx_packets: u64::MAX,
                    ..Default::default()
                };
                Ok(Response::new(Interfaces {
                    interfaces: vec![wan],
                }))
            }
            name => Err(tonic::Status::failed_precondition(format!(
                "there is no interface {name:?}"
            ))),
        }
    }

    async fn show_neighbors(&self, _: Request<NeighborQuery>) -> Answer<Neighbors> {
        Ok(Response::new(Neighbors::default()))
    }

    async fn show_workers(&self, _: Request<WorkerQuery>) -> Answer<Workers> {
        Ok(Response::new(Workers {
            workers: vec![Worker {
                queues: vec!["wan0:0".into()],
                ..Default::default()
            }],
        }))
    }

    async fn show_drops(&self, call: Request<DropQuery>) -> Answer<Drops> {
        let interface = call.into_inner().interface;
        Ok(Response::new(Drops {
            drops: vec![Drop {
                interface,
                reason: "no_route".into(),
                packets: 3,
            }],
        }))
    }

    async fn show_vrfs(&self, call: Request<VrfQuery>) -> Answer<Vrfs> {
        let blue = Vrf {
            name: "blue".into(),
            rd: "64512:1".into(),
            import: vec!["target:64512:1".into()],
            interface: vec!["lan0".into(), "lan1".into()],
            ipv4_routes: 7,
            label: vec![302],
            ..Vrf::default()
        };
        match call.into_inner().name.as_str() {
            "" | "blue" => Ok(Response::new(Vrfs { vrfs: vec![blue] })),
            name => Err(tonic::Status::failed_precondition(format!(
                "there is no VRF {name:?}"
            ))),
        }
    }

    async fn show_memory(&self, _: Request<MemoryQuery>) -> Answer<Memory> {
        Ok(Response::new(Memory {
            nodes: vec![NodeMemory {
                numa: 1,
                ..Default::default()
            }],
            ..Default::default()
        }))
    }

    async fn show_rcu(&self, _: Request<RcuQuery>) -> Answer<Rcu> {
        Err(tonic::Status::unavailable("the appliance is shutting down"))
    }
}

struct Lab {
    dir: tempfile::TempDir,
    appliance: Appliance,
}

impl Lab {
    fn new() -> Self {
        let (dir, appliance) = (tempfile::tempdir().unwrap(), Appliance::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let listener = {
            let _inside = runtime.enter();
            tokio::net::UnixListener::bind(dir.path().join("t.sock")).unwrap()
        };
        let service = TrunklineServer::new(appliance.clone());
        std::thread::spawn(move || {
            let server = tonic::transport::Server::builder().add_service(service);
            runtime.block_on(server.serve_with_incoming(UnixListenerStream::new(listener)))
        });
        Self { dir, appliance }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trunkctl"));
        command
            .arg("--socket")
            .arg(self.dir.path().join("t.sock"))
            .args(line.split_whitespace());
        command
    }

    fn run(&self, line: &str) -> (i32, String, String) {
        let output = self.command(line).output().unwrap();
        texts(&output)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn texts(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn done_is_silent_and_zero() {
    let lab = Lab::new();
    assert_eq!(
        lab.run("route add 203.0.113.0/24 via 198.51.100.3 dev wan0 label 100/200"),
        (0, String::new(), String::new())
    );
    assert_eq!(
        lab.run("neighbor add 10.0.0.2 lladdr 02:00:00:00:00:01 dev wan0")
            .0,
        0
    );
    assert_eq!(
        lab.run("interface add wan1 device af_packet:eth2 address 10.1.0.1/24 mpls")
            .0,
        0
    );
    assert_eq!(
        lab.run("lab del 300").0,
        0,
        "a noun can be shortened, as in iproute2"
    );
    assert_eq!(
        lab.run("route delete 203.0.113.0/24 --json"),
        (0, "{\n  \"changed\": 1\n}\n".into(), String::new())
    );
    assert_eq!(lab.appliance.commits.lock().unwrap().len(), 5);
}

#[test]
fn refused_is_one_with_one_line() {
    let lab = Lab::new();
    let expected = "trunkctl: route 192.0.2.0/24: is there already; use \"route replace\"\n";
    assert_eq!(
        lab.run("route add 192.0.2.0/24 via 10.0.0.2"),
        (1, String::new(), expected.into())
    );
    let (code, _, error) = lab.run("interface show wan9");
    assert_eq!(
        (code, error.as_str()),
        (1, "trunkctl: there is no interface \"wan9\"\n")
    );
    let bad = lab.file("bad.toml", "[sytem]\n");
    let (code, _, error) = lab.run(&format!("config check {}", bad.display()));
    assert_eq!(
        (code, error),
        (
            1,
            format!("trunkctl: {}:1: sytem: unknown key\n", bad.display())
        )
    );
    let (code, _, error) = lab.run("config check /no/such.toml");
    assert_eq!(
        (
            code,
            error.starts_with("trunkctl: cannot read /no/such.toml: No such file")
        ),
        (1, true),
        "{error}"
    );
}

#[test]
fn misuse_is_two_with_one_line() {
    let lab = Lab::new();
    let cases = [
        ("rout-e add", "route"),
        (
            "route addd 1.2.3.0/24",
            "a similar subcommand exists: 'add'",
        ),
        ("route add", "a prefix is missing"),
        (
            "route add 203.0.113.0/24 via 10.0.0.2 lable 3",
            "did you mean \"label\"?",
        ),
        ("route show 10.0.0.0/8 wibble", "unexpected \"wibble\""),
        ("route show longer", "needs the prefix"),
        ("label show 1048576", "1048576"),
        ("--jsn route show", "--json"),
        ("worker add", "unrecognized subcommand"),
        ("bgp neighbor 10.0.0.1 dance", "one of reset, refresh in"),
        ("bgp neighbor 10.0.0.1 refresh", "in, or out"),
        ("bgp route longer", "needs the prefix"),
        ("bgp route received a advertised b", "one of them"),
        ("explain 203.0.113.0/24", "is not an address"),
        ("capture -w f", "not in this version"),
        ("top", "not in this version"),
        (
            "config rollback 1",
            "\"config rollback\" is not in this version",
        ),
        (
            "config apply f confirm 5",
            "confirmed commits are not in this version",
        ),
        ("completions tcsh", "possible values"),
    ];
    for (line, part) in cases {
        let (code, out, error) = lab.run(line);
        assert_eq!((code, out.as_str()), (2, ""), "{line}: {error}");
        assert!(
            error.starts_with("trunkctl: ") && error.contains(part),
            "{line}: {error}"
        );
        assert_eq!(error.lines().count(), 1, "{line}: {error}");
    }
    assert!(lab.appliance.commits.lock().unwrap().is_empty());
}

/// With nobody there, `config check` has the appliance's program beside it do it; here that is a script.
#[test]
fn a_file_is_checked_without_an_appliance() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    // Written by a process of its own: what another thread forks meanwhile would have it open, and nobody could run it (ETXTBSY).
    let program = |from: &std::path::Path, to: &str| {
        let done = Command::new("cp").arg(from).arg(at(to)).status();
        assert!(done.unwrap().success(), "cp {}", from.display());
    };
    program(env!("CARGO_BIN_EXE_trunkctl").as_ref(), "trunkctl");
    let run = |args: &[&str], input: &str| {
        std::fs::write(at("input"), input).unwrap();
        let mut command = Command::new(at("trunkctl"));
        command.args(["--socket", "/no/such.sock", "config", "check"]);
        command.args(args).current_dir(dir.path());
        command.env("PATH", "/bin:/usr/bin");
        command.stdin(std::fs::File::open(at("input")).unwrap());
        texts(&command.output().unwrap())
    };
    std::fs::write(at("a.toml"), "[sytem]\n").unwrap();
    let (code, out, error) = run(&["a.toml"], "");
    assert_eq!((code, out.as_str(), error.lines().count()), (3, "", 1));
    let file = at("a.toml").canonicalize().unwrap();
    let remedy = format!("\"trunkline --check -c {}\" would do", file.display());
    assert!(
        error.contains("/no/such.sock") && error.contains(&remedy),
        "{error}"
    );
    // It gets the whole path, or the text.
    let script = "#!/bin/sh\n[ \"$1 $2\" = \"--check -c\" ] || exit 9\ncase \"$3\" in /*) ;; *) exit 8;; esac\n\
                  grep -q sytem \"$3\" || exit 0\necho \"trunkline: $3:1: sytem: unknown key\" >&2\nexit 1\n";
    std::fs::write(at("script"), script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(at("script"), mode).unwrap();
    program(&at("script"), "trunkline");
    let wrong = |file: &str| format!("trunkctl: {file}:1: sytem: unknown key\n");
    assert_eq!(
        run(&["a.toml"], ""),
        (1, String::new(), wrong(&file.to_string_lossy()))
    );
    assert_eq!(
        run(&["-"], "[sytem]\n"),
        (1, String::new(), wrong("/dev/stdin"))
    );
    std::fs::write(at("a.toml"), "[system]\n").unwrap();
    let right = "a.toml: no mistakes found\n";
    assert_eq!(run(&["a.toml"], ""), (0, right.into(), String::new()));
    let (code, json, _) = run(&["--json", "a.toml"], "");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, json["steps"].as_array().map(Vec::len)), (0, Some(0)));
    assert_eq!(run(&["none.toml"], "").0, 1);
}

#[test]
fn nobody_there_is_three() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("gone.sock");
    let run = |socket: &PathBuf| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trunkctl"));
        texts(
            &command
                .args(["interface", "show", "--socket"])
                .arg(socket)
                .output()
                .unwrap(),
        )
    };
    let (code, out, error) = run(&socket);
    assert_eq!(
        (code, out.as_str(), error.lines().count()),
        (3, "", 1),
        "{error}"
    );
    assert!(
        error.contains("there is no such socket; start it"),
        "{error}"
    );
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let (code, _, error) = run(&socket);
    assert!(
        code == 3 && error.contains("nobody listens there"),
        "{error}"
    );
    // One that listens and hangs up.
    std::fs::remove_file(&socket).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || drop(listener.accept()));
    let (code, _, error) = run(&socket);
    assert_eq!((code, error.lines().count()), (3, 1), "{error}");
    server.join().unwrap();
    let (code, _, error) = Lab::new().run("rcu show");
    assert_eq!(
        (code, error.as_str()),
        (3, "trunkctl: the appliance is shutting down\n")
    );
}

#[test]
fn json_is_one_document() {
    let lab = Lab::new();
    let json = |line: &str| -> Value {
        let (code, out, error) = lab.run(line);
        assert_eq!((code, error.as_str()), (0, ""), "{line}");
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{line}: {e}: {out}"))
    };
    assert_eq!(json("--json interface show")[0]["rx_packets"], u64::MAX);
    assert_eq!(
        json("interface show wan0 -j").as_array().unwrap().len(),
        1,
        "an array of one"
    );
    assert_eq!(json("neigh show --json"), serde_json::json!([]));
    assert_eq!(json("worker show --json")[0]["queues"][0], "wan0:0");
    assert_eq!(
        json("drop show dev wan0 --json"),
        serde_json::json!([{"interface": "wan0", "reason": "no_route", "packets": 3}])
    );
    assert_eq!(json("label show 77 --json")[0]["label"], 77);
    assert_eq!(json("status --json")["ready"], true);
    assert_eq!(json("memory show --json")["nodes"][0]["numa"], 1);
    let vrfs = json("vrf show --json");
    assert_eq!(
        (&vrfs[0]["name"], &vrfs[0]["interface"][1]),
        (&"blue".into(), &"lan1".into())
    );
    assert_eq!(json("vrf show blue --json")[0]["label"][0], 302);
    assert_eq!(json("config show --json")["interface"]["wan0"]["mtu"], 1500);
    let routes = json("route show 10.0.0.0/8 longer protocol static --json");
    assert_eq!(
        (
            routes.as_array().unwrap().len(),
            routes[0]["prefix"].as_str()
        ),
        (200_000, Some("10.0.0.0/8"))
    );
}

#[test]
fn tables_are_for_people() {
    let lab = Lab::new();
    assert_eq!(
        lab.run("drop show wan0").1,
        "INTERFACE  REASON    PACKETS\nwan0       no_route        3\n"
    );
    assert!(lab.run("config show").1.starts_with("# ours\n"));
    let file = lab.file("t.toml", "");
    assert_eq!(
        lab.run(&format!("config diff {}", file.display())).1,
        "+ label 16 pop\n… and 2 more\n"
    );
    assert_eq!(
        lab.run(&format!("config apply {}", file.display())).1,
        "changes nothing\n"
    );
}

#[test]
fn a_batch_is_one_commit() {
    let lab = Lab::new();
    let text = "# comments\n\nroute add 10.1.0.0/16 via 10.0.0.2   # and more\nlabel add 16 pop\n";
    let file = lab.file("b", text);
    assert_eq!(lab.run(&format!("batch {}", file.display())).0, 0);
    let mut child = lab
        .command("batch -")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
    let commits = lab.appliance.commits.lock().unwrap().clone();
    assert_eq!(commits.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
    let bad = lab.file("bad", "route add 10.1.0.0/16 via 10.0.0.2\nroute show\n");
    let (code, _, error) = lab.run(&format!("batch {}", bad.display()));
    assert_eq!(code, 2);
    let expected = format!(
        "trunkctl: {}:2: \"route show\" changes nothing, so it can't be part of a commit; nothing was changed\n",
        bad.display()
    );
    assert_eq!(error, expected);
    assert_eq!(lab.appliance.commits.lock().unwrap().len(), 2);
}

#[test]
fn a_hundred_thousand_lines_are_one_commit() {
    let lab = Lab::new();
    let text: String = (0..100_000)
        .map(|i| {
            format!(
                "route add 10.{}.{}.{}/32 via 10.0.0.2\n",
                i >> 16,
                (i >> 8) & 255,
                i & 255
            )
        })
        .collect();
    let file = lab.file("b", &text);
    assert_eq!(lab.run(&format!("batch {}", file.display())).0, 0);
    assert_eq!(lab.appliance.commits.lock().unwrap()[0].len(), 100_000);
}

/// `trunkctl route show | head -1` ends without a word.
#[test]
fn a_reader_that_leaves_is_no_failure() {
    let lab = Lab::new();
    for line in [
        "route show 10.0.0.0/8",
        "route show 10.0.0.0/8 --json",
        "completions bash",
    ] {
        let mut child = lab
            .command(line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut first)
            .unwrap();
        let (code, _, error) = texts(&child.wait_with_output().unwrap());
        assert_eq!((code, error.as_str()), (0, ""), "{line}");
    }
}

#[test]
fn help_has_examples_and_needs_no_appliance() {
    let help = |line: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_trunkctl"))
            .args(line.split_whitespace())
            .output()
            .unwrap();
        let (code, out, error) = texts(&output);
        assert_eq!((code, error.as_str()), (0, ""), "{line}");
        out
    };
    let top = help("-h");
    for word in [
        "route",
        "label",
        "interface",
        "neigh",
        "worker",
        "drop",
        "rcu",
        "memory",
        "doctor",
        "config",
        "batch",
        "Exit status",
    ] {
        assert!(top.contains(word), "{word}: {top}");
    }
    for word in ["capture", "top"] {
        assert!(
            !top.contains(&format!("  {word} ")),
            "later versions are not advertised: {top}"
        );
    }
    for verb in [
        "route add",
        "route replace",
        "route del",
        "route show",
        "label add",
        "interface add",
        "neigh add",
        "batch",
        "config apply",
    ] {
        let text = help(&format!("{verb} -h"));
        assert!(
            text.contains("Example") && text.contains(&format!("trunkctl {verb}")),
            "{verb}: {text}"
        );
    }
    assert!(help("completions bash").contains("complete -F"));
    assert!(help("--version").starts_with("trunkctl "));
}

#[test]
fn the_doctor_needs_no_appliance() {
    let output = Command::new(env!("CARGO_BIN_EXE_trunkctl"))
        .args(["doctor", "--json"])
        .output()
        .unwrap();
    let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
    let failed = checks
        .as_array()
        .unwrap()
        .iter()
        .any(|c| c["status"] == "fail");
    assert_eq!(output.status.code(), Some(i32::from(failed)));
    assert!(checks[0]["name"].is_string() && checks[0]["detail"].is_string());
}

#[test]
fn the_doctor_touches_nothing_that_it_is_not_told_to_mend() {
    let said = |args: &[&str]| {
        let mut c = Command::new(env!("CARGO_BIN_EXE_trunkctl"));
        let output = c.arg("doctor").args(args).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), text)
    };
    // What only --fix does is refused without it.
    for more in [
        ["--nic", "0000:3b:00.0"],
        ["--config", "t.toml"],
        ["--pages", "1"],
    ] {
        let (code, text) = said(&more);
        assert!(
            code == Some(2) && text.contains("--fix"),
            "{more:?}: {text}"
        );
    }
    let (code, text) = said(&["--fix", "--config", "/nowhere/t.toml"]);
    assert!(
        code == Some(1) && text.contains("/nowhere/t.toml") | text.contains("root"),
        "{text}"
    );
}

#[test]
fn a_packet_is_explained() {
    let lab = Lab::new();
    let (code, out, _) = lab.run("explain 203.0.113.9 in p1 sport 7");
    assert_eq!((code, out.trim()), (0, "a packet to 203.0.113.9"));
    let (code, out, _) = lab.run("--json explain 203.0.113.9 --verify");
    assert_eq!(code, 0);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&told["verified"], &told["steps"][0]["what"]),
        (&true.into(), &"packet".into())
    );
    // The stand-in finds another answer when a source is given.
    let (code, out, error) = lab.run("explain 203.0.113.9 from 10.0.0.1 --verify");
    assert!(
        code == 1 && out.contains("a packet") && error.contains("not what the data path did"),
        "{error}"
    );
}

#[test]
fn a_path_is_asked_about() {
    let lab = Lab::new();
    let (code, out, _) = lab.run("lsp ping 10.1.0.0/16 count 3");
    assert_eq!(code, 0);
    for part in [
        "ldp 10.1.0.0/16",
        "1: no answer",
        "3: 10.0.0.3 after",
        "3 sent, 1 answered",
    ] {
        assert!(out.contains(part), "no {part:?} in\n{out}");
    }
    let (code, out, _) = lab.run("--json lsp trace 10.1.0.0/16 count 2");
    let rows: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &rows[1]["verdict"]), (0, &"end".into()));
    assert_eq!(rows[1]["label"], serde_json::json!([100, 200]));
    let (code, out, error) = lab.run("lsp trace 10.9.0.0/16 count 2");
    assert!(
        code == 1 && out.contains("no answer") && error.contains("nobody answers"),
        "{error}"
    );
    let (code, _, error) = lab.run("lsp ping 192.0.2.0/24");
    assert!(code == 1 && error.contains("there is no LSP"), "{error}");
    let (code, _, error) = lab.run("lsp ping");
    assert!(code == 2 && error.contains("the FEC is missing"), "{error}");
}

#[test]
fn bgp_is_shown_and_ordered_about() {
    let lab = Lab::new();
    let (code, out, _) = lab.run("bgp policy test known 10.0.0.0/8 community 1:2");
    assert_eq!(
        (code, out.as_str()),
        (0, "known: no rule decided, default reject\nrejected\n")
    );
    let (_, out, _) = lab.run("bgp policy test known 10.0.0.0/8 --json");
    let test: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&test["accepted"], &test["after"]),
        (&Value::Bool(false), &Value::Null)
    );
    let (code, _, error) = lab.run("bgp policy test other 10.0.0.0/8");
    assert!(
        code == 1 && error.contains("no policy is called"),
        "{error}"
    );
    let (code, _, error) = lab.run("bgp policy test known 10.0.0.0/8 colour red");
    assert!(code == 2 && error.contains("unexpected"), "{error}");
    let (code, out, _) = lab.run("label ranges");
    assert!(
        code == 0 && out.contains("dynamic  100000  100009     2     1     7"),
        "{out}"
    );
    let (_, out, _) = lab.run("label ranges --json");
    let ranges: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(ranges[0]["free"], 7);
    let (code, out, _) = lab.run("ldp");
    assert!(
        code == 0 && out.contains("2 neighbours, 1 of them operational"),
        "{out}"
    );
    let (_, out, _) = lab.run("ldp neighbors");
    assert!(out.contains("192.0.2.2:0  operational  1m 1s"), "{out}");
    let (_, out, _) = lab.run("ldp neighbors --json");
    let rows: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(rows[0]["received"], 7);
    let (_, out, _) = lab.run("ldp interfaces --json");
    let rows: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(rows[0]["interface"], "wan0");
    let (_, out, _) = lab.run("ldp bindings 10.1.0.0/16");
    assert!(out.contains("10.1.0.0/16  implicit-null"), "{out}");
    let (code, out, _) = lab.run("rpki show");
    assert!(
        code == 0 && out.contains("can't connect: Connection refused"),
        "{out}"
    );
    let (_, out, _) = lab.run("rpki --json");
    let caches: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(caches[0]["serial"], Value::Null);
    assert_eq!(caches[0]["state"], "connecting");
    let (code, out, _) = lab.run("bgp summary");
    assert_eq!(code, 0);
    let last = out.lines().last().unwrap();
    let words: Vec<&str> = last.split_whitespace().collect();
    assert_eq!(
        words,
        [
            "198.51.100.3",
            "64513",
            "Established",
            "1m",
            "1s",
            "3",
            "0",
            "0"
        ]
    );
    let (_, json, _) = lab.run("bgp neighbor 192.0.2.9 --json");
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(rows[0]["address"], "192.0.2.9");
    assert_eq!(
        (&rows[0]["as"], &rows[0]["families"][0]),
        (&64513.into(), &"ipv4-unicast".into())
    );
    let (_, out, _) = lab.run("bgp route received 192.0.2.9");
    assert_eq!(out.lines().count(), 2);
    assert!(
        out.contains("203.0.113.0/24") && out.contains("192.0.2.9"),
        "{out}"
    );
    let (_, json, _) = lab.run("bgp route --json");
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 2);
    let (code, _, error) = lab.run("bgp neighbor 198.51.100.3 shutdown");
    assert_eq!(code, 1, "{error}");
    let (code, _, error) = lab.run("bgp neighbor 198.51.100.3 refresh in");
    assert!(code == 1 && error.contains("not refresh-in"), "{error}");
}

#[test]
fn the_routes_of_bgp_become_a_file() {
    let lab = Lab::new();
    let (code, out, _) = lab.run("bgp mrt dump - received");
    assert_eq!((code, out.as_str()), (0, "peers received"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rib.mrt");
    let (code, out, error) = lab.run(&format!("bgp mrt dump {}", file.display()));
    assert_eq!((code, out.as_str()), (0, "12 octets\n"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"peers routes");
    // What is refused leaves what was there, and nothing else.
    let line = format!("bgp mrt dump {} family vpnv4", file.display());
    let (code, _, error) = lab.run(&line);
    assert!(code == 1 && error.contains("not that one"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let (_, out, _) = lab.run("bgp mrt");
    assert!(out.contains("No space left on device"), "{out}");
    let (_, out, _) = lab.run("bgp bmp");
    assert!(out.starts_with("near ") && out.contains("refused"), "{out}");
    let (_, json, _) = lab.run("bgp mrt show --json");
    let rows: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(rows[0]["directory"], "/var/lib/mrt");
}
