//! A worker that stands still: named, and nobody else's trouble.
//!
//! A thread that is traced can be held alone, unlike with SIGSTOP, which holds the whole process: ptrace(2), PTRACE_SEIZE and
//! PTRACE_INTERRUPT. To the others it looks like a worker whose CPU was taken away.

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::Value;

use crate::cases::{Bed, known_hosts, ports, to_host, to_router};
use crate::frame::Ip4;
use crate::lab::Appliance;
use crate::lab::wait::{eventually, secs, until};
use crate::suite::Options;

use super::traffic::{no_loss, stream};
use super::{Skip, pages};

/// A thread that is held until this is dropped. Only the thread that holds it can let it go.
struct Held(Pid);

impl Held {
    /// Holds the thread of `a` that is called `name`.
    fn hold(a: &Appliance, name: &str) -> Result<Self> {
        let tasks = format!("/proc/{}/task", a.pid()?);
        for task in std::fs::read_dir(&tasks)? {
            let path = task?.path();
            if std::fs::read_to_string(path.join("comm"))?.trim_end() != name {
                continue;
            }
            let tid = path.file_name().and_then(|n| n.to_str()?.parse().ok());
            let tid = Pid::from_raw(tid.ok_or_else(|| anyhow!("{}", path.display()))?);
            ptrace::seize(tid, ptrace::Options::empty()).context("can't trace a worker")?;
            let held = Self(tid);
            ptrace::interrupt(tid)?;
            let state = waitpid(tid, Some(WaitPidFlag::__WALL))?;
            ensure!(
                matches!(state, WaitStatus::PtraceEvent(..)),
                "the worker does not stand still: {state:?}"
            );
            return Ok(held);
        }
        Err(anyhow!("no thread of trunkline is called {name}"))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = ptrace::detach(self.0, None);
    }
}

/// What `rcu show` says of a reader.
fn reader(rcu: &Value, name: &str) -> Result<Value> {
    let all = rcu["readers"].as_array().context("no readers")?;
    let found = all.iter().find(|r| r["name"] == name);
    found.cloned().ok_or_else(|| anyhow!("no {name} in {rcu}"))
}

/// The worker that polls the only queue of interface `name`.
fn poller(a: &Appliance, name: &str) -> Result<u64> {
    let all = a.json("worker show")?;
    let polls = |w: &Value| {
        let queues = w["queues"].as_array();
        queues.is_some_and(|q| q.iter().any(|q| *q == format!("{name}:0")))
    };
    let worker = all.as_array().and_then(|all| all.iter().find(|w| polls(w)));
    worker
        .and_then(|w| w["worker"].as_u64())
        .ok_or_else(|| anyhow!("nobody polls {name}: {all}"))
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn worker(o: &Options) -> Result<()> {
    if std::thread::available_parallelism()?.get() < 2 {
        return Err(Skip("one CPU only".into()).into());
    }
    let _pages = pages(&o.flavor, 1)?;
    // A worker that sleeps is not waited for, so none may sleep.
    let config = ports(&o.flavor, 4, |_| "queues = 1")
        .workers("0,1")
        .dataplane("poll = \"busy\"");
    let mut bed = Bed::start("stuck", 4, &config)?;
    for line in known_hosts(4, &[2]) {
        bed.appliance.must(&line)?;
    }
    bed.flush_ports(&[1, 2, 3, 4])?;
    let a = &bed.appliance;
    let workers = (1..=4).map(|p| poller(a, &format!("p{p}")));
    let workers = workers.collect::<Result<Vec<_>>>()?;
    // Each polls two of the ports.
    let (stuck, well) = (workers[0], workers[1]);
    ensure!(stuck != well, "one worker polls p1 and p2: {workers:?}");
    let mut its = (1..=4).filter(|p| workers[p - 1] == well);
    let (Some(from), Some(to)) = (its.next(), its.next()) else {
        return Err(anyhow!("worker {well} polls less than two: {workers:?}"));
    };
    let name = format!("worker-{stuck}");
    let packet = Ip4::udp(&format!("10.0.{from}.2"), &format!("10.0.{to}.2"), 100);
    let (sent, out) = (
        to_router(from, &packet.bytes()),
        to_host(to, 2, &packet.ttl(63).bytes()),
    );

    let held = Held::hold(a, &name)?;
    let (s, rcu) = stream(bed.wire(from), bed.wire(to), &sent, &out, || {
        // What a worker may still look at is replaced, so that there is something to wait for.
        for n in 0..50 {
            a.must(&format!("route add 10.99.{n}.0/24 via 10.0.2.2"))?;
            a.must(&format!("route del 10.99.{n}.0/24"))?;
        }
        let named = eventually("`rcu show` names the worker", secs(10), || {
            let rcu = a.json("rcu show")?;
            let named = rcu["stalled"].as_array().is_some_and(|s| !s.is_empty());
            Ok(named.then_some(rcu))
        });
        named.with_context(|| a.must("rcu show").unwrap_or_default())
    })?;
    no_loss(&s, 200).context("beside the stuck worker")?;
    ensure!(rcu["stalled"] == serde_json::json!([name]), "{rcu}");
    let r = reader(&rcu, &name)?;
    ensure!(
        r["lag"].as_u64() > Some(0) && r["stalled_s"].as_f64() >= Some(2.0),
        "{r}"
    );
    ensure!(rcu["pending"].as_u64() > Some(0), "nothing waits: {rcu}");
    let other = reader(&rcu, &format!("worker-{well}"))?;
    ensure!(other["stalled_s"].as_f64() == Some(0.0), "{other}");
    let said = format!("{name} has not reported for");
    ensure!(a.log().contains(&said), "not logged:\n{}", a.log_tail());

    drop(held);
    until("all that waited is freed", secs(10), || {
        let rcu = a.json("rcu show")?;
        let idle = rcu["stalled"].as_array().is_some_and(Vec::is_empty);
        Ok(idle && rcu["pending"].as_u64() == Some(0))
    })?;
    until("the log says that it is over", secs(5), || {
        Ok(a.log().contains(&format!("{name} reports again")))
    })?;
    let (s, ()) = stream(
        bed.wire(1),
        bed.wire(2),
        &to_router(1, &Ip4::udp("10.0.1.2", "10.0.2.2", 100).bytes()),
        &to_host(2, 2, &Ip4::udp("10.0.1.2", "10.0.2.2", 100).ttl(63).bytes()),
        || a.must("route add 10.99.0.0/24 via 10.0.2.2").map(drop),
    )?;
    no_loss(&s, 1).context("through the worker that had been stuck")?;
    bed.law()?;
    bed.appliance.stop()
}
