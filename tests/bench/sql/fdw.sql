-- In a target: the archive as foreign tables, and the cursor of the script below.
CREATE EXTENSION postgres_fdw;
CREATE SERVER archive FOREIGN DATA WRAPPER postgres_fdw
    OPTIONS (host '127.0.0.1', port :'port', dbname :'archive', fetch_size '10000', use_remote_estimate 'true');
CREATE USER MAPPING FOR postgres SERVER archive OPTIONS (user 'postgres');
CREATE SCHEMA archive;
IMPORT FOREIGN SCHEMA expected LIMIT TO (changed_study, changed_series) FROM SERVER archive INTO archive;
CREATE TABLE archive.cursor (level text PRIMARY KEY, changed timestamp NOT NULL);
INSERT INTO archive.cursor VALUES ('study', :'since'), ('series', :'since');
