//! The middleware around every handler: limits, authentication, access rules, audit, idempotency.

pub mod access;
pub mod audit;
pub mod auth;
pub mod connections;
pub mod idempotency;
pub mod layers;
pub mod observe;
pub mod peer;
pub mod request_id;
