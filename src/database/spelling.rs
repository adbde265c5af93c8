//! Pieces of SQL that every dialect has, each under its own spelling. Pure.

use crate::config::Dialect;

/// `column` is one of the keys or names in the first parameter.
#[must_use]
pub fn any(dialect: Dialect, column: &str) -> String {
    match dialect {
        Dialect::Postgres => format!("{column} = ANY($1)"),
        // The session writes a parameter for each key.
        Dialect::Mysql => format!("{column} IN ($1)"),
        Dialect::Sqlite => format!("{column} IN (SELECT value FROM json_each($1))"),
    }
}

/// `expression` as a whole number of 64 bits.
#[must_use]
pub fn bigint(dialect: Dialect, expression: &str) -> String {
    match dialect {
        Dialect::Postgres | Dialect::Sqlite => format!("CAST({expression} AS bigint)"),
        Dialect::Mysql => format!("CAST({expression} AS signed)"),
    }
}

/// Behind an `INSERT`: a row whose `key` is there already stays as it is.
#[must_use]
pub fn on_conflict_keep(dialect: Dialect, key: &str) -> String {
    match dialect {
        Dialect::Postgres | Dialect::Sqlite => format!(" ON CONFLICT ({key}) DO NOTHING"),
        // IGNORE would ignore all other errors too.
        Dialect::Mysql => format!(" ON DUPLICATE KEY UPDATE {key} = {key}"),
    }
}

/// Behind an `INSERT`: a row whose `keys` are there already gets the new values of `columns`, and what
/// `constants` say.
#[must_use]
pub fn on_conflict_set(dialect: Dialect, keys: &[&str], columns: &[&str], constants: &[&str]) -> String {
    let (head, mut sets) = match dialect {
        Dialect::Postgres | Dialect::Sqlite => {
            let sets = columns.iter().map(|column| format!("{column} = excluded.{column}")).collect::<Vec<_>>();
            (format!(" ON CONFLICT ({}) DO UPDATE SET ", keys.join(", ")), sets)
        }
        Dialect::Mysql => {
            // Here any unique key counts as a conflict. If it was another one than `keys`, the row is not
            // the one that is meant: the null makes the statement fail, as it does in the other dialects.
            let same = keys.iter().map(|key| format!("{key} = VALUES({key})")).collect::<Vec<_>>().join(" AND ");
            let guard = format!("{0} = IF({same}, VALUES({0}), NULL)", keys[0]);
            let sets = columns.iter().map(|column| format!("{column} = VALUES({column})"));
            (" ON DUPLICATE KEY UPDATE ".to_owned(), std::iter::once(guard).chain(sets).collect())
        }
    };
    sets.extend(constants.iter().map(|constant| (*constant).to_owned()));
    head + &sets.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upsert_sets_what_is_new_and_what_is_constant() {
        let spelled = |dialect| on_conflict_set(dialect, &["id"], &["name"], &["deleted_at = NULL"]);
        assert_eq!(spelled(Dialect::Sqlite), " ON CONFLICT (id) DO UPDATE SET name = excluded.name, deleted_at = NULL");
        assert_eq!(
            spelled(Dialect::Mysql),
            " ON DUPLICATE KEY UPDATE id = IF(id = VALUES(id), VALUES(id), NULL), name = VALUES(name), deleted_at = NULL"
        );
    }
}
