//! Sends requests, and repeats those that may be repeated.
//!
//! A request is repeated when the server is busy (429 or 503), and when the connection to a server that answered before is
//! lost. A request that would act twice carries an idempotency key, or is not repeated.

use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::Response;
use serde::de::DeserializeOwned;

use super::backoff::{self, Pause, RetryReason};
use super::error;
use super::request::Request;
use super::{Client, ClientError};

impl Client {
    /// Sends a request and reads the answer's JSON.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        request: &Request<'_>,
    ) -> Result<T, ClientError> {
        let body = self
            .repeat(request, async |answer: Response| answer.bytes().await)
            .await?;
        serde_json::from_slice(&body).map_err(|error| ClientError::NotOrghost(error.to_string()))
    }

    /// Sends a request until it succeeds, cannot be repeated or the pauses are used up, and reads the answer.
    pub(super) async fn repeat<T>(
        &self,
        request: &Request<'_>,
        read: impl AsyncFn(Response) -> reqwest::Result<T>,
    ) -> Result<T, ClientError> {
        let mut pauses = self.backoff.pauses();
        loop {
            let answered = async {
                let answer = self.attempt(request).await?;
                read(answer).await.map_err(|error| self.away(&error))
            };
            let error = match answered.await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let retry = self.retry(request, &error);
            let pause = retry.and_then(|(reason, retry_after)| pauses.next(reason, retry_after));
            let Some(pause) = pause else {
                return Err(error);
            };
            self.pause(pause).await;
        }
    }

    /// Why a request may be repeated, and how long the server asks to wait; `None` when it may not.
    fn retry(
        &self,
        request: &Request<'_>,
        error: &ClientError,
    ) -> Option<(RetryReason, Option<Duration>)> {
        match error {
            ClientError::Busy { retry_after, .. } => Some((RetryReason::Busy, *retry_after)),
            // A server that never answered is probably a wrong address: the user must hear it at once.
            ClientError::Away { sent, .. } => {
                let has_answered = self.has_answered.load(Ordering::Relaxed);
                (has_answered && (request.is_repeatable() || !sent))
                    .then_some((RetryReason::Away, None))
            }
            _ => None,
        }
    }

    pub(super) async fn pause(&self, pause: Pause) {
        (self.watcher)(&pause);
        tokio::time::sleep(pause.wait).await;
    }

    /// Sends a request once. An unsuccessful answer is an error.
    pub(super) async fn attempt(&self, request: &Request<'_>) -> Result<Response, ClientError> {
        let request = request.build(&self.http, &self.url, self.token.as_deref());
        let answer = request.send().await.map_err(|error| self.away(&error))?;
        self.has_answered.store(true, Ordering::Relaxed);
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let retry_after = backoff::retry_after(answer.headers());
        let body = answer.bytes().await.map_err(|error| self.away(&error))?;
        Err(error::from_answer(status, retry_after, &body))
    }

    pub(super) fn away(&self, error: &reqwest::Error) -> ClientError {
        let mut url = self.url.clone();
        let _ = (url.set_username(""), url.set_password(None));
        ClientError::Away {
            url: url.to_string(),
            reason: error::innermost(error),
            sent: !error.is_connect(),
        }
    }
}
