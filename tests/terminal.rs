//! Tests of the program's output on a pseudo-terminal.

use crate::support::server::Server;
use crate::support::terminal::on_a_terminal;
use crate::support::{Operator, Ran};

const ORG: &str = "name: Acme\nworkspaces: [{name: One, runtime: loud}]\n";

/// Clears the screen, sets a title, writes to the clipboard, asks for the cursor position, and prints text in between.
const CONTROL_SEQUENCES: &str = r"printf '\033[2J\033]0;owned\007\033]52;c;cm0=\007\033[6n\033[31mgr\303\274n\033[0m\nnext\n'; exec sleep 1000";

/// The text in it.
const TEXT: &str = "grün\r\nnext\r\n";

fn with_control_sequences() -> (Operator, String, String) {
    let operator = Operator::new();
    let template = operator.template(&[("org.yaml", ORG)]);
    let config = format!(
        "[runtimes.loud]\ncommand = ['/bin/sh', '-c', \"\"\"{}\"\"\"]\n",
        CONTROL_SEQUENCES.replace('\\', "\\\\")
    );
    let config = operator.file("orghost.toml", config).display().to_string();
    (operator, template, config)
}

/// Waits until the workspace has printed its last line.
fn has_printed(operator: &Operator, logs: &[&str]) -> Ran {
    let began = std::time::Instant::now();
    loop {
        let ran = operator.run(logs).exits(0);
        if ran.stdout.contains("next") {
            return ran;
        }
        assert!(began.elapsed().as_secs() < 60, "{:?}", ran.stdout);
    }
}

fn logs_are_harmless(operator: &Operator) {
    let printed = has_printed(operator, &["logs", "one"]);
    // Standard output that is not a terminal gets the bytes unchanged.
    assert!(
        printed.stdout.starts_with("\u{1b}[2J\u{1b}]0;owned\u{7}"),
        "{:?}",
        printed.stdout
    );
    let (written, code) = on_a_terminal(operator.command(&["logs", "one"]));
    assert_eq!(
        (String::from_utf8_lossy(&written).as_ref(), code),
        (TEXT, 0)
    );
    let (written, _) = on_a_terminal(operator.command(&["logs", "one", "--raw"]));
    let raw = String::from_utf8_lossy(&written);
    assert!(
        raw.contains("\u{1b}[2J") && raw.contains("\u{1b}]52;c;"),
        "{raw:?}"
    );
}

#[test]
fn logs_send_no_control_sequences_to_a_terminal() {
    let (operator, template, config) = with_control_sequences();
    let up = ["up", &template, "--engine", "local", "--config", &config];
    operator.run(&up).exits(0);
    logs_are_harmless(&operator);
    operator.run(&["down", "acme", "--volumes"]).exits(0);
}

#[test]
fn logs_over_a_server_send_no_control_sequences_to_a_terminal() {
    let (machine, template, config) = with_control_sequences();
    let server = Server::start(&machine, &["--engine", "local", "--config", &config]);
    let operator = Operator::new().with_env("ORGHOST_SERVER", &server.url);
    operator.run(&["up", &template]).exits(0);
    logs_are_harmless(&operator);
    operator.run(&["down", "acme", "--volumes"]).exits(0);
}

#[test]
fn an_interrupt_ends_following_a_log() {
    use std::io::{BufRead as _, BufReader};
    let (operator, template, config) = with_control_sequences();
    let up = ["up", &template, "--engine", "local", "--config", &config];
    operator.run(&up).exits(0);
    let mut command = operator.command(&["logs", "one", "--follow", "--json"]);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut parsed =
        || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    while parsed()["line"] != "next" {}
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(parsed()["errors"][0]["code"], "interrupted");
    operator.run(&["down", "acme", "--volumes"]).exits(0);
}

#[test]
fn progress_on_a_terminal_shows_removals() {
    let summary =
        "acme: 1 workspace: 0 started, 1 unchanged; 2 removed (no longer in the template)";
    for kind in ["xterm", ""] {
        let operator = Operator::new().with_env("TERM", kind);
        let org =
            |names: &str| format!("name: Acme\ndefaults: {{runtime: x}}\nworkspaces: [{names}]\n");
        let template = operator.template(&[("org.yaml", &org("{name: A}, {name: B}, {name: C}"))]);
        let up = [
            "up", &template, "--demo", "--engine", "local", "--prune", "--yes",
        ];
        operator.run(&up).exits(0);
        operator.template(&[("org.yaml", &org("{name: A}"))]);
        let (written, code) = on_a_terminal(operator.command(&up));
        let written = String::from_utf8_lossy(&written);
        assert_eq!(code, 0, "{written}");
        for line in ["unchanged at ", "[1 removed] ", "[2 removed] ", summary] {
            assert!(written.contains(line), "{kind} {line}: {written:?}");
        }
        operator.run(&["down", "acme", "--volumes"]).exits(0);
    }
}
