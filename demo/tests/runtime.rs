//! Tests of the demonstration runtime as a process: its exit codes, its port and its signals.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed step ends the test"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::{Value, json};

fn demo(configs: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orghost-demo"));
    command
        .env_clear()
        .env("WORKSPACE_CONFIG_PATH", configs)
        .env("WORKSPACE_ID", "ws-1")
        .env("HOST", "127.0.0.1")
        .env("PORT", "0");
    command
}

fn refused(configs: &Path) -> Output {
    let output = demo(configs).output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(i32::from(orghost_demo::EX_CONFIG))
    );
    output
}

/// A running workspace, which is killed when the test ends.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    port: u16,
}

impl Running {
    fn start(configs: &Path) -> Self {
        let mut child = demo(configs).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let port = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(line, format!("orghost-demo: It's PM listening on {port}\n"));
        Self { child, out, port }
    }

    fn http(&self, method: &str, path: &str, body: &str) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: demo\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    fn call(&self, path: &str, method: &str, params: Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
        self.http("POST", path, &call.to_string())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn seeded() -> tempfile::TempDir {
    let configs = tempfile::tempdir().unwrap();
    std::fs::write(
        configs.path().join("config.yaml"),
        "runtime: demo\nname: 'It''s PM'\n",
    )
    .unwrap();
    std::fs::create_dir(configs.path().join("prompts")).unwrap();
    std::fs::write(configs.path().join("prompts/system.md"), "Be brief.").unwrap();
    configs
}

#[test]
fn a_missing_config_exits_with_78_and_names_the_file() {
    let configs = tempfile::tempdir().unwrap();
    let output = refused(configs.path());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains(configs.path().join("config.yaml").to_str().unwrap()),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1);
}

#[test]
fn an_empty_config_exits_with_78() {
    let configs = tempfile::tempdir().unwrap();
    std::fs::write(configs.path().join("config.yaml"), "\n").unwrap();
    let output = refused(configs.path());
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("it is empty")
    );
}

#[test]
fn it_serves_until_sigterm_and_exits_with_0() {
    let configs = seeded();
    let mut demo = Running::start(configs.path());

    assert_eq!(
        demo.http("GET", "/health", ""),
        json!({ "status": "ok", "name": "It's PM", "workspace_id": "ws-1" })
    );
    assert_eq!(
        demo.http("GET", "/config", "")["files"],
        json!(["config.yaml", "prompts/system.md"])
    );
    assert_eq!(
        demo.http("GET", "/.well-known/agent-card.json", "")["url"],
        "http://demo/a2a"
    );

    // An open connection must not delay the exit.
    let _idle = TcpStream::connect(("127.0.0.1", demo.port)).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&demo.child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert_eq!(demo.child.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    demo.out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "orghost-demo: It's PM stopped\n");
}

#[test]
fn json_rpc_calls_are_answered_with_a_result_or_an_error() {
    let configs = seeded();
    let demo = Running::start(configs.path());
    let parts = json!([{ "kind": "text", "text": "hello" }]);

    for path in ["/", "/a2a"] {
        let message = json!({ "role": "user", "messageId": "m", "contextId": "c", "parts": parts });
        let reply = demo.call(path, "message/send", json!({ "message": message }));
        let echo = json!({ "kind": "message", "role": "agent", "messageId": "m-echo", "contextId": "c", "parts": parts });
        assert_eq!(reply, json!({ "jsonrpc": "2.0", "id": 7, "result": echo }));
    }
    let restart = demo.call(
        "/signals/restart_pending",
        "signals/restart_pending",
        json!({ "workspace_id": "ws-1", "drain_seconds": 20 }),
    );
    assert_eq!(restart["result"]["status"], "acknowledged");

    let code = |answer: Value| answer["error"]["code"].as_i64().unwrap();
    assert_eq!(code(demo.http("POST", "/", "{")), -32700);
    assert_eq!(code(demo.http("POST", "/", "[]")), -32600);
    assert_eq!(code(demo.call("/", "tasks/get", json!({}))), -32601);
    assert_eq!(code(demo.call("/", "message/send", json!({}))), -32602);
}
