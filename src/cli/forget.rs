//! `forget`: removes all rows of a source that is no longer configured.

use tokio_util::sync::CancellationToken;

use super::args::ForgetArgs;
use super::check::{load_config, report};
use super::claim::serving;
use super::exit::{Exit, Failure};
use super::print;
use crate::config::{Config, SourceName};
use crate::engine::Error;
use crate::target::{Forgotten, Target};

pub(super) async fn run(args: &ForgetArgs) -> Result<Exit, Failure> {
    let config = match load_config(&args.config) {
        Ok(loaded) => loaded.config,
        Err(errors) => {
            report(&errors);
            return Ok(Exit::Config);
        }
    };
    crate::telemetry::init(&config.log);
    let target = Target::new(&config.target);
    let failed = |error: Error| Failure::new(Exit::Failed, error.with_side());
    let source = chosen(&config, &target.sources().await.map_err(failed)?, &args.name)?;
    let rows = target.rows_of(&source).await.map_err(failed)?;
    if !args.yes {
        print::out(&format!("of source {source} would be removed: {}\n", words(&rows)))?;
        return Err(Failure::new(Exit::Usage, "nothing was removed; to remove these rows for good, add --yes"));
    }
    let mut told = 0;
    let progress = |gone: &Forgotten| {
        let so_far = gone.instances.unwrap_or_default() + gone.series + gone.studies + gone.patients;
        // A line for each batch would be too many.
        if so_far / 100_000 != told {
            told = so_far / 100_000;
            tracing::info!(%source, rows = so_far, "forgetting");
        }
    };
    let gone = serving(&target, "forget", &CancellationToken::new(), target.forget(&source, progress)).await?;
    let gone = gone.map_err(|error| {
        let text = format!("{}; what was removed until then is gone, call it again to go on", error.with_side());
        Failure::new(Exit::Failed, text)
    })?;
    tracing::info!(%source, rows = words(&gone), "forgotten");
    if args.json {
        print::json(&serde_json::json!({ "source": source.as_str(), "removed": gone }))?;
    } else {
        print::out(&format!("removed source {source}: {}\n", words(&gone)))?;
    }
    Ok(Exit::Done)
}

/// The source, if it may be forgotten; `there` are those of the target.
fn chosen(config: &Config, there: &[String], name: &str) -> Result<SourceName, Failure> {
    let usage = |text: String| Failure::new(Exit::Usage, text);
    if config.sources.iter().any(|source| source.name.as_str() == name) {
        return Err(usage(format!("source {name} is still configured: take its [[source]] out of the file first")));
    }
    let unconfigured: Vec<&str> = there
        .iter()
        .map(String::as_str)
        .filter(|there| config.sources.iter().all(|source| source.name.as_str() != *there))
        .collect();
    if !unconfigured.contains(&name) {
        let names = if unconfigured.is_empty() { "none".to_owned() } else { unconfigured.join(", ") };
        return Err(usage(format!("the target has no source of that name; sources that can be forgotten: {names}")));
    }
    SourceName::new(name).ok_or_else(|| usage("that is no name of a source".to_owned()))
}

fn words(rows: &Forgotten) -> String {
    let Forgotten { instances, series, studies, patients, institutions } = rows;
    let instances = instances.map_or_else(String::new, |instances| format!(", {instances} instances"));
    format!("{patients} patients, {studies} studies, {series} series{instances} and {institutions} institutions")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::config;

    #[test]
    fn only_a_source_that_is_in_the_target_and_not_configured_is_forgotten() {
        let there = ["main".to_owned(), "old".to_owned()];
        assert_eq!(chosen(&config(), &there, "old").unwrap().as_str(), "old");
        let failure = chosen(&config(), &there, "main").unwrap_err();
        assert!(failure.exit == Exit::Usage && failure.to_string().contains("still configured"), "{failure}");
        let failure = chosen(&config(), &there, "odl").unwrap_err();
        assert!(failure.exit == Exit::Usage && failure.to_string().ends_with("forgotten: old"), "{failure}");
    }
}
