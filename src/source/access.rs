//! Access control IDs alone: what a comparison of pk and access control columns needs, and no more.
//!
//! A bulk change of access control IDs, a delete and the mark of a study that is being deleted leave no
//! trace in `updated_time`, and nothing matters more to who may see a study.

use std::collections::BTreeMap;

use super::snapshot::{Snapshot, join_ids};
use crate::database::{Error, Param};
use crate::model::{joined, split_ids};

/// What decides who may see a study, as far as the archive says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessIds {
    /// Whether the archive is deleting the study.
    pub deleting: bool,
    /// The study's access control IDs, joined.
    pub ids: Option<String>,
    /// Each series by pk with its access control IDs.
    pub series: BTreeMap<i64, Option<String>>,
}

/// Studies by pk.
pub type AccessMap = BTreeMap<i64, AccessIds>;

impl Snapshot {
    /// The studies with `after < pk <= upto`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn access(&mut self, after: i64, upto: i64) -> Result<AccessMap, Error> {
        let queries = self.queries.clone();
        let range = [Param::int(after), Param::int(upto)];
        let column = |text: Option<String>| text.and_then(|text| joined(split_ids(&text)));
        let studies = self
            .lease
            .fetch(&queries.access_studies, &range, |cells| {
                let ids = AccessIds { deleting: cells.flag(1)?, ids: column(cells.text(2)?), ..AccessIds::default() };
                Ok((cells.key(0)?, ids))
            })
            .await?;
        let mut map: AccessMap = studies.into_iter().collect();
        if let Some(sql) = &queries.access_study_ids {
            for (study, ids) in self.lists(sql, &range).await? {
                if let Some(entry) = map.get_mut(&study) {
                    entry.ids = join_ids(&ids);
                }
            }
        }
        let series = self
            .lease
            .fetch(&queries.access_series, &range, |cells| Ok((cells.key(0)?, cells.key(1)?, column(cells.text(2)?))))
            .await?;
        let mut lists = match &queries.access_series_ids {
            Some(sql) => self.lists(sql, &range).await?,
            None => BTreeMap::new(),
        };
        for (study, pk, ids) in series {
            if let Some(entry) = map.get_mut(&study) {
                let listed = lists.remove(&pk).and_then(|ids| join_ids(&ids));
                entry.series.insert(pk, listed.or(ids));
            }
        }
        Ok(map)
    }

    async fn lists(
        &mut self,
        sql: &std::sync::Arc<str>,
        range: &[Param<'_>],
    ) -> Result<BTreeMap<i64, Vec<String>>, Error> {
        let rows = self.lease.fetch(sql, range, |cells| Ok((cells.key(0)?, cells.name(1)?))).await?;
        let mut lists: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for (owner, id) in rows {
            lists.entry(owner).or_default().push(id);
        }
        Ok(lists)
    }
}
