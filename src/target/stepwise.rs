//! Making the tables in MySQL and MariaDB, where each statement of DDL ends the transaction: every step
//! can be repeated, and what a step has made is left as it is.

use crate::database::{Class, Error, Param, Session, Side};

/// Collations that tell apart whatever differs, a blank at the end too: MariaDB's and MySQL's.
const EXACT_COLLATIONS: [&str; 2] = ["utf8mb4_nopad_bin", "utf8mb4_0900_bin"];

/// Makes the tables, indexes and columns that are missing. Each statement begins with `CREATE TABLE name`,
/// `CREATE INDEX name` or `ALTER TABLE name ADD COLUMN name`.
///
/// # Errors
/// The server is too old, or the login may not make tables; or the database failed.
pub(super) async fn make_tables(session: &mut Session, statements: &[String]) -> Result<(), Error> {
    let options = table_options(session).await?;
    let names = statements.iter().filter_map(|statement| index_name(statement)).collect();
    let sql = "SELECT DISTINCT index_name FROM information_schema.statistics \
               WHERE table_schema = database() AND index_name IN ($1)";
    let indexes = session.fetch(&sql.into(), &[Param::Texts(names)], |cells| cells.name(0)).await?;
    for statement in statements {
        if let Some((table, column)) = added_column(statement) {
            if !has_column(session, table, column).await? {
                session.command(statement).await?;
            }
            continue;
        }
        match index_name(statement) {
            Some(index) if indexes.iter().any(|known| known == index) => {}
            Some(_) => session.command(statement).await?,
            None => {
                let table = statement.replacen("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1);
                session.command(&(table + &options)).await?;
            }
        }
    }
    Ok(())
}

/// Texts are compared by code point; transactions and foreign keys hold.
async fn table_options(session: &mut Session) -> Result<String, Error> {
    let sql = "SELECT collation_name FROM information_schema.collations WHERE collation_name IN ($1)".into();
    let found = session.fetch(&sql, &[Param::Texts(EXACT_COLLATIONS.to_vec())], |cells| cells.name(0)).await?;
    let collation = found.first().ok_or_else(|| {
        let text = "a target needs MariaDB 10.3 or MySQL 8.0.17, or newer: this server cannot tell texts apart that \
                    differ by a blank at the end";
        Error::new(Side::Target, Class::Permanent, text)
    })?;
    Ok(format!(" ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE={collation}"))
}

fn index_name(statement: &str) -> Option<&str> {
    statement.strip_prefix("CREATE INDEX ")?.split(' ').next()
}

/// The table and the column of `ALTER TABLE table ADD COLUMN column ...`.
fn added_column(statement: &str) -> Option<(&str, &str)> {
    let (table, column) = statement.strip_prefix("ALTER TABLE ")?.split_once(" ADD COLUMN ")?;
    Some((table, column.split(' ').next()?))
}

async fn has_column(session: &mut Session, table: &str, column: &str) -> Result<bool, Error> {
    let sql = "SELECT column_name FROM information_schema.columns \
               WHERE table_schema = database() AND table_name = $1 AND column_name = $2";
    let found = session.fetch(&sql.into(), &[Param::text(table), Param::text(column)], |cells| cells.name(0)).await?;
    Ok(!found.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_known_by_its_name() {
        assert_eq!(index_name("CREATE INDEX a_b ON a (b)"), Some("a_b"));
        assert_eq!(index_name("CREATE TABLE a (b bigint)"), None);
    }

    #[test]
    fn an_added_column_is_known_by_its_table_and_its_name() {
        assert_eq!(added_column("ALTER TABLE a ADD COLUMN b text"), Some(("a", "b")));
        assert_eq!(added_column("CREATE TABLE a (b bigint)"), None);
    }
}
