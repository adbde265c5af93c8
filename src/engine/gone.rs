//! Rows that are gone from the source, as the looks of a run find them; what becomes of them is decided at
//! its end, by [`brake`](super::brake). Pure.
//!
//! While anything waits here no cursor moves, so that a run which ends early finds it again.

use std::collections::BTreeMap;
use std::fmt;

use super::Settings;
use crate::config::MaxDeletes;
use crate::source::{LEVELS, Level};
use crate::target::Candidate;

/// Rows that a run would delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) patients: u64,
    pub(super) studies: u64,
    pub(super) series: u64,
    /// Without those that go with their series or study: who lets a study go means all of it.
    pub(super) instances: u64,
}

impl Tally {
    pub(super) fn rows(self) -> u64 {
        self.patients + self.studies + self.series + self.instances
    }

    pub(super) fn levels(self) -> [(Level, u64); LEVELS] {
        [
            (Level::Patient, self.patients),
            (Level::Study, self.studies),
            (Level::Series, self.series),
            (Level::Instance, self.instances),
        ]
    }

    /// The larger of each count: two looks at the same rows count them once.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            patients: self.patients.max(other.patients),
            studies: self.studies.max(other.studies),
            series: self.series.max(other.series),
            instances: self.instances.max(other.instances),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { patients, studies, series, instances } = self;
        if *instances == 0 {
            return write!(f, "{patients} patients, {studies} studies and {series} series");
        }
        write!(f, "{patients} patients, {studies} studies, {series} series and {instances} instances")
    }
}

/// What one look has found gone: the delta or the full run itself, or a pass of the rolling comparison.
#[derive(Clone, Debug, Default)]
pub(super) struct Gone {
    patients: BTreeMap<i64, Candidate>,
    studies: BTreeMap<i64, Candidate>,
    series: BTreeMap<i64, Candidate>,
    instances: BTreeMap<i64, Candidate>,
    /// Series that go with their study.
    pub(super) with_studies: u64,
    /// Rows that were counted and not kept, because the brake holds them anyway.
    beyond: Tally,
    /// Rows worth keeping.
    room: usize,
}

impl Gone {
    pub(super) fn new(settings: &Settings) -> Self {
        Self::default().for_run(settings)
    }

    /// Goes on with what an earlier run found.
    pub(super) fn for_run(self, settings: &Settings) -> Self {
        let most = usize::try_from(settings.max_deletes.rows).unwrap_or(usize::MAX);
        let room = if settings.allow_deletes { usize::MAX } else { most.saturating_add(1) };
        Self { room, ..self }
    }

    /// The rows that several looks have found, each once; those that one of them only counted are left out.
    pub(super) fn union(looks: &[Self]) -> Self {
        let mut union = Self::default();
        for look in looks {
            union.patients.extend(look.patients.iter().map(|(id, row)| (*id, row.clone())));
            union.studies.extend(look.studies.iter().map(|(id, row)| (*id, row.clone())));
            union.series.extend(look.series.iter().map(|(id, row)| (*id, row.clone())));
            union.instances.extend(look.instances.iter().map(|(id, row)| (*id, row.clone())));
        }
        union
    }

    /// These rows as if one look had found the patients, another one the instances, and a third one the rest:
    /// what the passes of the rolling comparison find.
    pub(super) fn split(self) -> (Self, Self, Self) {
        let none = || Self { room: self.room, ..Self::default() };
        let of_patients = Tally { patients: self.beyond.patients, ..Tally::default() };
        let patients = Self { patients: self.patients, beyond: of_patients, ..none() };
        let of_instances = Tally { instances: self.beyond.instances, ..Tally::default() };
        let instances = Self { instances: self.instances, beyond: of_instances, ..none() };
        let beyond = Tally { patients: 0, instances: 0, ..self.beyond };
        let rest =
            Self { beyond, studies: self.studies, series: self.series, with_studies: self.with_studies, ..none() };
        (patients, instances, rest)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tally().rows() == 0
    }

    /// Whether rows were counted and not kept: only a new look finds out whether they are still gone.
    pub(super) fn has_uncertain(&self) -> bool {
        self.beyond.rows() > 0
    }

