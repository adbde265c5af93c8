//! Where a delta begins to read, and how far its cursor may move. Pure.

use std::time::Duration;

use chrono::{LocalResult, NaiveDate, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _};
use chrono_tz::Tz;

/// Before every time that an archive holds.
pub(super) const BEGINNING: NaiveDateTime =
    NaiveDate::from_ymd_opt(1, 1, 1).expect("a date").and_hms_opt(0, 0, 0).expect("a time");

/// Where to begin: `overlap` before the cursor, for rows that were committed late or by a slow clock.
pub(super) fn begin(cursor: Option<NaiveDateTime>, overlap: Duration) -> NaiveDateTime {
    let overlap = TimeDelta::from_std(overlap).unwrap_or(TimeDelta::MAX);
    cursor.and_then(|cursor| cursor.checked_sub_signed(overlap)).unwrap_or(BEGINNING).max(BEGINNING)
}

/// [`begin`] on the wall clock of `zone`: where that has been set back since then, as much earlier, for
/// hours come again that are smaller than the cursor.
pub(super) fn begin_in(
    zone: Tz,
    cursor: Option<NaiveDateTime>,
    overlap: Duration,
    now: NaiveDateTime,
) -> NaiveDateTime {
    let from = begin(cursor, overlap);
    from.checked_sub_signed(set_back(zone, from, now)).unwrap_or(BEGINNING).max(BEGINNING)
}

/// How far the clock of `zone` was set back between two of its times. A time that comes twice is taken for
/// the first of them at the begin and for the second at the end.
fn set_back(zone: Tz, from: NaiveDateTime, now: NaiveDateTime) -> TimeDelta {
    // A time that was skipped does not exist; what follows it has the same offset as what comes an hour on.
    let existing = |time: NaiveDateTime| match zone.from_local_datetime(&time) {
        LocalResult::None => zone.from_local_datetime(&(time + TimeDelta::hours(1))),
        result => result,
    };
    let (Some(first), Some(last)) = (existing(from).earliest(), existing(now).latest()) else {
        return TimeDelta::zero();
    };
    let seconds = first.offset().fix().local_minus_utc() - last.offset().fix().local_minus_utc();
    TimeDelta::seconds(i64::from(seconds.max(0)))
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
        assert_eq!(begin(None, Duration::from_secs(360)), BEGINNING);
    }

    #[test]
    fn an_overlap_reaches_back_from_the_cursor() {
        assert_eq!(begin(Some(at("2026-01-01 00:05:00")), Duration::from_secs(360)), at("2025-12-31 23:59:00"));
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
    fn across_the_end_of_daylight_saving_a_delta_begins_an_hour_earlier() {
        let (zone, overlap) = (chrono_tz::Europe::Berlin, Duration::from_secs(360));
        let begin = |cursor: &str, now: &str| begin_in(zone, Some(at(cursor)), overlap, at(now));
        // On 25 October 2026 three o'clock becomes two o'clock.
        assert_eq!(begin("2026-10-25 02:58:00", "2026-10-25 02:30:00"), at("2026-10-25 01:52:00"));
        assert_eq!(begin("2026-10-25 02:58:00", "2026-10-25 05:00:00"), at("2026-10-25 01:52:00"));
        assert_eq!(begin("2026-10-25 01:30:00", "2026-10-25 03:10:00"), at("2026-10-25 00:24:00"));
        assert_eq!(begin("2026-10-25 03:10:00", "2026-10-25 03:20:00"), at("2026-10-25 03:04:00"));
        // On 29 March two o'clock becomes three o'clock.
        assert_eq!(begin("2026-03-29 01:58:00", "2026-03-29 03:10:00"), at("2026-03-29 01:52:00"));
        assert_eq!(begin("2026-03-29 03:02:00", "2026-03-29 03:10:00"), at("2026-03-29 02:56:00"));
        assert_eq!(begin_in(zone, None, overlap, at("2026-07-01 12:00:00")), BEGINNING);
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
