//! What somebody wants imported or planned: JSON, or a form with the JSON and a template's archive. Reads, and judges nothing.

use axum::body::Bytes;
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, Multipart, Request};
use utoipa::ToSchema;

use super::body::Json;
use crate::http::ImportBody;
use crate::http::middleware::layers;
use crate::model::diagnostic::Diagnostic;
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
        let mut form = form.map_err(|rejection| wrong(None, rejection.body_text()))?;
        let (mut body, mut archive) = (None, None);
        while let Some(field) = form.next_field().await.map_err(|e| unread(None, &e))? {
            let name = field.name().unwrap_or_default().to_owned();
            let part = match name.as_str() {
                "request" => &mut body,
                "archive" => &mut archive,
                "" => {
                    let message = "a part of the form has no name";
                    return Err(wrong(None, message.to_owned()));
                }
                other => {
                    let message = format!("the form has a part {other:?}");
                    return Err(wrong(Some(other), message));
                }
            };
            let bytes = field.bytes().await;
            let bytes = bytes.map_err(|error| unread(Some(&name), &error))?;
            if part.replace(bytes).is_some() {
                let message = format!("the form has two parts {name:?}");
                return Err(wrong(Some(&name), message));
            }
        }
        let body = body.map(|json| read(&json)).transpose()?;
        Ok(Self {
            body: body.unwrap_or_default(),
            archive,
        })
    }
}

/// The JSON of the part `request`.
fn read(json: &[u8]) -> Result<ImportBody, Problem> {
    // A struct would also be read from a sequence of its fields.
    if json
        .trim_ascii_start()
        .first()
        .is_some_and(|first| *first != b'{')
    {
        let message = "`request`: it is an object, and no sequence, text or number";
        return Err(wrong(Some("request"), message.to_owned()));
    }
    let mut reader = serde_json::Deserializer::from_slice(json);
    let body = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = match error.path().to_string().as_str() {
            // Not even an object.
            "." => "request".to_owned(),
            path => format!("request.{path}"),
        };
        // What is wrong with a variable's value would show the value.
        let reason = match field.starts_with("request.env.") {
            true => "the value of a variable is a text".to_owned(),
            false => error.inner().to_string(),
        };
        wrong(Some(&field), format!("`{field}`: {reason}"))
    })?;
    let ended = reader.end();
    ended.map_err(|error| wrong(Some("request"), format!("`request`: {error}")))?;
    Ok(body)
}

/// `field` is a part of the form, or a place in its JSON.
fn wrong(field: Option<&str>, message: String) -> Problem {
    let mut diagnostic = Diagnostic::new("body", message)
        .help("the form has the parts `request` (JSON) and `archive` (tar, or tar in gzip)");
    diagnostic.field = field.map(str::to_owned);
    Problem::one(Class::Invalid, diagnostic)
}

fn unread(field: Option<&str>, error: &MultipartError) -> Problem {
    let what = field.map_or("the form".to_owned(), |field| format!("the part `{field}`"));
    match error.status().as_u16() {
        413 => {
            let message = format!("{what} is too large");
            let mut diagnostic = Diagnostic::new("body-too-large", message);
            diagnostic.field = field.map(str::to_owned);
            Problem::one(Class::Invalid, diagnostic)
        }
        _ => wrong(
            field,
            format!("{what} cannot be read: {}", error.body_text()),
        ),
    }
}
