//! `trunkctl doctor`: the report of `hugepages::doctor`, and with `--fix` what `hugepages::mend` does before it.
//!
//! Where an appliance runs, what is odd about its VRFs is in the report, too: route targets that nobody has who is known.
//!
//! Cards are named by `--nic`, or by a configuration whose `pci:` devices are meant; nothing else of it is looked at here.

use std::io::Write;
use std::path::Path;

use api::blocking::Client;
use api::{Vrf, VrfQuery};
use hugepages::doctor::{Check, Permissions, Status};
use hugepages::mend::{self, Outcome as Mended, Wants};
use hugepages::sys::Sys;
use hugepages::topology::Machine;

use crate::Outcome;
use crate::failure::Failure;
use crate::show;

/// What `--fix` is to see to.
pub(crate) struct Fix<'a> {
    /// Cards by their PCI addresses.
    pub(crate) nics: &'a [String],
    /// A configuration that names more.
    pub(crate) config: Option<&'a Path>,
    /// Huge pages to be free on each node.
    pub(crate) pages: Option<u64>,
}

/// The targets of a VRF that nobody matches; `None`: there are none.
fn targets(vrf: &Vrf) -> Option<Check> {
    let import =
        (vrf.unmatched_import.iter()).map(|t| format!("nothing has {t}, which it imports"));
    let export =
        (vrf.unmatched_export.iter()).map(|t| format!("nobody known takes {t}, which it exports"));
    let all: Vec<String> = import.chain(export).collect();
    (!all.is_empty()).then(|| Check {
        name: format!("vrf {}", vrf.name),
        status: Status::Warning,
        detail: all.join("; "),
        remedy: None,
    })
}

/// Mends if that is asked for, and reports.
pub(crate) fn run(
    json: bool,
    socket: &Path,
    out: &mut dyn Write,
    fix: Option<&Fix<'_>>,
) -> Outcome {
    let mended = match fix {
        Some(fix) => mend(json, out, fix)?,
        None => Vec::new(),
    };
    let mut checks = hugepages::doctor::run();
    // Without an appliance there is nothing to be said of one.
    let appliance = Client::connect(socket).ok();
    let vrfs = appliance.and_then(|mut c| c.vrfs(VrfQuery::default()).ok());
    checks.extend(vrfs.iter().flat_map(|v| &v.vrfs).filter_map(targets));
    match (json, fix) {
        (true, Some(_)) => {
            let both = serde_json::json!({ "actions": mended, "checks": checks });
            writeln!(out, "{both:#}")?;
        }
        (true, None) => show::json_rows(out, &checks)?,
        (false, _) => report(out, &checks)?,
    }
    let failed = checks.iter().filter(|c| c.status == Status::Fail).count();
    let not_done = mended.iter().filter(|m| m.error.is_some()).count();
    if failed + not_done == 0 {
        return Ok(());
    }
    out.flush()?;
    let mut parts = Vec::new();
    if not_done > 0 {
        parts.push(format!(
            "{not_done} of {} steps could not be taken; their lines say why",
            mended.len()
        ));
    }
    if failed > 0 {
        parts.push(format!(
            "{failed} of {} checks failed; their lines say what mends them",
            checks.len()
        ));
    }
    Err(Failure::Refused(parts.join("; ")))
}

fn mend(json: bool, out: &mut dyn Write, fix: &Fix<'_>) -> Result<Vec<Mended>, Failure> {
    mend::allowed(&Permissions::of_this_process()).map_err(Failure::Refused)?;
    let mut nics: Vec<String> = fix.nics.iter().map(|n| whole(n)).collect();
    if let Some(file) = fix.config {
        nics.extend(named_in(file)?);
    }
    nics.sort();
    nics.dedup();
    let mut wants = Wants {
        nics,
        ..Wants::default()
    };
    wants.pages = fix.pages.unwrap_or(wants.pages);
    let (sys, machine) = (Sys::default(), Machine::detect());
    let machine = machine.map_err(|e| Failure::Refused(e.to_string()))?;
    let mut mended = Vec::new();
    for action in mend::plan(&sys, &machine, &wants) {
        if !json {
            writeln!(
                out,
                "{}\n{:<9}mending it: {}",
                action.why, "", action.command
            )?;
            out.flush()?;
        }
        let done = action.run(&sys, &mend::modprobe);
        if !json {
            let said = done.error.as_ref().map(|e| format!("not done: {e}"));
            writeln!(out, "{:<9}{}", "", said.as_deref().unwrap_or("done"))?;
        }
        mended.push(done);
    }
    if !json {
        let n = mended.len();
        match n {
            0 => writeln!(out, "nothing to mend\n")?,
            _ => writeln!(
                out,
                "{n} step{}; what was done stays until the next boot\n",
                if n == 1 { "" } else { "s" }
            )?,
        }
    }
    Ok(mended)
}

/// A PCI address with its domain, which may be left out.
fn whole(address: &str) -> String {
    let address = address.strip_prefix("pci:").unwrap_or(address);
    match address.matches(':').count() {
        1 => format!("0000:{address}"),
        _ => address.to_owned(),
    }
}

/// The cards that a configuration names.
fn named_in(file: &Path) -> Result<Vec<String>, Failure> {
    let bad = |what: String| Failure::Refused(format!("{}: {what}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|e| bad(e.to_string()))?;
    let all: toml::Table = toml::from_str(&text).map_err(|e| bad(e.message().to_owned()))?;
    let interfaces = all.get("interface").and_then(toml::Value::as_table);
    let devices = interfaces
        .into_iter()
        .flatten()
        .filter_map(|(_, i)| i.get("device")?.as_str()?.strip_prefix("pci:"));
    Ok(devices
        .map(|d| whole(d.split(',').next().unwrap_or(d)))
        .collect())
}

fn report(out: &mut dyn Write, checks: &[Check]) -> std::io::Result<()> {
    let chars = |c: &Check| c.name.chars().count();
    let width = checks.iter().map(chars).max().unwrap_or(0);
    for check in checks {
        let status = match check.status {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Fail => "fail",
        };
        let gap = " ".repeat(width - chars(check));
        writeln!(out, "{status:<7}  {}{gap}  {}", check.name, check.detail)?;
        if let Some(remedy) = &check.remedy {
            writeln!(out, "{:<9}mend it: {remedy}", "")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cards_of_a_configuration_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.toml");
        std::fs::write(
            &file,
            "[interface.a]\ndevice = \"pci:0000:3b:00.0\"\n[interface.b]\ndevice = \"pci:5e:00.1,arg=1\"\n\
             [interface.c]\ndevice = \"af_packet:eth0\"\n[interface.\"a.7\"]\nmtu = 1500\n",
        )
        .unwrap();
        assert_eq!(
            named_in(&file).ok().unwrap(),
            ["0000:3b:00.0", "0000:5e:00.1"]
        );
        std::fs::write(&file, "[interface").unwrap();
        assert!(named_in(&file).is_err());
        assert!(named_in(&dir.path().join("none")).is_err());
        assert_eq!(whole("pci:0001:3b:00.0"), "0001:3b:00.0");
    }
}
