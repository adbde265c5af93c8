//! A series whose instances are looked at: where it is on both sides, and how many of them there are. Pure.

use crate::model::Instance;
use crate::source::{SeriesPlace, SourceInstance};
use crate::target::{Candidate, InstanceCount};

/// Instances that are compared in one go.
pub(super) const PAGE: u64 = 3000;

/// A series that is live in the target.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    /// Where it is in the source.
    pub(super) place: SeriesPlace,
    /// Its `id`.
    pub(super) id: i64,
    /// `id` of its study.
    pub(super) study_id: i64,
    /// Its instances in the source.
    pub(super) there: u64,
    /// Its instances in the target.
    pub(super) here: InstanceCount,
}

impl Owner {
    /// Not counted yet; `id` and `study_id` as above.
    pub(super) fn new(place: SeriesPlace, id: i64, study_id: i64) -> Self {
        Self { place, id, study_id, there: 0, here: InstanceCount::default() }
    }

    /// Stands for a series that a dry run does not write.
    pub(super) fn planned(place: SeriesPlace) -> Self {
        let id = -place.pk - 1;
        Self::new(place, id, 0)
    }

    /// Whether the mere numbers say that something is to be done. Instances that are purged to metadata stay.
    pub(super) fn differs(&self) -> bool {
        if self.place.purged { self.there > self.here.live } else { self.there != self.here.live }
    }

    /// Rows that a comparison reads from one side at the most.
    pub(super) fn size(&self) -> u64 {
        self.there.max(self.here.all)
    }

    /// One of its instances as the target is to have it.
    pub(super) fn wanted(&self, found: SourceInstance) -> Instance {
        Instance { series_fk: self.id, ..found.row }
    }

    /// One of its instances in the target that may be gone.
    pub(super) fn candidate(&self, id: i64, source_pk: i64, instance_uid: String) -> Candidate {
        Candidate {
            id,
            source_pk,
            study_id: self.study_id,
            study_uid: self.place.study_uid.clone(),
            series_uid: self.place.series_uid.clone(),
            series_id: self.id,
            instance_uid,
        }
    }
}

/// Series in groups that make at most one page each.
pub(super) fn groups(owners: Vec<Owner>) -> Vec<Vec<Owner>> {
    let mut groups: Vec<Vec<Owner>> = Vec::new();
    let mut rows = PAGE;
    for owner in owners {
        match groups.last_mut().filter(|_| rows + owner.size() <= PAGE) {
            Some(group) => {
                rows += owner.size();
                group.push(owner);
            }
            None => {
                rows = owner.size();
                groups.push(vec![owner]);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(pk: i64, there: u64, live: u64, purged: bool) -> Owner {
        let uid = pk.to_string();
        let place = SeriesPlace { pk, study_pk: 1, study_uid: uid.clone(), series_uid: uid, deleting: false, purged };
        Owner { there, here: InstanceCount { all: live, live }, ..Owner::new(place, pk, 1) }
    }

    #[test]
    fn a_group_is_never_more_than_a_page() {
        let sizes = [PAGE, 1, 1000, PAGE - 1001, 1, PAGE - 1, 2];
        let groups = groups(sizes.into_iter().zip(0..).map(|(size, pk)| owner(pk, size, 0, false)).collect());
        let sizes: Vec<Vec<u64>> = groups.iter().map(|group| group.iter().map(Owner::size).collect()).collect();
        assert_eq!(sizes, [vec![PAGE], vec![1, 1000, PAGE - 1001], vec![1, PAGE - 1], vec![2]]);
    }

    #[test]
    fn instances_that_are_purged_to_metadata_make_no_difference_but_new_ones_do() {
        assert!(owner(1, 3, 4, false).differs() && owner(1, 4, 3, false).differs());
        assert!(!owner(1, 4, 4, false).differs());
        assert!(!owner(1, 0, 4, true).differs());
        assert!(owner(1, 5, 4, true).differs());
    }
}
