//! `Idempotency-Key`: whoever does not know whether a request was done asks again with the same key, and gets the same
//! answer without anything being done again. Only for what creates or acts (POST).
//!
//! An answer that says that something was done is kept for a day, also over a restart. One that says that nothing was done
//! is not kept. When the host is killed between doing and answering, nothing is kept, and asking again does it again: which
//! is safe, because importing an org that is there, and restarting a workspace that restarts, come to the same end.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
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
/// The headers that belong to an answer.
const KEPT: [HeaderName; 2] = [header::CONTENT_TYPE, header::LOCATION];

/// The keys whose requests are under way in this process, and those that were answered.
pub struct Keys {
    store: Store,
    flying: Mutex<HashSet<(String, String)>>,
}

impl Keys {
    /// Over the answers of a store.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            flying: Mutex::default(),
        }
    }

    fn take_off(self: &Arc<Self>, caller: &str, key: &str) -> Option<Flight> {
        let pair = (caller.to_owned(), key.to_owned());
        let mut flying = self.flying.lock().unwrap_or_else(PoisonError::into_inner);
        flying.insert(pair.clone()).then(|| Flight {
            keys: self.clone(),
            pair,
        })
    }
}

/// A request under way, until it is dropped.
struct Flight {
    keys: Arc<Keys>,
    pair: (String, String),
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut flying = self
            .keys
            .flying
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        flying.remove(&self.pair);
    }
}

/// Does a request with a key once.
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
            let done = answer(&keys, &caller, &key, request, next).await;
            done.unwrap_or_else(axum::response::IntoResponse::into_response)
        }
        _ => next.run(request).await,
    }
}

async fn answer(
    keys: &Arc<Keys>,
    caller: &str,
    key: &HeaderValue,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let wrong =
        |class, code: &str, message: &str| Problem::one(class, Diagnostic::new(code, message));
    let key = key
        .to_str()
        .ok()
        .filter(|key| (1..=255).contains(&key.len()));
    let key = key.ok_or_else(|| {
        wrong(
            Class::Invalid,
            "idempotency-key",
            "an idempotency key has 1 to 255 plain characters",
        )
    })?;
    let flight = keys.take_off(caller, key);
    let _flight = flight.ok_or_else(|| {
        wrong(
            Class::Conflict,
            "idempotency-busy",
            "the request with this key is still under way",
        )
    })?;

    let (head, body) = request.into_parts();
    // Its length is bounded by what is around this.
    let body = to_bytes(body, usize::MAX)
        .await
        .map_err(|error| body::unread(&error))?;
    let path = head.uri.path();
    let digest = digest(path, head.uri.query(), &head.headers, &body);
    let store = &keys.store;
    match store.take_key(caller, key, &digest).await? {
        Earlier::New => {}
        Earlier::Other => {
            return Err(wrong(
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
    // It was done, whether its answer can be kept or not.
    if let Err(error) = store.put_answer(caller, key, answer).await {
        tracing::error!(%error, "an answer could not be kept for its idempotency key");
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

/// What a request asks for. Waiting longer, or another boundary between the parts of the same form, is the same request.
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
    let asked = query
        .unwrap_or_default()
        .split('&')
        .filter(|part| !part.starts_with("wait="));
    for part in [path, kind.trim()].into_iter().chain(asked) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let mut rest: &[u8] = body;
    while let Some(at) = find(rest, boundary) {
        let (before, after) = rest.split_at(at);
        digest.update(before);
        rest = after.get(boundary.len()..).unwrap_or_default();
    }
    digest.update(rest);
    hex(&digest.finalize())
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    loop {
        let rest = text.get(from..)?;
        let at = from + rest.iter().position(|byte| *byte == first)?;
        if text.get(at..)?.starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
}
