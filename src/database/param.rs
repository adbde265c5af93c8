//! What is bound to a statement.

use chrono::{DateTime, NaiveDateTime, Utc};

/// The value of one cell to be written.
#[derive(Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A whole number or null.
    Int(Option<i64>),
    /// A text or null.
    Text(Option<&'a str>),
    /// A wall-clock time without zone, or null.
    Time(Option<NaiveDateTime>),
}

/// The type of a [`Value`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// [`Value::Int`]
    Int,
    /// [`Value::Text`]
    Text,
    /// [`Value::Time`]
    Time,
}

/// A parameter of a statement.
pub enum Param<'a> {
    /// One cell.
    Cell(Value<'a>),
    /// An instant or null.
    Instant(Option<DateTime<Utc>>),
    /// Keys, each once, for [`any`](super::any); a statement has one such list at the most.
    Ints(&'a [i64]),
    /// Names, each once, for [`any`](super::any).
    Texts(Vec<&'a str>),
    /// One column of many rows, for PostgreSQL's `UNNEST`.
    Column(ValueKind, Vec<Value<'a>>),
}

impl Param<'_> {
    /// Whether it stands for many values.
    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::Ints(_) | Self::Texts(_) | Self::Column(..))
    }

    /// One whole number.
    #[must_use]
    pub fn int(value: i64) -> Self {
        Self::Cell(Value::Int(Some(value)))
    }
}

impl<'a> Param<'a> {
    /// One text.
    #[must_use]
    pub fn text(value: &'a str) -> Self {
        Self::Cell(Value::Text(Some(value)))
    }
}

impl Value<'_> {
    pub(super) fn as_int(&self) -> Option<i64> {
        if let Self::Int(value) = self { *value } else { None }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        if let Self::Text(value) = self { *value } else { None }
    }

    pub(super) fn as_time(&self) -> Option<NaiveDateTime> {
        if let Self::Time(value) = self { *value } else { None }
    }
}
