//! Reads parameters of the path and the query, and answers a wrong one with a problem document.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::request::Parts;
use serde::{Deserialize, Deserializer, Serialize};

use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};
use crate::state::token::Caller;

/// The parameters of a path.
pub struct Path<T>(pub T);

/// The parameters of a query. Most parameter types reject unknown names, so that a misspelt one is an error.
pub struct Query<T>(pub T);

/// The key of a caller where callers share a resource fairly: the id of its token.
pub struct CallerKey(pub String);

/// A number from `LEAST` to `MOST`, both included. A number outside is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bounded<const LEAST: u64, const MOST: u64>(u64);

impl<const LEAST: u64, const MOST: u64> Bounded<LEAST, MOST> {
    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl<'de, const LEAST: u64, const MOST: u64> Deserialize<'de> for Bounded<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        if (LEAST..=MOST).contains(&number) {
            return Ok(Self(number));
        }
        let message = format!("{number} is not between {LEAST} and {MOST}");
        Err(serde::de::Error::custom(message))
    }
}

impl<S, T> FromRequestParts<S> for Path<T>
where
    S: Send + Sync,
    axum::extract::Path<T>: FromRequestParts<S, Rejection = PathRejection>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        let axum::extract::Path(value) =
            read.map_err(|rejection| malformed(rejection.body_text()))?;
        Ok(Self(value))
    }
}

impl<S, T> FromRequestParts<S> for Query<T>
where
    S: Send + Sync,
    axum::extract::Query<T>: FromRequestParts<S, Rejection = QueryRejection>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        let axum::extract::Query(value) =
            read.map_err(|rejection| malformed(rejection.body_text()))?;
        Ok(Self(value))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for CallerKey {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let caller = parts.extensions.get::<Caller>();
        Ok(Self(
            caller.map(|caller| caller.id.clone()).unwrap_or_default(),
        ))
    }
}

/// The problem of a request that cannot be parsed.
pub fn malformed(message: String) -> Problem {
    Problem::one(Class::Invalid, Diagnostic::new("malformed", message))
}
