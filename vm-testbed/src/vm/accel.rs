//! How QEMU runs a guest: by KVM where guests come up under it, else by emulation (TCG).
//!
//! That `/dev/kvm` is there says little: on some machines (clouds whose KVM is of a kind of their own, nested ones) QEMU starts,
//! firmware runs, and a kernel hangs for ever. So the guests' kernel itself is tried, with no root folder: it panics over that
//! in a second, and QEMU ends with it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::image;
use crate::lab::wait::{eventually, secs};
use crate::progress;

/// How long a kernel may take until its panic, under KVM; it takes less than one.
const TRIAL: Duration = secs(6);

/// QEMU's words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// The processor runs the guest.
    Kvm,
    /// QEMU emulates every instruction.
    Tcg,
}

impl Accel {
    /// As `-accel` takes it. `remaps`: the guest moves the registers of cards, by giving them to vfio-pci and back. QEMU 7.2
    /// changes its map of addresses under threads of other CPUs that still hold indices into the old one: they reach another
    /// device, and an assertion there or a wild pointer ends the machine. With one thread there are no others; on two cores
    /// it takes no longer.
    #[must_use]
    pub fn argument(self, remaps: bool) -> &'static str {
        match (self, remaps) {
            (Self::Kvm, _) => "kvm",
            (Self::Tcg, true) => "tcg,thread=single",
            (Self::Tcg, false) => "tcg,thread=multi",
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        }
    }
}

static CHOSEN: OnceLock<Accel> = OnceLock::new();

/// What guests run by here; found out once, and told.
///
/// # Errors
/// When there is no kernel to try with.
pub fn accel() -> Result<Accel> {
    if let Some(known) = CHOSEN.get() {
        return Ok(*known);
    }
    let kernel = image::kernel()?;
    let begin = Instant::now();
    let (accel, why) = match trial(&kernel) {
        Ok(()) => (Accel::Kvm, "a kernel came up under it".to_owned()),
        Err(why) => (Accel::Tcg, format!("no KVM: {why:#}")),
    };
    progress::note(&format!(
        "guests run by {} ({why}; tried for {:.1} s)",
        accel.name(),
        begin.elapsed().as_secs_f64()
    ));
    Ok(*CHOSEN.get_or_init(|| accel))
}

/// Boots the kernel under KVM and waits for its end.
fn trial(kernel: &Path) -> Result<()> {
    if !Path::new("/dev/kvm").exists() {
        return Err(anyhow!("there is no /dev/kvm"));
    }
    let mut c = Command::new("setpriv");
    c.args("--pdeathsig KILL qemu-system-x86_64 -accel kvm -cpu max -machine q35 -m 256 -display none -nodefaults -no-user-config -no-reboot".split(' '));
    c.arg("-kernel").arg(kernel);
    c.args(["-append", "quiet panic=-1"]);
    c.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = c.spawn()?;
    let ended = eventually("the kernel's end", TRIAL, || Ok(child.try_wait()?));
    let Ok(status) = ended else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(anyhow!(
            "a kernel does not come up under it within {} s",
            TRIAL.as_secs()
        ));
    };
    if status.success() {
        return Ok(());
    }
    let said = child.wait_with_output()?.stderr;
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().last().unwrap_or_default();
    Err(anyhow!("QEMU ended with {status}: {last}"))
}
