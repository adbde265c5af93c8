//! A cron expression in a time zone.
//!
//! When clocks go forward, a run at a fixed time that does not exist that day starts at the first moment
//! after the gap; when they go back, one at a time that exists twice starts once, at the first. Expressions
//! that name every so many minutes follow the time that really passes.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};

/// Characters of an expression at the most; the longest sensible ones have a third of that.
const LONGEST: usize = 200;
/// The fields, in the order of an expression with seconds.
const FIELDS: [&str; 6] = ["second", "minute", "hour", "day of month", "month", "day of week"];
/// Short names that stand for a whole expression.
const NICKNAMES: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
/// Years after which the calendar repeats its weekdays, leap days included.
const CALENDAR: i32 = 28;
/// How far around a moment its neighbours are looked for; two runs are never further apart (see [`CALENDAR`]).
const FOR_EVER: TimeDelta = TimeDelta::days(366 * CALENDAR as i64);

/// Why a text is no cron expression. Never repeats the text, which may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronProblem {
    /// Another number of fields.
    #[error(
        "a cron expression has five fields (minute, hour, day of month, month, day of week), such as \
         \"*/5 6-22 * * MON-FRI\", or six with seconds before them"
    )]
    Fields,
    /// One field cannot be read.
    #[error("the field of the {0} in the cron expression cannot be read")]
    Field(&'static str),
    /// Each field is right, but not together.
    #[error("the fields of the cron expression do not fit together")]
    Together,
    /// Such as 30 February.
    #[error("the cron expression names no day that exists")]
    Never,
}

/// A cron expression and the zone whose clock it means.
#[derive(Clone, Debug)]
pub struct Cron {
    text: String,
    zone: Tz,
    pattern: croner::Cron,
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.zone) == (&other.text, other.zone)
    }
}

impl Eq for Cron {}

impl Cron {
    /// Reads an expression of five fields, of six with seconds first, or a short name such as `@hourly`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str, zone: Tz) -> Result<Self, CronProblem> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let nickname = matches!(fields[..], [name] if NICKNAMES.iter().any(|known| known.eq_ignore_ascii_case(name)));
        if text.len() > LONGEST || !nickname && !(5..=6).contains(&fields.len()) {
            return Err(CronProblem::Fields);
        }
        let text = fields.join(" ");
        if !nickname && text.contains('@') {
            return Err(CronProblem::Fields);
        }
        let pattern = parse(&text).ok_or_else(|| culprit(&fields))?;
        if !nickname && !names_a_day(&fields) {
            return Err(CronProblem::Never);
        }
        Ok(Self { text, zone, pattern })
    }

    /// The expression, with single spaces.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The zone.
    #[must_use]
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The first time that is later than `at`.
    #[must_use]
    pub fn next(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        let next = self.pattern.find_next_occurrence(&at.with_timezone(&self.zone), false);
        // The search works on whole seconds of the clock on the wall; what it cannot do is far beyond any plan.
        next.map_or(at + FOR_EVER, |next| next.with_timezone(&Utc)).max(at + TimeDelta::milliseconds(1))
    }

    /// The last time that is not later than `at`.
    #[must_use]
    pub fn previous(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        let previous = self.pattern.find_previous_occurrence(&at.with_timezone(&self.zone), true);
        previous.map_or(at - FOR_EVER, |previous| previous.with_timezone(&Utc)).min(at)
    }
}

fn parse(text: &str) -> Option<croner::Cron> {
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    parser.parse(text).ok()
}

/// The field that is wrong when all others are not looked at.
fn culprit(fields: &[&str]) -> CronProblem {
    let names = &FIELDS[FIELDS.len() - fields.len()..];
    let alone = |position: usize| {
        let mut others = vec!["*"; fields.len()];
        others[position] = fields[position];
        parse(&others.join(" ")).is_some()
    };
    (0..fields.len())
        .find(|position| !alone(*position))
        .map_or(CronProblem::Together, |at| CronProblem::Field(names[at]))
}

