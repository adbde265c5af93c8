//! The kinds of changes that an archive makes, and how often each comes. Pure.

use rand::seq::IndexedRandom;

use super::Dice;

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A study arrives, now and then with a new patient.
    StoreStudy,
    /// A study gets one more series.
    AddSeries,
    /// A patient's name is corrected.
    RenamePatient,
    /// Who may see a study or a series changes.
    ChangeAccess,
    /// One patient turns out to be another.
    MergePatients,
    /// Institution, modality and the like of a series are corrected.
    CorrectSeries,
    /// A series goes, not the last one of its study.
    DeleteSeries,
    /// A study goes.
    DeleteStudy,
    /// A patient without studies goes.
    DeletePatient,
    /// A study is rejected, wholly or in part.
    Reject,
}

impl Kind {
    /// All, with how often each occurs and what the summary calls it. Deletes are rare: an archive
    /// that loses much at once stops the daemon, as it should.
    pub(super) const ALL: [(Self, u32, &'static str); 10] = [
        (Self::StoreStudy, 25, "studies stored"),
        (Self::AddSeries, 18, "series added"),
        (Self::RenamePatient, 13, "patients renamed"),
        (Self::ChangeAccess, 15, "changes of access control IDs"),
        (Self::MergePatients, 4, "patients merged"),
        (Self::CorrectSeries, 13, "series corrected"),
        (Self::DeleteSeries, 4, "series deleted"),
        (Self::DeleteStudy, 3, "studies deleted"),
        (Self::DeletePatient, 1, "patients deleted"),
        (Self::Reject, 4, "studies rejected"),
    ];

    /// The next kind of change.
    pub(super) fn roll(dice: &mut Dice) -> Self {
        let (kind, ..) = Self::ALL
            .choose_weighted(dice, |(_, weight, _)| *weight)
            .expect("the list is a constant whose weights are positive");
        *kind
    }

    /// Whether rows go.
    pub(super) fn deletes(self) -> bool {
        matches!(self, Self::DeleteSeries | Self::DeleteStudy | Self::DeletePatient)
    }
}
