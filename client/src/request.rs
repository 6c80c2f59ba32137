//! A request as data, so that it can be sent more than once.

use bytes::Bytes;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, Url};
use serde_json::Value;

use super::types::Upload;
use crate::ClientError;
use orghost_model::digest::hex;

/// A request.
pub struct Request<'a> {
    method: Method,
    /// The path's segments, not yet escaped.
    path: Vec<&'a str>,
    query: Vec<(&'static str, String)>,
    body: Body<'a>,
    repeatable: Repeatable,
    last_event: Option<i64>,
}

/// Whether a request may be sent again when it is not known whether it arrived.
enum Repeatable {
    /// No: it changes something.
    No,
    /// Yes: it changes nothing.
    Yes,
    /// Yes: the server acts once for this idempotency key.
    Key(String),
}

/// A request's body.
pub enum Body<'a> {
    None,
    Json(Value),
    Component(Bytes),
    Form(&'a Upload),
}

impl<'a> Request<'a> {
    pub fn get(path: &[&'a str]) -> Self {
        Self::new(Method::GET, path).changes_nothing()
    }

    pub fn post(path: &[&'a str]) -> Self {
        Self::new(Method::POST, path)
    }

    pub fn delete(path: &[&'a str]) -> Self {
        Self::new(Method::DELETE, path)
    }

    fn new(method: Method, path: &[&'a str]) -> Self {
        Self {
            method,
            path: path.to_vec(),
            query: Vec::new(),
            body: Body::None,
            repeatable: Repeatable::No,
            last_event: None,
        }
    }

    pub fn query(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    pub fn body(mut self, body: Body<'a>) -> Self {
        self.body = body;
        self
    }

    pub fn changes_nothing(mut self) -> Self {
        self.repeatable = Repeatable::Yes;
        self
    }

    /// Adds a new idempotency key, so that the server acts once however often the request is sent.
    pub fn once(mut self) -> Result<Self, ClientError> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(|error| ClientError::NoKey(error.to_string()))?;
        self.repeatable = Repeatable::Key(hex(key));
        Ok(self)
    }

    /// Asks a stream of events for those after the one with this id.
    pub fn after_event(mut self, last: i64) -> Self {
        self.last_event = Some(last);
        self
    }

    pub fn is_repeatable(&self) -> bool {
        !matches!(self.repeatable, Repeatable::No)
    }

    pub fn build(
        &self,
        http: &reqwest::Client,
        server: &Url,
        token: Option<&str>,
    ) -> RequestBuilder {
        let mut url = server.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(&self.path);
        }
        let mut request = http.request(self.method.clone(), url);
        if !self.query.is_empty() {
            request = request.query(&self.query);
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Repeatable::Key(key) = &self.repeatable {
            request = request.header("idempotency-key", key);
        }
        if let Some(last) = self.last_event {
            request = request.header("last-event-id", last.to_string());
        }
        match &self.body {
            Body::None => request,
            Body::Json(json) => request.json(json),
            Body::Component(bytes) => request
                .header("content-type", "application/wasm")
                .body(bytes.clone()),
            Body::Form(upload) => {
                let length = upload.archive.len() as u64;
                let archive = Part::stream_with_length(upload.archive.clone(), length);
                let form = Form::new()
                    .text("request", upload.request.to_string())
                    .part("archive", archive.file_name(upload.name.clone()));
                request.multipart(form)
            }
        }
    }
}
