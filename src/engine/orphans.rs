//! Studies whose patient does not exist in the source: of a restore that is half done, or after somebody worked
//! past the foreign keys. Pure.
//!
//! The target has no place for such a study. It is left as it is, all else is applied, and the run fails. The
//! study is looked at again in every run until its patient is there or it has gone itself.

use std::collections::BTreeSet;

use super::{Class, Error, Side};

/// So many are remembered; of more of them the cursors wait, so that none is forgotten.
const MOST: usize = 1000;

/// The pks of these studies.
#[derive(Debug, Default)]
pub(super) struct Orphans(BTreeSet<i64>);

impl Orphans {
    /// Of the studies `looked_at`, `found` have no patient.
    pub(super) fn note(&mut self, looked_at: &[i64], found: &[i64]) {
        for pk in looked_at {
            self.0.remove(pk);
        }
        let room = MOST - self.0.len();
        self.0.extend(found.iter().take(room));
    }

    /// Those to be looked at again.
    pub(super) fn pks(&self) -> Vec<i64> {
        self.0.iter().copied().collect()
    }

    /// Whether there may be more than are remembered.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() == MOST
    }

    /// What a run ends with while there are any.
    pub(super) fn error(&self) -> Option<Error> {
        let first = self.0.first()?;
        let count = format!("{}{}", self.0.len(), if self.is_full() { " or more" } else { "" });
        let text = format!(
            "studies without a patient in the source: {count}, the first with pk {first}; they are left as they are, \
             everything else was applied. Complete the source's table patient, or remove these studies from it"
        );
        Some(Error::new(Side::Source, Class::Permanent, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn studies_are_remembered_until_they_have_a_patient_or_are_gone() {
        let mut orphans = Orphans::default();
        orphans.note(&[1, 2, 3], &[2, 3]);
        orphans.note(&[4], &[]);
        assert_eq!(orphans.pks(), [2, 3]);
        let text = orphans.error().unwrap().to_string();
        assert!(text.contains("source: 2, the first with pk 2;"), "{text}");
        orphans.note(&[2, 3], &[]);
        assert!(orphans.error().is_none());
    }

    #[test]
    fn of_very_many_no_more_are_kept_and_that_is_told() {
        let mut orphans = Orphans::default();
        let many: Vec<i64> = (0..3000).collect();
        orphans.note(&many, &many);
        assert!(orphans.is_full());
        assert_eq!(orphans.pks().len(), MOST);
        assert!(orphans.error().unwrap().to_string().contains("1000 or more"));
    }
}
