//! The API over real loopback TCP and a real Unix socket, against a supervisor that does as told.

mod admittance;
mod clients;
mod contract;
mod encryption;
mod events;
mod fuzz;
mod goldens;
mod listening;
mod memory;
mod openapi;
mod orders;
mod reads;
mod refusals;
mod runs;
mod schedule;
mod server;
mod staying;
