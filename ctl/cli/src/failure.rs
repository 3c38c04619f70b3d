//! How a command fails: one line on stderr, and an exit status that a script can tell apart.

use std::fmt;
use std::process::ExitCode;

use api::ConnectError;
use api::grammar::GrammarError;

/// Why a command was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The appliance, or this machine, said no: status 1.
    Refused(String),
    /// The command can't be understood: status 2.
    Usage(String),
    /// Nobody answers: status 3.
    Unreachable(String),
    /// Whoever read our output has gone: not a failure.
    Pipe,
}

impl Failure {
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Pipe => 0,
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text) | Self::Usage(text) | Self::Unreachable(text) => f.write_str(text),
            Self::Pipe => Ok(()),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::Unreachable(error.to_string())
    }
}

impl From<GrammarError> for Failure {
    fn from(error: GrammarError) -> Self {
        Self::Usage(error.0)
    }
}

impl From<Box<tonic::Status>> for Failure {
    fn from(status: Box<tonic::Status>) -> Self {
        use tonic::Code;
        let text = status.message().to_owned();
        match status.code() {
            Code::InvalidArgument => Self::Usage(text),
            // The channel's own word for a connection that broke.
            Code::Unknown if text.contains("transport") => {
                Self::Unreachable("the connection to the appliance was lost; is it still running?".into())
            }
            Code::Unavailable => Self::Unreachable(text),
            Code::DeadlineExceeded | Code::Cancelled if text.is_empty() || text == "Timeout expired" => {
                Self::Refused("the appliance gave no answer in time; its log may say why".into())
            }
            Code::Unimplemented => {
                Self::Refused("the appliance does not know this command; is it of an older version than trunkctl?".into())
            }
            _ => Self::Refused(text),
        }
    }
}

impl From<std::io::Error> for Failure {
    /// Of writing the output; other errors are given words where they happen.
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Pipe,
            _ => Self::Refused(format!("cannot write the output: {error}")),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::from(std::io::Error::from(error))
    }
}
