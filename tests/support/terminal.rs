//! Runs the program on a pseudo-terminal.

use std::io::Read as _;
use std::process::Command;

/// Runs a command on its own pseudo-terminal and returns its output and exit code.
pub fn on_a_terminal(command: Command) -> (Vec<u8>, i32) {
    let (mut pty, pts) = pty_process::blocking::open().unwrap();
    pty.resize(pty_process::Size::new(40, 200)).unwrap();
    let mut child = pty_process::blocking::Command::from(command)
        .spawn(pts)
        .unwrap();
    let mut written = Vec::new();
    let mut piece = [0; 4096];
    // Linux answers with an error at the end.
    while let Ok(length @ 1..) = pty.read(&mut piece) {
        written.extend_from_slice(&piece[..length]);
    }
    (written, child.wait().unwrap().code().unwrap_or(-1))
}
