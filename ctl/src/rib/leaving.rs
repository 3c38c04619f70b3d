//! Labels that nobody is told any more: their entries stay for a while.
//!
//! A neighbour that was told a label sends frames with it until it has read that it is another now, and has written that into its
//! tables. So whoever gives a prefix another label does not remove the old one's entry but lets it leave: it stays, goes where the
//! new one goes ([`Rib::set_leaving`]), and ends with the time for which the label manager gives the label to nobody else
//! ([`Rib::end_leaving`]). What leads into a VRF goes with that.

use net::{Label, VrfId};

use super::Rib;
use super::spec::{LabelAction, LabelSpec, TtlMode};

impl Rib {
    /// Nobody is told that label any more; its entry stays until it is ended, or set again.
    pub fn leave_label(&mut self, label: Label) {
        if self.labels.get(&label).is_some_and(|e| e.spec.is_some()) {
            self.leaving.insert(label);
        }
    }

    /// The same, if frames with it are looked up here: what is right for them does not depend on the route that it was told for.
    /// Else its entry ends at once.
    pub fn leave_if_popped(&mut self, label: Label) {
        let pops = |s: &LabelSpec| !matches!(s.action, LabelAction::Forward(_));
        let spec = self.labels.get(&label).and_then(|e| e.spec.as_ref());
        match spec.is_some_and(pops) {
            true => self.leave_label(label),
            false => self.set_label(label, None),
        }
    }

    /// What becomes of frames with a label that leaves. False: it does no more.
    pub fn set_leaving(&mut self, label: Label, spec: &LabelSpec) -> bool {
        if !self.leaving.contains(&label) {
            return false;
        }
        self.set_label(label, Some(spec.clone()));
        self.leaving.insert(label)
    }

    /// Is it leaving?
    #[must_use]
    pub fn is_leaving(&self, label: Label) -> bool {
        self.leaving.contains(&label)
    }

    /// The labels of a table have that TTL mode now: those that lead into it and leave, too.
    pub fn set_leaving_ttl(&mut self, vrf: VrfId, ttl: TtlMode) {
        let labels = &self.labels;
        let other = |l: &Label| {
            let spec = labels.get(l)?.spec.as_ref()?;
            let is_it = spec.action.vrf() == Some(vrf) && spec.ttl != ttl;
            let action = spec.action.clone();
            is_it.then_some((*l, LabelSpec { action, ttl }))
        };
        let all: Vec<(Label, LabelSpec)> = self.leaving.iter().filter_map(other).collect();
        for (label, spec) in all {
            self.set_leaving(label, &spec);
        }
    }

    /// Removes the entry of a label that leaves; of another it stays.
    pub fn end_leaving(&mut self, label: Label) {
        if self.leaving.contains(&label) {
            self.set_label(label, None);
        }
    }

    /// The same of all that lead into tables that do not stay.
    pub fn end_leaving_into(&mut self, stays: impl Fn(VrfId) -> bool) {
        let labels = &self.labels;
        let goes = |l: &&Label| {
            let spec = labels.get(*l).and_then(|e| e.spec.as_ref());
            let into = spec.and_then(|s| s.action.vrf());
            into.is_some_and(|vrf| !stays(vrf))
        };
        let all: Vec<Label> = self.leaving.iter().filter(goes).copied().collect();
        for label in all {
            self.set_label(label, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_has_the_ttl_mode_that_its_table_has_now() {
        let (red, blue) = (VrfId(1), VrfId(2));
        let mut r = Rib::new();
        let labels: Vec<Label> = (100..104).filter_map(Label::new).collect();
        for (label, vrf) in labels.iter().zip([red, red, blue, red]) {
            let action = LabelAction::PopLookup(vrf);
            let ttl = TtlMode::Uniform;
            r.set_label(*label, Some(LabelSpec { action, ttl }));
        }
        labels[1..].iter().for_each(|l| r.leave_label(*l));
        r.set_leaving_ttl(red, TtlMode::Pipe);
        let of = |l: &Label| (r.label(*l).map(|v| v.spec.ttl), r.is_leaving(*l));
        let (uniform, pipe) = (Some(TtlMode::Uniform), Some(TtlMode::Pipe));
        let want = [
            // Whoever is told of it sets that.
            (uniform, false),
            (pipe, true),
            (uniform, true),
            (pipe, true),
        ];
        assert_eq!(labels.iter().map(of).collect::<Vec<_>>(), want);
        r.end_leaving(labels[1]);
        assert!(r.label(labels[1]).is_none());
    }
}
