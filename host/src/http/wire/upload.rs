//! Reads the body of an import or a plan: JSON, or a form with that JSON and a template's archive.

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
    /// The JSON; with its defaults when a form has no part `request`.
    pub body: ImportBody,
    /// The template's archive, when the body is a form with one.
    pub archive: Option<Bytes>,
}

/// An upload as a form (`multipart/form-data`).
#[derive(ToSchema)]
#[allow(dead_code, reason = "only for the OpenAPI document")]
pub struct UploadForm {
    /// The options as JSON, without `template` and `inline`.
    request: ImportBody,
    /// The template's folder as tar or gzipped tar: at most 64 MiB in at most 20000 plain files.
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
        let mut form = form.map_err(|rejection| invalid(None, rejection.body_text()))?;
        let (mut body, mut archive) = (None, None);
        while let Some(field) = form.next_field().await.map_err(|e| unread(None, &e))? {
            let name = field.name().unwrap_or_default().to_owned();
            let part = match name.as_str() {
                "request" => &mut body,
                "archive" => &mut archive,
                "" => {
                    let message = "a part of the form has no name";
                    return Err(invalid(None, message.to_owned()));
                }
                other => {
                    let message = format!("the form has an unknown part {other:?}");
                    return Err(invalid(Some(other), message));
                }
            };
            let bytes = field.bytes().await;
            let bytes = bytes.map_err(|error| unread(Some(&name), &error))?;
            if part.replace(bytes).is_some() {
                let message = format!("the form has two parts {name:?}");
                return Err(invalid(Some(&name), message));
            }
        }
        let body = body.map(|json| read(&json)).transpose()?;
        Ok(Self {
            body: body.unwrap_or_default(),
            archive,
        })
    }
}

/// Parses the JSON of the part `request`.
fn read(json: &[u8]) -> Result<ImportBody, Problem> {
    // Serde also reads a struct from a sequence of its fields.
    if json
        .trim_ascii_start()
        .first()
        .is_some_and(|first| *first != b'{')
    {
        let message = "`request`: it must be an object";
        return Err(invalid(Some("request"), message.to_owned()));
    }
    let mut reader = serde_json::Deserializer::from_slice(json);
    let body = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = match error.path().to_string().as_str() {
            // The error is not inside the object.
            "." => "request".to_owned(),
            path => format!("request.{path}"),
        };
        // The reader's own message would show the value of the variable.
        let reason = match field.starts_with("request.env.") {
            true => "the value of a variable must be a string".to_owned(),
            false => error.inner().to_string(),
        };
        invalid(Some(&field), format!("`{field}`: {reason}"))
    })?;
    let ended = reader.end();
    ended.map_err(|error| invalid(Some("request"), format!("`request`: {error}")))?;
    Ok(body)
}

/// The problem of an invalid form. `field` is a part of the form, or a path in its JSON.
fn invalid(field: Option<&str>, message: String) -> Problem {
    let mut diagnostic = Diagnostic::new("body", message)
        .help("the form has the parts `request` (JSON) and `archive` (tar or gzipped tar)");
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
        _ => invalid(
            field,
            format!("{what} cannot be read: {}", error.body_text()),
        ),
    }
}
