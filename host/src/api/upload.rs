//! What somebody wants imported or planned: JSON, or a form with the JSON and a template's archive. Reads, and judges nothing.

use axum::body::Bytes;
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, Multipart, Request};
use utoipa::ToSchema;

use super::body::Json;
use super::{ImportBody, layers};
use crate::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

/// A body of `POST /v1/orgs` or `POST /v1/plans`.
pub struct Upload {
    /// What is wanted.
    pub body: ImportBody,
    /// The template.
    pub archive: Option<Bytes>,
}

/// An upload as a form (`multipart/form-data`).
#[derive(ToSchema)]
#[allow(dead_code, reason = "only for the document")]
pub struct UploadForm {
    /// What is wanted, as JSON, with neither `template` nor `inline`.
    request: ImportBody,
    /// The template's folder: tar, or tar in gzip, at most 64 MiB of at most 20000 plain files.
    #[schema(value_type = String, format = Binary)]
    archive: Vec<u8>,
}

impl<S: Send + Sync> FromRequest<S> for Upload {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !layers::is_upload(request.headers()) {
            let Json(body) = Json::from_request(request, state).await?;
            return Ok(Self {
                body,
                archive: None,
            });
        }
        let form = Multipart::from_request(request, state).await;
        let mut form = form.map_err(|rejection| wrong(&rejection.body_text()))?;
        let (mut body, mut archive) = (None, None);
        while let Some(field) = form.next_field().await.map_err(unread)? {
            let name = field.name().unwrap_or_default().to_owned();
            let bytes = field.bytes().await.map_err(unread)?;
            let earlier = match name.as_str() {
                "request" => body.replace(bytes),
                "archive" => archive.replace(bytes),
                _ => {
                    return Err(wrong(
                        "the form has other parts than `request` and `archive`",
                    ));
                }
            };
            if earlier.is_some() {
                return Err(wrong(&format!("the form has two parts {name:?}")));
            }
        }
        let body = match body {
            None => ImportBody::default(),
            Some(json) => serde_json::from_slice(&json)
                .map_err(|error| wrong(&format!("`request`: {error}")))?,
        };
        Ok(Self { body, archive })
    }
}

fn wrong(message: &str) -> Problem {
    Problem::one(Class::Invalid, Diagnostic::new("body", message))
}

fn unread(error: MultipartError) -> Problem {
    match error.status().as_u16() {
        413 => Problem::one(
            Class::Invalid,
            Diagnostic::new("body-too-large", "the body is too large"),
        ),
        _ => wrong(&error.body_text()),
    }
}
