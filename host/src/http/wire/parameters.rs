//! Parameters of a path or a query on their way in: what is wrong with them is a problem document too.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::request::Parts;
use serde::{Deserialize, Deserializer, Serialize};

use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};
use crate::state::token::Caller;

/// Parameters of a path.
pub struct Path<T>(pub T);

/// Parameters of a query. Whoever misspells one is told so.
pub struct Query<T>(pub T);

/// Whose turn a request takes, where callers take turns: its caller's token.
pub struct CallerKey(pub String);

/// A number in a range, both ends included: what is outside is refused, not corrected.
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

/// The request itself cannot be understood.
pub fn malformed(message: String) -> Problem {
    Problem::one(Class::Invalid, Diagnostic::new("malformed", message))
}
