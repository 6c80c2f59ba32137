//! The limits of the importer, each with its unit and its reason.
//!
//! The host has its own limits on a call (see `wit/v0.2.0-dev/plugin.wit`). These are lower, so that a template over a
//! limit gets an error with a place, and not a trap.

/// Bytes of all YAML files together. The largest known template has 0.2 MiB.
pub const YAML_BYTES: usize = 8 << 20;

/// YAML files of one template, including the entry file.
pub const YAML_FILES: usize = 2_000;

/// Files that are included inside each other. This also bounds the recursion of the loader.
pub const INCLUDE_DEPTH: usize = 16;

/// Nodes of the composed document. Nodes from aliases, merge keys and includes count as often as they are used, which
/// stops a "billion laughs" attack. In the component, a document of this size takes less than half of the 256 MiB.
pub const YAML_NODES: usize = 200_000;

/// Bytes of all texts and keys of the composed document, counted like [`YAML_NODES`]. The importer copies each of them
/// a few times.
pub const YAML_TEXT_BYTES: usize = 16 << 20;

/// Collections inside each other in the composed document, across includes. This bounds every recursion over a
/// document; the component's stack has 1 MiB.
pub const YAML_NESTING: usize = 100;

/// Characters of a key that is written into a file, such as a category. Readers of YAML accept at most 1 024
/// characters, and an escaped character takes two.
pub const KEY_CHARS: usize = 500;

/// Bytes of a workspace's name, because every message about the workspace contains it.
pub const NAME_BYTES: usize = 500;

/// Workspaces in the whole tree, including those that are not spawned.
pub const WORKSPACES: usize = 10_000;

/// Levels of workspaces. Each level takes a few stack frames.
pub const WORKSPACE_DEPTH: usize = 32;

/// Bytes of one slug in a key: the length of a label in RFC 1123.
pub const SLUG_BYTES: usize = 63;

/// Bytes of a key, with its slashes. The host accepts no more.
pub const KEY_BYTES: usize = 1_024;

/// Files that `files_dir` seeds into one workspace. The host accepts 5 000 files with the generated ones.
pub const SEED_FILES: usize = 4_990;

/// Files that are seeded into all workspaces together. Many workspaces can use the same folder.
pub const SEED_FILES_TOTAL: usize = 200_000;

/// Bytes of prompt files, counted as often as they are used.
pub const PROMPT_BYTES: usize = 16 << 20;

/// Bytes of the parts of a plan that a few lines of a template can multiply: generated files, variables, former names,
/// memories and plugins with their configurations. Such a plan takes at most a second natively, and the host allows
/// five.
pub const PLAN_BYTES: usize = 16 << 20;

/// Bytes of one memory. Longer memories are cut (org-template.md §7).
pub const MEMORY_BYTES: usize = 100_000;

/// Suggestions (`did you mean …?`) in one import. One suggestion takes up to a millisecond.
pub const SUGGESTIONS: usize = 100;

/// Errors in one import, and warnings in one import.
pub const DIAGNOSTICS: usize = 1_000;
