//! The demonstration runtime: the program of a workspace that echoes messages. It does not read the process environment and
//! writes no file.
//!
//! It first reads `config.yaml`, and exits with [`EX_CONFIG`] when that file is missing or empty. So an engine that starts a
//! workspace before it has seeded it is noticed at once. Then it serves `/health`, an agent card and an A2A echo until SIGTERM
//! or SIGINT.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// The exit code for a missing or empty `config.yaml`: EX_CONFIG of `sysexits.h`.
pub const EX_CONFIG: u8 = 78;

/// The variables of the process environment. The defaults are those of a container.
#[derive(Debug, Clone, Default)]
pub struct Env {
    /// `WORKSPACE_CONFIG_PATH`: the folder of `config.yaml`. Default: `/configs`.
    pub config_path: Option<String>,
    /// `PORT`: the port to listen on. Default: 8000. With 0 the system chooses one, and the first line of output has it.
    pub port: Option<String>,
    /// `HOST`: the address to listen on. Default: `0.0.0.0`.
    pub host: Option<String>,
    /// `WORKSPACE_ID`: the identity that `/health` returns. Default: none.
    pub workspace_id: Option<String>,
}

/// The state of the request handlers.
struct Agent {
    name: String,
    workspace_id: Option<String>,
    configs: PathBuf,
    config: Vec<u8>,
}

/// Runs the workspace until SIGTERM or SIGINT.
///
/// The exit code is 0 after a signal, [`EX_CONFIG`] when `config.yaml` is missing or empty, and 1 when it cannot listen on the
/// port.
pub fn run(env: Env) -> ExitCode {
    let configs = PathBuf::from(env.config_path.as_deref().unwrap_or("/configs"));
    let path = configs.join("config.yaml");
    let config = match std::fs::read(&path) {
        Ok(bytes) if !bytes.trim_ascii().is_empty() => bytes,
        Ok(_) => return no_config(&path, "it is empty"),
        Err(error) => return no_config(&path, &error.to_string()),
    };
    let agent = Agent {
        name: name(&config).unwrap_or_else(|| "workspace".into()),
        workspace_id: env.workspace_id,
        configs,
        config,
    };
    let address = format!(
        "{}:{}",
        env.host.as_deref().unwrap_or("0.0.0.0"),
        env.port.as_deref().unwrap_or("8000")
    );
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(serve(agent, &address)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(io::stderr(), &format!("cannot serve on {address}: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn no_config(path: &Path, why: &str) -> ExitCode {
    log(
        io::stderr(),
        &format!("no config at {}: {why}", path.display()),
    );
    ExitCode::from(EX_CONFIG)
}

/// Writes one line of log. Errors are ignored, so that a closed stream does not end the program.
fn log(mut to: impl Write, line: &str) {
    let _ = writeln!(to, "orghost-demo: {line}");
}

async fn serve(agent: Agent, address: &str) -> io::Result<()> {
    // Process 1 of a container ignores these signals unless it has handlers, so they are installed first.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(address).await?;
    let port = listener.local_addr()?.port();
    let name = agent.name.clone();
    log(io::stdout(), &format!("{name} listening on {port}"));
    // There is no work to drain, so a signal also closes open connections.
    tokio::select! {
        served = axum::serve(listener, router(agent)) => served?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    log(io::stdout(), &format!("{name} stopped"));
    Ok(())
}

fn router(agent: Agent) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/config", get(config))
        .route("/.well-known/agent-card.json", get(card))
        .route("/", post(rpc))
        .route("/a2a", post(rpc))
        .route("/signals/restart_pending", post(rpc))
        .with_state(Arc::new(agent))
}

async fn health(State(agent): State<Arc<Agent>>) -> Json<Value> {
    Json(json!({ "status": "ok", "name": agent.name, "workspace_id": agent.workspace_id }))
}

async fn config(State(agent): State<Arc<Agent>>) -> Json<Value> {
    let mut files = Vec::new();
    list(&agent.configs, "", &mut files);
    files.sort();
    let sha256 = hex::encode(Sha256::digest(&agent.config));
    Json(json!({ "name": agent.name, "sha256": sha256, "files": files }))
}

async fn card(State(agent): State<Arc<Agent>>, headers: HeaderMap) -> Json<Value> {
    // A card has an absolute address. The one that the caller used works for the caller.
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    Json(json!({
        "protocolVersion": "0.3.0",
        "name": agent.name,
        "description": "A demonstration workspace that repeats what it is told",
        "url": format!("http://{}/a2a", host.unwrap_or("localhost")),
        "preferredTransport": "JSONRPC",
        "version": env!("CARGO_PKG_VERSION"),
        "capabilities": { "streaming": false },
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [{ "id": "echo", "name": "Echo", "description": "Repeats a message", "tags": ["demo"] }],
    }))
}

/// Answers one JSON-RPC 2.0 call. An invalid call gets an error as its answer.
async fn rpc(body: Bytes) -> Json<Value> {
    let (id, outcome) = match serde_json::from_slice::<Value>(&body) {
        Ok(call) => (call.get("id").cloned(), answer(&call)),
        Err(_) => (None, Err((-32700, "Parse error"))),
    };
    let id = id.unwrap_or(Value::Null);
    Json(match outcome {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err((code, message)) => {
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
        }
    })
}

fn answer(call: &Value) -> Result<Value, (i32, &'static str)> {
    let method = call.get("method").and_then(Value::as_str);
    match method.filter(|_| call.get("jsonrpc").is_some_and(|version| version == "2.0")) {
        None => Err((-32600, "Invalid Request")),
        Some("message/send") => echo(call).ok_or((-32602, "Invalid params")),
        Some("signals/restart_pending") => Ok(json!({ "status": "acknowledged" })),
        Some(_) => Err((-32601, "Method not found")),
    }
}

fn echo(call: &Value) -> Option<Value> {
    let message = call.pointer("/params/message")?;
    let id = message
        .get("messageId")
        .and_then(Value::as_str)
        .unwrap_or("message");
    let mut reply = json!({
        "kind": "message",
        "role": "agent",
        "messageId": format!("{id}-echo"),
        "parts": message.get("parts").filter(|parts| parts.is_array())?,
    });
    if let (Some(context), Some(reply)) = (message.get("contextId"), reply.as_object_mut()) {
        reply.insert("contextId".into(), context.clone());
    }
    Some(reply)
}

/// The workspace's name, from the top-level `name:` line. The other YAML is not parsed.
fn name(config: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(config);
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("name:"))?
        .trim();
    let single = value
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''));
    Some(match single {
        Some(inner) => inner.replace("''", "'"),
        None => serde_json::from_str::<String>(value).unwrap_or_else(|_| value.into()),
    })
}

/// Collects the files under a folder as relative paths. Folders that cannot be read are skipped.
fn list(folder: &Path, prefix: &str, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => list(&entry.path(), &format!("{path}/"), files),
            _ => files.push(path),
        }
    }
}
