//! The typed client of the HTTP API: one method for each request. It renders nothing.
//!
//! It uses reqwest, and not the HTTP client with which the host calls workspaces, because it needs what that one leaves out:
//! TLS, proxies of the environment, and multipart forms.

mod backoff;
mod error;
mod follow;
mod request;
mod send;
mod types;

use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

pub use backoff::{Backoff, Pause, RetryReason};
pub use error::{AddressError, ClientError, Rejection};
use orghost_model::env_map::EnvMap;
use orghost_model::event;
use orghost_model::expansion::Expansion;
use orghost_model::limits;
use orghost_model::status::OrgStatus;
use request::{Body, Request};
pub use types::{Operation, Upload};

/// A client of one server.
pub struct Client {
    url: Url,
    /// The API token, a secret.
    token: Option<String>,
    http: reqwest::Client,
    backoff: Backoff,
    /// Is called before each pause.
    watcher: Box<dyn Fn(&Pause) + Send + Sync>,
    /// Whether the server has answered before. If so, a lost connection may mean that the server restarts.
    has_answered: AtomicBool,
}

#[derive(Deserialize)]
struct OrgPage {
    orgs: Vec<OrgName>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct OrgName {
    org: String,
}

impl Client {
    /// A client of the server at `url`. Nothing is sent yet. `watcher` is called before each pause.
    ///
    /// # Errors
    /// [`AddressError`]: `url` cannot be a server's, a token would be sent without TLS, or TLS cannot be set up.
    pub fn new(
        url: &str,
        token: Option<&str>,
        backoff: Backoff,
        watcher: impl Fn(&Pause) + Send + Sync + 'static,
    ) -> Result<Self, AddressError> {
        let parsed = Url::parse(url).map_err(|error| AddressError::NotAUrl(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(AddressError::NotWeb);
        }
        let host = parsed.host_str().unwrap_or_default();
        let is_loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        if parsed.scheme() == "http" && token.is_some() && !is_loopback {
            return Err(AddressError::TokenInTheClear);
        }
        // This fails when another part of the program has already chosen a provider, which does no harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .connect_timeout(limits::SERVER_CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("orghost/", env!("CARGO_PKG_VERSION")));
        if is_loopback {
            http = http.no_proxy();
        }
        Ok(Self {
            http: http
                .build()
                .map_err(|error| AddressError::Tls(error::innermost(&error)))?,
            url: parsed,
            token: token.map(str::to_owned),
            backoff,
            watcher: Box::new(watcher),
            has_answered: AtomicBool::new(false),
        })
    }

    /// `POST /v1/plans`.
    ///
    /// # Errors
    /// [`ClientError`]: the server cannot be reached, is busy for too long, or rejects the request. The methods below fail
    /// for the same reasons.
    pub async fn plan(&self, upload: &Upload) -> Result<Value, ClientError> {
        let request = Request::post(&["v1", "plans"]).body(Body::Form(upload));
        self.json(&request.changes_nothing()).await
    }

    /// `POST /v1/orgs`.
    pub async fn import(&self, upload: &Upload) -> Result<Operation, ClientError> {
        let request = Request::post(&["v1", "orgs"]).body(Body::Form(upload));
        self.json(&request.once()?).await
    }

    /// `DELETE /v1/orgs/{org}`.
    pub async fn take_down(&self, org: &str, volumes: bool) -> Result<Operation, ClientError> {
        let request = Request::delete(&["v1", "orgs", org]).query("volumes", volumes);
        self.json(&request).await
    }

    /// The slugs of all orgs: `GET /v1/orgs`, page by page.
    pub async fn orgs(&self) -> Result<Vec<String>, ClientError> {
        let mut slugs = Vec::new();
        let mut after = String::new();
        loop {
            let request = Request::get(&["v1", "orgs"]).query("after", &after);
            let page: OrgPage = self.json(&request).await?;
            slugs.extend(page.orgs.into_iter().map(|org| org.org));
            match page.next {
                Some(next) => after = next,
                None => return Ok(slugs),
            }
        }
    }

    /// `GET /v1/orgs/{org}`, by slug or name.
    pub async fn org(&self, name: &str) -> Result<OrgStatus, ClientError> {
        self.json(&Request::get(&["v1", "orgs", name])).await
    }

    /// `POST /v1/workspaces/{id}/restart`, `stop` or `start`.
    pub async fn act(&self, id: &str, action: event::Operation) -> Result<Operation, ClientError> {
        let request = Request::post(&["v1", "workspaces", id, action.as_str()]);
        self.json(&request.once()?).await
    }

    /// `GET /v1/workspaces/{id}/logs`: the workspace's output as bytes.
    pub async fn logs(
        &self,
        id: &str,
        tail: Option<usize>,
        follow: bool,
    ) -> Result<impl Stream<Item = Result<Bytes, ClientError>>, ClientError> {
        let mut request = Request::get(&["v1", "workspaces", id, "logs"]).query("follow", follow);
        if let Some(lines) = tail {
            request = request.query("tail", lines);
        }
        let answer = self.repeat(&request, async |answer| Ok(answer)).await?;
        let away = |error: reqwest::Error| self.away(&error);
        Ok(answer.bytes_stream().map_err(away))
    }

    /// `POST /v1/expand`.
    pub async fn expand(
        &self,
        text: &str,
        vars: &EnvMap,
        grant: &[String],
    ) -> Result<Expansion, ClientError> {
        let body = json!({ "text": text, "env": vars, "grant": grant });
        let request = Request::post(&["v1", "expand"]).body(Body::Json(body));
        self.json(&request.changes_nothing()).await
    }

    /// `POST /v1/plugins`. Without `name` the plugin keeps its own name; `signature` is the text of the `.minisig` file.
    pub async fn add_plugin(
        &self,
        component: Bytes,
        name: Option<&str>,
        signature: Option<&str>,
    ) -> Result<Value, ClientError> {
        let mut request = Request::post(&["v1", "plugins"]).body(Body::Component(component));
        for (parameter, text) in [("name", name), ("signature", signature)] {
            if let Some(text) = text {
                request = request.query(parameter, text);
            }
        }
        self.json(&request.once()?).await
    }

    /// `GET /v1/plugins`.
    pub async fn plugins(&self) -> Result<Value, ClientError> {
        self.json(&Request::get(&["v1", "plugins"])).await
    }

    /// `DELETE /v1/plugins/{name}`.
    pub async fn remove_plugin(&self, name: &str) -> Result<(), ClientError> {
        let request = Request::delete(&["v1", "plugins", name]);
        self.repeat(&request, async |_| Ok(())).await
    }

    /// `GET /v1/operations/{id}`. The server answers when the operation ends, at most `wait` seconds later.
    async fn operation(&self, id: &str, wait: u64) -> Result<Operation, ClientError> {
        self.json(&Request::get(&["v1", "operations", id]).query("wait", wait))
            .await
    }
}
