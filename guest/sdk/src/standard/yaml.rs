//! Composes one YAML file into a tree in which every node knows its place and every scalar its spelling. It reads
//! no files and gives no node a meaning; what a tag stands for is asked of a [`Handler`].

use std::collections::BTreeMap;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use super::limits;
use super::problems::{Pos, quoted};
use super::tabs::Tabs;
use crate::Diagnostic;

/// A node. Aliases and includes share nodes, so a tree may be larger than what is in memory.
#[derive(Debug)]
pub(crate) struct Node {
    pub value: Value,
    pub pos: Pos,
    /// Where the alias stands that put this node here; `pos` is then that of its anchor.
    pub alias: Option<Pos>,
    /// Of everything from here down, what is shared counted wherever it stands.
    pub size: Size,
    /// Collections inside each other from here down.
    pub height: usize,
}

/// How much a node holds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Size {
    nodes: usize,
    /// Of texts and keys.
    bytes: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar {
        text: String,
        /// Written without quotes, so that `null` is nothing and not a word.
        plain: bool,
    },
    List(Vec<Rc<Node>>),
    /// Keys are unique; merged pairs follow the mapping's own.
    Map(Vec<Pair>),
    /// What stood here is left out: the reason is among the problems.
    Omitted,
}

#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub key: Rc<str>,
    pub pos: Pos,
    pub value: Rc<Node>,
    /// Where the alias stands from which `<<` took the pair.
    pub alias: Option<Pos>,
}

/// Whoever has a file composed: gives tags their meaning, and hears of problems that leave the rest readable.
pub(crate) trait Handler {
    /// What a node with a tag (`!include`) stands for.
    fn resolve(&mut self, tag: &str, node: Node) -> Rc<Node>;

    fn report(&mut self, problem: Diagnostic);
}

impl Size {
    /// Of a node with no text in it, such as a collection before its items.
    const NODE: Self = Self { nodes: 1, bytes: 0 };

    fn text(text: &str) -> Self {
        Self {
            nodes: 1,
            bytes: text.len(),
        }
    }

    /// Counts more; an error when that is too much.
    fn add(&mut self, more: Self, pos: &Pos) -> Result<(), Box<Diagnostic>> {
        self.nodes = self.nodes.saturating_add(more.nodes);
        self.bytes = self.bytes.saturating_add(more.bytes);
        let limit = if self.nodes > limits::YAML_NODES {
            format!("{} nodes", limits::YAML_NODES)
        } else if self.bytes > limits::YAML_TEXT_BYTES {
            format!("{} MiB of text", limits::YAML_TEXT_BYTES >> 20)
        } else {
            return Ok(());
        };
        let message =
            format!("the document has more than {limit}, with what aliases and includes stand for");
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

    /// The same where an alias stands. What is below stays shared.
    fn used_at(&self, alias: Pos) -> Self {
        Self {
            value: self.value.clone(),
            pos: self.pos.clone(),
            alias: Some(alias),
            size: self.size,
            height: self.height,
        }
    }

    /// An empty value, or one of the spellings of null.
    pub fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, plain: true } => {
                matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// What it is, for a message.
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

/// Composes a file's only document; `None` when the file holds none.
///
/// # Errors
/// The first thing that keeps the file from being a tree.
pub(crate) fn compose(
    file: &Rc<str>,
    text: &str,
    handler: &mut dyn Handler,
) -> Result<Option<Rc<Node>>, Box<Diagnostic>> {
    let mut composer = Composer {
        file,
        handler,
        open: Vec::new(),
        anchors: BTreeMap::new(),
        total: Size::default(),
        root: None,
        tabs: Tabs::of(text),
    };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| composer.syntax(&error))?;
        composer.event(event, span.start)?;
    }
    Ok(composer.root)
}

struct Composer<'a> {
    file: &'a Rc<str>,
    handler: &'a mut dyn Handler,
    /// Collections whose end is still to come. A list, not the call stack: nesting costs no stack.
    open: Vec<Open>,
    /// By the parser's number. A collection has its anchor only when it is complete, so nothing contains itself.
    anchors: BTreeMap<usize, Rc<Node>>,
    /// What was composed so far.
    total: Size,
    root: Option<Rc<Node>>,
    tabs: Tabs<'a>,
}

struct Open {
    pos: Pos,
    anchor: usize,
    tag: Option<String>,
    items: Items,
    size: Size,
    height: usize,
}

enum Items {
    List(Vec<Rc<Node>>),
    Map(Mapping),
}

