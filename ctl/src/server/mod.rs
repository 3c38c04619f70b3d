//! The API: gRPC on a Unix socket, on a thread of its own.
//!
//! [`Instance::claim`] comes first of all in a start, before anything of the machine is touched: it makes sure that no
//! other appliance serves the socket, and takes away what a killed one left there. [`Server::start`] then listens.
//! Commits are made one at a time (`commit`); reads are answered by the control thread in bounded pieces, so that a
//! slow reader of a long table holds up nobody.
//!
//! Left out in this version: TCP with mutual TLS.

mod commit;
mod service;
mod socket;
#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use api::MAX_MESSAGE;
use api::trunkline_server::TrunklineServer;
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;

pub use socket::{ClaimError, Instance};

use crate::config::Store;
use crate::request::Asker;
use commit::Commits;
use service::Service;

/// How long calls in flight may take when the appliance goes down.
const FAREWELL: Duration = Duration::from_millis(500);

/// The running API thread. Dropped, it stops listening, lets calls in flight finish for a moment, and removes the socket.
#[derive(Debug)]
pub struct Server {
    instance: Instance,
    commits: Arc<Commits>,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on the socket of `instance`, and serves it until dropped. `store` holds the configuration that runs or is being
    /// applied; `asker` leads to the control thread.
    ///
    /// # Errors
    /// The socket can't be made, or no thread can be had.
    pub fn start(mut instance: Instance, store: Store, asker: Asker) -> io::Result<Self> {
        let commits = Commits::new(store, asker);
        let runtime = Builder::new_current_thread()
            .enable_all()
            .thread_name("api-disk")
            .build()?;
        let handle = runtime.handle().clone();
        let listener = instance.listen()?;
        let (stop, stopped) = oneshot::channel();
        let service = Service {
            commits: Arc::clone(&commits),
        };
        let thread = std::thread::Builder::new()
            .name("api".into())
            .spawn(move || run(runtime, listener, service, stopped))?;
        Ok(Self {
            instance,
            commits,
            handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The socket that is served.
    #[must_use]
    pub fn socket(&self) -> &std::path::Path {
        self.instance.socket()
    }

    /// Takes over the configuration file as it lies on disk, as `config apply` does. Returns at once; the log says what came of it.
    pub fn reload(&self) {
        let commits = Arc::clone(&self.commits);
        self.handle.spawn(async move {
            match commits.reload().await {
                Ok(done) => tracing::info!("configuration reloaded: {} changes", done.changed),
                Err(refusal) => tracing::warn!("configuration not reloaded: {refusal}"),
            }
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(runtime: Runtime, listener: StdListener, service: Service, stopped: oneshot::Receiver<()>) {
    let outcome = runtime.block_on(serve(listener, service, stopped));
    if let Err(error) = outcome {
        tracing::error!(
            "the API stopped: {error}; restart trunkline to get it back, forwarding goes on"
        );
    }
    runtime.shutdown_timeout(FAREWELL);
}

async fn serve(
    listener: StdListener,
    service: Service,
    stopped: oneshot::Receiver<()>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let incoming = UnixListenerStream::new(UnixListener::from_std(listener)?);
    let service = TrunklineServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let (enough, farewell) = oneshot::channel::<()>();
    let stop = async move {
        let _ = stopped.await;
        drop(enough);
    };
    let served = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, stop);
    tokio::select! {
        outcome = served => Ok(outcome?),
        () = async { let _ = farewell.await; tokio::time::sleep(FAREWELL).await; } => Ok(()),
    }
}
