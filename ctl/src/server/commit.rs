//! Commits: one at a time, each checked, saved, applied, and taken back if the control thread says no.
//!
//! A commit runs as a task of its own, so that a client that hangs up can't leave it half done.

use std::fmt::Display;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as Turn;

use crate::config::{ConfigError, Plan, Staged, Store};
use crate::request::{AskError, Asker, Reply, Request};

/// How long a client is kept waiting for a commit; the commit itself goes on.
const PATIENCE: Duration = Duration::from_secs(150);

/// Why a call was refused, in words for the user.
#[derive(Debug)]
pub(super) enum Refusal {
    /// What was asked for is not possible.
    No(String),
    /// It could not be understood.
    Unclear(String),
    /// Not now.
    Unavailable(String),
    /// It is taking too long.
    Late(String),
}

impl Refusal {
    /// The control thread did not take a request.
    pub(super) fn not_taken(error: AskError, and: &str) -> Self {
        match error {
            AskError::Busy => Self::No(format!("{error}{and}")),
            AskError::Gone => Self::Unavailable(format!("{error}{and}")),
        }
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        Self::No(error.to_string())
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::No(text) | Self::Unclear(text) | Self::Unavailable(text) | Self::Late(text) => {
                f.write_str(text)
            }
        }
    }
}

/// What a commit did.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) changed: usize,
    pub(super) steps: Vec<String>,
}

/// Lines of a plan that are printed.
const MAX_STEPS: usize = 10_000;

/// What a plan does, in words.
pub(super) fn describe(plan: &Plan) -> Done {
    let restarts = plan
        .restart
        .iter()
        .map(|r| format!("! {}: {} -> {} (needs a restart)", r.key, r.from, r.to));
    // What needs a restart is told in its own lines.
    let steps = plan
        .steps()
        .filter(|step| !matches!(step, crate::config::Step::Dataplane(_)));
    let steps = restarts
        .chain(steps.map(|step| step.to_string()))
        .take(MAX_STEPS)
        .collect();
    Done {
        changed: plan.len(),
        steps,
    }
}

/// The running configuration, and the way to the control thread.
#[derive(Debug)]
pub(super) struct Commits {
    store: Mutex<Store>,
    turn: Turn<()>,
    pub(super) asker: Asker,
}

impl Commits {
    pub(super) fn new(store: Store, asker: Asker) -> Arc<Self> {
        Arc::new(Self {
            store: Mutex::new(store),
            turn: Turn::new(()),
            asker,
        })
    }

    /// What runs now.
    pub(super) fn store(&self) -> Store {
        self.store
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes a commit of what `stage` gives, and waits for it.
    pub(super) async fn commit(
        self: &Arc<Self>,
        stage: impl FnOnce(&Store) -> Result<Staged, ConfigError> + Send + 'static,
    ) -> Result<Done, Refusal> {
        let this = Arc::clone(self);
        let task = tokio::spawn(async move { this.carry_out(stage).await });
        match tokio::time::timeout(PATIENCE, task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Err(Refusal::Unavailable(format!(
                "the commit broke off: {error}"
            ))),
            Err(_) => Err(Refusal::Late(format!(
                "the commit is not finished after {} s; it goes on: \"config show\" tells when it is done",
                PATIENCE.as_secs()
            ))),
        }
    }

    async fn carry_out(
        &self,
        stage: impl FnOnce(&Store) -> Result<Staged, ConfigError> + Send + 'static,
    ) -> Result<Done, Refusal> {
        let _turn = self.turn.lock().await;
        let store = self.store();
        // Reading, checking and syncing take their time: not on the thread that serves the others.
        let (mut store, staged, saved) = blocking(move || {
            let staged = stage(&store)?;
            if let Some(reason) = staged.plan.restart_reason() {
                return Err(Refusal::No(format!("{reason}; nothing was changed")));
            }
            let saved = store
                .save(&staged)
                .map_err(|e| Refusal::No(e.to_string()))?;
            Ok((store, staged, saved))
        })
        .await?;
        let done = describe(&staged.plan);
        let (plan, next) = staged.split();
        let answer = if plan.is_empty() {
            Ok(())
        } else {
            self.apply(plan).await
        };
        if let Err(refusal) = answer {
            let undone =
                blocking(move || store.undo(saved).map_err(|e| Refusal::No(e.to_string()))).await;
            return match undone {
                Ok(()) => Err(refusal),
                Err(error) => Err(Refusal::No(format!(
                    "{refusal}; and the file could not be restored: {error}"
                ))),
            };
        }
        store.keep(next);
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = store;
        Ok(done)
    }

    async fn apply(&self, plan: Plan) -> Result<(), Refusal> {
        let (reply, answer) = Reply::new();
        let request = Request::Apply {
            plan: Box::new(plan),
            reply,
        };
        self.asker
            .ask(request)
            .map_err(|e| Refusal::Unavailable(format!("{e}; nothing was changed")))?;
        match answer.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refused)) => Err(Refusal::No(format!("{refused}; nothing was changed"))),
            Err(_) => Err(Refusal::Unavailable(
                "the appliance went down before the commit was applied".into(),
            )),
        }
    }

    /// Takes over the configuration file as it lies on disk.
    pub(super) async fn reload(self: &Arc<Self>) -> Result<Done, Refusal> {
        self.commit(|store| {
            let text = store.read()?;
            store.stage_file(&text, Path::new(""))
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Refusal::Unavailable(format!("the work broke off: {error}"))),
    }
}

/// Does what takes its time without holding up the thread.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ConfigError> + Send + 'static,
) -> Result<T, Refusal> {
    blocking(move || work().map_err(Refusal::from)).await
}
