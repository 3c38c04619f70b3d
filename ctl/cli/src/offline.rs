//! Checking a configuration where no appliance answers: `trunkline --check` does it, as the code that understands
//! configurations is the appliance's alone (docs/architecture.md). It is looked for beside `trunkctl`, then on the PATH.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use api::v1::ConfigRequest;

use crate::failure::Failure;

/// The appliance's program.
const PROGRAM: &str = "trunkline";

/// Checks a file, or a text without one, and says what an appliance would. `unreachable`: why none answers.
///
/// # Errors
/// What is wrong with it; or nobody can check it.
pub(crate) fn check(request: &ConfigRequest, unreachable: Failure) -> Result<(), Failure> {
    let file = match request.path.as_str() {
        "" => "/dev/stdin",
        path => path,
    };
    let mut command = Command::new(program());
    command.args(["--check", "-c", file]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let input = if request.path.is_empty() {
        Stdio::piped()
    } else {
        Stdio::null()
    };
    let Ok(mut child) = command.stdin(input).spawn() else {
        return Err(Failure::Unreachable(format!(
            "{unreachable}; without an appliance, \"{PROGRAM} --check -c {file}\" would do, but there is no {PROGRAM} beside \
             trunkctl or on the PATH"
        )));
    };
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends early says why.
        let _ = stdin.write_all(request.text.as_bytes());
    }
    let done = child
        .wait_with_output()
        .map_err(|e| Failure::Refused(format!("cannot run {PROGRAM}: {e}")))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let said = said.trim_end();
    let cause = said.strip_prefix("trunkline: ").unwrap_or(said);
    Err(Failure::Refused(match cause {
        "" => format!("{PROGRAM} --check ended with {}", done.status),
        cause => cause.to_owned(),
    }))
}

fn program() -> PathBuf {
    let beside = std::env::current_exe().map(|me| me.with_file_name(PROGRAM));
    match beside {
        Ok(path) if path.is_file() => path,
        _ => PROGRAM.into(),
    }
}
