//! What happens to the network, one thing after the other, and what is looked at in between.

use std::fmt;
use std::time::Duration;

use super::plan::{FEWEST, MOST, Plan, Role};
use super::world::{Way, World};
use super::{Dice, Options, check};

/// So long nothing may be said before the network counts as at rest: longer than any timer of a speaker here.
const QUIET: Duration = Duration::from_secs(90);
/// A network that is not at rest after so long never will be.
const NEVER: Duration = Duration::from_secs(1200);
/// Nor one that has said so much about one thing, for each of its routers.
const TOO_MUCH: u64 = 2500;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) routers: usize,
    pub(crate) sessions: usize,
    pub(crate) events: usize,
    pub(crate) updates: u64,
    /// Virtual time of all of it.
    pub(crate) took: Duration,
    /// The longest from an event to the last thing said about it.
    pub(crate) longest: Duration,
    /// Of all forwarding tables after each event: the same story has the same.
    pub(crate) digest: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} routers, {} sessions, {} events: {} UPDATEs in {} s of virtual time, at rest after {:.1} s at most; tables {:016x}",
            self.routers,
            self.sessions,
            self.events,
            self.updates,
            self.took.as_secs(),
            self.longest.as_secs_f64(),
            self.digest
        )
    }
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    Link {
        link: usize,
        up: bool,
        seen: bool,
    },
    /// Down and up again, so often, with so many milliseconds in between.
    Flap {
        link: usize,
        times: usize,
        ms: u64,
    },
    Die(usize),
    Return(usize),
    /// Ends and is back before anybody's timers run out.
    Restart(usize),
    Reset {
        peering: usize,
        side: usize,
    },
    /// A router takes its prefixes back and announces them again, so often.
    Waver {
        node: usize,
        times: usize,
    },
}

struct Story {
    world: World,
    options: Options,
    summary: Summary,
}

/// Plays a story; `tell` hears of each event.
///
/// # Errors
/// What did not hold, when, and how to see it again.
pub(crate) fn run(options: Options, tell: &mut dyn FnMut(&str)) -> Result<Summary, String> {
    if !(FEWEST..=MOST).contains(&options.nodes) {
        return Err(format!(
            "a network of {} routers: take {FEWEST} to {MOST}",
            options.nodes
        ));
    }
    let mut dice = Dice::new(options.seed);
    let plan = Plan::new(&mut dice, options.nodes);
    let summary = Summary {
        routers: plan.nodes.len(),
        sessions: plan.peerings.len(),
        events: 0,
        updates: 0,
        took: Duration::ZERO,
        longest: Duration::ZERO,
        digest: 0xcbf2_9ce4_8422_2325,
    };
    let world = World::new(plan, dice, options.wires);
    let mut story = Story {
        world,
        options,
        summary,
    };
    story.settle("the start", tell)?;
    for _ in 0..options.events {
        let all = story.choose();
        let names: Vec<String> = all.iter().map(|e| story.name(e)).collect();
        for event in all {
            story.happen(event);
        }
        story.summary.events += 1;
        story.settle(&names.join("; and "), tell)?;
    }
    story.heal();
    story.settle("everything is mended", tell)?;
    story.summary.updates = story.world.updates;
    story.summary.took = story.world.now - story.world.began;
    Ok(story.summary)
}

impl Story {
    fn settle(&mut self, what: &str, tell: &mut dyn FnMut(&str)) -> Result<(), String> {
        let at = self.world.now - self.world.began;
        let fail = |why: String| {
            let o = &self.options;
            format!(
                "seed {}, {} routers, event {} at {:.3} s ({what}): {why}\nto see it again: cargo testbed simulate --seed {} --nodes {} --events {}",
                o.seed,
                o.nodes,
                self.summary.events,
                at.as_secs_f64(),
                o.seed,
                o.nodes,
                o.events
            )
        };
        let much = TOO_MUCH * self.options.nodes as u64;
        let before = self.world.updates;
        let Some(took) = self.world.rest(QUIET, NEVER, much) else {
            let said = self.world.updates - before;
            return Err(fail(format!(
                "the network does not come to rest: {said} UPDATEs, and no end"
            )));
        };
        let found = check::findings(&mut self.world);
        if !found.is_empty() {
            let first: Vec<&str> = found.iter().take(8).map(String::as_str).collect();
            return Err(fail(format!(
                "{} things are wrong, such as\n  {}",
                found.len(),
                first.join("\n  ")
            )));
        }
        self.summary.longest = self.summary.longest.max(took);
        self.digest();
        tell(&format!(
            "{:>9.3} s  {what}: at rest after {:.3} s",
            at.as_secs_f64(),
            took.as_secs_f64()
        ));
        Ok(())
    }

