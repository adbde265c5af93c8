//! Looking at the instances of a series again: the one path from the source's rows of this level to the target's.
//!
//! A series may have a million instances and a study may have many series, so whatever is looked at is first
//! counted on both sides, and then read and written in pages of bounded size, each of which is a transaction. A page
//! is read while the one before it is written.

use std::collections::{HashMap, HashSet};

use super::apply::Apply;
use super::owner::{Owner, PAGE, groups};
use super::plan::{Comparison, Plan};
use super::sheet::by_id;
use super::sweep::{END, Growth, START, page_end};
use super::{Error, Run};
use crate::model::Instance;
use crate::source::{Level, SeriesPlace, Snapshot, SourceInstance};
use crate::target::{Candidate, Cursor, Ended};

/// Series that are looked at in one go.
const SERIES: usize = 2000;

impl Run<'_> {
    /// Looks at series again, each with all its instances.
    pub(super) async fn instances(&mut self, series_pks: &[i64]) -> Result<(), Error> {
        let pks: Vec<i64> = series_pks.iter().copied().filter(|pk| self.seen.series.insert(*pk)).collect();
        for pks in pks.chunks(SERIES) {
            // On the heap, as the studies.
            let owners = Box::pin(self.owners(pks)).await?;
            let owners = self.counted(owners).await?;
            Box::pin(self.compare_instances(owners)).await?;
        }
        Ok(())
    }

    /// Looks at those series of some studies that have another number of instances than in the target: a new or a
    /// deleted instance often changes nothing else.
    pub(super) async fn follow_instances(&mut self, study_pks: &[i64]) -> Result<(), Error> {
        if !self.follows {
            return Ok(());
        }
        self.keep_rows().await?;
        let mut places = self.snapshot.places_of_studies(study_pks).await?;
        places.retain(|place| !place.deleting && !self.seen.series.contains(&place.pk));
        let (mut owners, missing) = self.owned(places).await?;
        if self.settings.dry_run {
            owners.extend(missing.into_iter().map(Owner::planned));
        }
        let mut owners = self.counted(owners).await?;
        owners.retain(Owner::differs);
        self.seen.series.extend(owners.iter().map(|owner| owner.place.pk));
        self.compare_instances(owners).await
    }

    /// Looks at the instances of every series, behind the place where it was interrupted.
    pub(super) async fn sweep_instances(&mut self, place: Option<Cursor>) -> Result<(), Error> {
        let mut after = place.and_then(|place| place.load_pk).unwrap_or(START);
        let mut growth = Growth::NONE;
        while after < END {
            let keys = self.snapshot.keys_after(Level::Series, after, SERIES).await?;
            let pks: Vec<i64> = keys.iter().map(|key| key.pk).collect();
            after = page_end(&pks, SERIES);
            self.instances(&pks).await?;
            if let Some(place) = place.filter(|_| self.gone().is_empty() && self.memory.waiting.is_empty()) {
                self.target.set_cursor(Level::Instance, Cursor { load_pk: Some(after), ..place }).await?;
            }
            self.commit().await?;
            if place.is_some() {
                self.grown(Level::Instance, &mut growth, pks.len()).await?;
            }
            self.delete_if_many().await?;
            self.seen.limit();
        }
        Ok(())
    }

    /// Which of these candidates are in the source after all, by `id`; of a series that is purged to metadata all
    /// are.
    pub(super) async fn instances_alive(&mut self, candidates: &[Candidate]) -> Result<HashSet<i64>, Error> {
        let alive = self.snapshot.instances_alive(distinct(candidates, |instance| &instance.instance_uid)).await?;
        let purged = self.snapshot.series_purged(distinct(candidates, |instance| &instance.study_uid)).await?;
        let is_there = |instance: &&Candidate| {
            let Candidate { study_uid, series_uid, instance_uid, .. } = (*instance).clone();
            purged.contains(&(study_uid.clone(), series_uid.clone()))
                || alive.contains(&[study_uid, series_uid, instance_uid])
        };
        Ok(candidates.iter().filter(is_there).map(|instance| instance.id).collect())
    }

    /// Deletes the instances of studies or series that are to be deleted, in steps.
    pub(super) async fn delete_instances_of(&mut self, level: Level, ids: &[i64]) -> Result<(), Error> {
        if !matches!(level, Level::Study | Level::Series) {
            return Ok(());
        }
        let deletes = self.settings.deletes;
        for step in self.target.instance_steps(level, ids, deletes).await? {
            let instances = self.target.delete_some_instances(&step, deletes).await?;
            self.ended(Ended { instances, ..Ended::default() });
            self.commit().await?;
        }
        Ok(())
    }

    /// These series with their rows in the target; those that are not there are looked at now, with their studies.
    /// One that has no place there even so, as of a study without a patient, is left out.
    async fn owners(&mut self, series_pks: &[i64]) -> Result<Vec<Owner>, Error> {
        self.keep_rows().await?;
        let mut places = self.snapshot.places(series_pks).await?;
        places.retain(|place| !place.deleting);
        let (mut owners, mut missing) = self.owned(places).await?;
        // A dry run over everything has just counted these studies.
        if !missing.is_empty() && (self.follows || !self.settings.dry_run) {
            let mut studies: Vec<i64> = missing.iter().map(|place| place.study_pk).collect();
            studies.sort_unstable();
            studies.dedup();
            self.studies(&studies).await?;
            let (found, still_missing) = self.owned(missing).await?;
            owners.extend(found);
            missing = still_missing;
        }
        if self.settings.dry_run {
            owners.extend(missing.into_iter().map(Owner::planned));
        }
        Ok(owners)
    }

    /// The series that the target has under the same pk, and those that it has not.
    async fn owned(&mut self, places: Vec<SeriesPlace>) -> Result<(Vec<Owner>, Vec<SeriesPlace>), Error> {
        let live = self.target.live_series(distinct(&places, |place| &place.study_uid)).await?;
        let live: HashMap<(&str, &str), &Candidate> =
            live.iter().map(|series| ((series.study_uid.as_str(), series.series_uid.as_str()), series)).collect();
        let (mut owners, mut missing) = (Vec::new(), Vec::new());
        for place in places {
            let found = live.get(&(place.study_uid.as_str(), place.series_uid.as_str()));
            let found = found.filter(|series| series.source_pk == place.pk).map(|series| (series.id, series.study_id));
            match found {
                Some((id, study_id)) => owners.push(Owner::new(place, id, study_id)),
                None => missing.push(place),
            }
        }
        Ok((owners, missing))
    }

    /// Counts the instances of these series on both sides.
    async fn counted(&mut self, mut owners: Vec<Owner>) -> Result<Vec<Owner>, Error> {
        if owners.is_empty() {
            return Ok(owners);
        }
        let (pks, ids): (Vec<i64>, Vec<i64>) = owners.iter().map(|owner| (owner.place.pk, owner.id)).unzip();
        let here = self.target.instance_counts(&ids).await?;
        self.keep_rows().await?;
        let there = self.snapshot.instance_counts(&pks).await?;
        for owner in &mut owners {
            owner.there = there.get(&owner.place.pk).copied().unwrap_or_default();
            owner.here = here.get(&owner.id).copied().unwrap_or_default();
        }
        Ok(owners)
    }

    /// Compares all instances of series that were counted, and writes what differs.
    async fn compare_instances(&mut self, owners: Vec<Owner>) -> Result<(), Error> {
        let some = owners.into_iter().filter(|owner| owner.size() > 0);
        let (small, large): (Vec<_>, Vec<_>) = some.partition(|owner| owner.size() <= PAGE);
        self.compare_whole(groups(small)).await?;
        for owner in large {
            self.compare_in_pages(&owner).await?;
        }
        Ok(())
    }

    /// Compares groups of series whose instances make one page each.
    async fn compare_whole(&mut self, groups: Vec<Vec<Owner>>) -> Result<(), Error> {
        let mut groups = groups.into_iter().peekable();
        let mut ahead = None;
        while let Some(owners) = groups.next() {
            let found = match ahead.take() {
                Some(found) => found,
                None => {
                    self.keep_rows().await?;
                    self.snapshot.instances_of(&pks_of(&owners)).await?
                }
            };
            let (reader, mut apply) = self.split();
            let write = Box::pin(apply.whole_series(&owners, found));
            match groups.peek() {
                Some(next) => {
                    let pks = pks_of(next);
                    let read = reader.overlap(write, |view| Box::pin(async move { view.instances_of(&pks).await }));
                    ahead = Some(read.await?);
                }
                None => write.await?,
            }
            self.commit().await?;
            self.delete_if_many().await?;
        }
        Ok(())
    }

    /// Compares a series that has more instances than one page.
    async fn compare_in_pages(&mut self, owner: &Owner) -> Result<(), Error> {
        self.keep_rows().await?;
        let pk = owner.place.pk;
        let (mut found, mut next) = read_page(&mut self.snapshot, pk, "").await?;
        let mut matched = 0;
        loop {
            let (reader, mut apply) = self.split();
            let write = Box::pin(apply.part_of_series(owner, found, &mut matched));
            let Some(after) = next else {
                write.await?;
                break;
            };
            let read = reader.overlap(write, move |view| Box::pin(async move { read_page(view, pk, &after).await }));
            (found, next) = read.await?;
            self.commit().await?;
        }
        self.commit().await?;
        if owner.here.live > matched && !owner.place.purged { self.find_surplus(owner).await } else { Ok(()) }
    }

    /// Finds the live instances of a large series that are gone from the source.
    async fn find_surplus(&mut self, owner: &Owner) -> Result<(), Error> {
        let mut after = String::new();
        loop {
            let live = self.target.live_instances_after(owner.id, &after, PAGE as usize).await?;
            let last = live.last().filter(|_| live.len() as u64 == PAGE).map(|(.., uid)| uid.clone());
            self.keep_rows().await?;
            let uids = live.iter().map(|(.., uid)| uid.as_str()).collect();
            let there = self.snapshot.instances_named(owner.place.pk, uids).await?;
            let gone = live.into_iter().filter(|(.., uid)| !there.contains(uid));
            self.gone().add(Level::Instance, gone.map(|(id, pk, uid)| owner.candidate(id, pk, uid)));
            self.commit().await?;
            self.delete_if_many().await?;
            match last {
                Some(last) => after = last,
                None => return Ok(()),
            }
        }
    }
}

