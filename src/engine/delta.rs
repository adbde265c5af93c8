//! Looking at what changed since the last run, by `updated_time`, level by level: a patient does not
//! bump its studies, a series does not bump its study, and an instance bumps neither.

use std::collections::HashSet;

use super::cursor::{advance, begin};
use super::project::STUDIES;
use super::sweep::START;
use super::{Error, Run};
use crate::model::{Links, survivor};
use crate::source::{Hint, Level};
use crate::target::Cursor;

/// Hints that are read in one go: without an index each page is a scan of the whole table, so pages are
/// large; a hint is small.
const HINTS: usize = 50_000;

impl Run<'_> {
    /// Applies what changed since the cursors.
    pub(super) async fn delta(&mut self, stored: [Cursor; 3]) -> Result<(), Error> {
        let now = self.snapshot.now().await?;
        let mut stored = stored;
        let mut reached = stored;
        for level in Level::ALL {
            let mut position = (begin(stored[level as usize].updated_time, self.settings.overlap), START);
            loop {
                let hints = self.snapshot.changed(level, position, HINTS).await?;
                for batch in hints.chunks(STUDIES) {
                    self.look_again(level, batch).await?;
                    let cursor = &mut reached[level as usize];
                    cursor.updated_time = advance(cursor.updated_time, batch.iter().map(|hint| hint.updated_time), now);
                    if self.gone.is_empty() {
                        self.move_cursor(level, &mut stored, reached).await?;
                    }
                    self.commit().await?;
                    self.delete_if_many().await?;
                }
                match hints.last() {
                    Some(last) if hints.len() == HINTS => position = (last.updated_time, last.pk),
                    _ => break,
                }
            }
            let cursor = &mut reached[level as usize];
            cursor.updated_time = advance(cursor.updated_time, std::iter::empty(), now);
        }
        self.delete_gone().await?;
        for level in Level::ALL {
            self.move_cursor(level, &mut stored, reached).await?;
        }
        self.commit().await
    }

    async fn move_cursor(&mut self, level: Level, stored: &mut [Cursor; 3], reached: [Cursor; 3]) -> Result<(), Error> {
        let (stored, reached) = (&mut stored[level as usize], reached[level as usize]);
        if *stored != reached {
            self.target.set_cursor(level, reached).await?;
            *stored = reached;
        }
        Ok(())
    }

    /// Everyone along the chains of merges of these patients, as they are and as the target has them: whom
    /// a chain leads to may have changed for all of them, and in the target their studies belong to the
    /// survivor.
    async fn family(&mut self, mut pks: Vec<i64>) -> Result<Vec<i64>, Error> {
        let mut links = Links::new();
        self.snapshot.follow_merges(pks.iter().copied(), &mut links).await?;
        let former = self.target.survivors_of(&pks).await?;
        let survivors: Vec<i64> = pks.iter().map(|pk| survivor(*pk, &links)).chain(former).collect();
        pks.extend(survivors);
        self.snapshot.with_merged_into(&pks).await
    }

    async fn look_again(&mut self, level: Level, hints: &[Hint]) -> Result<(), Error> {
        let pks: Vec<i64> = hints.iter().map(|hint| hint.look_at).collect();
        if level != Level::Patient {
            return self.studies(&pks).await;
        }
        let family = self.family(pks).await?;
        self.patients(&family).await?;
        self.keep().await?;
        let studies = self.snapshot.studies_of_patients(&family).await?;
        self.studies(&studies).await?;
        let there: HashSet<i64> = studies.into_iter().collect();
        let live = self.target.live_studies_of(&family).await?;
        self.studies_missing(live.into_iter().filter(|study| !there.contains(&study.source_pk)).collect()).await
    }
}
