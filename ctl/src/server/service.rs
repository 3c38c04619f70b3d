//! The calls of the API, each turned into a request to the control thread or a commit.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::trunkline_server::Trunkline;
use api::{
    BgpCommand, BgpCommandReply, BgpDump, BgpDumpQuery, BgpNeighborQuery, BgpNeighbors,
    BgpPolicyQuery, BgpPolicyTest, BgpRoutes, BgpWatch, BgpWatchQuery, Change, CommitReply,
    CommitRequest, ConfigReply, ConfigRequest, ConfigText, DropQuery, Drops, ExplainQuery,
    Explanation, InterfaceQuery, Interfaces, LabelQuery, LabelRangeQuery, LabelRanges, LabelRoute,
    Labels, Ldp, LdpBinding, LdpBindingQuery, LdpBindings, LdpQuery, Memory, MemoryQuery,
    NeighborQuery, Neighbors, Rcu, RcuQuery, Route, Routes, Rpki, RpkiQuery, ShowConfigRequest,
    Status as ApplianceStatus, StatusRequest, WorkerQuery, Workers,
};
use bgp::speaker::Dump;
use bgp::types::Family;
use ipnet::IpNet;
use net::Label;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request as Call, Response, Status, Streaming};

use super::commit::{Commits, Done, Refusal, aside, describe};
use crate::config::Store;
use crate::request::{
    BgpCursor, BgpRouteQuery, BgpSide, LspCursor, Page, Protocol, Reply, Request, RouteMatch,
    RouteQuery,
};

/// How long the control thread may take for an answer that costs it next to nothing.
const DEADLINE: Duration = Duration::from_secs(10);
/// Rows in one message of a table.
const PAGE: usize = 2048;
/// Changes in one commit.
const MAX_CHANGES: usize = 2_000_000;
/// The longest reason that a gRPC status carries, in octets.
const MAX_REASON: usize = 6000;

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

/// The API, over the running configuration and the control thread.
pub(super) struct Service {
    pub(super) commits: Arc<Commits>,
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut text = refusal.to_string();
        if text.len() > MAX_REASON {
            let end = (0..=MAX_REASON)
                .rev()
                .find(|at| text.is_char_boundary(*at))
                .unwrap_or(0);
            text.truncate(end);
            text.push_str(" …");
        }
        match refusal {
            Refusal::No(_) => Self::failed_precondition(text),
            Refusal::Unclear(_) => Self::invalid_argument(text),
            Refusal::Unavailable(_) => Self::unavailable(text),
            Refusal::Late(_) => Self::deadline_exceeded(text),
        }
    }
}

/// Asks the control thread and waits for its answer.
async fn ask<T>(
    commits: &Commits,
    request: impl FnOnce(Reply<T>) -> Request,
) -> Result<T, Refusal> {
    let (reply, answer) = Reply::new();
    commits
        .asker
        .ask(request(reply))
        .map_err(|e| Refusal::not_taken(e, ""))?;
    match tokio::time::timeout(DEADLINE, answer).await {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(refused))) => Err(Refusal::No(refused.to_string())),
        Ok(Err(_)) => Err(Refusal::Unavailable(
            "the appliance is shutting down".into(),
        )),
        Err(_) => Err(Refusal::Late(format!(
            "the control thread gave no answer within {} s; its log may say why",
            DEADLINE.as_secs()
        ))),
    }
}

/// Who calls, for the log.
fn caller<T>(call: &Call<T>) -> String {
    let credentials = call
        .extensions()
        .get::<UdsConnectInfo>()
        .and_then(|info| info.peer_cred);
    match credentials {
        Some(who) => format!("uid {}, pid {}", who.uid(), who.pid().unwrap_or(0)),
        None => "somebody".to_owned(),
    }
}

fn log(what: &str, who: &str, outcome: &Result<Done, Refusal>) {
    match outcome {
        Ok(done) => tracing::info!("{what} by {who}: {} changes", done.changed),
        Err(refusal) => tracing::warn!("{what} by {who} refused: {refusal}"),
    }
}

/// Sends a table page by page, as fast as the reader takes it.
fn stream<T, K, M>(
    commits: &Arc<Commits>,
    request: impl Fn(Option<K>, Reply<Page<T, K>>) -> Request + Send + Sync + 'static,
    message: impl Fn(Vec<T>) -> M + Send + Sync + 'static,
) -> Stream<M>
where
    T: Send + 'static,
    K: Send + 'static,
    M: Send + 'static,
{
    let (tx, rx) = mpsc::channel(4);
    let commits = Arc::clone(commits);
    tokio::spawn(async move {
        let mut after = None;
        loop {
            let page = match ask(&commits, |reply| request(after.take(), reply)).await {
                Ok(page) => page,
                Err(refusal) => {
                    let _ = tx.send(Err(refusal.into())).await;
                    return;
                }
            };
            if !page.rows.is_empty() && tx.send(Ok(message(page.rows))).await.is_err() {
                return;
            }
            match page.next {
                Some(next) if !tx.is_closed() => after = Some(next),
                _ => return,
            }
        }
    });
    Box::pin(ReceiverStream::new(rx))
}

