-- The instance level of an archive that archive-postgres.sql made: :instances instances of each series.
CREATE TABLE instance (
    pk bigint, series_fk bigint NOT NULL, sop_iuid varchar(255) NOT NULL, sop_cuid varchar(255) NOT NULL,
    inst_no integer, created_time timestamp(6) NOT NULL, updated_time timestamp(6) NOT NULL);

INSERT INTO instance
SELECT (s.pk - 1) * :instances + n, s.pk, s.series_iuid || '.' || n, '1.2.840.10008.5.1.4.1.1.2', n, s.created_time,
       s.updated_time
FROM (SELECT pk, series_iuid, created_time, updated_time FROM series ORDER BY pk) s, generate_series(1, :instances) n;

ALTER TABLE instance ADD PRIMARY KEY (pk), ADD UNIQUE (series_fk, sop_iuid),
    ADD FOREIGN KEY (series_fk) REFERENCES series;
CREATE INDEX ON instance (series_fk);
CREATE INDEX instance_updated_time ON instance (updated_time);

CREATE VIEW expected.instance AS
SELECT pk AS source_pk, series_fk AS series_pk, sop_iuid AS instance_uid, expected.clean(sop_cuid) AS sop_class_uid,
       inst_no AS instance_number, date_trunc('milliseconds', created_time) AS created_time,
       date_trunc('milliseconds', updated_time) AS updated_time
FROM instance;
VACUUM ANALYZE instance;
