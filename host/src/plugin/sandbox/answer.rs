//! What a plugin answers, before it is converted.

use super::bindings::latest::exports::orghost::plugin::importer;

/// What `import-org` says: a plan, or everything that is wrong. A lie is what a version's own rules forbid.
pub type Answer = Result<Result<importer::Plan, Vec<importer::Diagnostic>>, Lie>;

/// What a plugin returned although the contract forbids it.
pub type Lie = String;
