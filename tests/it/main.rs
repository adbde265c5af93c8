//! Integration tests: the real program against real databases.
//!
//! [`harness`] starts throw-away servers of PostgreSQL and MariaDB and the program, makes archives of every release
//! and judges targets by an own computation; each other file holds the scenarios of one subject.
//!
//! - `RBAC_SYNC_TEST_SEED=N` repeats the random choices of a failed run (every failure prints its seed).
//! - `RBAC_SYNC_TEST_KILLS=N` kills daemons that take turns N times for each kind of target.
//! - `RBAC_SYNC_TEST_STUDIES=N` makes the larger archives larger.
//! - `RBAC_SYNC_TEST_SECONDS=N` lets the concurrent writers of [`convergence`] write for N seconds instead of
//!   about 25; some thousands make the long version of that test.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

mod access;
mod bumps;
mod changes;
mod clocks;
mod commands;
mod control;
mod convergence;
mod crash;
mod daemon;
mod deletes;
mod disks;
mod events;
mod faults;
mod first_load;
mod fixture;
mod hostile;
mod instances;
mod listeners;
mod mariadb;
mod merges;
mod neighbours;
mod openapi;
mod orphans;
mod outage;
mod privacy;
mod refusals;
mod reload;
mod restores;
mod saves;
mod schedule;
mod sources;
mod spelling;
mod standby;
mod storm;
mod systemd;
mod traps;
mod visibility;
