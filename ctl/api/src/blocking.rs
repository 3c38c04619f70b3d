//! A client for programs without a runtime: tests, scripts, the command line.

use std::path::Path;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tonic::{Request, Status as RpcStatus};

use crate::client::{Client as AsyncClient, ConnectError, connect};
use crate::v1::*;

/// Changes sent in one message of a commit.
const CHUNK: usize = 4096;

/// A connection to an appliance whose calls wait for their answer.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    inner: AsyncClient,
    deadline: Duration,
}

/// What a call gives: the answer, or the appliance's refusal with its reason in `message()`.
pub type Answer<T> = Result<T, Box<RpcStatus>>;

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($request:ident) -> $reply:ident via $rpc:ident;)*) => {
        $($(#[$doc])*
        ///
        /// # Errors
        /// The appliance refused, or did not answer in time; the reason is in the status's message.
        pub fn $name(&mut self, request: $request) -> Answer<$reply> {
            let request = self.timed(request);
            let reply = self.runtime.block_on(self.inner.$rpc(request)).map_err(Box::new)?;
            Ok(reply.into_inner())
        })*
    };
}

impl Client {
    /// Connects to the appliance on the Unix socket `socket`.
    ///
    /// # Errors
    /// [`ConnectError`] when nobody answers there.
    pub fn connect(socket: impl AsRef<Path>) -> Result<Self, ConnectError> {
        let socket = socket.as_ref();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| ConnectError {
                socket: socket.to_owned(),
                reason: e.to_string(),
                remedy: "the kernel gave no epoll or timer: are too many files open?",
            })?;
        let inner = runtime.block_on(connect(socket))?;
        Ok(Self {
            runtime,
            inner,
            deadline: Duration::from_secs(180),
        })
    }

    /// Gives up on an answer after `deadline` (180 s unless set).
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    fn timed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.deadline);
        request
    }

    calls! {
        /// What runs, and since when.
        status(StatusRequest) -> Status via get_status;
        /// Checks a configuration; nothing changes.
        check_config(ConfigRequest) -> ConfigReply via check_config;
        /// What a configuration would change; nothing does.
        diff_config(ConfigRequest) -> ConfigReply via diff_config;
        /// Makes a configuration the running and the saved one.
        apply_config(ConfigRequest) -> ConfigReply via apply_config;
        /// The running configuration as its file has it.
        show_config(ShowConfigRequest) -> ConfigText via show_config;
        /// The interfaces and their counters.
        interfaces(InterfaceQuery) -> Interfaces via show_interfaces;
        /// The neighbours on the links.
        neighbors(NeighborQuery) -> Neighbors via show_neighbors;
        /// The workers and their load.
        workers(WorkerQuery) -> Workers via show_workers;
        /// What was dropped, where and why.
        drops(DropQuery) -> Drops via show_drops;
        /// VRFs.
        vrfs(VrfQuery) -> Vrfs via show_vrfs;
        /// What the tables take, and how full they are.
        memory(MemoryQuery) -> Memory via show_memory;
        /// What becomes of one packet, and why.
        explain(ExplainQuery) -> Explanation via explain;
        /// The neighbours of BGP.
        bgp_neighbors(BgpNeighborQuery) -> BgpNeighbors via show_bgp_neighbors;
        /// Has a neighbour of BGP do something.
        bgp_command(BgpCommand) -> BgpCommandReply via command_bgp;
        /// What a policy would do with a route.
        test_bgp_policy(BgpPolicyQuery) -> BgpPolicyTest via test_bgp_policy;
        /// Which labels are for what.
        label_ranges(LabelRangeQuery) -> LabelRanges via show_label_ranges;
        /// Neighbours and interfaces of LDP.
        ldp(LdpQuery) -> Ldp via show_ldp;
        /// The caches of the RPKI.
        rpki(RpkiQuery) -> Rpki via show_rpki;
            /// Who is told what BGP hears: BMP stations, MRT files.
        bgp_watch(BgpWatchQuery) -> BgpWatch via show_bgp_watch;
            /// The state of RCU.
        rcu(RcuQuery) -> Rcu via show_rcu;
    }

    /// Makes `changes`, all or none.
    ///
    /// # Errors
    /// The appliance refused one of them, and made none.
    pub fn commit(&mut self, changes: Vec<Change>) -> Answer<CommitReply> {
        let mut rest = changes.into_iter();
        let stream = std::iter::from_fn(move || {
            let changes: Vec<Change> = rest.by_ref().take(CHUNK).collect();
            (!changes.is_empty()).then_some(CommitRequest { changes })
        });
        let request = self.timed(tokio_stream::iter(stream));
        let reply = self
            .runtime
            .block_on(self.inner.commit(request))
            .map_err(Box::new)?;
        Ok(reply.into_inner())
    }

    /// The routes that match, handed to `each` as they come.
    ///
    /// # Errors
    /// The appliance refused, or the connection was lost; also the error that `each` gave.
    pub fn for_each_route(
        &mut self,
        query: RouteQuery,
        mut each: impl FnMut(Route) -> Answer<()>,
    ) -> Answer<()> {
        let request = self.timed(query);
        self.runtime.block_on(async {
            let mut stream = self
                .inner
                .show_routes(request)
                .await
                .map_err(Box::new)?
                .into_inner();
            while let Some(chunk) = stream.message().await.map_err(Box::new)? {
                chunk.routes.into_iter().try_for_each(&mut each)?;
            }
            Ok(())
        })
    }

    /// BGP's routes that match, handed to `each` as they come.
    ///
    /// # Errors
    /// The appliance refused, or the connection was lost; also the error that `each` gave.
    pub fn for_each_bgp_route(
        &mut self,
        query: BgpRouteQuery,
        mut each: impl FnMut(BgpRoute) -> Answer<()>,
    ) -> Answer<()> {
        let request = self.timed(query);
        self.runtime.block_on(async {
            let mut stream = self
                .inner
                .show_bgp_routes(request)
                .await
                .map_err(Box::new)?
                .into_inner();
            while let Some(chunk) = stream.message().await.map_err(Box::new)? {
                chunk.routes.into_iter().try_for_each(&mut each)?;
            }
            Ok(())
        })
    }

    /// BGP's routes as MRT, handed to `each` as they come: whole records.
    ///
    /// # Errors
    /// The appliance refused, or the connection was lost; also the error that `each` gave.
    pub fn for_each_bgp_dump(
        &mut self,
        query: BgpDumpQuery,
        mut each: impl FnMut(&[u8]) -> Answer<()>,
    ) -> Answer<()> {
        let request = self.timed(query);
        self.runtime.block_on(async {
            let mut stream = self
                .inner
                .dump_bgp(request)
                .await
                .map_err(Box::new)?
                .into_inner();
            while let Some(chunk) = stream.message().await.map_err(Box::new)? {
                each(&chunk.octets)?;
            }
            Ok(())
        })
    }

    /// The requests of an LSP ping or trace, handed to `each` as they are settled.
    ///
    /// # Errors
    /// The appliance refused, or the connection was lost; also the error that `each` gave.
    pub fn for_each_lsp_probe(
        &mut self,
        query: LspQuery,
        mut each: impl FnMut(LspProbe) -> Answer<()>,
    ) -> Answer<()> {
        // It takes as long as it is asked to.
        let request = Request::new(query);
        self.runtime.block_on(async {
            let mut stream = self
                .inner
                .probe_lsp(request)
                .await
                .map_err(Box::new)?
                .into_inner();
            while let Some(chunk) = stream.message().await.map_err(Box::new)? {
                chunk.probes.into_iter().try_for_each(&mut each)?;
            }
            Ok(())
        })
    }

    /// The routes that match, all at once.
    ///
    /// # Errors
    /// As [`Self::for_each_route`].
    pub fn routes(&mut self, query: RouteQuery) -> Answer<Vec<Route>> {
        let mut all = Vec::new();
        self.for_each_route(query, |route| {
            all.push(route);
            Ok(())
        })?;
        Ok(all)
    }

    /// LDP's prefixes and their labels.
    ///
    /// # Errors
    /// As [`Self::for_each_route`].
    pub fn ldp_bindings(&mut self, query: LdpBindingQuery) -> Answer<Vec<LdpBinding>> {
        let request = self.timed(query);
        self.runtime.block_on(async {
            let mut stream = self
                .inner
                .show_ldp_bindings(request)
                .await
                .map_err(Box::new)?
                .into_inner();
            let mut all = Vec::new();
            while let Some(chunk) = stream.message().await.map_err(Box::new)? {
                all.extend(chunk.bindings);
            }
            Ok(all)
        })
    }

    /// The label table, or one label of it.
    ///
    /// # Errors
    /// As [`Self::for_each_route`].
    pub fn labels(&mut self, query: LabelQuery) -> Answer<Vec<LabelRoute>> {
        let request = self.timed(query);
        self.runtime.block_on(async {
            let mut stream = self
                .inner
                .show_labels(request)
                .await
                .map_err(Box::new)?
                .into_inner();
            let mut all = Vec::new();
            while let Some(chunk) = stream.message().await.map_err(Box::new)? {
                all.extend(chunk.labels);
            }
            Ok(all)
        })
    }
}
