//! PostgreSQL's binary `COPY` format: the fastest way to add many rows. Pure.
//!
//! The protocol offers no parameters here, so values that all rows share are cells like the others.

use chrono::{DateTime, NaiveDateTime, Utc};

use super::Value;

/// Signature, flags, and the length of a header extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Where rows end: a number of columns that no row has.
const TRAILER: [u8; 2] = (-1i16).to_be_bytes();
/// A cell without value, in place of its length.
const NULL: [u8; 4] = (-1i32).to_be_bytes();
/// Encoded rows are sent in parts of about this size.
const PART: usize = 256 * 1024;

/// A value that all rows share, behind the others.
#[derive(Clone, Copy)]
pub enum Shared {
    /// A whole number.
    Int(i64),
    /// An instant.
    Instant(DateTime<Utc>),
}

/// Rows on their way, encoded part by part.
pub(super) struct Parts<I> {
    rows: I,
    /// The shared values, encoded, and how many they are.
    shared: Vec<u8>,
    shares: usize,
    /// What begins the next part; none: the last part was given.
    next: Option<Vec<u8>>,
}

impl<I> Parts<I> {
    pub(super) fn new(rows: I, shared: &[Shared]) -> Self {
        let mut encoded = Vec::new();
        for value in shared {
            match value {
                Shared::Int(value) => field(&value.to_be_bytes(), &mut encoded),
                Shared::Instant(instant) => field(&micros(instant.naive_utc()).to_be_bytes(), &mut encoded),
            }
        }
        Self { rows, shared: encoded, shares: shared.len(), next: Some(HEADER.to_vec()) }
    }
}

impl<'a, I: Iterator<Item = Vec<Value<'a>>>> Iterator for Parts<I> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut part = self.next.take()?;
        part.reserve(PART);
        while part.len() < PART {
            let Some(row) = self.rows.next() else {
                part.extend(TRAILER);
                return Some(part);
            };
            let columns = i16::try_from(row.len() + self.shares).expect("a table has few columns");
            part.extend(columns.to_be_bytes());
            row.iter().for_each(|value| encode(*value, &mut part));
            part.extend(&self.shared);
        }
        self.next = Some(Vec::new());
        Some(part)
    }
}

fn encode(value: Value<'_>, part: &mut Vec<u8>) {
    match value {
        Value::Int(Some(value)) => field(&value.to_be_bytes(), part),
        Value::Text(Some(text)) => field(text.as_bytes(), part),
        Value::Time(Some(time)) => field(&micros(time).to_be_bytes(), part),
        Value::Int(None) | Value::Text(None) | Value::Time(None) => part.extend(NULL),
    }
}

fn field(bytes: &[u8], part: &mut Vec<u8>) {
    let length = i32::try_from(bytes.len()).expect("a text of a row was read from a row, which is smaller than 2 GiB");
    part.extend(length.to_be_bytes());
    part.extend(bytes);
}

/// Microseconds since PostgreSQL's epoch.
fn micros(time: NaiveDateTime) -> i64 {
    const EPOCH: i64 = 946_684_800_000_000; // 2000-01-01 in Unix time
    time.and_utc().timestamp_micros() - EPOCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rows_are_a_header_and_a_trailer() {
        let parts: Vec<_> = Parts::new([].into_iter(), &[]).collect();
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0][..11], *b"PGCOPY\n\xff\r\n\0");
        assert_eq!(parts[0][11..], [0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    }

    #[test]
    fn a_row_is_a_count_and_cells_with_their_length() {
        let time = DateTime::from_timestamp(946_684_800, 1_000).expect("a time");
        let row =
            vec![Value::Int(Some(-2)), Value::Text(Some("é")), Value::Text(None), Value::Time(Some(time.naive_utc()))];
        let part = Parts::new([row].into_iter(), &[Shared::Instant(time)]).collect::<Vec<_>>().concat();
        let mut expected = vec![0, 5, 0, 0, 0, 8, 255, 255, 255, 255, 255, 255, 255, 254, 0, 0, 0, 2, 0xc3, 0xa9];
        expected.extend([255, 255, 255, 255]);
        for _ in 0..2 {
            expected.extend([0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1]);
        }
        expected.extend(TRAILER);
        assert_eq!(part[HEADER.len()..], expected);
    }

    #[test]
    fn many_rows_come_in_parts_of_bounded_size_and_none_is_lost() {
        let text = "x".repeat(1000);
        let rows = vec![vec![Value::Text(Some(&text))]; 1000];
        let parts: Vec<_> = Parts::new(rows.into_iter(), &[]).collect();
        assert!(parts.len() > 3 && parts.iter().all(|part| part.len() < PART + 2000));
        assert_eq!(parts.concat().len(), HEADER.len() + 1000 * (2 + 4 + 1000) + TRAILER.len());
    }
}
