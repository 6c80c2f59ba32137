//! The answer of a plugin before it is converted to the host's types.

use super::bindings::latest::exports::orghost::plugin::importer;

/// The answer of `import-org`: a plan, or the errors of the template. It is a contract breach when it violates a rule that
/// only an older version of the contract has.
pub type Answer = Result<Result<importer::Plan, Vec<importer::Diagnostic>>, ContractBreach>;

/// How an answer violates the contract, as a message.
pub type ContractBreach = String;
