//! The binary: parse, call the library, map the outcome to an exit code.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// What it is set to is in `.cargo/config.toml`. C code, such as SQLite, keeps the system's.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    rbac_sync::cli::main(std::env::args_os()).into()
}
