//! Changes an archive the way the archive changes itself: one seeded change a call, with exactly the
//! bumps of `updated_time` and `version` that the archive makes.

use super::archive::{Archive, Val};
use super::edit::{self, change_access, delete_patient, delete_series, delete_studies, reimport, rename};
use super::generate::identifiers;
use super::store::{self, Batch, Entity};

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    NewStudy,
    NewPatient,
    /// Without a bump of its study.
    NewSeries,
    /// Committed minutes after its `updated_time` was set.
    LateStudy,
    Rename,
    Demographics,
    PatientId,
    AddPatientId,
    StudyAttributes,
    Physician,
    SeriesAttributes,
    StudyAccess,
    SeriesAccess,
    /// Of many studies by one statement, without a bump.
    BulkStudyAccess,
    BulkSeriesAccess,
    Merge,
    /// Of a patient that others are merged into.
    MergeChain,
    MergeCircle,
    MergeSelf,
    Unmerge,
    DeleteSeries,
    DeleteSeriesQuietly,
    DeleteStudy,
    DeleteStudyQuietly,
    DeletePatient,
    StudyDeleting,
    RejectStudy,
    RejectSeries,
    /// Deleted and stored again with the same UIDs under new keys.
    Reimport,
    /// Of a shared issuer, before 5.26.
    IssuerEdit,
    /// Of a shared code.
    CodeEdit,
    /// Without a bump of its series and its study.
    NewInstance,
    InstanceAttributes,
    DeleteInstance,
    /// With no bump of anything.
    DeleteInstanceQuietly,
    /// To another series; the one of before is not bumped.
    MoveInstance,
    /// All instances of a series, to metadata.
    Purge,
}

use Change::{
    AddPatientId, BulkSeriesAccess, BulkStudyAccess, CodeEdit, DeleteInstance, DeleteInstanceQuietly, DeletePatient,
    DeleteSeries, DeleteSeriesQuietly, DeleteStudy, DeleteStudyQuietly, Demographics, InstanceAttributes, IssuerEdit,
    LateStudy, Merge, MergeChain, MergeCircle, MergeSelf, MoveInstance, NewInstance, NewPatient, NewSeries, NewStudy,
    PatientId, Physician, Purge, Reimport, RejectSeries, RejectStudy, Rename, SeriesAccess, SeriesAttributes,
    StudyAccess, StudyAttributes, StudyDeleting, Unmerge,
};

pub(crate) const ALL: [Change; 31] = [
    NewStudy,
    NewPatient,
    NewSeries,
    LateStudy,
    Rename,
    Demographics,
    PatientId,
    AddPatientId,
    StudyAttributes,
    Physician,
    SeriesAttributes,
    StudyAccess,
    SeriesAccess,
    BulkStudyAccess,
    BulkSeriesAccess,
    Merge,
    MergeChain,
    MergeCircle,
    MergeSelf,
    Unmerge,
    DeleteSeries,
    DeleteSeriesQuietly,
    DeleteStudy,
    DeleteStudyQuietly,
    DeletePatient,
    StudyDeleting,
    RejectStudy,
    RejectSeries,
    Reimport,
    IssuerEdit,
    CodeEdit,
];

/// What happens to instances, beside [`ALL`].
pub(crate) const OF_INSTANCES: [Change; 6] =
    [NewInstance, InstanceAttributes, DeleteInstance, DeleteInstanceQuietly, MoveInstance, Purge];

impl Change {
    /// Whether a delta must see it; otherwise only a full run will.
    pub(crate) fn is_bumped(self) -> bool {
        !matches!(
            self,
            BulkStudyAccess
                | BulkSeriesAccess
                | DeleteSeriesQuietly
                | DeleteStudyQuietly
                | DeletePatient
                | StudyDeleting
                | IssuerEdit
                | CodeEdit
                | DeleteInstanceQuietly
                | MoveInstance
        )
    }

    /// Makes one change; false where this archive has nothing of that kind.
    pub(crate) async fn apply(self, archive: &mut Archive) -> bool {
        self.attempt(archive).await.is_some()
    }

