//! The rule by which scheduled runs are due: every so often, or by a cron expression.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::Cron;

/// When scheduled runs are due. Clones are cheap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Form", try_from = "Form")]
pub enum Plan {
    /// At a fixed rate, 1 s to 24 h; whole seconds.
    Interval(Duration),
    /// At the times of an expression.
    Cron(Arc<Cron>),
}

impl Plan {
    /// The seconds of an interval.
    #[must_use]
    pub fn interval_sec(&self) -> Option<u64> {
        match self {
            Self::Interval(interval) => Some(interval.as_secs()),
            Self::Cron(_) => None,
        }
    }

    /// The expression.
    #[must_use]
    pub fn cron(&self) -> Option<&Cron> {
        match self {
            Self::Interval(_) => None,
            Self::Cron(cron) => Some(cron),
        }
    }

    /// The wait between two runs that `at` falls into, and until when that is so; an interval always is.
    #[must_use]
    pub fn gap(&self, at: DateTime<Utc>) -> (Duration, DateTime<Utc>) {
        match self {
            Self::Interval(interval) => (*interval, DateTime::<Utc>::MAX_UTC),
            Self::Cron(cron) => {
                let next = cron.next(at);
                let gap = next - cron.previous(at);
                (gap.max(TimeDelta::seconds(1)).to_std().unwrap_or_default(), next)
            }
        }
    }
}

impl fmt::Display for Plan {
    /// `every 30s`, or `at "*/5 * * * *" (Asia/Seoul)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interval(interval) => write!(f, "every {}", humantime::format_duration(*interval)),
            Self::Cron(cron) => write!(f, "at \"{}\" ({})", cron.text(), cron.zone().name()),
        }
    }
}

/// A plan as it is kept and sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Form {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interval_sec: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
}

impl From<Plan> for Form {
    fn from(plan: Plan) -> Self {
        let cron = plan.cron();
        Self {
            interval_sec: plan.interval_sec(),
            cron: cron.map(|cron| cron.text().to_owned()),
            time_zone: cron.map(|cron| cron.zone().name().to_owned()),
        }
    }
}

impl TryFrom<Form> for Plan {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        match (form.interval_sec, form.cron, form.time_zone) {
            (Some(seconds), None, None) => Ok(Self::Interval(Duration::from_secs(seconds))),
            (None, Some(cron), Some(zone)) => {
                let zone = zone.parse().map_err(|_| "an unknown time zone".to_owned())?;
                Ok(Self::Cron(Arc::new(Cron::new(&cron, zone).map_err(|problem| problem.to_string())?)))
            }
            _ => Err("either interval_sec, or cron and time_zone".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(text: &str) -> Plan {
        Plan::Cron(Arc::new(Cron::new(text, chrono_tz::Asia::Seoul).expect("valid")))
    }

    #[test]
    fn a_plan_survives_being_kept() {
        for plan in [Plan::Interval(Duration::from_secs(30)), cron("*/5 6-22 * * MON-FRI")] {
            let text = serde_json::to_string(&plan).expect("plain");
            assert_eq!(serde_json::from_str::<Plan>(&text).expect("our own"), plan, "{text}");
        }
        assert!(serde_json::from_str::<Plan>("{}").is_err());
        assert!(serde_json::from_str::<Plan>("{\"cron\":\"x\",\"time_zone\":\"UTC\"}").is_err());
    }

    #[test]
    fn the_gap_of_a_cron_plan_is_the_one_that_the_moment_falls_into() {
        let plan = cron("0 6 * * MON-FRI");
        let saturday: DateTime<Utc> = "2026-11-28T12:00:00Z".parse().expect("RFC 3339");
        let (gap, until) = plan.gap(saturday);
        assert_eq!(gap, Duration::from_secs(3 * 86_400), "from Friday to Monday");
        assert_eq!(until.to_rfc3339(), "2026-11-29T21:00:00+00:00");
        assert_eq!(plan.gap(until).0, Duration::from_secs(86_400), "from Monday to Tuesday");
    }
}
