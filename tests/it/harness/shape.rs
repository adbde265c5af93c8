//! The tables of an archive: facts by release, variants of them, and the DDL that they amount to.

use std::fmt::Write;

/// Facts read from the catalogues of loaded databases.
const FACTS: &str = include_str!("archive_columns.tsv");

/// The releases with facts, oldest first.
pub(crate) const RELEASES: [&str; 4] = ["5.23.3", "5.29.2", "5.34.3", "5.35.0"];

/// The columns of a person name before 5.23: the components of the alphabetic, ideographic and phonetic
/// group, in their order.
pub(crate) const NAME_COLUMNS: [[&str; 5]; 3] = [
    ["family_name", "given_name", "middle_name", "name_prefix", "name_suffix"],
    ["i_family_name", "i_given_name", "i_middle_name", "i_name_prefix", "i_name_suffix"],
    ["p_family_name", "p_given_name", "p_middle_name", "p_name_prefix", "p_name_suffix"],
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Postgres,
    Mariadb,
    Sqlite,
}

#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) not_null: bool,
    indexed: bool,
    key: String,
    references: Option<(String, String)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
}

/// The tables of one archive, referenced ones first.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) tables: Vec<Table>,
}

impl Shape {
    /// As a fresh installation of that release has it.
    pub(crate) fn release(release: &str) -> Self {
        let mut tables: Vec<Table> = Vec::new();
        for line in FACTS.lines().skip(1) {
            let fields: Vec<&str> = line.split('\t').collect();
            let [dialect, table, column, kind, null, index, key, references, releases] = fields[..] else {
                panic!("nine facts in: {line}")
            };
            if dialect != "postgresql" || !releases.split(',').any(|known| known == release) {
                continue;
            }
            if tables.last().is_none_or(|last| last.name != table) {
                tables.push(Table { name: table.to_owned(), columns: Vec::new() });
            }
            let references = references.split_once('.').map(|(table, column)| (table.to_owned(), column.to_owned()));
            tables.last_mut().expect("pushed above").columns.push(Column {
                name: column.to_owned(),
                kind: kind.to_owned(),
                not_null: null == "not null",
                indexed: index == "leading",
                key: key.to_owned(),
                references,
            });
        }
        assert!(!tables.is_empty(), "no facts about release {release}");
        Self { name: release.to_owned(), tables }
    }

    /// Before 5.23: a person name in 15 columns, one AE title on a series.
    pub(crate) fn before_5_23() -> Self {
        let mut shape = Self::release("5.23.3");
        "before 5.23".clone_into(&mut shape.name);
        for column in ["alphabetic_name", "ideographic_name", "phonetic_name"] {
            shape.drop_column("person_name", column);
        }
        for column in NAME_COLUMNS.as_flattened() {
            shape.add_column("person_name", column, "character varying(255)");
        }
        for column in ["sending_aet", "receiving_aet", "sending_pres_addr", "receiving_pres_addr"] {
            shape.drop_column("series", column);
        }
        shape.add_column("series", "src_aet", "character varying(255)");
        shape
    }

    /// Upgraded to 5.35 with the leavings of the releases before: the old link from patient to patient
    /// ID beside the new one, columns without defaults that may be null, no index on `created_time`.
    pub(crate) fn upgraded() -> Self {
        let mut shape = Self::release("5.35.0");
        "upgraded".clone_into(&mut shape.name);
        shape.add_column("patient", "patient_id_fk", "bigint");
        for table in ["patient", "study", "series"] {
            for column in &mut shape.table_mut(table).columns {
                match column.name.as_str() {
                    "created_time" => {
                        column.indexed = false;
                        "timestamp without time zone".clone_into(&mut column.kind);
                    }
                    "updated_time" => "timestamp without time zone".clone_into(&mut column.kind),
                    "rejection_state" => "integer".clone_into(&mut column.kind),
                    _ => {}
                }
            }
        }
        shape
    }

    /// All shapes that a PostgreSQL archive may have.
    pub(crate) fn all() -> Vec<Self> {
        let releases = RELEASES.iter().map(|release| Self::release(release));
        [Self::before_5_23()].into_iter().chain(releases).chain([Self::upgraded()]).collect()
    }

    pub(crate) fn table(&self, table: &str) -> Option<&Table> {
        self.tables.iter().find(|known| known.name == table)
    }

