//! Sources of which the target holds rows, and removing all rows of one.

use super::Target;
use super::schema;
use super::session::TargetSession;
use crate::config::{Deletes, SourceName};
use crate::database::{Error, Param};
use crate::source::Level;

/// Studies of one transaction; their series go with them, and what instances are left.
const STUDIES: i64 = 500;
/// Patients of one transaction; their identifiers go with them.
const PATIENTS: i64 = 2000;

/// Rows of a source, with and without a tombstone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Forgotten {
    /// `rbac_instance`; none where no source ever had that level switched on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<u64>,
    /// `rbac_series`
    pub series: u64,
    /// `rbac_study`
    pub studies: u64,
    /// `rbac_patient`
    pub patients: u64,
    /// `rbac_institution`
    pub institutions: u64,
}

impl Target {
    /// The names of all sources of which the target holds rows, sorted. Writes nothing.
    ///
    /// # Errors
    /// As [`Target::claim`].
    pub async fn sources(&self) -> Result<Vec<String>, Error> {
        let mut lease = self.look.lease().await?;
        let mut names = Vec::new();
        if schema::look(&mut lease).await?.has_rows() {
            names = lease.fetch(&"SELECT name FROM rbac_source".into(), &[], |cells| cells.name(0)).await?;
            names.sort_unstable();
        }
        lease.release();
        Ok(names)
    }

    /// What [`Target::forget`] would remove. Writes nothing.
    ///
    /// # Errors
    /// As [`Target::claim`].
    pub async fn rows_of(&self, source: &SourceName) -> Result<Forgotten, Error> {
        let mut session = self.session(source, true).await?;
        let instances = "rbac_instance r JOIN rbac_series e ON e.id = r.series_fk \
                         JOIN rbac_study s ON s.id = e.study_fk WHERE s.source_fk = $1";
        let rows = Forgotten {
            instances: if session.has_instances { Some(session.count(instances).await?) } else { None },
            series: session
                .count("rbac_series r JOIN rbac_study s ON s.id = r.study_fk WHERE s.source_fk = $1")
                .await?,
            studies: session.count("rbac_study WHERE source_fk = $1").await?,
            patients: session.count("rbac_patient WHERE source_fk = $1").await?,
            institutions: session.count("rbac_institution WHERE source_fk = $1").await?,
        };
        session.close();
        Ok(rows)
    }

    /// Removes all rows of a source, in many transactions, the source itself last: one that was interrupted
    /// is continued by the next call. `progress` is told of each transaction. Needs a target that was
    /// claimed. The history of its runs stays.
    ///
    /// # Errors
    /// As [`Target::session`].
    pub async fn forget(&self, source: &SourceName, mut progress: impl FnMut(&Forgotten)) -> Result<Forgotten, Error> {
        let mut session = self.session(source, false).await?;
        let mut gone = Forgotten { instances: session.has_instances.then_some(0), ..Forgotten::default() };
        loop {
            let studies = session.some_ids("rbac_study", STUDIES).await?;
            if studies.is_empty() {
                break;
            }
            for step in session.instance_steps(Level::Study, &studies, Deletes::Remove).await? {
                let instances = session.delete_some_instances(&step, Deletes::Remove).await?;
                session.commit().await?;
                *gone.instances.get_or_insert_default() += instances;
                progress(&gone);
            }
            let ended = session.delete_studies(&studies, Deletes::Remove).await?;
            session.commit().await?;
            gone.studies += ended.studies;
            gone.series += ended.series;
            progress(&gone);
        }
        loop {
            let patients = session.some_ids("rbac_patient", PATIENTS).await?;
            if patients.is_empty() {
                break;
            }
            gone.patients += session.delete_patients(&patients, Deletes::Remove).await?;
            session.commit().await?;
            progress(&gone);
        }
        gone.institutions = session.remove_rest().await?;
        session.close();
        Ok(gone)
    }
}

impl TargetSession {
    async fn count(&mut self, from: &str) -> Result<u64, Error> {
        let source = [Param::int(self.source_fk)];
        let count = self.read(format!("SELECT count(*) FROM {from}"), &source, |cells| cells.key(0)).await?;
        Ok(count.first().map_or(0, |count| count.unsigned_abs()))
    }

    async fn some_ids(&mut self, table: &str, limit: i64) -> Result<Vec<i64>, Error> {
        let sql = format!("SELECT id FROM {table} WHERE source_fk = $1 ORDER BY id LIMIT $2");
        self.read(sql, &[Param::int(self.source_fk), Param::int(limit)], |cells| cells.key(0)).await
    }

    /// What is left of a source without patients and studies: institutions, cursors, its name.
    async fn remove_rest(&mut self) -> Result<u64, Error> {
        let source = [Param::int(self.source_fk)];
        let institutions = self.write("DELETE FROM rbac_institution WHERE source_fk = $1", &source).await?;
        self.write("DELETE FROM sync_cursor WHERE source_fk = $1", &source).await?;
        self.write("DELETE FROM sync_sweep WHERE source_fk = $1", &source).await?;
        self.write("DELETE FROM rbac_source WHERE id = $1", &source).await?;
        self.commit().await?;
        Ok(institutions)
    }
}
