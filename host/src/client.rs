//! A server's API, for whoever asks one: a typed method for each request. Repeats what may be repeated, follows operations,
//! and renders nothing; nobody else asks an orghost server.
//!
//! A request is repeated when the server says "later" (429 or 503), and when the connection to a server that answered
//! before is lost. Who could be done twice by that carries an idempotency key. The pauses and their total are
//! [`Patience`]'s.

mod follow;
mod patience;
mod request;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::env_map::EnvMap;
use crate::model::event;
use crate::model::plan::WorkspaceKey;
use crate::plugin::sandbox::Expansion;
use crate::problem::{Class, Problem};
use crate::random::NoRandomness;
use crate::service::status::OrgStatus;
pub use patience::{Patience, Pause, Why};
use request::{Ask, Body};

/// A server.
pub struct Client {
    url: Url,
    /// A secret.
    token: Option<String>,
    http: reqwest::Client,
    patience: Patience,
    /// Sees each pause before it is made.
    watcher: Box<dyn Fn(&Pause) + Send + Sync>,
    /// It has answered before: it is there, and may come back.
    is_known: AtomicBool,
}

/// Why an address is none of a server.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// It is no URL.
    #[error("{0}")]
    NotAUrl(String),
    /// It is one of something else.
    #[error("it is no address of a web server")]
    NotWeb,
    /// A token that is sent in the clear is everybody's.
    #[error("a token does not travel without TLS")]
    TokenInTheClear,
    /// The machine's certificates cannot be used.
    #[error("TLS cannot be used: {0}")]
    Tls(String),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers, or the connection was lost.
    #[error("the server at {url} does not answer: {reason}")]
    Away {
        /// Its address, without credentials.
        url: String,
        /// The innermost cause.
        reason: String,
        /// The request may have arrived.
        sent: bool,
    },
    /// It, or a proxy before it, says "later", and said so until patience was over.
    #[error("the server is busy: {}", first(.problem))]
    Busy {
        /// What it said.
        problem: Box<Problem>,
        /// When it wants to be asked again.
        asked: Option<Duration>,
    },
    /// It says no.
    #[error("{}", first(.0))]
    Said(Box<Problem>),
    /// Who answers is no orghost of this kind.
    #[error("the server answered {0}, and not as orghost does")]
    Strange(String),
    /// A key for a request that must be done once cannot be made.
    #[error(transparent)]
    NoKey(#[from] NoRandomness),
}

/// A template as an archive, and what is wanted of it.
#[derive(Clone)]
pub struct Upload {
    /// The JSON of the form's part `request`; it may hold the values of variables.
    pub request: Value,
    /// A tar archive.
    pub archive: Bytes,
    /// What the archive is called.
    pub name: String,
}

/// As much of an operation as a caller looks at.
#[derive(Clone, Deserialize)]
pub struct Operation {
    /// Its identity.
    pub id: String,
    /// Its org's slug.
    pub org: String,
    /// What it does.
    pub operation: event::Operation,
    /// How it is.
    pub state: State,
    /// Workspaces that did not come up, or did not go.
    pub failed: u32,
    /// Why it could not be done at all.
    #[serde(default)]
    pub errors: Vec<Diagnostic>,
    /// What its failed workspaces printed last, for whoever has the scope `write`.
    #[serde(default)]
    pub last_lines: BTreeMap<WorkspaceKey, Vec<String>>,
}

/// How an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for those before it.
    Queued,
    /// It is being done.
    Running,
    /// It was done, all of it.
    Done,
    /// It was not, or not all of it.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
    /// A later operation of the same org does what it would have done.
    Superseded,
}

#[derive(Deserialize)]
struct Orgs {
    orgs: Vec<OrgName>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct OrgName {
    org: String,
}

/// A problem document, as far as it is told on.
#[derive(Deserialize)]
struct Document {
    status: u16,
    errors: Vec<Diagnostic>,
}

impl State {
    /// Whether nothing more will come of it.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// The state as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        }
    }
}

