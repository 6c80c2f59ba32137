//! The tree of a YAML document: every node has its place, and every scalar keeps its spelling.

use std::rc::Rc;

use super::limits;
use super::problems::Pos;
use crate::Diagnostic;

/// A node. Aliases and includes share nodes, so a tree can be larger than its memory.
#[derive(Debug)]
pub(crate) struct Node {
    pub value: Value,
    pub pos: Pos,
    /// The place of the alias that stands for this node. `pos` is then the place of the anchored node.
    pub alias: Option<Pos>,
    /// The size of this node and everything below it. Shared nodes count as often as they are used.
    pub size: Size,
    /// How many collections are inside each other, from this node down. 0 for a scalar.
    pub height: usize,
}

/// How much a node holds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Size {
    nodes: usize,
    /// Bytes of texts and keys.
    bytes: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar {
        text: String,
        /// Written without quotes: an unquoted `null` is null, and a quoted one is a text.
        plain: bool,
    },
    List(Vec<Rc<Node>>),
    /// The pairs of a mapping, and then the pairs that `<<` adds. Keys are unique.
    Map(Vec<Pair>),
    /// A value that was left out. The reason is among the problems.
    Omitted,
}

#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub key: Rc<str>,
    pub pos: Pos,
    pub value: Rc<Node>,
    /// The place of the alias from which `<<` took the pair.
    pub alias: Option<Pos>,
}

impl Size {
    /// The size of a node without a text, such as a collection before its items.
    pub const NODE: Self = Self { nodes: 1, bytes: 0 };

    pub fn text(text: &str) -> Self {
        Self {
            nodes: 1,
            bytes: text.len(),
        }
    }

    /// Adds a size.
    ///
    /// # Errors
    /// When the sum is over a limit.
    pub fn add(&mut self, more: Self, pos: &Pos) -> Result<(), Box<Diagnostic>> {
        self.nodes = self.nodes.saturating_add(more.nodes);
        self.bytes = self.bytes.saturating_add(more.bytes);
        let limit = if self.nodes > limits::YAML_NODES {
            format!("{} nodes", limits::YAML_NODES)
        } else if self.bytes > limits::YAML_TEXT_BYTES {
            format!("{} MiB of text", limits::YAML_TEXT_BYTES >> 20)
        } else {
            return Ok(());
        };
        let message = format!(
            "the document has more than {limit}, with everything that its aliases and includes stand for"
        );
        Err(Box::new(Diagnostic::new("yaml-too-large", message).on(pos)))
    }
}

impl Node {
    pub fn scalar(text: String, plain: bool, pos: Pos) -> Self {
        Self {
            size: Size::text(&text),
            value: Value::Scalar { text, plain },
            pos,
            alias: None,
            height: 0,
        }
    }

    pub fn omitted(pos: Pos) -> Self {
        Self {
            value: Value::Omitted,
            pos,
            alias: None,
            size: Size::NODE,
            height: 0,
        }
    }

    /// This node, used by the alias at this place. The nodes below it stay shared.
    pub fn used_at(&self, alias: Pos) -> Self {
        Self {
            value: self.value.clone(),
            pos: self.pos.clone(),
            alias: Some(alias),
            size: self.size,
            height: self.height,
        }
    }

    /// Whether the value is empty or one of the spellings of null.
    pub fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, plain: true } => {
                matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// The kind of value, for a message.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::Scalar { .. } => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Omitted => "something left out",
        }
    }
}
