//! The hexadecimal text of digests, keys and random bytes: two lower-case digits per byte.

pub use hex::encode as hex;