fn route_query(query: &api::RouteQuery) -> Result<RouteQuery, Refusal> {
    let protocol = match query.protocol.as_str() {
        "" => None,
        "local" => Some(Protocol::Local),
        "connected" => Some(Protocol::Connected),
        "ldp" => Some(Protocol::Ldp),
        "static" => Some(Protocol::Static),
        "bgp" => Some(Protocol::Bgp),
        other => {
            return Err(Refusal::Unclear(format!(
                "unknown protocol {other:?}; the protocols are bgp, connected, ldp, local, static"
            )));
        }
    };
    let (matching, _) = match_of(&query.destination, query.longer)?;
    Ok(RouteQuery {
        vrf: query.vrf.clone(),
        matching,
        protocol,
    })
}

fn family(name: &str) -> Result<Family, Refusal> {
    name.parse::<Family>()
        .map_err(|e| Refusal::Unclear(e.to_string()))
}

fn bgp_route_query(query: &api::BgpRouteQuery) -> Result<BgpRouteQuery, Refusal> {
    let (matching, version) = match_of(&query.destination, query.longer)?;
    let families = match (query.family.as_str(), version) {
        ("", Some(true)) => vec![Family::Ipv6Unicast],
        ("", Some(false)) => vec![Family::Ipv4Unicast],
        ("", None) => vec![Family::Ipv4Unicast, Family::Ipv6Unicast],
        (name, _) => vec![family(name)?],
    };
    let side = match (query.received.as_str(), query.advertised.as_str()) {
        ("", "") => BgpSide::Table,
        (name, "") => BgpSide::Received(name.to_owned()),
        ("", name) => BgpSide::Advertised(name.to_owned()),
        _ => {
            return Err(Refusal::Unclear(
                "\"received\" or \"advertised\": one of them".into(),
            ));
        }
    };
    Ok(BgpRouteQuery {
        matching,
        families,
        side,
        vrf: query.vrf.clone(),
    })
}

/// The destinations that are meant, and whether they are of IPv6, if that can be said.
fn match_of(destination: &str, longer: bool) -> Result<(RouteMatch, Option<bool>), Refusal> {
    let text = match destination {
        "" => return Ok((RouteMatch::All, None)),
        "default" => "0.0.0.0/0",
        text => text,
    };
    let prefix = api::grammar::prefix(text).map_err(|e| Refusal::Unclear(e.0))?;
    let matching = match (text.contains('/'), longer) {
        (_, true) => RouteMatch::Within(prefix),
        (true, false) => RouteMatch::Exact(prefix),
        (false, false) => RouteMatch::Longest(prefix),
    };
    Ok((matching, Some(prefix.addr().is_ipv6())))
}

/// What the kernel calls this machine.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

fn reply(done: Done) -> ConfigReply {
    ConfigReply {
        changed: done.changed as u64,
        steps: done.steps,
    }
}

#[tonic::async_trait]
impl Trunkline for Service {
    type ShowRoutesStream = Stream<Routes>;
    type ShowLabelsStream = Stream<Labels>;
    type ShowLdpBindingsStream = Stream<LdpBindings>;
    type ShowBgpRoutesStream = Stream<BgpRoutes>;
    type DumpBgpStream = Stream<BgpDump>;
    type ProbeLspStream = Stream<api::LspProbes>;

    async fn get_status(&self, _: Call<StatusRequest>) -> Answer<ApplianceStatus> {
        let mut status = ask(&self.commits, |reply| Request::Status { reply }).await?;
        let store = self.commits.store();
        let system = &store.running().system;
        if status.name.is_empty() {
            status.name = system.name.clone().unwrap_or_else(host_name);
        }
        if status.router_id.is_empty() {
            status.router_id = system
                .router_id
                .map(|id| id.to_string())
                .unwrap_or_default();
        }
        status.config = store.path().display().to_string();
        status.version = env!("CARGO_PKG_VERSION").to_owned();
        status.pid = std::process::id();
        Ok(Response::new(status))
    }