/// Whether some day of a whole calendar matches.
fn names_a_day(fields: &[&str]) -> bool {
    let [.., day, month, weekday] = fields else { return false };
    let Some(any_time) = parse(&format!("* * * {day} {month} {weekday}")) else { return false };
    let first = NaiveDate::from_ymd_opt(2024, 1, 1).expect("a day");
    let mut days = first.iter_days().take_while(|day| day.year() < first.year() + CALENDAR);
    days.any(|day| any_time.is_time_matching(&day.and_time(NaiveTime::MIN).and_utc()).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cron(text: &str, zone: Tz) -> Cron {
        Cron::new(text, zone).unwrap_or_else(|problem| panic!("{text}: {problem}"))
    }

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().expect("RFC 3339")
    }

    /// The next times in UTC after a moment.
    fn times(cron: &Cron, after: &str, count: usize) -> Vec<String> {
        let start = utc(after);
        let times = std::iter::successors(Some(start), |at| Some(cron.next(*at)));
        times.skip(1).take(count).map(|at| at.format("%m-%d %H:%M:%S").to_string()).collect()
    }

    #[test]
    fn an_expression_means_the_clock_of_its_zone() {
        let seoul = cron("*/5 6-22 * * MON-FRI", chrono_tz::Asia::Seoul);
        // Friday 22:55 in Seoul, then Monday 6:00.
        assert_eq!(times(&seoul, "2026-11-27T13:54:00Z", 2), ["11-27 13:55:00", "11-29 21:00:00"]);
        let seconds = cron("  */20 *   * * * * ", chrono_tz::UTC);
        assert_eq!(seconds.text(), "*/20 * * * * *");
        assert_eq!(times(&seconds, "2026-11-24T00:00:00Z", 2), ["11-24 00:00:20", "11-24 00:00:40"]);
        assert_eq!(times(&cron("@hourly", chrono_tz::UTC), "2026-11-24T00:10:00Z", 1), ["11-24 01:00:00"]);
    }

    #[test]
    fn a_fixed_time_that_does_not_exist_that_day_is_the_first_moment_after_the_gap() {
        // Vienna, 29 March 2026: 02:00 CET is 03:00 CEST, 01:00 UTC.
        let night = cron("30 2 * * *", chrono_tz::Europe::Vienna);
        assert_eq!(times(&night, "2026-03-27T12:00:00Z", 3), ["03-28 01:30:00", "03-29 01:00:00", "03-30 00:30:00"]);
    }

    #[test]
    fn a_fixed_time_that_exists_twice_that_day_counts_once() {
        // Vienna, 25 October 2026: 03:00 CEST is 02:00 CET, 01:00 UTC.
        let night = cron("30 2 * * *", chrono_tz::Europe::Vienna);
        assert_eq!(times(&night, "2026-10-24T12:00:00Z", 2), ["10-25 00:30:00", "10-26 01:30:00"]);
        assert_eq!(times(&night, "2026-10-25T00:30:00Z", 1), ["10-26 01:30:00"], "also after its run");
    }

    #[test]
    fn every_so_many_minutes_follow_the_time_that_passes_when_clocks_change() {
        let half_hours = cron("*/30 * * * *", chrono_tz::Europe::Vienna);
        for day in ["2026-03-29T00:00:00Z", "2026-10-25T00:00:00Z"] {
            let mut at = utc(day);
            for _ in 0..8 {
                let next = half_hours.next(at);
                assert_eq!(next - at, TimeDelta::minutes(30), "{at}");
                assert_eq!(half_hours.previous(next - TimeDelta::seconds(1)), at);
                at = next;
            }
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_the_text_is_not_repeated() {
        let problem = |text: &str| Cron::new(text, chrono_tz::UTC).expect_err(text);
        for text in ["", "* * * *", "* * * * * * *", "hunter2", "@hunter2", "@daily * * * *", &"*,".repeat(120)] {
            assert_eq!(problem(text), CronProblem::Fields, "{text}");
        }
        for (text, field) in [
            ("60 * * * *", "minute"),
            ("* 24 * * *", "hour"),
            ("* * 0 * *", "day of month"),
            ("* * * 13 *", "month"),
            ("* * * * MOON", "day of week"),
            ("hunter2 * * * * *", "second"),
        ] {
            assert_eq!(problem(text), CronProblem::Field(field), "{text}");
            assert!(!problem(text).to_string().contains("hunter2"));
        }
        assert_eq!(problem("0 0 30 2 *"), CronProblem::Never);
        assert!(Cron::new("0 0 29 2 *", chrono_tz::UTC).is_ok(), "a leap day exists");
    }

    proptest! {
        #[test]
        fn no_text_panics_or_takes_long(text in "[-0-9*/,LW#?@A-Z ]{0,30}", at in 0i64..4_000_000_000) {
            if let Ok(cron) = Cron::new(&text, chrono_tz::Europe::Vienna) {
                let at = DateTime::from_timestamp(at, 0).unwrap();
                prop_assert!(cron.next(at) > at);
                prop_assert!(cron.previous(at) <= at);
            }
        }

        #[test]
        fn the_next_time_is_later_and_nothing_lies_between(
            minute in 0u32..60, step in 1u32..60, at in 1_700_000_000i64..2_000_000_000, millis in 0u32..1000,
        ) {
            for text in [format!("*/{step} * * * *"), format!("{minute} */3 * * *"), format!("{minute} 2 * * SUN")] {
                let cron = cron(&text, chrono_tz::Europe::Vienna);
                let at = DateTime::from_timestamp(at, millis * 1_000_000).unwrap();
                let next = cron.next(at);
                prop_assert!(next > at);
                prop_assert_eq!(cron.previous(next - TimeDelta::milliseconds(1)), cron.previous(at), "{}", &text);
            }
        }
    }
}
