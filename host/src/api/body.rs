//! Bodies on their way in: what is no JSON, or not the JSON that is wanted, is a problem document too.

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};

use crate::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

/// A JSON body.
pub struct Json<T>(pub T);

impl<S, T> FromRequest<S> for Json<T>
where
    S: Send + Sync,
    axum::Json<T>: FromRequest<S, Rejection = JsonRejection>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = axum::Json::from_request(request, state).await;
        let axum::Json(value) = read.map_err(|rejection| {
            let code = match rejection.status().as_u16() {
                413 => "body-too-large",
                _ => "body",
            };
            let diagnostic = Diagnostic::new(code, rejection.body_text());
            Problem::one(Class::Invalid, diagnostic)
        })?;
        Ok(Self(value))
    }
}