    async fn commit(&self, call: Call<Streaming<CommitRequest>>) -> Answer<CommitReply> {
        let who = caller(&call);
        let mut stream = call.into_inner();
        let mut changes: Vec<Change> = Vec::new();
        while let Some(message) = stream.message().await? {
            changes.extend(message.changes);
            if changes.len() > MAX_CHANGES {
                let text = format!(
                    "more than {MAX_CHANGES} changes in one commit; put so many routes into a route-file"
                );
                return Err(Status::invalid_argument(text));
            }
        }
        let outcome = self
            .commits
            .commit(move |store| store.stage_changes(&changes))
            .await;
        log("commit", &who, &outcome);
        Ok(Response::new(CommitReply {
            changed: outcome?.changed as u64,
        }))
    }

    async fn check_config(&self, call: Call<ConfigRequest>) -> Answer<ConfigReply> {
        let (store, request) = (self.commits.store(), call.into_inner());
        aside(move || {
            store
                .check(&request.text, Path::new(&request.path))
                .map(|_| ())
        })
        .await?;
        Ok(Response::new(ConfigReply::default()))
    }

    async fn diff_config(&self, call: Call<ConfigRequest>) -> Answer<ConfigReply> {
        let (store, request) = (self.commits.store(), call.into_inner());
        let staged =
            aside(move || store.stage_file(&request.text, Path::new(&request.path))).await?;
        Ok(Response::new(reply(describe(&staged.plan))))
    }

    async fn apply_config(&self, call: Call<ConfigRequest>) -> Answer<ConfigReply> {
        let who = caller(&call);
        let request = call.into_inner();
        let stage = move |store: &Store| store.stage_file(&request.text, Path::new(&request.path));
        let outcome = self.commits.commit(stage).await;
        log("config apply", &who, &outcome);
        Ok(Response::new(reply(outcome?)))
    }

    async fn show_config(&self, _: Call<ShowConfigRequest>) -> Answer<ConfigText> {
        let store = self.commits.store();
        Ok(Response::new(ConfigText {
            path: store.path().display().to_string(),
            text: store.text().to_owned(),
        }))
    }

    async fn show_routes(&self, call: Call<api::RouteQuery>) -> Answer<Self::ShowRoutesStream> {
        let query = route_query(&call.into_inner())?;
        let request =
            move |after: Option<IpNet>, reply: Reply<Page<Route, IpNet>>| Request::Routes {
                query: query.clone(),
                after,
                limit: PAGE,
                reply,
            };
        Ok(Response::new(stream(&self.commits, request, |routes| {
            Routes { routes }
        })))
    }

    async fn show_labels(&self, call: Call<LabelQuery>) -> Answer<Self::ShowLabelsStream> {
        let label = match call.into_inner().label {
            None => None,
            Some(value) => {
                let label = Label::new(value).ok_or_else(|| {
                    Status::invalid_argument(format!("{value} is not a label: 0 to {}", Label::MAX))
                })?;
                Some(label)
            }
        };
        let request =
            move |after: Option<Label>, reply: Reply<Page<LabelRoute, Label>>| Request::Labels {
                label,
                after,
                limit: PAGE,
                reply,
            };
        Ok(Response::new(stream(&self.commits, request, |labels| {
            Labels { labels }
        })))
    }

    async fn show_interfaces(&self, call: Call<InterfaceQuery>) -> Answer<Interfaces> {
        let query = call.into_inner();
        let interfaces = ask(&self.commits, |reply| Request::Interfaces { query, reply }).await?;
        Ok(Response::new(Interfaces { interfaces }))
    }

    async fn show_neighbors(&self, call: Call<NeighborQuery>) -> Answer<Neighbors> {
        let query = call.into_inner();
        let neighbors = ask(&self.commits, |reply| Request::Neighbors { query, reply }).await?;
        Ok(Response::new(Neighbors { neighbors }))
    }

    async fn show_workers(&self, call: Call<WorkerQuery>) -> Answer<Workers> {
        let reset = call.into_inner().reset;
        let workers = ask(&self.commits, |reply| Request::Workers { reset, reply }).await?;
        Ok(Response::new(Workers { workers }))
    }

    async fn show_drops(&self, call: Call<DropQuery>) -> Answer<Drops> {
        let query = call.into_inner();
        let drops = ask(&self.commits, |reply| Request::Drops { query, reply }).await?;
        Ok(Response::new(Drops { drops }))
    }

    async fn show_vrfs(&self, call: Call<api::VrfQuery>) -> Answer<api::Vrfs> {
        let name = call.into_inner().name;
        let vrfs = ask(&self.commits, |reply| Request::Vrfs { name, reply }).await?;
        Ok(Response::new(api::Vrfs { vrfs }))
    }

    async fn show_memory(&self, _: Call<MemoryQuery>) -> Answer<Memory> {
        Ok(Response::new(
            ask(&self.commits, |reply| Request::Memory { reply }).await?,
        ))
    }

