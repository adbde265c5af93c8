//! What a run did: counts per level, and how it ended.

use std::ops::AddAssign;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Rows of one level that a run looked at, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// New in the target.
    pub inserted: u64,
    /// Changed in the target; a row that came back counts here.
    pub updated: u64,
    /// Tombstoned or removed.
    pub deleted: u64,
    /// Compared and found equal.
    pub unchanged: u64,
}

impl Counts {
    /// Rows written.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.inserted + self.updated + self.deleted
    }

    /// Rows looked at.
    #[must_use]
    pub fn processed(&self) -> u64 {
        self.changed() + self.unchanged
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.deleted += other.deleted;
        self.unchanged += other.unchanged;
    }
}

/// The counts of each level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// `rbac_institution`
    pub institution: Counts,
    /// `rbac_patient`
    pub patient: Counts,
    /// `rbac_study`
    pub study: Counts,
    /// `rbac_series`
    pub series: Counts,
    /// `rbac_instance`; none where that level is switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Counts>,
}

impl Levels {
    /// Nothing yet, on every level that is mirrored.
    #[must_use]
    pub fn none(instances: bool) -> Self {
        Self { instance: instances.then(Counts::default), ..Self::default() }
    }

    /// Level names with their counts, from the top.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Counts)> {
        let always = [
            ("institution", self.institution),
            ("patient", self.patient),
            ("study", self.study),
            ("series", self.series),
        ];
        always.into_iter().chain(self.instance.map(|counts| ("instance", counts)))
    }

    /// The counts of `rbac_instance`, to add to.
    pub(super) fn instances(&mut self) -> &mut Counts {
        self.instance.get_or_insert_default()
    }

    /// Rows written on all levels.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.iter().map(|(_, counts)| counts.changed()).sum()
    }

    /// Rows looked at on all levels.
    #[must_use]
    pub fn processed(&self) -> u64 {
        self.iter().map(|(_, counts)| counts.processed()).sum()
    }
}

impl AddAssign for Levels {
    fn add_assign(&mut self, other: Self) {
        self.institution += other.institution;
        self.patient += other.patient;
        self.study += other.study;
        self.series += other.series;
        if let Some(instance) = other.instance {
            *self.instances() += instance;
        }
    }
}

/// What a run reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What changed since the cursor. The first run of a source reads everything all the same.
    Delta,
    /// Everything, and a search for rows that are gone from the source.
    Full,
}

impl Mode {
    /// As the API and the command line spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delta => "delta",
            Self::Full => "full",
        }
    }
}

/// The outcome of one run.
#[derive(Debug)]
pub struct RunReport {
    /// What it read: a delta that found no cursor reports [`Mode::Full`].
    pub mode: Mode,
    /// What it did, also when it failed half-way: these rows are committed.
    pub levels: Levels,
    /// Every row has been compared with the source since then, as far as this run knows.
    pub verified_since: Option<DateTime<Utc>>,
    /// Why it failed; `None` for a success.
    pub error: Option<super::Error>,
}
