//! The binary: parse, call the library, map the outcome to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    rbac_sync::cli::main(std::env::args_os()).into()
}