impl Client {
    /// A server by its address; nothing is asked yet. `watcher` sees each pause before it is made.
    ///
    /// # Errors
    /// The address is none of a server, or the token would travel in the clear.
    pub fn new(
        url: &str,
        token: Option<&str>,
        patience: Patience,
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
        // Another part of the program may have chosen it already.
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
                .map_err(|error| AddressError::Tls(words(&error)))?,
            url: parsed,
            token: token.map(str::to_owned),
            patience,
            watcher: Box::new(watcher),
            is_known: AtomicBool::new(false),
        })
    }

    /// `POST /v1/plans`.
    ///
    /// # Errors
    /// There is no answer, as for all methods below.
    pub async fn plan(&self, upload: &Upload) -> Result<Value, ClientError> {
        let ask = Ask::post(&["v1", "plans"]).body(Body::form(upload));
        self.ask(&ask.changes_nothing()).await
    }

    /// `POST /v1/orgs`.
    pub async fn import(&self, upload: &Upload) -> Result<Operation, ClientError> {
        let ask = Ask::post(&["v1", "orgs"]).body(Body::form(upload));
        self.ask(&ask.once()?).await
    }

    /// `DELETE /v1/orgs/{org}`.
    pub async fn take_down(&self, org: &str, volumes: bool) -> Result<Operation, ClientError> {
        let ask = Ask::delete(&["v1", "orgs", org]).query("volumes", volumes);
        self.ask(&ask).await
    }

    /// The slugs of all orgs.
    pub async fn orgs(&self) -> Result<Vec<String>, ClientError> {
        let mut names = Vec::new();
        let mut after = String::new();
        loop {
            let ask = Ask::get(&["v1", "orgs"]).query("after", &after);
            let page: Orgs = self.ask(&ask).await?;
            names.extend(page.orgs.into_iter().map(|org| org.org));
            match page.next {
                Some(next) => after = next,
                None => return Ok(names),
            }
        }
    }

    /// `GET /v1/orgs/{org}`, by slug or name.
    pub async fn org(&self, name: &str) -> Result<OrgStatus, ClientError> {
        self.ask(&Ask::get(&["v1", "orgs", name])).await
    }

    /// `POST /v1/workspaces/{id}/restart`, `stop` or `start`.
    pub async fn act(&self, id: &str, action: event::Operation) -> Result<Operation, ClientError> {
        let ask = Ask::post(&["v1", "workspaces", id, action.as_str()]);
        self.ask(&ask.once()?).await
    }

    /// `GET /v1/workspaces/{id}/logs`: what it printed, as bytes.
    pub async fn logs(
        &self,
        id: &str,
        tail: Option<usize>,
        follow: bool,
    ) -> Result<impl Stream<Item = Result<Bytes, ClientError>>, ClientError> {
        let mut ask = Ask::get(&["v1", "workspaces", id, "logs"]).query("follow", follow);
        if let Some(lines) = tail {
            ask = ask.query("tail", lines);
        }
        let answer = self.repeat(&ask, async |answer| Ok(answer)).await?;
        let lost = |error: reqwest::Error| self.away(&error);
        Ok(answer.bytes_stream().map_err(lost))
    }

    /// `POST /v1/expand`.
    pub async fn expand(
        &self,
        text: &str,
        vars: &EnvMap,
        grant: &[String],
    ) -> Result<Expansion, ClientError> {
        let body = json!({ "text": text, "env": vars, "grant": grant });
        let ask = Ask::post(&["v1", "expand"]).body(Body::Json(body));
        self.ask(&ask.changes_nothing()).await
    }

    /// `POST /v1/plugins`: a component, the name it is to have, and its signature.
    pub async fn add_plugin(
        &self,
        component: Bytes,
        name: Option<&str>,
        signature: Option<&str>,
    ) -> Result<Value, ClientError> {
        let mut ask = Ask::post(&["v1", "plugins"]).body(Body::Component(component));
        for (field, text) in [("name", name), ("signature", signature)] {
            if let Some(text) = text {
                ask = ask.query(field, text);
            }
        }
        self.ask(&ask.once()?).await
    }

    /// `GET /v1/plugins`.
    pub async fn plugins(&self) -> Result<Value, ClientError> {
        self.ask(&Ask::get(&["v1", "plugins"])).await
    }

    /// `DELETE /v1/plugins/{name}`.
    pub async fn remove_plugin(&self, name: &str) -> Result<(), ClientError> {
        let ask = Ask::delete(&["v1", "plugins", name]);
        self.repeat(&ask, async |_| Ok(())).await
    }

    /// `GET /v1/operations/{id}`; waits at most so many seconds for its end.
    async fn operation(&self, id: &str, wait: u64) -> Result<Operation, ClientError> {
        self.ask(&Ask::get(&["v1", "operations", id]).query("wait", wait))
            .await
    }

    /// An answer's JSON.
    async fn ask<T: DeserializeOwned>(&self, ask: &Ask<'_>) -> Result<T, ClientError> {
        let body = self
            .repeat(ask, async |answer: Response| answer.bytes().await)
            .await?;
        serde_json::from_slice(&body)
            .map_err(|error| ClientError::Strange(format!("something else: {error}")))
    }

    /// Asks until the answer is no "later", for as long as patience lasts, and reads it.
    async fn repeat<T>(
        &self,
        ask: &Ask<'_>,
        read: impl AsyncFn(Response) -> reqwest::Result<T>,
    ) -> Result<T, ClientError> {
        let mut pauses = self.patience.pauses();
        loop {
            let answered = async {
                let answer = self.attempt(ask).await?;
                read(answer).await.map_err(|error| self.away(&error))
            };
            let error = match answered.await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let pause = self.why_again(ask, &error);
            let Some(pause) = pause.and_then(|(why, asked)| pauses.next(why, asked)) else {
                return Err(error);
            };
            self.pause(pause).await;
        }
    }

    /// Why a request may be repeated, and when the server wants to be asked again.
    fn why_again(&self, ask: &Ask<'_>, error: &ClientError) -> Option<(Why, Option<Duration>)> {
        match error {
            ClientError::Busy { asked, .. } => Some((Why::Busy, *asked)),
            // A server that never answered is a wrong address, which is told at once.
            ClientError::Away { sent, .. } => {
                let is_known = self.is_known.load(Ordering::Relaxed);
                (is_known && (ask.is_repeatable() || !sent)).then_some((Why::Away, None))
            }
            _ => None,
        }
    }

    async fn pause(&self, pause: Pause) {
        (self.watcher)(&pause);
        tokio::time::sleep(pause.wait).await;
    }

    /// One request; an answer that is no success is an error.
    async fn attempt(&self, ask: &Ask<'_>) -> Result<Response, ClientError> {
        let request = ask.build(&self.http, &self.url, self.token.as_deref());
        let answer = request.send().await.map_err(|error| self.away(&error))?;
        self.is_known.store(true, Ordering::Relaxed);
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let asked = patience::retry_after(answer.headers());
        let text = answer.bytes().await.map_err(|error| self.away(&error))?;
        Err(refusal(status, asked, &text))
    }

    fn away(&self, error: &reqwest::Error) -> ClientError {
        let mut url = self.url.clone();
        let _ = (url.set_username(""), url.set_password(None));
        ClientError::Away {
            url: url.to_string(),
            reason: words(error),
            sent: !error.is_connect(),
        }
    }
}

