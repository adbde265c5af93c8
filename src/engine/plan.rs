//! What to write so that the target's rows become the wanted ones. Pure.

use std::collections::HashMap;
use std::hash::Hash;

use super::Counts;
use crate::target::Existing;

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

/// Compares by `key`. Of several wanted rows with one key the last counts.
#[must_use]
pub fn plan<T: PartialEq, K: Hash + Eq>(wanted: Vec<T>, existing: Vec<Existing<T>>, key: impl Fn(&T) -> K) -> Plan<T> {
    let mut there: HashMap<K, Existing<T>> = existing.into_iter().map(|row| (key(&row.row), row)).collect();
    let mut plan = Plan { insert: Vec::new(), update: Vec::new(), unchanged: Vec::new(), absent: Vec::new() };
    for row in last_of_each(wanted, &key) {
        match there.remove(&key(&row)) {
            None => plan.insert.push(row),
            Some(existing) if existing.deleted || existing.row != row => plan.update.push((existing.id, row)),
            Some(existing) => plan.unchanged.push((existing.id, row)),
        }
    }
    plan.absent = there.into_values().filter(|row| !row.deleted).collect();
    plan
}

fn last_of_each<T, K: Hash + Eq>(rows: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let last: HashMap<K, usize> = rows.iter().enumerate().map(|(index, row)| (key(row), index)).collect();
    rows.into_iter().enumerate().filter(|(index, row)| last.get(&key(row)) == Some(index)).map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Row = (u8, u8);

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
            let plan = plan(wanted, existing, |row| row.0);
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
            let plan = plan(wanted, existing.collect(), |row| row.0);
            prop_assert!(plan.insert.is_empty() && plan.update.is_empty() && plan.absent.is_empty());
        }
    }

    #[test]
    fn a_tombstone_that_comes_back_is_an_update_of_the_same_row() {
        let tombstone = Existing { id: 7, deleted: true, row: (1, 1) };
        let plan = plan(vec![(1, 1)], vec![tombstone], |row| row.0);
        assert_eq!(plan.update, vec![(7, (1, 1))]);
        assert!(plan.insert.is_empty());
    }
}
