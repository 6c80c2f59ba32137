//! Why a request to a server failed, and how a server's problem document becomes an error.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

use orghost_model::diagnostic::{Class, Diagnostic};

/// Why an address cannot be a server's.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// It cannot be parsed as a URL.
    #[error("{0}")]
    NotAUrl(String),
    /// Its scheme is neither `http` nor `https`.
    #[error("the address must begin with http:// or https://")]
    NotWeb,
    /// A token is set, and the address is neither `https` nor this machine: everybody on the way could read the token.
    #[error("a token is only sent over TLS: use https://")]
    TokenInTheClear,
    /// The TLS client cannot be set up, for example because this machine's certificates cannot be read.
    #[error("TLS cannot be used: {0}")]
    Tls(String),
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection failed or was lost.
    #[error("the server at {url} does not answer: {reason}")]
    Away {
        /// The server's address, without credentials.
        url: String,
        /// The innermost cause.
        reason: String,
        /// Whether the request may have reached the server.
        sent: bool,
    },
    /// The server, or a proxy before it, asked to try again later until the retries were used up.
    #[error("the server is busy: {}", first_message(.rejection))]
    Busy {
        /// What the server said last.
        rejection: Box<Rejection>,
        /// How long the server asks to wait (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// The server rejected the request.
    #[error("{}", first_message(.0))]
    Rejected(Box<Rejection>),
    /// The answer is not one that orghost gives.
    #[error("the answer does not come from an orghost server: {0}")]
    NotOrghost(String),
    /// No idempotency key could be made.
    #[error("the operating system gives no random bytes: {0}")]
    NoKey(String),
}

/// What a server said when it rejected a request.
#[derive(Debug)]
pub struct Rejection {
    /// What happened.
    pub class: Class,
    /// The errors, at least one.
    pub errors: Vec<Diagnostic>,
}

/// A problem document, without the members that repeat others.
#[derive(Deserialize)]
struct Document {
    status: u16,
    errors: Vec<Diagnostic>,
}

/// The error that an unsuccessful answer stands for.
pub fn from_answer(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> ClientError {
    let Ok(document) = serde_json::from_slice::<Document>(body) else {
        let foreign = ClientError::NotOrghost(status.to_string());
        // A proxy that cannot reach the server answers in its own format.
        return match status.as_u16() {
            429 | 502..=504 => ClientError::Busy {
                rejection: Box::new(foreign.into()),
                retry_after,
            },
            _ => foreign,
        };
    };
    let code = document.errors.first().map(|error| error.code.as_str());
    let is_busy = match document.status {
        429 => true,
        // Without `Retry-After` the engine is away, perhaps for long: a retry does not help.
        503 => retry_after.is_some(),
        // An earlier attempt whose connection was lost still runs.
        409 => code == Some("idempotency-busy"),
        _ => false,
    };
    let rejection = Box::new(Rejection {
        class: match document.status {
            401 | 403 => Class::Refused,
            404 => Class::NotFound,
            409 if !is_busy => Class::Conflict,
            412 => Class::MissingEnv,
            _ if is_busy => Class::Busy,
            400..500 => Class::Invalid,
            _ => Class::Failed,
        },
        errors: document.errors,
    });
    match is_busy {
        true => ClientError::Busy {
            rejection,
            retry_after,
        },
        false => ClientError::Rejected(rejection),
    }
}

fn first_message(rejection: &Rejection) -> &str {
    let first = rejection.errors.first();
    first.map_or("the server gave no reason", |error| error.message.as_str())
}

impl From<ClientError> for Rejection {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        let (class, code, help) = match error {
            ClientError::Rejected(rejection) | ClientError::Busy { rejection, .. } => {
                return *rejection;
            }
            ClientError::NoKey(_) => {
                return Self {
                    class: Class::Failed,
                    errors: vec![Diagnostic::new("no-randomness", message)],
                };
            }
            ClientError::Away { .. } => (
                Class::Failed,
                "server-away",
                "start the server with `orghost serve`, or correct --server or ORGHOST_SERVER",
            ),
            ClientError::NotOrghost(_) => (
                Class::Failed,
                "server",
                "check that --server is the address of `orghost serve`, and that its version is this program's",
            ),
        };
        Self {
            class,
            errors: vec![Diagnostic::new(code, message).help(help)],
        }
    }
}

/// The innermost cause of an error. The outermost says only "error sending request".
pub fn innermost(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}
