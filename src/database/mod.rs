//! Sessions with a database, of whatever dialect: connect, ask, change; and one kind of error.
//!
//! Owns everything that differs between database products below the level of tables: logging in,
//! placeholders, binding, decoding, error codes. It knows no table of an archive nor of the target.
//! A new dialect is one more variant here and in [`Dialect`](crate::config::Dialect).

mod cells;
mod copy;
mod error;
mod failure;
mod mysql;
mod param;
mod patience;
mod postgres;
mod session;
mod slot;
mod spelling;
mod sqlite;

pub use cells::{Cells, Damage};
pub use copy::Shared;
pub use error::{Class, Error, Side};
pub use param::{Param, Value, ValueKind};
pub use session::{Access, Session};
pub use slot::{Lease, Slot};
pub use spelling::{any, bigint, on_conflict_keep, on_conflict_set};

/// What `check --connect` says about a database.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Inspection {
    /// Product and version.
    pub server: String,
    /// What was found, one line each ("patient IDs: patient_id.patient_fk").
    pub findings: Vec<String>,
    /// What would help, one line each, with the DDL.
    pub advice: Vec<String>,
}
