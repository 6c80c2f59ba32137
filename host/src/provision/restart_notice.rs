//! Tells a workspace that it is about to be restarted, and waits for as long as it asks for. The restart then goes on,
//! also when the workspace does not answer.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::limits;
use crate::model::ids::WorkspaceId;

/// Sends `POST /signals/restart_pending` (JSON-RPC 2.0) until the workspace needs no more time, is gone, or has had
/// [`limits::RESTART_DRAIN`]. The workspace answers with the seconds that it needs, as `drain_seconds` of the result;
/// without that, it needs none.
///
/// # Errors
/// A sentence that says why the workspace did not acknowledge the first request.
pub async fn restart_pending(url: &str, id: &WorkspaceId) -> Result<(), String> {
    let deadline = Instant::now() + limits::RESTART_SIGNAL + limits::RESTART_DRAIN;
    let mut wanted = ask(url, id, limits::RESTART_DRAIN).await?;
    let end = (Instant::now() + wanted).min(deadline);
    while !wanted.is_zero() && Instant::now() < end {
        sleep(limits::RESTART_LOOK.min(end - Instant::now())).await;
        let left = end.saturating_duration_since(Instant::now());
        // A workspace that no longer answers is gone, and needs no more time.
        wanted = match timeout(left, ask(url, id, left)).await {
            Ok(Ok(wanted)) => wanted,
            Ok(Err(_)) | Err(_) => Duration::ZERO,
        };
    }
    Ok(())
}

/// Sends one signal; returns how much time the workspace asks for.
async fn ask(url: &str, id: &WorkspaceId, drain: Duration) -> Result<Duration, String> {
    let target = format!("{}/signals/restart_pending", url.trim_end_matches('/'));
    let uri: Uri = target.parse().map_err(|e| format!("{target}: {e}"))?;
    if uri.scheme_str() != Some("http") || uri.host().is_none() {
        return Err(format!("{target} is not an address that can be called"));
    }
    let call = json!({
        "jsonrpc": "2.0", "id": null, "method": "signals/restart_pending",
        "params": {"workspace_id": id, "drain_seconds": drain.as_secs()},
    });
    let request = Request::post(uri)
        .header("content-type", "application/json")
        .header("x-restart-signal", "true")
        .body(Full::new(Bytes::from(call.to_string())))
        .map_err(|e| format!("{target}: {e}"))?;
    let answered = async {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let answer = client.request(request).await;
        let answer = answer.map_err(|e| format!("{target}: {e}"))?;
        if !answer.status().is_success() {
            return Err(format!("{target} answers {}", answer.status().as_u16()));
        }
        let body = Limited::new(answer.into_body(), limits::RESTART_ANSWER);
        let body = body.collect().await.map_err(|e| format!("{target}: {e}"))?;
        let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        let seconds = body
            .pointer("/result/drain_seconds")
            .and_then(Value::as_f64);
        let wanted = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(wanted.unwrap_or_default().min(limits::RESTART_DRAIN))
    };
    timeout(limits::RESTART_SIGNAL, answered)
        .await
        .unwrap_or_else(|_| Err(format!("{target} does not answer")))
}