    async fn attempt(self, archive: &mut Archive) -> Option<()> {
        match self {
            NewStudy | NewPatient | LateStudy => self.store_study(archive).await,
            NewSeries => {
                let study = archive.pick(STUDIES).await?;
                let mut batch = Batch::default();
                let uid = archive.next_uid();
                batch.series(archive, study, &uid);
                batch.write(archive).await;
                Some(())
            }
            Rename | Demographics | PatientId | AddPatientId => self.change_patient(archive).await,
            StudyAttributes | Physician => self.change_study(archive).await,
            SeriesAttributes => {
                let series = archive.pick(SERIES).await?;
                let fields = store::series_attributes(archive);
                archive.update("series", series, &fields).await;
                archive.bump("series", series).await;
                Some(())
            }
            StudyAccess => change_access(archive, "study", 1, true).await,
            SeriesAccess => change_access(archive, "series", 1, true).await,
            BulkStudyAccess => change_access(archive, "study", 5, false).await,
            BulkSeriesAccess => change_access(archive, "series", 5, false).await,
            Merge | MergeChain | MergeCircle | MergeSelf | Unmerge => self.change_merge(archive).await,
            DeleteSeries | DeleteSeriesQuietly => {
                let series = archive.pick(SERIES).await?;
                let study = archive.pick(&format!("SELECT study_fk FROM series WHERE pk = {series}")).await?;
                delete_series(archive, &format!("pk = {series}")).await;
                if self == DeleteSeries {
                    archive.bump("study", study).await;
                }
                Some(())
            }
            DeleteStudy | DeleteStudyQuietly => {
                let study = archive.pick(STUDIES).await?;
                let patient = archive.pick(&format!("SELECT patient_fk FROM study WHERE pk = {study}")).await?;
                delete_studies(archive, &format!("pk = {study}")).await;
                if self == DeleteStudy {
                    archive.bump("patient", patient).await;
                }
                Some(())
            }
            DeletePatient => delete_patient(archive).await,
            StudyDeleting => {
                archive.shape.column("study", "study_deleting")?;
                let study = archive.pick(STUDIES).await?;
                archive.update("study", study, &[("study_deleting", Val::Bool(true))]).await;
                Some(())
            }
            RejectStudy | RejectSeries => self.reject(archive).await,
            Reimport => reimport(archive).await,
            IssuerEdit => {
                archive.shape.table("issuer")?;
                let issuer = archive.pick("SELECT pk FROM issuer").await?;
                let name = format!("ISSUER{}", archive.next_key());
                archive.update("issuer", issuer, &[("entity_id", name.into())]).await;
                Some(())
            }
            NewInstance | InstanceAttributes | DeleteInstance | DeleteInstanceQuietly | MoveInstance | Purge => {
                self.change_instance(archive).await
            }
            CodeEdit => {
                let code = archive.pick("SELECT pk FROM code").await?;
                let value = format!("CODE{}", archive.next_key());
                archive.update("code", code, &[("code_value", value.into())]).await;
                Some(())
            }
        }
    }

    async fn store_study(self, archive: &mut Archive) -> Option<()> {
        let mut batch = Batch::default();
        let clock = archive.tick();
        if self == LateStudy {
            archive.set_clock(clock - chrono::Duration::minutes(4));
        }
        let patient = if self == NewPatient {
            let ids = identifiers(archive);
            batch.patient(archive, &ids)
        } else {
            archive.pick(PATIENTS).await?
        };
        let uid = archive.next_uid();
        let study = batch.study(archive, patient, &uid);
        let series = archive.next_uid();
        batch.series(archive, study, &series);
        if self == LateStudy {
            archive.set_clock(clock);
        }
        batch.write(archive).await;
        Some(())
    }

    async fn change_patient(self, archive: &mut Archive) -> Option<()> {
        let patient = archive.pick(PATIENTS).await?;
        match self {
            Rename => rename(archive, "patient", patient, "pat_name_fk").await,
            Demographics => {
                let fields = store::demographics(archive);
                archive.update("patient", patient, &fields).await;
            }
            AddPatientId => {
                archive.shape.column("patient_id", "patient_fk")?;
                let mut batch = Batch::default();
                let id = format!("PID-{}-x", archive.next_key());
                let entity = Entity::any(archive);
                batch.identifier(archive, patient, &id, &entity);
                batch.write(archive).await;
            }
            _ => {
                let owned = if archive.shape.has("patient_id", "patient_fk") {
                    format!("SELECT pk FROM patient_id WHERE patient_fk = {patient}")
                } else {
                    format!("SELECT patient_id_fk FROM patient WHERE pk = {patient} AND patient_id_fk IS NOT NULL")
                };
                let owned = archive.pick(&owned).await?;
                let id = format!("PID-{}-x", archive.next_key());
                let mut fields = vec![("pat_id", Val::from(id))];
                fields.extend(Entity::any(archive).fields(["entity_id", "entity_uid", "entity_uid_type"]));
                archive.update("patient_id", owned, &fields).await;
            }
        }
        archive.bump("patient", patient).await;
        Some(())
    }