    pub(crate) fn column(&self, table: &str, column: &str) -> Option<&Column> {
        self.table(table)?.columns.iter().find(|known| known.name == column)
    }

    pub(crate) fn has(&self, table: &str, column: &str) -> bool {
        self.column(table, column).is_some()
    }

    fn table_mut(&mut self, table: &str) -> &mut Table {
        self.tables.iter_mut().find(|known| known.name == table).expect("a table of the facts")
    }

    fn add_column(&mut self, table: &str, name: &str, kind: &str) {
        self.table_mut(table).columns.push(Column {
            name: name.to_owned(),
            kind: kind.to_owned(),
            not_null: false,
            indexed: true,
            key: "-".to_owned(),
            references: None,
        });
    }

    fn drop_column(&mut self, table: &str, name: &str) {
        self.table_mut(table).columns.retain(|column| column.name != name);
    }

    /// The tables; with PostgreSQL keys to other tables come last, for they may form circles.
    pub(crate) fn ddl(&self, dialect: Dialect) -> String {
        let mut ddl = String::new();
        let mut keys = String::new();
        for table in &self.tables {
            let name = &table.name;
            let mut parts: Vec<String> = Vec::new();
            let mut behind: Vec<String> = Vec::new();
            for column in &table.columns {
                let foreign = column.references.as_ref().filter(|(other, _)| self.table(other).is_some());
                let mut part = format!("{} {}", column.name, dialect.kind(&column.kind));
                part += if column.not_null { " NOT NULL" } else { "" };
                part += match column.key.as_str() {
                    "pk" => " PRIMARY KEY",
                    "unique" => " UNIQUE",
                    _ => "",
                };
                if let Some((other, target)) = foreign {
                    let key = format!("FOREIGN KEY ({}) REFERENCES {other}({target})", column.name);
                    match dialect {
                        Dialect::Sqlite => write!(part, " REFERENCES {other}({target})").unwrap(),
                        Dialect::Mariadb => behind.push(key),
                        Dialect::Postgres => writeln!(keys, "ALTER TABLE {name} ADD {key};").unwrap(),
                    }
                }
                parts.push(part);
            }
            let together = table.columns.iter().filter(|column| column.key.starts_with("unique("));
            parts.extend(together.map(|column| column.key.to_uppercase()));
            let indexed = |column: &&Column| column.indexed && !["pk", "unique"].contains(&column.key.as_str());
            for column in table.columns.iter().filter(indexed) {
                match dialect {
                    Dialect::Mariadb if column.kind.starts_with("character") => {
                        behind.push(format!("INDEX ({}(64))", column.name));
                    }
                    Dialect::Mariadb => behind.push(format!("INDEX ({})", column.name)),
                    Dialect::Postgres | Dialect::Sqlite => {
                        writeln!(keys, "CREATE INDEX {name}_{0}_idx ON {name}({0});", column.name).unwrap();
                    }
                }
            }
            parts.extend(behind);
            writeln!(ddl, "CREATE TABLE {name} ({});", parts.join(", ")).unwrap();
        }
        match dialect {
            // Tables may refer to later ones.
            Dialect::Mariadb => format!("SET foreign_key_checks = 0; {ddl} SET foreign_key_checks = 1"),
            Dialect::Postgres | Dialect::Sqlite => ddl + &keys,
        }
    }
}

impl Dialect {
    /// The databases with logins, which all scenarios are played on.
    pub(crate) const SERVERS: [Self; 2] = [Self::Postgres, Self::Mariadb];

    /// The type as this dialect has it. The facts are PostgreSQL's: the catalogues of archives in MySQL and
    /// MariaDB differ from them in nothing but this and the length of prefixes in indexes.
    fn kind(self, postgres: &str) -> &str {
        match self {
            Self::Postgres => postgres,
            Self::Mariadb => match postgres {
                "bigint" => "bigint(20)",
                "integer" => "int(11)",
                "smallint" => "tinyint(4)",
                "boolean" => "bit(1)",
                "character varying(255)" => "varchar(255)",
                // Of old installations, and of upgraded ones: whole seconds.
                "timestamp without time zone" => "datetime",
                "timestamp(6) without time zone" => "datetime(6)",
                other => panic!("a type that no archive has: {other}"),
            },
            Self::Sqlite if postgres.starts_with("timestamp") => "timestamp",
            Self::Sqlite if postgres.starts_with("character") => "text",
            Self::Sqlite => postgres,
        }
    }
}
