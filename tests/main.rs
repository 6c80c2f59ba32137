//! orghost from the outside, in one binary: `wire` against a fake Docker
//! engine, `docker` against a real one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "these are tests"
)]

mod docker;
mod support;
mod wire;
