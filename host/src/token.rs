//! Who may ask a server, and for what. Knows tokens only as their digests; speaks no HTTP and no SQL.

/// What a token may do; each scope may also do what those before it may.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    clap::ValueEnum,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look at orgs, workspaces, templates, plugins and events.
    Read,
    /// Plan templates.
    Plan,
    /// Import, change and remove orgs, and call their workspaces.
    Write,
    /// Install and remove plugins, read the audit.
    Admin,
}
