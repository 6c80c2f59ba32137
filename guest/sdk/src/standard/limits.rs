//! Every limit of the importer, with its unit and its reason, in one place. Nothing is enforced here.
//!
//! The host has its own limits on a call (see `wit/v0.2.0-dev/plugin.wit`); these are
//! lower, so that what passes them is a sentence with a place and not a trap.

/// Bytes of all YAML files together. The largest known template has 0.2 MiB.
pub const YAML_BYTES: usize = 8 << 20;

/// YAML files that one template may include, the entry file counted.
pub const YAML_FILES: usize = 2_000;

/// Included files inside each other. Also bounds the recursion of the loader.
pub const INCLUDE_DEPTH: usize = 16;

/// Nodes of the composed document, with aliases, merge keys and includes
/// counted as often as they are used: the answer to a "billion laughs". In
/// the component, a document of this size takes less than half of the 256 MiB.
pub const YAML_NODES: usize = 200_000;

/// Bytes of all texts and keys of the composed document, counted like [`YAML_NODES`]. Each is copied a few times.
pub const YAML_TEXT_BYTES: usize = 16 << 20;

/// Collections inside each other in the composed document, includes counted.
/// Every recursion over a document is as deep as this; the component's stack is 1 MiB.
pub const YAML_NESTING: usize = 100;

/// Characters of a key that is written again, such as a category: readers of YAML take at most 1 024, and escapes
/// count twice.
pub const KEY_CHARS: usize = 500;

/// Bytes of a workspace's name. It stands in every message about the workspace.
pub const NAME_BYTES: usize = 500;

/// Workspaces in the whole tree, those that are not spawned counted.
pub const WORKSPACES: usize = 10_000;

/// Levels of workspaces. Each takes a few stack frames.
pub const WORKSPACE_DEPTH: usize = 32;

/// Bytes of one slug in a key: RFC 1123's length of a label.
pub const SLUG_BYTES: usize = 63;

/// Bytes of a key, slugs and slashes together; the host accepts no more.
pub const KEY_BYTES: usize = 1_024;

/// Files that `files_dir` may seed into one workspace; the host accepts 5 000 with the generated ones.
pub const SEED_FILES: usize = 4_990;

/// Files that are seeded into all workspaces together: one folder may serve many of them.
pub const SEED_FILES_TOTAL: usize = 200_000;

/// Bytes of prompts that files hold, counted as often as they are used.
pub const PROMPT_BYTES: usize = 16 << 20;

/// Bytes of everything in one plan that a few lines can multiply: generated files, variables, memories and
/// plugins with their configurations. At worst as much takes a second natively; the host gives five.
pub const PLAN_BYTES: usize = 16 << 20;

/// Bytes of one memory; longer ones are cut (org-template.md §7).
pub const MEMORY_BYTES: usize = 100_000;

/// Suggestions (`did you mean …?`) in one import. One takes up to a millisecond.
pub const SUGGESTIONS: usize = 100;

/// Errors, and warnings, that are reported at most. Nobody reads more.
pub const DIAGNOSTICS: usize = 1_000;
