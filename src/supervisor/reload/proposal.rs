//! What a reload proposes: the configuration as it is read now, proved where it reaches databases in another way.
//!
//! Runs in a child task, on a copy; changes nothing.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::config::{Companions, Config, Loaded, Refused, SourceConfig, SourceName};
use crate::engine::{Class, Error, Side};
use crate::supervisor::outside::Outside;

/// The time that a database has to prove that it can be used: somebody waits for the outcome.
const PROOF: Duration = Duration::from_secs(10);

/// What came of reading the configuration again.
pub(in crate::supervisor) struct Proposed<O: Outside> {
    /// The files that it is made of, as they were read; `None`: the attempt did not get there.
    pub(super) companions: Option<Companions>,
    /// What works but should be changed.
    pub(super) warnings: Vec<String>,
    /// What is to take effect. `None`: it is the running one.
    pub(super) outcome: Result<Option<Box<Proposal<O>>>, Refusal>,
}

/// A configuration that passed, with everything that it needs, connected.
pub(super) struct Proposal<O: Outside> {
    pub(super) loaded: Loaded,
    /// Sources that are new or reached in another way.
    pub(super) sources: Vec<(SourceName, Arc<O::Source>)>,
    /// Another target.
    pub(super) target: Option<Arc<O::Target>>,
}

/// Why a configuration does not take effect.
pub(super) struct Refusal {
    pub(super) errors: Vec<String>,
    /// Nothing is wrong with it but databases that cannot be reached now.
    pub(super) passes: bool,
}

impl Refusal {
    fn lasting(errors: Vec<String>) -> Self {
        Self { errors, passes: false }
    }
}

impl<O: Outside> Proposed<O> {
    /// The attempt panicked.
    pub(super) fn panicked() -> Self {
        let refusal = Refusal::lasting(vec!["the reload panicked; see the log for where".to_owned()]);
        Self { companions: None, warnings: Vec::new(), outcome: Err(refusal) }
    }
}

/// Loads and proves. `hash`: that of the running configuration.
pub(super) async fn propose<O: Outside>(outside: Arc<O>, running: Arc<Config>, hash: String) -> Proposed<O> {
    let loaded = match outside.load().await {
        Ok(loaded) => loaded,
        Err(Refused { problems, companions }) => {
            let refusal = Refusal::lasting(problems.iter().map(ToString::to_string).collect());
            return Proposed { companions: Some(companions), warnings: Vec::new(), outcome: Err(refusal) };
        }
    };
    let companions = Some(loaded.companions.clone());
    let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
    let outcome =
        if loaded.hash == hash { Ok(None) } else { prove(&*outside, &running, loaded).await.map(Box::new).map(Some) };
    Proposed { companions, warnings, outcome }
}

async fn prove<O: Outside>(outside: &O, running: &Config, loaded: Loaded) -> Result<Proposal<O>, Refusal> {
    let before = |name: &SourceName| running.sources.iter().find(|source| source.name == *name);
    let changed: Vec<_> = loaded.config.sources.iter().filter(|new| before(&new.name) != Some(*new)).collect();
    let sources: Vec<_> =
        changed.iter().map(|config| (config.name.clone(), Arc::new(outside.source(config)))).collect();
    let other_target = loaded.config.target.endpoint != running.target.endpoint;
    let target = other_target.then(|| Arc::new(outside.target(&loaded.config.target)));

    // What was not read before must be proved to be readable.
    let differs =
        |old: &SourceConfig, new: &SourceConfig| old.endpoint != new.endpoint || (new.instances && !old.instances);
    let unproved = changed.iter().map(|new| before(&new.name).is_none_or(|old| differs(old, new)));
    let proofs = sources.iter().zip(unproved).filter(|(_, unproved)| *unproved).map(|((name, source), _)| {
        let proof = proved(Side::Source, outside.prove_source(source));
        async move { proof.await.map_err(|error| (error.class, format!("source \"{name}\": {error}"))) }
    });
    let (of_sources, of_target) = tokio::join!(join_all(proofs), async {
        match &target {
            Some(target) => {
                let proof = proved(Side::Target, outside.prove_target(target));
                proof.await.map_err(|error| (error.class, error.with_side()))
            }
            None => Ok(()),
        }
    });
    let errors: Vec<_> = of_sources.into_iter().chain([of_target]).filter_map(Result::err).collect();
    if errors.is_empty() {
        return Ok(Proposal { loaded, sources, target });
    }
    let passes = errors.iter().all(|(class, _)| *class == Class::Transient);
    Err(Refusal { errors: errors.into_iter().map(|(_, error)| error).collect(), passes })
}

async fn proved(side: Side, proof: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    timeout(PROOF, proof)
        .await
        .unwrap_or_else(|_| Err(Error::new(side, Class::Transient, format!("no answer within {} s", PROOF.as_secs()))))
}
