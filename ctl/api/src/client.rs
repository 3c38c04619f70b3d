//! The asynchronous client, over a Unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::MAX_MESSAGE;
use crate::v1::trunkline_client::TrunklineClient;

/// The generated client over our kind of channel.
pub type Client = TrunklineClient<Channel>;

/// The appliance can't be reached: the socket and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach the appliance at {socket}: {reason}; {remedy}")]
pub struct ConnectError {
    /// The socket that was tried.
    pub socket: PathBuf,
    /// What the kernel said.
    pub reason: String,
    /// What would help.
    pub remedy: &'static str,
}

impl ConnectError {
    fn new(socket: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        let remedy = match error.kind() {
            Kind::NotFound => "start it (trunkline -c FILE), or name its socket with --socket PATH",
            Kind::ConnectionRefused => "it is not running (its socket was left behind): start it",
            Kind::PermissionDenied => {
                "run this as root, or as a member of the group that owns the socket"
            }
            _ => "is this the socket of a running trunkline?",
        };
        let reason = match error.kind() {
            Kind::NotFound => "there is no such socket".to_owned(),
            Kind::ConnectionRefused => "nobody listens there".to_owned(),
            Kind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        Self {
            socket: socket.to_owned(),
            reason,
            remedy,
        }
    }
}

/// Connects to the appliance that listens on the Unix socket `socket`.
///
/// # Errors
/// [`ConnectError`] when nobody answers there within five seconds.
pub async fn connect(socket: impl AsRef<Path>) -> Result<Client, ConnectError> {
    let path = socket.as_ref().to_owned();
    // The first connection is made here, so that its error is the kernel's own and not wrapped twice.
    let first = UnixStream::connect(&path)
        .await
        .map_err(|e| ConnectError::new(&path, &e))?;
    let first = std::sync::Mutex::new(Some(first));
    let dial = path.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let ready = first.lock().ok().and_then(|mut slot| slot.take());
        let dial = dial.clone();
        async move {
            let stream = match ready {
                Some(stream) => stream,
                None => UnixStream::connect(dial).await?,
            };
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let channel = Endpoint::from_static("http://trunkline")
        .connect_timeout(Duration::from_secs(5))
        .connect_with_connector(connector)
        .await
        .map_err(|e| ConnectError::new(&path, &std::io::Error::other(e)))?;
    Ok(TrunklineClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE))
}
