//! What a policy did with a route, rule by rule: for `trunkctl bgp policy test`.

use std::fmt;

use super::spec::Action;

/// What a policy did, step by step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// In the order in which it was done.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How many policies called each other to come here; 0: the policy itself.
    pub depth: usize,
    /// Whose rule it is.
    pub policy: String,
    /// The rule, counted from one; at the end, one more than there are.
    pub rule: usize,
    /// The rule's name, if it has one.
    pub name: Option<String>,
    /// What happened.
    pub what: What,
}

/// What happened at a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A condition did not hold.
    Skipped {
        /// As it was written: `prefix-set = "customers"`.
        condition: String,
        /// It stands under `unless`, and held.
        unless: bool,
        /// What the route has instead.
        found: String,
    },
    /// All conditions hold, and the rule calls this policy. Its steps follow, then another one of this rule unless the
    /// called policy rejected the route.
    Called(String),
    /// All conditions hold.
    Applied {
        /// What was set, as it was written.
        set: Vec<String>,
        /// What was decided.
        action: Action,
    },
    /// No rule decided; true: accepted.
    Default(bool),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:indent$}{}", "", self.policy, indent = self.depth * 2)?;
        if let What::Default(accept) = self.what {
            let verdict = if accept { "accept" } else { "reject" };
            return write!(f, ": no rule decided, default {verdict}");
        }
        write!(f, " rule {}", self.rule)?;
        if let Some(name) = &self.name {
            write!(f, " ({name})")?;
        }
        match &self.what {
            What::Skipped {
                condition,
                unless,
                found,
            } => {
                let unless = if *unless { "unless " } else { "" };
                write!(f, ": skipped, {unless}{condition}: {found}")
            }
            What::Called(policy) => write!(f, ": holds, calls {policy}"),
            What::Applied { set, action } => {
                f.write_str(": holds")?;
                set.iter().try_for_each(|s| write!(f, ", {s}"))?;
                write!(f, ", {}", action.name())
            }
            What::Default(_) => Ok(()),
        }
    }
}

impl fmt::Display for Trace {
    /// A line for each step.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps.iter().enumerate() {
            write!(f, "{}{step}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}
