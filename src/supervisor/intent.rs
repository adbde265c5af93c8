//! What operators want of the schedule: pause and plan, in memory and on the way to the target.
//!
//! Pure. What was said to this daemon wins over what the target remembers of an earlier life; what
//! was not said is taken from there. Nothing is saved before that is settled.

use crate::schedule::{Control, Override, Pause, Plan};

/// The control state and whether the target has it.
#[derive(Debug, Default)]
pub(super) struct Intent {
    control: Control,
    said_pause: bool,
    said_plan: bool,
    loaded: bool,
    version: u64,
    saved: u64,
}

impl Intent {
    /// All of it.
    pub(super) fn control(&self) -> &Control {
        &self.control
    }

    /// The pause in effect.
    pub(super) fn pause(&self) -> Option<&Pause> {
        self.control.pause.as_ref()
    }

    /// The plan that overrides the file's.
    pub(super) fn plan(&self) -> Option<&Plan> {
        self.control.schedule.as_ref().map(|set| &set.plan)
    }

    /// An operator pauses or resumes.
    pub(super) fn set_pause(&mut self, pause: Option<Pause>) {
        self.said_pause = true;
        if self.control.pause != pause {
            self.control.pause = pause;
            self.version += 1;
        }
    }

    /// An operator sets the plan, or gives the file's again.
    pub(super) fn set_plan(&mut self, plan: Option<Plan>, file: &Plan) {
        self.said_plan = true;
        let set = plan.map(|plan| Override { plan, file: file.clone() });
        if self.control.schedule != set {
            self.control.schedule = set;
            self.version += 1;
        }
    }

    /// Ends an override that was made against another plan of the file. True if there was one.
    pub(super) fn drop_outdated_override(&mut self, file: &Plan) -> bool {
        let outdated = self.control.schedule.as_ref().is_some_and(|set| set.file != *file);
        if outdated {
            self.control.schedule = None;
            self.version += 1;
        }
        outdated
    }

    /// Takes in what a target remembers, once it was opened. Only the first one counts: later this
    /// daemon knows better, and another target is told what is in effect. True if an override ends with that,
    /// for the file has another plan by now.
    pub(super) fn loaded(&mut self, remembered: Control, file: &Plan) -> bool {
        if self.loaded {
            if remembered != self.control {
                self.version += 1;
            }
            return false;
        }
        self.loaded = true;
        let before = remembered.clone();
        if !self.said_pause {
            self.control.pause = remembered.pause;
        }
        if !self.said_plan {
            self.control.schedule = remembered.schedule;
        }
        self.saved = self.version;
        if self.control != before {
            self.version += 1;
        }
        self.drop_outdated_override(file)
    }

    /// What is to be saved, with the version that [`Intent::saved`] confirms.
    pub(super) fn unsaved(&self) -> Option<(u64, Control)> {
        (self.loaded && self.saved != self.version).then(|| (self.version, self.control.clone()))
    }

    /// The target has that version.
    pub(super) fn saved(&mut self, version: u64) {
        self.saved = version;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, Utc};

    use super::*;
    use crate::schedule::Cron;

    const FILE: Plan = Plan::Interval(Duration::from_secs(5));
    const MINUTE: Plan = Plan::Interval(Duration::from_secs(60));

    fn nightly() -> Plan {
        Plan::Cron(Cron::new("0 3 * * *", chrono_tz::Asia::Seoul).unwrap().into())
    }

    fn pause() -> Pause {
        Pause { reason: None, actor: None, since: DateTime::<Utc>::UNIX_EPOCH, until: None }
    }

    fn remembered() -> Control {
        Control { pause: Some(pause()), schedule: Some(Override { plan: MINUTE, file: FILE }) }
    }

    #[test]
    fn what_the_target_remembers_comes_into_effect_and_is_not_saved_again() {
        let mut intent = Intent::default();
        intent.loaded(remembered(), &FILE);
        assert_eq!(intent.plan(), Some(&MINUTE));
        assert!(intent.pause().is_some());
        assert_eq!(intent.unsaved(), None);
    }

    #[test]
    fn what_an_operator_said_meanwhile_wins_and_the_rest_is_taken_from_the_target() {
        let mut intent = Intent::default();
        intent.set_pause(None);
        intent.set_plan(Some(nightly()), &FILE);
        assert_eq!(intent.unsaved(), None, "nothing is saved before the target was read");
        intent.loaded(remembered(), &FILE);
        assert_eq!(intent.pause(), None);
        assert_eq!(intent.plan(), Some(&nightly()));
        let (version, control) = intent.unsaved().expect("the target is told");
        assert_eq!(control.pause, None);
        intent.saved(version);
        assert_eq!(intent.unsaved(), None);
    }

    #[test]
    fn an_override_ends_when_the_file_was_edited_while_the_daemon_was_down() {
        for edited in [MINUTE, nightly()] {
            let mut intent = Intent::default();
            intent.loaded(remembered(), &edited);
            assert_eq!(intent.plan(), None);
            assert_eq!(intent.unsaved().expect("the target forgets it too").1.schedule, None);
        }
    }

    #[test]
    fn another_target_is_told_what_is_in_effect() {
        let mut intent = Intent::default();
        intent.loaded(remembered(), &FILE);
        intent.loaded(Control::default(), &FILE);
        assert!(intent.pause().is_some());
        assert_eq!(intent.unsaved().map(|(_, control)| control), Some(remembered()));
    }

    #[test]
    fn a_change_during_a_save_is_saved_too() {
        let mut intent = Intent::default();
        intent.loaded(Control::default(), &FILE);
        intent.set_pause(Some(pause()));
        let (version, _) = intent.unsaved().unwrap();
        intent.set_pause(None);
        intent.saved(version);
        assert_eq!(intent.unsaved().map(|(_, control)| control), Some(Control::default()));
    }
}
