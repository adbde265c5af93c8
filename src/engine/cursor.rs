//! Where a delta begins to read, and how far its cursor may move. Pure.

use std::time::Duration;

use chrono::{MappedLocalTime, NaiveDate, NaiveDateTime, TimeDelta, TimeZone as _};
use chrono_tz::Tz;

/// Before every time that an archive holds.
pub(super) const BEGINNING: NaiveDateTime =
    NaiveDate::from_ymd_opt(1, 1, 1).expect("a date").and_hms_opt(0, 0, 0).expect("a time");

/// Where to begin: `overlap` before the cursor, for rows that were committed late or by a slow clock.
/// A time that the clock shows twice (at the end of daylight saving) may have been read the first time
/// only: then as much earlier as the clock was set back.
pub(super) fn begin(cursor: Option<NaiveDateTime>, overlap: Duration, zone: Tz) -> NaiveDateTime {
    let Some(cursor) = cursor else { return BEGINNING };
    let set_back = match zone.from_local_datetime(&cursor) {
        MappedLocalTime::Ambiguous(first, second) => second - first,
        _ => TimeDelta::zero(),
    };
    let back = TimeDelta::from_std(overlap).ok().and_then(|overlap| overlap.checked_add(&set_back));
    back.and_then(|back| cursor.checked_sub_signed(back)).unwrap_or(BEGINNING).max(BEGINNING)
}

/// The cursor after rows with these times were applied. A row that is dated in the future does not move
/// it: rows of the present would fall behind it. When the wall clock has gone back (at the end of
/// daylight saving) the cursor goes back with it, for the same hour comes again.
pub(super) fn advance(
    cursor: Option<NaiveDateTime>,
    applied: impl Iterator<Item = NaiveDateTime>,
    now: NaiveDateTime,
) -> Option<NaiveDateTime> {
    let held = cursor.map(|cursor| cursor.min(now));
    applied.filter(|time| *time <= now).max().max(held)
}

/// The cursor to keep when `reached` was read while transactions were under way: not past `limit` (see
/// [`Memory::limit`](super::memory::Memory::limit)), and not behind what is kept already.
pub(super) fn hold(
    stored: Option<NaiveDateTime>,
    reached: Option<NaiveDateTime>,
    limit: Option<Option<NaiveDateTime>>,
    now: NaiveDateTime,
) -> Option<NaiveDateTime> {
    match limit {
        None => reached,
        Some(limit) => reached.min(limit).max(stored.map(|stored| stored.min(now))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%F %T").unwrap()
    }

    #[test]
    fn a_level_that_was_empty_is_read_from_the_beginning() {
        assert_eq!(begin(None, Duration::from_secs(360), Tz::UTC), BEGINNING);
    }

    #[test]
    fn an_overlap_reaches_back_from_the_cursor() {
        assert_eq!(
            begin(Some(at("2026-01-01 00:05:00")), Duration::from_secs(360), Tz::UTC),
            at("2025-12-31 23:59:00")
        );
    }

    #[test]
    fn an_hour_that_comes_twice_is_read_from_its_first_beginning() {
        let (overlap, berlin) = (Duration::from_secs(60), chrono_tz::Europe::Berlin);
        assert_eq!(begin(Some(at("2026-10-25 02:59:57")), overlap, berlin), at("2026-10-25 01:58:57"));
        assert_eq!(begin(Some(at("2026-10-25 03:00:00")), overlap, berlin), at("2026-10-25 02:59:00"));
        // In spring an hour is left out: nothing is dated in it, and nothing is read twice.
        assert_eq!(begin(Some(at("2026-03-29 03:00:10")), overlap, berlin), at("2026-03-29 02:59:10"));
    }

    #[test]
    fn a_row_dated_in_the_future_does_not_move_the_cursor() {
        let now = at("2026-01-01 12:00:00");
        let applied = [at("2026-01-01 11:59:59"), at("2036-01-01 00:00:00")];
        assert_eq!(advance(None, applied.into_iter(), now), Some(at("2026-01-01 11:59:59")));
    }

    #[test]
    fn the_cursor_goes_back_with_the_clock_at_the_end_of_daylight_saving() {
        let cursor = Some(at("2026-10-25 02:59:58"));
        assert_eq!(advance(cursor, std::iter::empty(), at("2026-10-25 02:00:01")), Some(at("2026-10-25 02:00:01")));
    }

    #[test]
    fn a_transaction_under_way_holds_the_cursor_but_never_moves_it_back() {
        let (stored, limit, reached) =
            (at("2026-01-01 10:00:00"), at("2026-01-01 10:05:00"), at("2026-01-01 10:09:00"));
        let now = at("2026-01-01 10:10:00");
        assert_eq!(hold(Some(stored), Some(reached), None, now), Some(reached));
        assert_eq!(hold(Some(stored), Some(reached), Some(Some(limit)), now), Some(limit));
        assert_eq!(hold(Some(limit), Some(reached), Some(Some(stored)), now), Some(limit));
        assert_eq!(hold(Some(stored), Some(reached), Some(None), now), Some(stored));
        assert_eq!(hold(None, Some(reached), Some(None), now), None);
    }

    proptest! {
        #[test]
        fn the_cursor_never_passes_the_clock_nor_an_unread_row(
            cursor in prop::option::of(0i64..1000), applied in prop::collection::vec(0i64..1000, 0..10), now in 0i64..1000
        ) {
            let time = |seconds| BEGINNING + TimeDelta::seconds(seconds);
            let moved = advance(cursor.map(time), applied.iter().copied().map(time), time(now));
            prop_assert!(moved <= Some(time(now)));
            let known = applied.iter().copied().chain(cursor).max().map(time);
            prop_assert!(moved <= known);
        }

        #[test]
        fn with_a_steady_clock_the_cursor_never_goes_back(cursor in 0i64..500, applied in prop::collection::vec(0i64..1000, 0..10)) {
            let time = |seconds| BEGINNING + TimeDelta::seconds(seconds);
            let moved = advance(Some(time(cursor)), applied.iter().copied().map(time), time(500));
            prop_assert!(moved >= Some(time(cursor)));
        }
    }
}
