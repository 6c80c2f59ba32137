//! State: backup, restore, keys, broken stores, and what a killed server leaves.