    /// Whether some that were kept are back, so that those which were only counted may be back as well.
    pub(super) fn is_outdated(&self) -> bool {
        self.has_uncertain() && self.kept() < self.room
    }

    pub(super) fn kept(&self) -> usize {
        self.patients.len() + self.studies.len() + self.series.len() + self.instances.len()
    }

    /// Adds live rows of the target that are gone from the source.
    pub(super) fn add(&mut self, level: Level, candidates: impl Iterator<Item = Candidate>) {
        for candidate in candidates {
            let full = self.kept() >= self.room;
            let (kept, beyond) = match level {
                Level::Patient => (&mut self.patients, &mut self.beyond.patients),
                Level::Study => (&mut self.studies, &mut self.beyond.studies),
                Level::Series => (&mut self.series, &mut self.beyond.series),
                Level::Instance => (&mut self.instances, &mut self.beyond.instances),
            };
            if full && !kept.contains_key(&candidate.id) {
                *beyond += 1;
            } else {
                kept.insert(candidate.id, candidate);
            }
        }
    }

    /// `id` of the rows of a level.
    pub(super) fn ids(&self, level: Level) -> Vec<i64> {
        self.of(level).keys().copied().collect()
    }

    pub(super) fn tally(&self) -> Tally {
        // A series that goes with its study is counted there, and an instance that goes with either not at all.
        let alone = self.series.values().filter(|series| !self.studies.contains_key(&series.study_id));
        let of_others = self.instances.values().filter(|instance| {
            !self.series.contains_key(&instance.series_id) && !self.studies.contains_key(&instance.study_id)
        });
        Tally {
            patients: self.patients.len() as u64 + self.beyond.patients,
            studies: self.studies.len() as u64 + self.beyond.studies,
            series: alone.count() as u64 + self.with_studies + self.beyond.series,
            instances: of_others.count() as u64 + self.beyond.instances,
        }
    }

    pub(super) fn of(&self, level: Level) -> &BTreeMap<i64, Candidate> {
        match level {
            Level::Patient => &self.patients,
            Level::Study => &self.studies,
            Level::Series => &self.series,
            Level::Instance => &self.instances,
        }
    }

    pub(super) fn remove(&mut self, level: Level, id: i64) {
        self.level(level).remove(&id);
    }

    fn level(&mut self, level: Level) -> &mut BTreeMap<i64, Candidate> {
        match level {
            Level::Patient => &mut self.patients,
            Level::Study => &mut self.studies,
            Level::Series => &mut self.series,
            Level::Instance => &mut self.instances,
        }
    }

    /// All rows that were kept, children first; nothing stays.
    pub(super) fn take(&mut self) -> [(Level, Vec<Candidate>); LEVELS] {
        self.with_studies = 0;
        self.beyond = Tally::default();
        [
            (Level::Instance, std::mem::take(&mut self.instances).into_values().collect()),
            (Level::Series, std::mem::take(&mut self.series).into_values().collect()),
            (Level::Study, std::mem::take(&mut self.studies).into_values().collect()),
            (Level::Patient, std::mem::take(&mut self.patients).into_values().collect()),
        ]
    }
}

/// Whether so many rows may go.
pub(super) fn within_rows(tally: Tally, limit: MaxDeletes) -> bool {
    tally.rows() <= limit.rows
}

