//! The program `tetra`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    tetra::run(std::env::args_os())
}
