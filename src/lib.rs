//! rbac-sync keeps an RBAC database in step with a dcm4chee-arc-light archive.
//!
//! # Bird's-eye view
//!
//! ```text
//! TOML -> config -> supervisor -> engine::run(source, target) -> RunReport
//!                       |                                            |
//!         api, cli <- Snapshot <- history, metrics  <----------------+
//! ```
//!
//! A change in the archive is only ever a *hint*: it names a patient or a study to look at again.
//! Looking again is one code path ([`engine`]): read the patient or the whole study from the
//! source, compare it with the target, write what differs. Everything that finds hints (the delta
//! query, the full run, the rolling comparison) feeds that path, so there is one place to trust.
//!
//! # Map
//!
//! | module | owns |
//! |---|---|
//! | [`config`] | the TOML file and the environment, validated into one immutable [`config::Config`] |
//! | [`model`] | what a patient, a study, a series and an instance mean in the target; normalisation of source values |
//! | [`database`] | sessions with a database of whatever dialect, and one kind of error |
//! | [`source`] | reading an archive's database: introspection and the SQL of each dialect |
//! | [`target`] | the RBAC database: schema, rows, cursors, history and control state |
//! | [`engine`] | one run: hints, projection, plan, apply, deletes |
//! | [`schedule`] | when the next run is due: pure functions |
//! | [`supervisor`] | the one task that owns configuration, timers and what is running |
//! | [`history`] | the records of past runs and of other changes, and who asked for them |
//! | [`metrics`] | Prometheus names and values |
//! | [`api`] | the control routes over the Unix socket and HTTP, and who may use which |
//! | [`cli`] | the command line and the client of the control routes |
//! | [`daemon`] | wiring of a daemon: start order, drain order |
//! | `rendezvous` | the link by which clients find the service's socket whatever the file says |
//! | [`signal`], [`systemd`], [`telemetry`] | the daemon's edges to the operating system |
//! | [`demo`] | an embedded archive and a simulator that keeps changing it |
//!
//! # Architecture invariants
//!
//! - Architecture invariant: [`engine`] knows neither [`supervisor`], [`api`] nor [`metrics`]; a
//!   run gets its settings by value and gives back a report by value.
//! - Architecture invariant: a cursor moves in the target transaction that writes the last of the rows
//!   which it covers, and never past a delete that has not been carried out.
//! - Architecture invariant: one process at a time writes to a target; every transaction that writes
//!   passes the fence of [`target`] first.
//! - Architecture invariant: no source is read inside a target transaction, so that a slow archive holds
//!   up no other.
//! - Architecture invariant: nothing is ever written to a source; its session is read-only.
//! - Architecture invariant: the supervisor's loop awaits no database and no file.
//! - Architecture invariant: nothing is changed by a request before [`api`] knows its sender, and every change
//!   is written to the audit with that name.
//! - Architecture invariant: no row value and no secret reaches a log line, an error, a metric or a
//!   `Debug` output.

pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod database;
pub mod demo;
pub mod engine;
pub mod history;
#[cfg(test)]
mod manual;
pub mod metrics;
pub mod model;
mod rendezvous;
pub mod schedule;
pub mod signal;
pub mod source;
pub mod supervisor;
pub mod systemd;
pub mod target;
pub mod telemetry;
