//! The institutions of one source: one for each distinct `series.institution`.
//!
//! They are few, so a run keeps them all. Where the series of an institution carry different codes, the
//! lowest by code point counts; a run over everything finds out whether that one is still in use.

use std::collections::HashMap;

use super::{Error, Levels};
use crate::model::Institution;
use crate::source::SourceSeries;
use crate::target::TargetSession;

/// The lowest code of each institution by its name; none where no series carries one.
pub(super) type Codes = HashMap<String, Option<String>>;

/// Adds to `codes` what was seen.
pub(super) fn note(codes: &mut Codes, name: &str, code: Option<&String>) {
    match codes.get_mut(name) {
        None => drop(codes.insert(name.to_owned(), code.cloned())),
        Some(known) if code.is_some() && (known.is_none() || code < known.as_ref()) => *known = code.cloned(),
        Some(_) => {}
    }
}

#[derive(Debug, Default)]
pub(super) struct Institutions {
    /// `id` and code by name, as in the target.
    known: HashMap<String, (i64, String)>,
    /// What was seen in this run.
    seen: Codes,
}

impl Institutions {
    /// Reads those of the target.
    pub(super) async fn load(target: &mut TargetSession) -> Result<Self, Error> {
        let rows = target.institutions().await?;
        let known = rows.into_iter().map(|existing| (existing.row.name, (existing.id, existing.row.code))).collect();
        Ok(Self { known, seen: HashMap::new() })
    }

    /// `id` of an institution that [`Institutions::ensure`] has seen.
    pub(super) fn id(&self, name: Option<&str>) -> Option<i64> {
        self.known.get(name?).map(|(id, _)| *id)
    }

    /// Makes sure that the institutions of these series stand in the target.
    pub(super) async fn ensure(
        &mut self,
        series: impl Iterator<Item = &SourceSeries>,
        target: &mut TargetSession,
        levels: &mut Levels,
    ) -> Result<(), Error> {
        let mut names: Vec<&str> = Vec::new();
        for series in series {
            let Some(name) = series.row.institution.as_deref() else { continue };
            names.push(name);
            note(&mut self.seen, name, series.institution_code.as_ref());
        }
        names.sort_unstable();
        names.dedup();
        let wanted = names.into_iter().map(|name| {
            let seen = self.seen.get(name).and_then(Option::as_ref);
            let held = self.known.get(name).map(|(_, code)| code).filter(|code| *code != name);
            let code = seen.into_iter().chain(held).min().map_or(name, String::as_str);
            Institution { code: code.to_owned(), name: name.to_owned() }
        });
        let wanted: Vec<Institution> = wanted.collect();
        self.write(wanted, target, levels).await
    }

    /// What was seen since the run began or since this was last asked.
    pub(super) fn take_seen(&mut self) -> Codes {
        std::mem::take(&mut self.seen)
    }

    /// When every series has been looked at: a code that none carries any more goes.
    pub(super) async fn settle(
        &mut self,
        codes: &Codes,
        target: &mut TargetSession,
        levels: &mut Levels,
    ) -> Result<(), Error> {
        let stale = codes.iter().filter_map(|(name, code)| {
            let code = code.as_ref().unwrap_or(name);
            let (_, held) = self.known.get(name)?;
            (held != code).then(|| Institution { code: code.clone(), name: name.clone() })
        });
        let stale = stale.collect();
        self.write(stale, target, levels).await
    }

    async fn write(
        &mut self,
        wanted: Vec<Institution>,
        target: &mut TargetSession,
        levels: &mut Levels,
    ) -> Result<(), Error> {
        let (known, new): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|row| self.known.contains_key(&row.name));
        let total = known.len();
        let mut changed: Vec<(i64, Institution)> = known
            .into_iter()
            .filter_map(|row| {
                let (id, code) = &self.known[&row.name];
                (*code != row.code).then_some((*id, row))
            })
            .collect();
        levels.institution.updated += changed.len() as u64;
        levels.institution.unchanged += (total - changed.len()) as u64;
        levels.institution.inserted += new.len() as u64;
        if !new.is_empty() {
            let first = target.allocate(new.len()).await?;
            changed.extend((first..).zip(new));
        }
        if changed.is_empty() {
            return Ok(());
        }
        let rows: Vec<(i64, &Institution)> = changed.iter().map(|(id, row)| (*id, row)).collect();
        target.upsert(&rows).await?;
        for (id, row) in changed {
            self.known.insert(row.name, (id, row.code));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_code_counts_and_one_is_better_than_none() {
        let mut codes = Codes::new();
        for (name, code) in [("A", None), ("A", Some("2")), ("A", Some("10")), ("A", None), ("B", None)] {
            note(&mut codes, name, code.map(str::to_owned).as_ref());
        }
        assert_eq!(codes, Codes::from([("A".to_owned(), Some("10".to_owned())), ("B".to_owned(), None)]));
    }
}
