//! Which patient survives a merge.

use std::collections::HashMap;

/// `merge_fk` of patients, by pk; a patient that is absent or maps to itself is not merged.
pub type Links = HashMap<i64, i64>;

/// The patient at the end of the chain of merges that begins at `pk`. In a circle the one with the
/// lowest pk survives, also for a chain that leads into the circle.
#[must_use]
pub fn survivor(pk: i64, links: &Links) -> i64 {
    let mut path = vec![pk];
    let mut at = pk;
    while let Some(&next) = links.get(&at) {
        if let Some(start) = path.iter().position(|&seen| seen == next) {
            return path[start..].iter().copied().min().unwrap_or(next);
        }
        path.push(next);
        at = next;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chain_ends_at_its_last_patient() {
        let links = Links::from([(1, 2), (2, 3)]);
        assert_eq!([1, 2, 3, 4].map(|pk| survivor(pk, &links)), [3, 3, 3, 4]);
    }

    #[test]
    fn a_patient_merged_into_itself_survives() {
        assert_eq!(survivor(5, &Links::from([(5, 5)])), 5);
    }

    #[test]
    fn the_lowest_of_a_circle_survives_for_all_that_lead_into_it() {
        let links = Links::from([(9, 7), (7, 3), (3, 8), (8, 7)]);
        assert_eq!([9, 7, 3, 8].map(|pk| survivor(pk, &links)), [3, 3, 3, 3]);
    }

    proptest! {
        #[test]
        fn every_patient_ends_where_its_successor_ends(links in prop::collection::hash_map(0i64..20, 0i64..20, 0..20)) {
            for (&from, &to) in &links {
                prop_assert_eq!(survivor(from, &links), survivor(to, &links));
                let end = survivor(from, &links);
                prop_assert_eq!(survivor(end, &links), end);
            }
        }
    }
}
