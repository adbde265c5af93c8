//! Integration tests: the real program against real databases.
//!
//! [`harness`] starts throw-away PostgreSQL clusters and the program, makes archives of every release
//! and judges targets by an own computation; each other file holds the scenarios of one subject.
//!
//! - `RBAC_SYNC_TEST_SEED=N` repeats the random choices of a failed run (every failure prints its seed).
//! - `RBAC_SYNC_TEST_KILLS=N` kills daemons that take turns N times for each kind of target.
//! - `RBAC_SYNC_TEST_STUDIES=N` makes the larger archives larger.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

mod changes;
mod commands;
mod control;
mod crash;
mod daemon;
mod deletes;
mod faults;
mod first_load;
mod fixture;
mod listeners;
mod merges;
mod neighbours;
mod outage;
mod privacy;
mod refusals;
mod reload;
mod sources;
mod standby;
mod systemd;
mod traps;