/// What an answer that is no success means.
fn refusal(status: StatusCode, asked: Option<Duration>, text: &[u8]) -> ClientError {
    let Ok(document) = serde_json::from_slice::<Document>(text) else {
        let strange = ClientError::Strange(status.to_string());
        // A proxy that does not reach it does not speak as it does.
        return match status.as_u16() {
            429 | 502..=504 => ClientError::Busy {
                problem: Box::new(strange.into()),
                asked,
            },
            _ => strange,
        };
    };
    let code = document.errors.first().map(|error| error.code.as_str());
    let is_later = match document.status {
        429 => true,
        // An engine that is away is not: it may stay away.
        503 => asked.is_some(),
        // The same request as before, whose connection was lost: it is still being done.
        409 => code == Some("idempotency-busy"),
        _ => false,
    };
    let problem = Box::new(Problem {
        class: match document.status {
            401 | 403 => Class::Refused,
            404 => Class::NotFound,
            409 if !is_later => Class::Conflict,
            412 => Class::MissingEnv,
            _ if is_later => Class::Busy,
            400..500 => Class::Invalid,
            _ => Class::Failed,
        },
        errors: document.errors,
        template: None,
    });
    match is_later {
        true => ClientError::Busy { problem, asked },
        false => ClientError::Said(problem),
    }
}

fn first(problem: &Problem) -> &str {
    let first = problem.errors.first();
    first.map_or("it did not say why", |error| error.message.as_str())
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        let (class, code, help) = match error {
            ClientError::Said(problem) | ClientError::Busy { problem, .. } => return *problem,
            ClientError::NoKey(error) => return error.into(),
            ClientError::Away { .. } => (
                Class::Failed,
                "server-away",
                "start it with `orghost serve`, or correct --server or ORGHOST_SERVER",
            ),
            ClientError::Strange(_) => (
                Class::Failed,
                "server",
                "is this the address of `orghost serve`, and of the same version?",
            ),
        };
        Self::one(class, Diagnostic::new(code, message).help(help))
    }
}

/// The innermost cause of an error: the outermost alone says "error sending request".
fn words(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words = error.to_string();
        cause = error.source();
    }
    words
}
