//! QEMU's own socket: cables are pulled and plugged here. Read QEMU's `qmp-spec.txt`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::lab::wait::secs;

/// The control socket of a machine.
#[derive(Debug)]
pub struct Qmp {
    to: UnixStream,
    from: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects to a machine that runs.
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub fn connect(socket: &Path) -> Result<Self> {
        let to = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
        to.set_read_timeout(Some(secs(20)))?;
        let from = BufReader::new(to.try_clone()?);
        let mut qmp = Self { to, from };
        let greeting = qmp.message()?;
        ensure!(greeting["QMP"].is_object(), "QEMU greets with {greeting}");
        qmp.run("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    fn message(&mut self) -> Result<Value> {
        let mut line = String::new();
        let n = self.from.read_line(&mut line).context("QEMU is silent")?;
        ensure!(n > 0, "QEMU has ended");
        Ok(serde_json::from_str(&line)?)
    }

    /// Runs a command and returns what it gives.
    ///
    /// # Errors
    /// When QEMU refuses it.
    pub fn run(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        self.to.write_all(format!("{request}\n").as_bytes())?;
        loop {
            let mut answer = self.message()?;
            if answer["error"].is_object() {
                bail!("QEMU: {command}: {}", answer["error"]);
            }
            if answer.get("return").is_some() {
                return Ok(answer["return"].take());
            }
            // An event: not asked for.
        }
    }

    /// Asks the guest to let a card go; the card leaves when it has.
    ///
    /// # Errors
    /// When QEMU refuses it.
    pub fn unplug(&mut self, card: &str) -> Result<()> {
        self.run("device_del", &json!({ "id": format!("card-{card}") }))
            .map(drop)
    }

    /// Puts a card in; the words are those of `-device`.
    ///
    /// # Errors
    /// When QEMU refuses it, for one because it is still there.
    pub fn plug(&mut self, device: &str) -> Result<()> {
        let mut words = device.split(',');
        let mut arguments = json!({ "driver": words.next() });
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            arguments[key] = match value {
                "on" => true.into(),
                "off" => false.into(),
                _ => value.into(),
            };
        }
        self.run("device_add", &arguments).map(drop)
    }

    /// Pulls the cable of a card, or plugs it in.
    ///
    /// # Errors
    /// When QEMU refuses it.
    pub fn set_link(&mut self, card: &str, up: bool) -> Result<()> {
        self.run("set_link", &json!({ "name": card, "up": up }))
            .map(drop)
    }
}
