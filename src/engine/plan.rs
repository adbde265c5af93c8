//! What to write so that the target's rows become the wanted ones. Pure.

use std::collections::HashMap;

use super::Counts;
use crate::database::Damage;
use crate::model::{Key, Keyed, Record};
use crate::target::{Existing, Standing};

/// The difference between wanted and existing rows.
#[derive(Debug)]
pub struct Plan<T> {
    /// Wanted, and not there.
    pub insert: Vec<T>,
    /// There, but different or tombstoned, with their `id`.
    pub update: Vec<(i64, T)>,
    /// There and equal.
    pub unchanged: Vec<(i64, T)>,
    /// There and live, but not wanted.
    pub absent: Vec<Existing<T>>,
}

impl<T> Plan<T> {
    /// The counts of this plan; what is absent counts only once it is deleted.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            inserted: self.insert.len() as u64,
            updated: self.update.len() as u64,
            deleted: 0,
            unchanged: self.unchanged.len() as u64,
        }
    }
}

/// Compares wanted rows with the target's, which are shown one after the other; those that are equal are not kept, nor
/// even read whole. Of several wanted rows with one key the last counts.
pub(super) struct Comparison<'w, T> {
    wanted: &'w [T],
    index: HashMap<Key<'w>, usize>,
    differences: Differences<T>,
}

/// What a [`Comparison`] has found.
#[derive(Debug)]
pub(super) struct Differences<T> {
    /// For each wanted row what becomes of it.
    fates: Vec<Fate>,
    absent: Vec<Existing<T>>,
    /// Rows that were shown, wanted and not tombstoned.
    pub(super) live: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// A later row has its key.
    Superseded,
    Insert,
    Update(i64),
    Unchanged(i64),
}

impl<'w, T: Keyed + Record> Comparison<'w, T> {
    /// Of a row of the target.
    ///
    /// # Errors
    /// A cell of it holds something else than its column promises.
    pub(super) fn show(&mut self, row: &Standing<'_, T>) -> Result<(), Damage> {
        let (id, deleted) = row.state()?;
        match self.index.get(&row.key()?).copied() {
            Some(index) => {
                let equal = !deleted && row.is(&self.wanted[index])?;
                self.meet(index, id, deleted, equal);
            }
            None if deleted => {}
            None => self.differences.absent.push(row.read()?),
        }
        Ok(())
    }
}

impl<'w, T: Keyed> Comparison<'w, T> {
    /// Of wanted rows with nothing so far.
    pub(super) fn new(wanted: &'w [T]) -> Self {
        let index: HashMap<Key<'w>, usize> = wanted.iter().map(Keyed::key).zip(0..).collect();
        let mut fates = vec![Fate::Superseded; wanted.len()];
        index.values().for_each(|&index| fates[index] = Fate::Insert);
        Self { wanted, index, differences: Differences { fates, absent: Vec::new(), live: 0 } }
    }

    fn meet(&mut self, index: usize, id: i64, deleted: bool, equal: bool) {
        self.differences.fates[index] = if equal { Fate::Unchanged(id) } else { Fate::Update(id) };
        self.differences.live += u64::from(!deleted);
    }

    /// When all rows were shown.
    pub(super) fn end(self) -> Differences<T> {
        self.differences
    }
}

impl<T> Differences<T> {
    /// What to do with the rows that were compared.
    pub(super) fn plan(self, wanted: Vec<T>) -> Plan<T> {
        let count = |fate: fn(&Fate) -> bool| self.fates.iter().filter(|known| fate(known)).count();
        let mut plan = Plan {
            insert: Vec::with_capacity(count(|fate| matches!(fate, Fate::Insert))),
            update: Vec::with_capacity(count(|fate| matches!(fate, Fate::Update(_)))),
            unchanged: Vec::with_capacity(count(|fate| matches!(fate, Fate::Unchanged(_)))),
            absent: self.absent,
        };
        for (row, fate) in wanted.into_iter().zip(self.fates) {
            match fate {
                Fate::Superseded => {}
                Fate::Insert => plan.insert.push(row),
                Fate::Update(id) => plan.update.push((id, row)),
                Fate::Unchanged(id) => plan.unchanged.push((id, row)),
            }
        }
        plan
    }
}

/// Compares wanted rows with rows of the target that were read.
#[must_use]
pub fn plan<T: PartialEq + Keyed>(wanted: Vec<T>, existing: Vec<Existing<T>>) -> Plan<T> {
    let mut comparison = Comparison::new(&wanted);
    for standing in existing {
        match comparison.index.get(&standing.row.key()).copied() {
            Some(index) => {
                let equal = !standing.deleted && standing.row == wanted[index];
                comparison.meet(index, standing.id, standing.deleted, equal);
            }
            None if standing.deleted => {}
            None => comparison.differences.absent.push(standing),
        }
    }
    comparison.end().plan(wanted)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Row = (u8, u8);

    impl Keyed for Row {
        fn key(&self) -> Key<'_> {
            (i64::from(self.0), "")
        }
    }

    fn existing() -> impl Strategy<Value = Vec<Existing<Row>>> {
        prop::collection::btree_map(0u8..20, (0u8..3, any::<bool>()), 0..20).prop_map(|rows| {
            let rows = rows.into_iter().map(|(key, (value, deleted))| Existing {
                id: i64::from(key) + 100,
                deleted,
                row: (key, value),
            });
            rows.collect()
        })
    }

    fn wanted() -> impl Strategy<Value = Vec<Row>> {
        prop::collection::vec((0u8..20, 0u8..3), 0..40)
    }

    /// What a target holds after a plan was carried out, tombstones left out.
    fn apply(plan: &Plan<Row>) -> BTreeMap<u8, u8> {
        let kept = plan.update.iter().chain(&plan.unchanged).map(|(_, row)| *row);
        plan.insert.iter().copied().chain(kept).collect()
    }

    proptest! {
        #[test]
        fn applying_a_plan_makes_the_target_equal(wanted in wanted(), existing in existing()) {
            let expected: BTreeMap<u8, u8> = wanted.iter().copied().collect();
            let live: Vec<u8> = existing.iter().filter(|row| !row.deleted).map(|row| row.row.0).collect();
            let plan = plan(wanted, existing);
            prop_assert_eq!(apply(&plan), expected.clone());
            let mut absent: Vec<u8> = plan.absent.iter().map(|row| row.row.0).collect();
            absent.sort_unstable();
            let gone: Vec<u8> = live.into_iter().filter(|key| !expected.contains_key(key)).collect();
            prop_assert_eq!(absent, gone);
        }

        #[test]
        fn a_plan_for_what_is_there_already_is_empty(wanted in wanted()) {
            let rows: BTreeMap<u8, u8> = wanted.iter().copied().collect();
            let existing = rows.iter().map(|(&k, &v)| Existing { id: i64::from(k), deleted: false, row: (k, v) });
            let plan = plan(wanted, existing.collect());
            prop_assert!(plan.insert.is_empty() && plan.update.is_empty() && plan.absent.is_empty());
        }
    }

    #[test]
    fn a_tombstone_that_comes_back_is_an_update_of_the_same_row() {
        let tombstone = Existing { id: 7, deleted: true, row: (1, 1) };
        let plan = plan(vec![(1, 1)], vec![tombstone]);
        assert_eq!(plan.update, vec![(7, (1, 1))]);
        assert!(plan.insert.is_empty());
    }
}
