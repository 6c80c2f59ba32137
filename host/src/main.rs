//! A stand-in: only the local engine's hidden commands.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use orghost::provision::local;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [command, folder] if command == local::SUPERVISE => local::supervise(Path::new(folder)),
        [command, dashes, rest @ ..] if command == local::EXEC_CHILD && dashes == "--" => {
            local::exec_child(rest)
        }
        _ => ExitCode::from(2),
    }
}
