//! What a text becomes when its references are replaced.

/// The result of expanding one text.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Expansion {
    /// The text with its references replaced.
    pub text: String,
    /// The names of references without a value.
    pub unresolved: Vec<String>,
    /// Malformed groups, as they are written.
    pub malformed: Vec<String>,
}