    async fn change_study(self, archive: &mut Archive) -> Option<()> {
        let study = archive.pick(STUDIES).await?;
        if self == Physician {
            rename(archive, "study", study, "ref_phys_name_fk").await;
        } else {
            let fields = store::study_attributes(archive);
            archive.update("study", study, &fields).await;
        }
        archive.bump("study", study).await;
        Some(())
    }

    async fn change_merge(self, archive: &mut Archive) -> Option<()> {
        let (from, into) = match self {
            MergeSelf => {
                let patient = archive.pick(PATIENTS).await?;
                (patient, patient)
            }
            MergeCircle => {
                let from = archive.pick("SELECT merge_fk FROM patient WHERE merge_fk IS NOT NULL").await?;
                let back = format!("SELECT pk FROM patient WHERE merge_fk = {from} AND pk <> {from}");
                (from, archive.pick(&back).await?)
            }
            Unmerge => {
                let from = archive.pick("SELECT pk FROM patient WHERE merge_fk IS NOT NULL").await?;
                archive.update("patient", from, &[("merge_fk", Val::Null)]).await;
                archive.bump("patient", from).await;
                return Some(());
            }
            _ => {
                let from =
                    if self == MergeChain { "SELECT merge_fk FROM patient WHERE merge_fk <> pk" } else { PATIENTS };
                let from = archive.pick(from).await?;
                (from, archive.pick(&format!("{PATIENTS} WHERE pk <> {from}")).await?)
            }
        };
        archive.update("patient", from, &[("merge_fk", Val::Int(into))]).await;
        if from != into {
            for study in archive.db.numbers(&format!("{STUDIES} WHERE patient_fk = {from} ORDER BY 1")).await {
                archive.update("study", study, &[("patient_fk", Val::Int(into))]).await;
                archive.bump("study", study).await;
            }
            archive.bump("patient", into).await;
        }
        archive.bump("patient", from).await;
        Some(())
    }

    async fn change_instance(self, archive: &mut Archive) -> Option<()> {
        if self == NewInstance {
            let series = archive.pick(SERIES).await?;
            let mut batch = Batch::default();
            for _ in 0..1 + archive.random.below(4) {
                let uid = archive.next_uid();
                batch.instance(archive, series, &uid);
            }
            batch.write(archive).await;
            // What was purged and is stored again is whole again.
            archive.update("series", series, &[("inst_purge_state", Val::Int(0))]).await;
            return Some(());
        }
        let instance = archive.pick("SELECT pk FROM instance").await?;
        let series = archive.pick(&format!("SELECT series_fk FROM instance WHERE pk = {instance}")).await?;
        match self {
            InstanceAttributes => {
                let fields = store::instance_attributes(archive);
                archive.update("instance", instance, &fields).await;
                archive.bump("instance", instance).await;
            }
            MoveInstance => {
                let other = archive.pick(&format!("{SERIES} WHERE pk <> {series}")).await?;
                archive.update("instance", instance, &[("series_fk", Val::Int(other))]).await;
                archive.bump("instance", instance).await;
            }
            Purge => edit::purge(archive, series).await,
            _ => {
                edit::delete_instances(archive, &[instance]).await;
                if self == DeleteInstance {
                    archive.bump("series", series).await;
                }
            }
        }
        Some(())
    }

    /// Rejection sets the state of the series and of the study, and bumps both.
    async fn reject(self, archive: &mut Archive) -> Option<()> {
        let study = archive.pick("SELECT study_fk FROM series").await?;
        let series = archive.db.numbers(&format!("{SERIES} WHERE study_fk = {study} ORDER BY 1")).await;
        let whole = self == RejectStudy;
        let count = if whole { series.len() } else { 1 };
        for pk in series.into_iter().take(count) {
            let state = if whole { 2 } else { 1 + archive.random.below(2) };
            archive.update("series", pk, &[("rejection_state", Val::Int(i64::try_from(state).unwrap()))]).await;
            archive.bump("series", pk).await;
        }
        archive.update("study", study, &[("rejection_state", Val::Int(if whole { 2 } else { 1 }))]).await;
        archive.bump("study", study).await;
        Some(())
    }
}

const PATIENTS: &str = "SELECT pk FROM patient";
const STUDIES: &str = "SELECT pk FROM study";
const SERIES: &str = "SELECT pk FROM series";
