//! The demonstration runtime, one agent workspace; it never reads the process environment and never writes a file.
//!
//! It is as fast and as strict as a runtime can be: its first instruction reads `config.yaml`, and it ends with
//! [`EX_CONFIG`] when that is absent or empty. An engine that starts before it has seeded is caught at once.
//! After that it serves health, an agent card and an A2A echo until SIGTERM or SIGINT.

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

/// What the process environment says; absent values get the defaults of a container.
#[derive(Debug, Clone, Default)]
pub struct Env {
    /// `WORKSPACE_CONFIG_PATH`: the folder that holds `config.yaml`; `/configs` by default.
    pub config_path: Option<String>,
    /// `PORT`: 8000 by default; 0 takes a free one and the start line names it.
    pub port: Option<String>,
    /// `HOST`: the address to listen on; `0.0.0.0` by default.
    pub host: Option<String>,
    /// `WORKSPACE_ID`: repeated by `/health`.
    pub workspace_id: Option<String>,
}

/// What the handlers know.
struct Agent {
    name: String,
    workspace_id: Option<String>,
    configs: PathBuf,
    config: Vec<u8>,
}

/// Runs the workspace until it is told to end.
///
/// The result is success after SIGTERM or SIGINT, [`EX_CONFIG`] without a config, and failure when the port cannot be had.
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
            say(io::stderr(), &format!("cannot serve on {address}: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn no_config(path: &Path, why: &str) -> ExitCode {
    say(
        io::stderr(),
        &format!("no config at {}: {why}", path.display()),
    );
    ExitCode::from(EX_CONFIG)
}

/// One line of log; a closed stream is no reason to end.
fn say(mut to: impl Write, line: &str) {
    let _ = writeln!(to, "orghost-demo: {line}");
}

async fn serve(agent: Agent, address: &str) -> io::Result<()> {
    // Handlers first: as process 1 of a container the default would be to ignore these signals.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(address).await?;
    let port = listener.local_addr()?.port();
    let name = agent.name.clone();
    say(io::stdout(), &format!("{name} listening on {port}"));
    // An echo has nothing to drain, so a signal ends open connections too.
    tokio::select! {
        served = axum::serve(listener, router(agent)) => served?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    say(io::stdout(), &format!("{name} stopped"));
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
    let sha256: String = Sha256::digest(&agent.config)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Json(json!({ "name": agent.name, "sha256": sha256, "files": files }))
}

async fn card(State(agent): State<Arc<Agent>>, headers: HeaderMap) -> Json<Value> {
    // A card's address is absolute; the one that the caller used works for the caller.
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

/// One JSON-RPC 2.0 call; a wrong one is answered, never dropped.
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

/// The workspace's name: the top-level `name:` line, which is all that is wanted of the YAML.
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

/// Collects the files below a folder as relative paths; what cannot be read is left out.
fn list(folder: &Path, prefix: &str, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => list(&entry.path(), &format!("{path}/"), files),
            _ => files.push(path),
        }
    }
}