/// How many live rows a level must have so that `count` of them are within the limit; none: no number
/// is enough.
pub(super) fn live_needed(count: u64, limit: MaxDeletes) -> Option<u64> {
    if count == 0 {
        return Some(0);
    }
    let needed = count as f64 * 100.0 / limit.percent;
    needed.is_finite().then_some(needed.ceil() as u64)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn tally(patients: u64, studies: u64, series: u64) -> Tally {
        Tally { patients, studies, series, instances: 0 }
    }

    fn limit(rows: u64, percent: f64) -> MaxDeletes {
        MaxDeletes { rows, percent }
    }

    #[test]
    fn rows_of_all_levels_count_together() {
        assert!(within_rows(tally(1, 2, 7), limit(10, 100.0)));
        assert!(!within_rows(tally(1, 2, 8), limit(10, 100.0)));
    }

    #[test]
    fn percent_is_of_the_live_rows_of_a_level() {
        assert_eq!(live_needed(5, limit(500, 5.0)), Some(100));
        assert_eq!(live_needed(1, limit(500, 3.0)), Some(34));
        assert_eq!(live_needed(7, limit(500, 100.0)), Some(7));
    }

    #[test]
    fn zero_percent_lets_nothing_go() {
        assert_eq!(live_needed(1, limit(500, 0.0)), None);
        assert_eq!(live_needed(0, limit(500, 0.0)), Some(0));
    }

    pub(in super::super) fn settings(rows: u64, allow_deletes: bool) -> Settings {
        Settings {
            source: crate::config::SourceName::new("main").unwrap(),
            mode: super::super::Mode::Full,
            dry_run: false,
            allow_deletes,
            overlap: std::time::Duration::ZERO,
            deletes: crate::config::Deletes::Tombstone,
            max_deletes: limit(rows, 100.0),
            sweep_every: std::time::Duration::ZERO,
            sweep_budget: std::time::Duration::ZERO,
            scan_percent: None,
            instances: true,
        }
    }

    fn gone(rows: u64, allow_deletes: bool) -> Gone {
        Gone::new(&settings(rows, allow_deletes))
    }

    pub(in super::super) fn candidates(ids: std::ops::Range<i64>) -> impl Iterator<Item = Candidate> {
        ids.map(|id| Candidate { id, source_pk: id, study_id: 7000, ..Candidate::default() })
    }

    #[test]
    fn a_row_that_is_found_gone_twice_counts_once() {
        let mut gone = gone(100, false);
        gone.add(Level::Series, candidates(0..5));
        gone.add(Level::Series, candidates(3..6));
        assert_eq!(gone.tally(), tally(0, 0, 6));
    }

    #[test]
    fn a_row_that_two_looks_have_found_counts_once() {
        let mut looks = [gone(100, false), gone(100, false)];
        looks[0].add(Level::Study, candidates(0..5));
        looks[1].add(Level::Study, candidates(3..9));
        looks[1].add(Level::Patient, candidates(3..4));
        assert_eq!(Gone::union(&looks).tally(), tally(1, 9, 0));
    }

    #[test]
    fn what_a_full_run_found_is_split_between_the_passes_and_none_is_lost() {
        let mut full = gone(10, false);
        full.add(Level::Patient, candidates(0..4));
        full.add(Level::Study, candidates(0..20));
        full.add(Level::Patient, candidates(20..23));
        full.add(Level::Instance, candidates(0..5));
        let (patients, instances, rest) = full.split();
        assert_eq!((patients.tally(), rest.tally()), (tally(7, 0, 0), tally(0, 20, 0)));
        assert_eq!(instances.tally(), Tally { instances: 5, ..Tally::default() });
    }

    #[test]
    fn an_instance_that_goes_with_its_series_or_study_is_not_counted() {
        let mut gone = gone(100, false);
        let of = |series_id, study_id| move |row: Candidate| Candidate { series_id, study_id, ..row };
        gone.add(Level::Study, candidates(1..2));
        gone.add(Level::Series, candidates(2..3));
        gone.add(Level::Instance, candidates(10..15).map(of(2, 7000)));
        gone.add(Level::Instance, candidates(15..20).map(of(9, 1)));
        gone.add(Level::Instance, candidates(20..23).map(of(9, 7000)));
        assert_eq!(gone.tally(), Tally { patients: 0, studies: 1, series: 1, instances: 3 });
    }

    #[test]
    fn rows_that_were_only_counted_need_a_new_look_once_others_are_back() {
        let mut gone = gone(10, false);
        gone.add(Level::Study, candidates(0..20));
        assert!(gone.has_uncertain() && !gone.is_outdated());
        gone.remove(Level::Study, 3);
        assert!(gone.is_outdated());
    }

    #[test]
    fn past_the_brake_rows_are_counted_but_not_kept() {
        let mut gone = gone(10, false);
        gone.add(Level::Study, candidates(0..1000));
        assert_eq!(gone.tally(), tally(0, 1000, 0));
        assert_eq!(gone.kept(), 11);
    }
}
