//! Reading the cells of a row, whatever database it comes from.

use chrono::NaiveDateTime;
use sqlx::error::UnexpectedNullError;
use sqlx::mysql::MySqlRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Column as _, Row as _, TypeInfo as _, ValueRef as _};

/// A cell that does not hold what its column promises. Says where, never what.
#[derive(Debug, thiserror::Error)]
#[error("column {column} of the answer cannot be read as {expected}")]
pub struct Damage {
    column: usize,
    expected: &'static str,
}

/// A row of an answer, its cells counted from 0.
pub trait Cells {
    /// A whole number.
    ///
    /// # Errors
    /// The cell holds something else.
    fn int(&self, column: usize) -> Result<Option<i64>, Damage>;

    /// A text.
    ///
    /// # Errors
    /// The cell holds something else.
    fn str(&self, column: usize) -> Result<Option<&str>, Damage>;

    /// A wall-clock time without zone.
    ///
    /// # Errors
    /// The cell holds something else.
    fn time(&self, column: usize) -> Result<Option<NaiveDateTime>, Damage>;

    /// A text, copied.
    ///
    /// # Errors
    /// The cell holds something else.
    fn text(&self, column: usize) -> Result<Option<String>, Damage> {
        Ok(self.str(column)?.map(str::to_owned))
    }

    /// A whole number that is never null.
    ///
    /// # Errors
    /// The cell is null or holds something else.
    fn key(&self, column: usize) -> Result<i64, Damage> {
        self.int(column)?.ok_or(Damage { column, expected: "a key" })
    }

    /// A text that is never null.
    ///
    /// # Errors
    /// The cell is null or holds something else.
    fn name(&self, column: usize) -> Result<String, Damage> {
        self.text(column)?.ok_or(Damage { column, expected: "a name" })
    }

    /// A number that stands for yes (not 0) or no.
    ///
    /// # Errors
    /// The cell holds something else.
    fn flag(&self, column: usize) -> Result<bool, Damage> {
        Ok(self.int(column)?.unwrap_or(0) != 0)
    }
}

impl Cells for PgRow {
    fn int(&self, column: usize) -> Result<Option<i64>, Damage> {
        self.try_get(column).map_err(|_| Damage { column, expected: "a whole number" })
    }

    fn str(&self, column: usize) -> Result<Option<&str>, Damage> {
        // The check of every cell for all types of texts takes longer than reading it.
        let is_text = self.columns().get(column).is_some_and(|of| matches!(of.type_info().name(), "VARCHAR" | "TEXT"));
        let text = if is_text { self.try_get_unchecked(column) } else { self.try_get(column) };
        text.map_err(|_| Damage { column, expected: "text" })
    }

    fn time(&self, column: usize) -> Result<Option<NaiveDateTime>, Damage> {
        self.try_get(column).map_err(|_| Damage { column, expected: "a time" })
    }
}

impl Cells for MySqlRow {
    fn int(&self, column: usize) -> Result<Option<i64>, Damage> {
        // Unchecked, as the text: which of many types of numbers or texts a column has depends on the
        // release of the archive and on the server.
        self.try_get_unchecked(column).map_err(|_| Damage { column, expected: "a whole number" })
    }

    fn str(&self, column: usize) -> Result<Option<&str>, Damage> {
        self.try_get_unchecked(column).map_err(|_| Damage { column, expected: "text" })
    }

    fn time(&self, column: usize) -> Result<Option<NaiveDateTime>, Damage> {
        match self.try_get_unchecked(column) {
            // The zero date, 0000-00-00, of an old server: no time.
            Err(sqlx::Error::ColumnDecode { source, .. }) if source.is::<UnexpectedNullError>() => Ok(None),
            other => other.map_err(|_| Damage { column, expected: "a time" }),
        }
    }
}

impl Cells for SqliteRow {
    fn int(&self, column: usize) -> Result<Option<i64>, Damage> {
        // Unchecked: SQLite's types belong to values, and an expression has none that could be checked.
        self.try_get_unchecked(column).map_err(|_| Damage { column, expected: "a whole number" })
    }

    fn str(&self, column: usize) -> Result<Option<&str>, Damage> {
        self.try_get_unchecked(column).map_err(|_| Damage { column, expected: "text" })
    }

    fn time(&self, column: usize) -> Result<Option<NaiveDateTime>, Damage> {
        let damage = || Damage { column, expected: "a time" };
        let raw = self.try_get_raw(column).map_err(|_| damage())?;
        if raw.is_null() {
            return Ok(None);
        }
        let text: String = self.try_get_unchecked(column).map_err(|_| damage())?;
        let format = if text.contains('T') { "%Y-%m-%dT%H:%M:%S%.f" } else { "%Y-%m-%d %H:%M:%S%.f" };
        NaiveDateTime::parse_from_str(&text, format).map(Some).map_err(|_| damage())
    }
}
