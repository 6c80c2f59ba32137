//! `Idempotency-Key`: a caller that does not know whether its POST took effect sends it again with the same key, and gets the
//! first answer without a second effect.
//!
//! A successful answer is kept for [`limits::ANSWER_KEPT`], also over a restart of the host. Other answers are not kept. When
//! the host is killed between the effect and the answer, nothing is kept and the repeated request acts again. That is safe:
//! a second import of the same org, or a second restart of a restarting workspace, has the same result.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use memchr::memmem;
use sha2::{Digest as _, Sha256};

use super::access;
use crate::http::wire::body;
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::digest::hex;
use crate::problem::{Class, Problem};
use crate::state::store::{Answer, Earlier, Store};
use crate::state::token::Caller;

const KEY: &str = "idempotency-key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The headers that are kept with an answer.
const KEPT: [HeaderName; 2] = [header::CONTENT_TYPE, header::LOCATION];

/// The idempotency keys of running requests in this process, and the kept answers of the store.
pub struct Keys {
    store: Store,
    /// The running requests, as (caller, key).
    running: Mutex<HashSet<(String, String)>>,
}

impl Keys {
    /// No running requests, and the kept answers of `store`.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            running: Mutex::default(),
        }
    }

    /// Marks a key as running; `None` when a request with this key runs already.
    fn begin(self: &Arc<Self>, caller: &str, key: &str) -> Option<Running> {
        let pair = (caller.to_owned(), key.to_owned());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(pair.clone()).then(|| Running {
            keys: self.clone(),
            pair,
        })
    }
}

/// Marks a key as running until it is dropped.
struct Running {
    keys: Arc<Keys>,
    pair: (String, String),
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self
            .keys
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        running.remove(&self.pair);
    }
}

/// Runs a request with an idempotency key once, and answers its repetitions with the first answer.
pub async fn once(State(keys): State<Arc<Keys>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let needed = route.and_then(|route| access::needed(request.method(), route.as_str()));
    let creates = request.method() == Method::POST
        && needed.is_some_and(|needed| access::changes(request.method(), needed));
    let caller = request
        .extensions()
        .get::<Caller>()
        .map(|caller| caller.id.clone());
    match (request.headers().get(KEY).cloned(), caller) {
        (Some(key), Some(caller)) if creates => {
            let answered = answer(&keys, &caller, &key, request, next).await;
            answered.unwrap_or_else(axum::response::IntoResponse::into_response)
        }
        _ => next.run(request).await,
    }
}

/// Answers a request with an idempotency key: runs it, or repeats the kept answer.
async fn answer(
    keys: &Arc<Keys>,
    caller: &str,
    key: &HeaderValue,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let problem =
        |class, code: &str, message: &str| Problem::one(class, Diagnostic::new(code, message));
    let key = key
        .to_str()
        .ok()
        .filter(|key| (1..=255).contains(&key.len()));
    let key = key.ok_or_else(|| {
        problem(
            Class::Invalid,
            "idempotency-key",
            "an idempotency key has 1 to 255 visible ASCII characters",
        )
    })?;
    let running = keys.begin(caller, key);
    let _running = running.ok_or_else(|| {
        problem(
            Class::Conflict,
            "idempotency-busy",
            "the earlier request with this key is still running",
        )
    })?;

    let (head, body) = request.into_parts();
    // The body limit of the layer around this one bounds its length.
    let body = to_bytes(body, usize::MAX)
        .await
        .map_err(|error| body::unread(&error))?;
    let path = head.uri.path();
    let digest = digest(path, head.uri.query(), &head.headers, &body);
    let store = &keys.store;
    match store.take_key(caller, key, &digest).await? {
        Earlier::New => {}
        Earlier::Other => {
            return Err(problem(
                Class::Invalid,
                "idempotency-reused",
                "this key was used for another request",
            ));
        }
        Earlier::Answered(answer) => return Ok(replay(answer)),
    }
    let response = next.run(Request::from_parts(head, Body::from(body))).await;
    if !response.status().is_success() {
        store.free_key(caller, key).await?;
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    let body = to_bytes(body, limits::ANSWER_BYTES)
        .await
        .map_err(|error| body::unread(&error))?;
    let headers = KEPT.iter().filter_map(|name| {
        let value = head.headers.get(name)?.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    let answer = Answer {
        status: head.status.as_u16(),
        headers: headers.collect(),
        body: body.to_vec(),
    };
    // The request took effect even when its answer cannot be kept.
    if let Err(error) = store.put_answer(caller, key, answer).await {
        tracing::error!(%error, "the answer to a request with an idempotency key could not be kept");
    }
    Ok(Response::from_parts(head, Body::from(body)))
}

fn replay(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    for (name, value) in &answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// A digest of what a request asks for. Requests that differ only in `wait`, or in the boundary of the same form, are equal.
fn digest(path: &str, query: Option<&str>, headers: &HeaderMap, body: &Bytes) -> String {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let (kind, parameters) = kind.split_once(';').unwrap_or((kind, ""));
    let boundary = parameters
        .split(';')
        .find_map(|parameter| parameter.trim().strip_prefix("boundary="));
    let boundary = boundary.unwrap_or_default().trim_matches('"').as_bytes();
    let mut digest = Sha256::new();
    let parameters = query
        .unwrap_or_default()
        .split('&')
        .filter(|part| !part.starts_with("wait="));
    for part in [path, kind.trim()].into_iter().chain(parameters) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let mut rest: &[u8] = body;
    // A body that is not a form has no boundary. An empty pattern would be found everywhere.
    while let Some(at) = memmem::find(rest, boundary).filter(|_| !boundary.is_empty()) {
        let (before, after) = rest.split_at(at);
        digest.update(before);
        rest = after.get(boundary.len()..).unwrap_or_default();
    }
    digest.update(rest);
    hex(digest.finalize())
}
