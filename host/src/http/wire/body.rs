//! Reads request bodies, and answers a wrong one with a problem document.

use axum::body::Bytes;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use http_body_util::LengthLimitError;

use super::parameters::malformed;
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

/// A JSON body.
pub struct Json<T>(pub T);

/// A plugin's component: a binary body.
pub struct Component(pub Bytes);

impl<S, T> FromRequest<S> for Json<T>
where
    S: Send + Sync,
    axum::Json<T>: FromRequest<S, Rejection = JsonRejection>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = axum::Json::from_request(request, state).await;
        let axum::Json(value) = read.map_err(|rejection| {
            let text = rejection.body_text();
            match rejection.status() {
                StatusCode::BAD_REQUEST => malformed(text),
                StatusCode::UNSUPPORTED_MEDIA_TYPE => media_type("application/json"),
                StatusCode::PAYLOAD_TOO_LARGE => too_large(text),
                _ => Problem::one(Class::Invalid, Diagnostic::new("body", text)),
            }
        })?;
        Ok(Self(value))
    }
}

impl<S: Send + Sync> FromRequest<S> for Component {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !matches!(kind, "application/wasm" | "application/octet-stream") {
            return Err(media_type("application/wasm"));
        }
        let limit = usize::try_from(limits::PLUGIN_FILE_BYTES).unwrap_or(usize::MAX);
        let read = axum::body::to_bytes(request.into_body(), limit).await;
        Ok(Self(read.map_err(
            |error| match std::error::Error::source(&error) {
                Some(source) if source.is::<http_body_util::LengthLimitError>() => {
                    too_large(format!("a plugin may have at most {} MiB", limit >> 20))
                }
                _ => malformed(error.to_string()),
            },
        )?))
    }
}

fn media_type(expected: &str) -> Problem {
    let message = format!("the body must be sent as `Content-Type: {expected}`");
    Problem::one(Class::Invalid, Diagnostic::new("media-type", message))
}

fn too_large(message: String) -> Problem {
    Problem::one(Class::Invalid, Diagnostic::new("body-too-large", message))
}

/// The problem of a body that could not be read.
pub fn unread(error: &(dyn std::error::Error + 'static)) -> Problem {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return Problem::one(
                Class::Invalid,
                Diagnostic::new("body-too-large", "the body is too large"),
            );
        }
        cause = error.source();
    }
    Problem::one(
        Class::Invalid,
        Diagnostic::new("body", format!("the body cannot be read: {error}")),
    )
}
