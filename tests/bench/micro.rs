//! Micro-benchmarks of the pure steps between two databases: decoding a row, normalising its values, comparing
//! it with the row that stands, and planning a batch. `cargo bench` runs them; they need no server.
//!
//! The rows to decode come from SQLite in memory, fetched before the clock runs, so that a decoder reads what a
//! driver gives it. A batch is what one transaction of a run holds: 1,000 studies with three series each.

use std::hint::black_box;

use chrono::NaiveDate;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rbac_sync::engine::plan;
use rbac_sync::model::{Record, Series, joined, person_name, split_ids, text, to_millis};
use rbac_sync::source::SourceSeries;
use rbac_sync::target::Existing;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Series of one batch.
const BATCH: usize = 3000;

/// The columns of the archive's query for series, filled as an archive fills them.
const SOURCE_ROWS: &str = "WITH RECURSIVE counter (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < $1) \
    SELECT n, n / 3, '1.2.840.113619.2.55.3.' || n, 'AXIAL', 'CT', 'CHEST', '*', 'HOSPITAL ' || n % 20, 'RAD', \
    'AE' || n % 30, 'ARC', 'STAFF\\RESEARCH', 0, 'CODE' || n % 20, '2026-01-01 10:00:00.123', \
    '2026-01-02 11:30:00.456' FROM counter";

/// The columns of `rbac_series`, in the order of [`Series::COLUMNS`].
const TARGET_ROWS: &str = "WITH RECURSIVE counter (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < $1) \
    SELECT n, n / 3, '1.2.840.113619.2.55.3.' || n, 'AXIAL', 'CT', 'CHEST', NULL, n % 20, 'HOSPITAL ' || n % 20, \
    'RAD', 'AE' || n % 30, 'ARC', 'RESEARCH\\STAFF', 0, '2026-01-01 10:00:00.123', '2026-01-02 11:30:00.456' \
    FROM counter";

fn fetch(sql: &'static str) -> Vec<SqliteRow> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O");
    runtime.block_on(async {
        let mut session = SqliteConnection::connect("sqlite::memory:").await.expect("a database in memory");
        let rows = sqlx::query(sql).bind(BATCH as i64).fetch_all(&mut session).await;
        rows.expect("the statement above is correct")
    })
}

fn target_rows() -> Vec<Series> {
    let rows = fetch(TARGET_ROWS);
    rows.iter().map(|row| Series::from_cells(row, 0).expect("the columns of rbac_series")).collect()
}

fn existing(rows: &[Series]) -> Vec<Existing<Series>> {
    let numbered = (1..).zip(rows);
    numbered.map(|(id, row)| Existing { id, deleted: false, row: row.clone() }).collect()
}

fn decode(criterion: &mut Criterion) {
    let (source, target) = (fetch(SOURCE_ROWS), fetch(TARGET_ROWS));
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("series of the archive, normalised", |bencher| {
        bencher.iter(|| {
            for row in &source {
                black_box(SourceSeries::from_cells(row).expect("the columns of the query"));
            }
        });
    });
    group.bench_function("series of the target", |bencher| {
        bencher.iter(|| {
            for row in &target {
                black_box(Series::from_cells(row, 0).expect("the columns of rbac_series"));
            }
        });
    });
}

fn normalise(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("normalise");
    group.bench_function("text", |bencher| {
        bencher.iter(|| text(black_box(Some("CT ABDOMEN"))));
    });
    group.bench_function("person name, second group", |bencher| {
        bencher.iter(|| person_name(black_box([Some("*"), Some("Hong^Gildong^^^"), None])));
    });
    group.bench_function("access control IDs of a column", |bencher| {
        bencher.iter(|| joined(split_ids(black_box("STAFF\\RESEARCH\\STAFF\\ICU"))));
    });
    group.bench_function("modalities of 300 series", |bencher| {
        let modalities = ["CT", "SR", "CT", "PR"].repeat(75);
        bencher.iter(|| joined(black_box(&modalities).iter().copied()));
    });
    group.bench_function("time", |bencher| {
        let day = NaiveDate::from_ymd_opt(2026, 1, 2).expect("a date");
        let time = day.and_hms_nano_opt(11, 30, 0, 456_789_000).expect("a time");
        bencher.iter(|| to_millis(black_box(time)));
    });
}

fn compare(criterion: &mut Criterion) {
    let wanted = target_rows();
    let there = wanted.clone();
    let mut group = criterion.benchmark_group("compare");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("equal series", |bencher| {
        bencher.iter(|| black_box(&wanted).iter().zip(black_box(&there)).filter(|(a, b)| a == b).count());
    });
    group.bench_function("series with rows of the target", |bencher| {
        let cells = fetch(TARGET_ROWS);
        let equal = |(series, row): &(&Series, &SqliteRow)| series.is_in(*row, 0).expect("the columns of rbac_series");
        bencher.iter(|| black_box(&wanted).iter().zip(&cells).filter(equal).count());
    });
    group.bench_function("cells of a series", |bencher| {
        bencher.iter(|| black_box(&wanted).iter().map(|series| series.values().len()).sum::<usize>());
    });
}

fn plan_batch(criterion: &mut Criterion) {
    let rows = target_rows();
    let changed: Vec<Series> = rows.iter().map(|row| Series { rejection_state: Some(1), ..row.clone() }).collect();
    let mut group = criterion.benchmark_group("plan");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, wanted, there) in [
        ("all new", &rows, &[][..]),
        ("nothing different", &rows, &rows[..]),
        ("all changed", &changed, &rows[..]),
        ("all gone", &Vec::new(), &rows[..]),
    ] {
        group.bench_function(name, |bencher| {
            let batch = || (wanted.clone(), existing(there));
            bencher.iter_batched(batch, |(wanted, there)| plan(wanted, there), BatchSize::LargeInput);
        });
    }
}

criterion_group!(micro, decode, normalise, compare, plan_batch);
criterion_main!(micro);
