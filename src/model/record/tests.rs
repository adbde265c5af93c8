use chrono::{DateTime, NaiveDateTime};

use super::*;

/// Cells as an answer has them.
struct Row<'a>(Vec<Value<'a>>);

impl Cells for Row<'_> {
    fn int(&self, column: usize) -> Result<Option<i64>, Damage> {
        let Value::Int(value) = self.0[column] else { panic!("column {column} is no number") };
        Ok(value)
    }

    fn str(&self, column: usize) -> Result<Option<&str>, Damage> {
        let Value::Text(value) = self.0[column] else { panic!("column {column} is no text") };
        Ok(value)
    }

    fn time(&self, column: usize) -> Result<Option<NaiveDateTime>, Damage> {
        let Value::Time(value) = self.0[column] else { panic!("column {column} is no time") };
        Ok(value)
    }
}

/// A row whose cells all differ.
fn cells(columns: &[Column]) -> Vec<Value<'static>> {
    let cell = |(number, column): (usize, &Column)| match column.kind {
        ValueKind::Int => Value::Int(Some(number as i64 + 100)),
        ValueKind::Text => Value::Text(Some(column.name)),
        ValueKind::Time => Value::Time(DateTime::from_timestamp(number as i64, 0).map(|time| time.naive_utc())),
    };
    columns.iter().enumerate().map(cell).collect()
}

fn a_row_is_found_in_its_cells<T: Record + Keyed + PartialEq>() {
    let all = cells(T::COLUMNS);
    let row = Row([vec![Value::Int(Some(1)), Value::Int(Some(0))], all.clone()].concat());
    let Ok(record) = T::from_cells(&row, 2) else { panic!("{}: unreadable", T::TABLE) };
    assert!(record.values() == all, "{}: other cells than were read", T::TABLE);
    assert!(T::key_of(&row, 2).is_ok_and(|key| key == record.key()), "{}: another key", T::TABLE);
    assert!(record.is_in(&row, 2).is_ok_and(|equal| equal), "{}: not in its own cells", T::TABLE);
    for (column, of) in (2..).zip(T::COLUMNS) {
        let mut other = Row(row.0.clone());
        other.0[column] = match of.kind {
            ValueKind::Int => Value::Int(None),
            ValueKind::Text => Value::Text(None),
            ValueKind::Time => Value::Time(None),
        };
        assert!(record.is_in(&other, 2).is_ok_and(|equal| !equal), "{}: column {column} is missed", T::TABLE);
    }
}

#[test]
fn a_row_is_known_by_its_cells_as_by_itself() {
    a_row_is_found_in_its_cells::<Patient>();
    a_row_is_found_in_its_cells::<Study>();
    a_row_is_found_in_its_cells::<Series>();
    a_row_is_found_in_its_cells::<Instance>();
}
