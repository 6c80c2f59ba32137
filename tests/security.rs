//! What the README promises an operator: each promise has its test here.