    fn digest(&mut self) {
        let mut mix = |word: u64| {
            self.summary.digest = (self.summary.digest ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        };
        for (n, r) in &self.world.routers {
            for (net, way) in &r.fib {
                let Way::By(hops) = way else { continue };
                let text = format!("{n} {net} {hops:?}");
                text.bytes().for_each(|b| mix(b.into()));
            }
        }
    }

    /// Mostly one thing, at times several at once.
    fn choose(&mut self) -> Vec<Event> {
        let many = if self.world.dice.one_in(4) {
            2 + self.world.dice.below(2)
        } else {
            1
        };
        let mut all = Vec::new();
        // What is chosen is done on the plan first, to see that no cluster falls apart, and undone again.
        let before: (Vec<bool>, Vec<bool>) = (self.links(), self.world.plan.alive.clone());
        while all.len() < many {
            let event = self.pick();
            self.imagine(&event);
            if self.world.plan.clusters_are_whole() {
                all.push(event);
            } else {
                self.undo(&event);
            }
        }
        for (link, up) in self.world.plan.links.iter_mut().zip(before.0) {
            link.up = up;
        }
        self.world.plan.alive = before.1;
        all
    }

    fn links(&self) -> Vec<bool> {
        self.world.plan.links.iter().map(|l| l.up).collect()
    }

    fn imagine(&mut self, event: &Event) {
        let plan = &mut self.world.plan;
        match *event {
            Event::Link { link, up, .. } => plan.links[link].up = up,
            Event::Die(n) => plan.alive[n] = false,
            Event::Return(n) => plan.alive[n] = true,
            _ => {}
        }
    }

    fn undo(&mut self, event: &Event) {
        let plan = &mut self.world.plan;
        match *event {
            Event::Link { link, up, .. } => plan.links[link].up = !up,
            Event::Die(n) => plan.alive[n] = true,
            Event::Return(n) => plan.alive[n] = false,
            _ => {}
        }
    }

    fn pick(&mut self) -> Event {
        let World { plan, dice, .. } = &mut self.world;
        let living: Vec<usize> = (0..plan.nodes.len()).filter(|n| plan.alive[*n]).collect();
        let link = dice.below(plan.links.len());
        let node = living[dice.below(living.len())];
        match dice.below(10) {
            0..4 => Event::Link {
                link,
                up: !plan.links[link].up,
                seen: dice.one_in(2),
            },
            4 if plan.links[link].up => Event::Flap {
                link,
                times: 2 + dice.below(6),
                ms: 20 + dice.below(3000) as u64,
            },
            5 | 6 => {
                let dead: Vec<usize> = (0..plan.nodes.len()).filter(|n| !plan.alive[*n]).collect();
                match dice.of(&dead) {
                    Some(n) if dice.one_in(2) => Event::Return(*n),
                    _ => Event::Die(node),
                }
            }
            7 => Event::Restart(node),
            8 => Event::Reset {
                peering: dice.below(plan.peerings.len()),
                side: dice.below(2),
            },
            _ => Event::Waver {
                node,
                times: 1 + dice.below(4),
            },
        }
    }

    fn name(&self, event: &Event) -> String {
        let plan = &self.world.plan;
        let node = |n: &usize| plan.nodes[*n].name.clone();
        let ends = |ends: &[usize; 2]| format!("{}--{}", node(&ends[0]), node(&ends[1]));
        match event {
            Event::Link { link, up: true, .. } => {
                format!("link {} is back", ends(&plan.links[*link].ends))
            }
            Event::Link { link, seen, .. } => {
                let how = if *seen {
                    "goes down"
                } else {
                    "is cut silently"
                };
                format!("link {} {how}", ends(&plan.links[*link].ends))
            }
            Event::Flap { link, times, ms } => {
                format!(
                    "link {} flaps {times} times, every {ms} ms",
                    ends(&plan.links[*link].ends)
                )
            }
            Event::Die(n) => format!("{} dies", node(n)),
            Event::Return(n) => format!("{} is back", node(n)),
            Event::Restart(n) => format!("{} restarts", node(n)),
            Event::Reset { peering, side } => {
                let p = &plan.peerings[*peering].ends;
                format!("{} resets the session {}", node(&p[*side]), ends(p))
            }
            Event::Waver { node: n, times } => {
                format!("{} takes its prefixes back {times} times", node(n))
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let w = &mut self.world;
        let between = Duration::from_millis(w.dice.below(400) as u64);
        w.pass(between);
        match event {
            Event::Link { link, up, seen } => w.set_link(link, up, seen),
            Event::Flap { link, times, ms } => {
                for _ in 0..times {
                    let seen = w.dice.one_in(2);
                    w.set_link(link, false, seen);
                    w.pass(Duration::from_millis(ms));
                    w.set_link(link, true, true);
                    w.pass(Duration::from_millis(ms));
                }
            }
            Event::Die(n) => {
                w.kill(n);
                self.links_of_the_dead(n);
            }
            Event::Return(n) => w.revive(n),
            Event::Restart(n) => {
                // It may have died, or have been chosen twice.
                if w.plan.alive[n] {
                    w.kill(n);
                    let away = Duration::from_millis(100 + w.dice.below(15_000) as u64);
                    w.pass(away);
                    w.revive(n);
                }
            }
            Event::Reset { peering, side } => w.reset(peering, side),
            Event::Waver { node, times } => {
                for _ in 0..times {
                    w.announce(node, false);
                    let away = Duration::from_millis(w.dice.below(2000) as u64);
                    w.pass(away);
                    w.announce(node, true);
                    let there = Duration::from_millis(w.dice.below(2000) as u64);
                    w.pass(there);
                }
            }
        }
    }

    /// Half of the links of a router that dies go down with it; on the others its neighbours hear nothing any more.
    fn links_of_the_dead(&mut self, n: usize) {
        let outside = self.world.plan.nodes[n].role == Role::Outside;
        let links: Vec<usize> = (0..self.world.plan.links.len())
            .filter(|l| {
                self.world.plan.links[*l].ends.contains(&n) && !self.world.plan.internal(*l)
            })
            .collect();
        for link in links {
            if outside && self.world.plan.links[link].up && self.world.dice.one_in(2) {
                self.world.set_link(link, false, true);
            }
        }
    }

    fn heal(&mut self) {
        let w = &mut self.world;
        for link in 0..w.plan.links.len() {
            if !w.plan.links[link].up {
                w.set_link(link, true, true);
            }
        }
        for n in 0..w.plan.nodes.len() {
            if !w.plan.alive[n] {
                w.revive(n);
            }
        }
    }
}
