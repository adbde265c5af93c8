//! The binary: parse, call the library, map the outcome to an exit code.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Set up in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    rbac_sync::cli::main(std::env::args_os()).into()
}