impl Apply<'_> {
    /// Writes all instances of some series, and finds those that are gone.
    async fn whole_series(&mut self, owners: &[Owner], found: Vec<SourceInstance>) -> Result<(), Error> {
        let by_pk: HashMap<i64, &Owner> = owners.iter().map(|owner| (owner.place.pk, owner)).collect();
        let by_id: HashMap<i64, &Owner> = owners.iter().map(|owner| (owner.id, owner)).collect();
        let wanted = found.into_iter().filter_map(|row| Some(by_pk.get(&row.series_pk)?.wanted(row)));
        let wanted: Vec<Instance> = wanted.collect();
        let known: Vec<i64> = owners.iter().filter(|owner| owner.here.all > 0).map(|owner| owner.id).collect();
        let mut comparison = Comparison::new(&wanted);
        if !known.is_empty() {
            self.target.show_instances(&known, |row| comparison.show(row)).await?;
        }
        let plan = comparison.end().plan(wanted);
        self.write_instances(&plan).await?;
        let gone = plan.absent.into_iter().filter_map(|row| {
            let owner = by_id.get(&row.row.series_fk).filter(|owner| !owner.place.purged)?;
            Some(owner.candidate(row.id, row.row.source_pk, row.row.instance_uid))
        });
        self.memory.gone[self.look].add(Level::Instance, gone);
        self.commit().await
    }

    /// Writes some instances of a large series; `matched` grows by those that were live before.
    async fn part_of_series(
        &mut self,
        owner: &Owner,
        found: Vec<SourceInstance>,
        matched: &mut u64,
    ) -> Result<(), Error> {
        let wanted: Vec<Instance> = found.into_iter().map(|row| owner.wanted(row)).collect();
        let mut comparison = Comparison::new(&wanted);
        if owner.here.all > 0 {
            let uids = wanted.iter().map(|row| row.instance_uid.as_str()).collect();
            self.target.show_named(owner.id, uids, |row| comparison.show(row)).await?;
        }
        let differences = comparison.end();
        *matched += differences.live;
        self.write_instances(&differences.plan(wanted)).await?;
        self.commit().await
    }

    async fn write_instances(&mut self, plan: &Plan<Instance>) -> Result<(), Error> {
        *self.uncommitted.instances() += plan.counts();
        let first = self.target.allocate(plan.insert.len()).await?;
        let inserted: Vec<(i64, &Instance)> = (first..).zip(&plan.insert).collect();
        self.target.insert(&inserted).await?;
        self.target.upsert(&by_id(&plan.update)).await
    }
}

fn pks_of(owners: &[Owner]) -> Vec<i64> {
    owners.iter().map(|owner| owner.place.pk).collect()
}

/// A page of the instances of a series, and where the next one begins, if there is one.
async fn read_page(
    snapshot: &mut Snapshot,
    pk: i64,
    after: &str,
) -> Result<(Vec<SourceInstance>, Option<String>), Error> {
    let found = snapshot.instances_after(pk, after, PAGE as usize).await?;
    let last = found.last().filter(|_| found.len() as u64 == PAGE).map(|last| last.row.instance_uid.clone());
    Ok((found, last))
}

/// Names, each once.
fn distinct<T>(rows: &[T], name: impl Fn(&T) -> &String) -> Vec<&str> {
    let names: HashSet<&str> = rows.iter().map(|row| name(row).as_str()).collect();
    names.into_iter().collect()
}
