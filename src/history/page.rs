//! The history and the audit in pages.

use std::sync::Arc;

use uuid::Uuid;

use super::{Change, RunRecord};

/// A record with an ID that is ordered by time (UUID version 7).
pub trait Record {
    /// The ID.
    fn id(&self) -> Uuid;
}

impl Record for RunRecord {
    fn id(&self) -> Uuid {
        self.run_id
    }
}

impl Record for Change {
    fn id(&self) -> Uuid {
        self.change_id
    }
}

/// Part of the records, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The records.
    pub records: Vec<Arc<T>>,
    /// The record to go on from; `None`: there is nothing older.
    pub before: Option<Uuid>,
}

/// At most `limit` records, those before one (or the newest). One that has been forgotten meanwhile is
/// found by its ID, for IDs are ordered by time: somebody who reads slowly can go on.
#[must_use]
pub fn page<T: Record>(newest_first: &[Arc<T>], before: Option<Uuid>, limit: usize) -> Page<T> {
    let place = before.and_then(|before| newest_first.iter().position(|record| record.id() == before));
    let rest = place.map_or(newest_first, |place| &newest_first[place + 1..]);
    let gone = before.filter(|_| place.is_none());
    let mut older = rest.iter().filter(|record| gone.is_none_or(|gone| record.id() < gone)).cloned();
    let records: Vec<_> = older.by_ref().take(limit).collect();
    let before = older.next().and(records.last()).map(|last| last.id());
    Page { records, before }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{id, record};

    fn numbers(page: &Page<RunRecord>) -> Vec<u8> {
        page.records.iter().map(|run| run.run_id.as_bytes()[15]).collect()
    }

    fn history(numbers: impl IntoIterator<Item = u8>) -> Vec<Arc<RunRecord>> {
        numbers.into_iter().map(|number| Arc::new(record(number))).collect()
    }

    #[test]
    fn pages_follow_each_other_without_a_hole_or_a_double() {
        let history = history((1..=10).rev());
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = page(&history, before, 3);
            seen.extend(numbers(&page));
            before = page.before;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(seen, (1..=10).rev().collect::<Vec<_>>());
    }

    #[test]
    fn a_last_page_that_is_full_names_no_next_one() {
        let history = history((1..=4).rev());
        assert_eq!(page(&history, None, 2).before, Some(id(3)));
        assert_eq!(page(&history, Some(id(3)), 2), Page { records: history[2..].to_vec(), before: None });
        assert_eq!(page(&history, Some(id(1)), 2), Page { records: vec![], before: None });
        assert_eq!(page::<RunRecord>(&[], None, 2), Page { records: vec![], before: None });
    }

    #[test]
    fn a_run_that_has_left_the_history_still_has_its_place() {
        let history = history([9, 8, 6, 5]);
        assert_eq!(numbers(&page(&history, Some(id(7)), 2)), [6, 5]);
        assert_eq!(numbers(&page(&history, Some(id(1)), 2)), [0; 0]);
    }
}