#[derive(Default)]
struct Mapping {
    pairs: Vec<Pair>,
    /// Where each key stands first.
    keys: BTreeMap<Rc<str>, Pos>,
    next: Next,
    /// Of `<<`; merged when the mapping is complete, because its own keys win.
    merge: Option<Rc<Node>>,
}

/// What comes next in a mapping.
#[derive(Default)]
enum Next {
    #[default]
    Key,
    /// The value of this key.
    Value(Rc<str>, Pos),
    /// What `<<` merges.
    Merge,
    /// The value of a key that was refused.
    NoValue,
}

impl Composer<'_> {
    fn event(&mut self, event: Event<'_>, start: Marker) -> Result<(), Box<Diagnostic>> {
        let pos = self.pos(&start);
        let node = matches!(
            event,
            Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::MappingStart(..)
                | Event::Alias(_)
        );
        if node && self.tabs.are_before(start.line(), start.col()) {
            return Err(self.indented_with_a_tab(start.line()));
        }
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                let help =
                    "one file is one document: move what follows the `---` into a file of its own";
                let message = "a second document begins here";
                let problem = Diagnostic::new("yaml-documents", message);
                Err(Box::new(problem.on(&pos).help(help)))
            }
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref().map(tag_name);
                let plain = match tag.as_deref() {
                    Some(CORE_STR) => false,
                    Some(CORE_OTHER) => true,
                    _ => style == ScalarStyle::Plain,
                };
                self.total.add(Size::text(&text), &pos)?;
                let node = Node::scalar(text.into_owned(), plain, pos);
                let node = self.tagged(tag, node);
                self.add(node, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(pos, anchor, tag.as_deref(), Items::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.begin(pos, anchor, tag.as_deref(), Items::Map(Mapping::default()))
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).map(Rc::clone) else {
                    let message = "this alias stands inside of what it stands for";
                    return Err(Box::new(Diagnostic::new("yaml-alias", message).on(&pos)));
                };
                self.total.add(node.size, &pos)?;
                self.add(Rc::new(node.used_at(pos)), 0)
            }
            Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::StreamStart
            | Event::StreamEnd
            | Event::Nothing => Ok(()),
        }
    }

    fn begin(
        &mut self,
        pos: Pos,
        anchor: usize,
        tag: Option<&Tag>,
        items: Items,
    ) -> Result<(), Box<Diagnostic>> {
        self.total.add(Size::NODE, &pos)?;
        if self.open.len() >= limits::YAML_NESTING {
            return Err(too_deep(&pos));
        }
        self.open.push(Open {
            tag: tag.map(tag_name),
            pos,
            anchor,
            items,
            size: Size::NODE,
            height: 1,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Box<Diagnostic>> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let mut size = open.size;
        let value = match open.items {
            Items::List(list) => Value::List(list),
            Items::Map(mapping) => {
                let (pairs, merged) = self.merged(mapping)?;
                size.add(merged, &open.pos)?;
                Value::Map(pairs)
            }
        };
        let node = Node {
            value,
            pos: open.pos,
            alias: None,
            size,
            height: open.height,
        };
        let node = self.tagged(open.tag, node);
        self.add(node, open.anchor)
    }

    fn tagged(&mut self, tag: Option<String>, node: Node) -> Rc<Node> {
        match tag.as_deref() {
            None | Some(CORE_STR | CORE_OTHER) => Rc::new(node),
            Some(tag) => self.handler.resolve(tag, node),
        }
    }

    /// Puts a complete node where it belongs.
    fn add(&mut self, node: Rc<Node>, anchor: usize) -> Result<(), Box<Diagnostic>> {
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        // What an include or an alias brings in counts as often as it is used.
        open.size.add(node.size, &node.pos)?;
        open.height = open.height.max(1 + node.height);
        if open.height > limits::YAML_NESTING {
            return Err(too_deep(&node.pos));
        }
        match &mut open.items {
            Items::List(list) => list.push(node),
            Items::Map(mapping) => {
                if let Err(problem) = mapping.add(node) {
                    self.handler.report(*problem);
                }
            }
        }
        Ok(())
    }

    /// The pairs of a mapping with those of its `<<`, and how much that added.
    fn merged(&mut self, mapping: Mapping) -> Result<(Vec<Pair>, Size), Box<Diagnostic>> {
        let Mapping {
            mut pairs,
            mut keys,
            merge,
            ..
        } = mapping;
        let mut added = Size::default();
        let sources = match merge.as_deref().map(|node| (&node.value, node)) {
            None => &[],
            Some((Value::List(list), _)) => list.as_slice(),
            Some(_) => merge.as_slice(),
        };
        for source in sources {
            let from = match &source.value {
                Value::Map(from) => from,
                Value::Omitted => continue,
                _ => {
                    let message = format!("`<<` merges mappings, and this is {}", source.kind());
                    self.handler
                        .report(Diagnostic::new("yaml-merge", message).on(&source.pos));
                    continue;
                }
            };
            // Counted for every pair that is looked at: keys that are present already are work too.
            for pair in from {
                self.total.add(Size::text(&pair.key), &source.pos)?;
                if !keys.contains_key(&pair.key) {
                    self.total.add(pair.value.size, &source.pos)?;
                    added.add(Size::text(&pair.key), &source.pos)?;
                    added.add(pair.value.size, &source.pos)?;
                    keys.insert(Rc::clone(&pair.key), pair.pos.clone());
                    pairs.push(Pair {
                        alias: source.alias.clone().or_else(|| pair.alias.clone()),
                        ..pair.clone()
                    });
                }
            }
        }
        Ok((pairs, added))
    }

    /// What keeps the text from being YAML. A tab is the most likely reason.
    fn syntax(&self, error: &ScanError) -> Box<Diagnostic> {
        let pos = self.pos(error.marker());
        match self.tabs.first_until(error.marker().line()) {
            Some(line) => self.indented_with_a_tab(line),
            None => {
                let message = format!("this is not YAML: {}", error.info());
                Box::new(Diagnostic::new("yaml-syntax", message).on(&pos))
            }
        }
    }

    fn indented_with_a_tab(&self, line: usize) -> Box<Diagnostic> {
        let pos = Pos::of_file(self.file, u32::try_from(line).unwrap_or(u32::MAX));
        let problem = Diagnostic::new("yaml-tab", "this line is indented with a tab");
        Box::new(problem.on(&pos).help("YAML is indented with spaces"))
    }

    fn pos(&self, marker: &Marker) -> Pos {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Pos {
            file: Rc::clone(self.file),
            line: number(marker.line()),
            column: number(marker.col().saturating_add(1)),
        }
    }
}

impl Mapping {
    /// Takes a key, or the value of the key before it. What is wrong with a key leaves out its pair.
    fn add(&mut self, node: Rc<Node>) -> Result<(), Box<Diagnostic>> {
        match std::mem::take(&mut self.next) {
            Next::Key => {
                self.next = Next::NoValue;
                self.next = self.key(&node)?;
            }
            Next::Merge => self.merge = Some(node),
            Next::Value(key, pos) => self.pairs.push(Pair {
                key,
                pos,
                value: node,
                alias: None,
            }),
            Next::NoValue => {}
        }
        Ok(())
    }

    fn key(&mut self, key: &Node) -> Result<Next, Box<Diagnostic>> {
        let pos = &key.pos;
        let Value::Scalar { text, plain } = &key.value else {
            let message = format!("a key is a text, and this is {}", key.kind());
            return Err(Box::new(Diagnostic::new("yaml-key", message).on(pos)));
        };
        let text: Rc<str> = text.as_str().into();
        if let Some(first) = self.keys.get(&text) {
            let (key, line) = (quoted(&text), first.line);
            let message =
                format!("the key {key} stands here a second time; the first is in line {line}");
            let problem = Diagnostic::new("duplicate-key", message).on(pos);
            return Err(Box::new(problem.help("remove one of them")));
        }
        self.keys.insert(Rc::clone(&text), pos.clone());
        if *plain && &*text == MERGE {
            return Ok(Next::Merge);
        }
        Ok(Next::Value(text, pos.clone()))
    }
}

const MERGE: &str = "<<";
/// Stands for `!!str` and the non-specific `!`: a text, however it is spelled.
const CORE_STR: &str = "!!str";
/// Stands for the other tags that YAML itself defines, which change nothing here.
const CORE_OTHER: &str = "!!";

fn tag_name(tag: &Tag) -> String {
    match (tag.handle.as_str(), tag.suffix.as_str()) {
        ("", "!") => CORE_STR.to_owned(),
        (_, "bool" | "float" | "int" | "map" | "null" | "seq") if tag.is_yaml_core_schema() => {
            CORE_OTHER.to_owned()
        }
        (_, suffix) if tag.is_yaml_core_schema() => format!("!!{suffix}"),
        (handle, suffix) => format!("{handle}{suffix}"),
    }
}

fn too_deep(pos: &Pos) -> Box<Diagnostic> {
    let message = format!(
        "lists and mappings are more than {} deep here, includes counted",
        limits::YAML_NESTING
    );
    Box::new(Diagnostic::new("yaml-too-deep", message).on(pos))
}
