//! The state folder: everything that outlives the process, and the key that encrypts its secrets.

pub mod backup;
pub mod encryption;
pub mod key_rotation;
pub mod snapshots;
pub mod store;
pub mod token;