    async fn show_bgp_neighbors(&self, call: Call<BgpNeighborQuery>) -> Answer<BgpNeighbors> {
        let query = call.into_inner();
        let neighbors = ask(&self.commits, |reply| Request::BgpNeighbors {
            query,
            reply,
        })
        .await?;
        Ok(Response::new(BgpNeighbors { neighbors }))
    }

    async fn show_bgp_routes(
        &self,
        call: Call<api::BgpRouteQuery>,
    ) -> Answer<Self::ShowBgpRoutesStream> {
        let query = bgp_route_query(&call.into_inner())?;
        let request = move |after: Option<BgpCursor>,
                            reply: Reply<Page<api::BgpRoute, BgpCursor>>| {
            Request::BgpRoutes {
                query: query.clone(),
                after,
                reply,
            }
        };
        Ok(Response::new(stream(&self.commits, request, |routes| {
            BgpRoutes { routes }
        })))
    }

    async fn command_bgp(&self, call: Call<BgpCommand>) -> Answer<BgpCommandReply> {
        let command = call.into_inner();
        ask(&self.commits, |reply| Request::BgpCommand {
            command,
            reply,
        })
        .await?;
        Ok(Response::new(BgpCommandReply {}))
    }

    async fn test_bgp_policy(&self, call: Call<BgpPolicyQuery>) -> Answer<BgpPolicyTest> {
        let query = Box::new(call.into_inner());
        let test = ask(&self.commits, |reply| Request::BgpPolicy { query, reply }).await?;
        Ok(Response::new(*test))
    }

    async fn show_label_ranges(&self, _: Call<LabelRangeQuery>) -> Answer<LabelRanges> {
        let ranges = ask(&self.commits, |reply| Request::LabelRanges { reply }).await?;
        Ok(Response::new(ranges))
    }

    async fn show_ldp(&self, _: Call<LdpQuery>) -> Answer<Ldp> {
        let ldp = ask(&self.commits, |reply| Request::Ldp { reply }).await?;
        Ok(Response::new(*ldp))
    }

    async fn show_ldp_bindings(
        &self,
        call: Call<LdpBindingQuery>,
    ) -> Answer<Self::ShowLdpBindingsStream> {
        let prefix = match call.into_inner().prefix.as_str() {
            "" => None,
            text => Some(api::grammar::prefix(text).map_err(|e| Status::invalid_argument(e.0))?),
        };
        let request = move |after: Option<IpNet>, reply: Reply<Page<LdpBinding, IpNet>>| {
            Request::LdpBindings {
                prefix,
                after,
                limit: PAGE,
                reply,
            }
        };
        Ok(Response::new(stream(&self.commits, request, |bindings| {
            LdpBindings { bindings }
        })))
    }

    async fn explain(&self, call: Call<ExplainQuery>) -> Answer<Explanation> {
        let query = Box::new(call.into_inner());
        let told = ask(&self.commits, |reply| Request::Explain { query, reply }).await?;
        Ok(Response::new(*told))
    }

    async fn probe_lsp(&self, call: Call<api::LspQuery>) -> Answer<Self::ProbeLspStream> {
        let query = Box::new(call.into_inner());
        let request = move |after: Option<LspCursor>,
                            reply: Reply<Page<api::LspProbe, LspCursor>>| {
            Request::Lsp {
                query: query.clone(),
                after,
                reply,
            }
        };
        Ok(Response::new(stream(&self.commits, request, |probes| {
            api::LspProbes { probes }
        })))
    }

    async fn show_rpki(&self, _: Call<RpkiQuery>) -> Answer<Rpki> {
        let caches = ask(&self.commits, |reply| Request::Rpki { reply }).await?;
        Ok(Response::new(Rpki { caches }))
    }

    async fn dump_bgp(&self, call: Call<BgpDumpQuery>) -> Answer<Self::DumpBgpStream> {
        let query = call.into_inner();
        let families = match query.family.as_str() {
            "" => vec![Family::Ipv4Unicast, Family::Ipv6Unicast],
            name => vec![family(name)?],
        };
        let query = crate::request::BgpDumpQuery {
            received: query.received,
            families,
        };
        let request =
            move |after: Option<Box<Dump>>, reply: Reply<Page<u8, Box<Dump>>>| Request::BgpDump {
                query: query.clone(),
                after,
                reply,
            };
        Ok(Response::new(stream(&self.commits, request, |octets| {
            BgpDump { octets }
        })))
    }

    async fn show_bgp_watch(&self, _: Call<BgpWatchQuery>) -> Answer<BgpWatch> {
        Ok(Response::new(
            ask(&self.commits, |reply| Request::BgpWatch { reply }).await?,
        ))
    }

    async fn show_rcu(&self, _: Call<RcuQuery>) -> Answer<Rcu> {
        Ok(Response::new(
            ask(&self.commits, |reply| Request::Rcu { reply }).await?,
        ))
    }
}
