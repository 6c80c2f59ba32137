//! Composes one YAML file into a tree of nodes. It reads no files; a [`Handler`] gives tags their meaning.

use std::collections::BTreeMap;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use super::input::Characters;
use super::limits;
use super::node::{Node, Pair, Size, Value};
use super::problems::{Pos, quoted};
use super::tabs::Tabs;
use crate::Diagnostic;

/// Gives tags their meaning, and takes the errors that do not prevent composing the rest of the file.
pub(crate) trait Handler {
    /// The node that replaces a node with a tag, such as `!include`.
    fn resolve(&mut self, tag: &str, node: Node) -> Rc<Node>;

    fn report(&mut self, problem: Diagnostic);
}

/// Composes the only document of a file; `None` when the file has none.
///
/// # Errors
/// When the file is not a YAML document, or is over a limit: the first error.
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
    let mut parser = Parser::new(Characters(text));
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| composer.syntax(&error))?;
        composer.event(event, span.start)?;
    }
    Ok(composer.root)
}

struct Composer<'a> {
    file: &'a Rc<str>,
    handler: &'a mut dyn Handler,
    /// The collections that have not ended. This is a list, and not recursion, so that nesting needs no stack.
    open: Vec<Open>,
    /// The anchored nodes, by the parser's number of the anchor. A collection is added when it is complete, so that it
    /// cannot contain itself.
    anchors: BTreeMap<usize, Rc<Node>>,
    /// The size of everything that was composed so far.
    total: Size,
    root: Option<Rc<Node>>,
    tabs: Tabs<'a>,
}

/// A collection that has not ended.
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
    keys: Keys,
    next: Next,
    /// The value of `<<`. It is merged when the mapping is complete, because the mapping's own keys win.
    merge: Option<Rc<Node>>,
}

/// The keys of a mapping, with their places. Most mappings have few keys, and comparing them all is fastest.
#[derive(Default)]
struct Keys {
    list: Vec<(Rc<str>, Pos)>,
    /// Their numbers in the list, when there are more than [`Keys::FEW`].
    many: BTreeMap<Rc<str>, usize>,
}

impl Keys {
    const FEW: usize = 16;

    fn get(&self, key: &str) -> Option<&Pos> {
        let found = if self.list.len() > Self::FEW {
            self.many.get(key).and_then(|number| self.list.get(*number))
        } else {
            self.list.iter().find(|(known, _)| **known == *key)
        };
        found.map(|(_, pos)| pos)
    }

    /// Adds a key that is not among them.
    fn add(&mut self, key: Rc<str>, pos: Pos) {
        let number = self.list.len();
        if number == Self::FEW {
            let known = self.list.iter().zip(0..);
            self.many = known
                .map(|((key, _), number)| (Rc::clone(key), number))
                .collect();
        }
        if number >= Self::FEW {
            self.many.insert(Rc::clone(&key), number);
        }
        self.list.push((key, pos));
    }
}

/// What the next node of a mapping is.
#[derive(Default)]
enum Next {
    #[default]
    Key,
    /// The value of this key.
    Value(Rc<str>, Pos),
    /// The value of `<<`.
    Merge,
    /// The value of a key that has an error. It is left out.
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
                    "a file holds one document: move everything after the `---` into another file";
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
                    let message = "this alias is inside the node that it stands for";
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

    /// Adds a complete node to the collection that it belongs to.
    fn add(&mut self, node: Rc<Node>, anchor: usize) -> Result<(), Box<Diagnostic>> {
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        // The nodes of includes and aliases count as often as they are used.
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

    /// The pairs of a mapping with those of its `<<`, and the size of the latter.
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
            // Every pair counts, even when the mapping has its key already, because looking at it takes time.
            for pair in from {
                self.total.add(Size::text(&pair.key), &source.pos)?;
                if keys.get(&pair.key).is_none() {
                    self.total.add(pair.value.size, &source.pos)?;
                    added.add(Size::text(&pair.key), &source.pos)?;
                    added.add(pair.value.size, &source.pos)?;
                    keys.add(Rc::clone(&pair.key), pair.pos.clone());
                    pairs.push(Pair {
                        alias: source.alias.clone().or_else(|| pair.alias.clone()),
                        ..pair.clone()
                    });
                }
            }
        }
        Ok((pairs, added))
    }

    /// The parser's error, or the error about a tab, which is the most likely cause.
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
    /// Adds a key, or the value of the key before it.
    ///
    /// # Errors
    /// When the node is not a valid key. Its pair is left out.
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
        self.keys.add(Rc::clone(&text), pos.clone());
        if *plain && &*text == MERGE {
            return Ok(Next::Merge);
        }
        Ok(Next::Value(text, pos.clone()))
    }
}

const MERGE: &str = "<<";
/// The name for `!!str` and the non-specific `!`, which make any scalar a text.
const CORE_STR: &str = "!!str";
/// The name for the other tags that YAML defines, which have no effect here.
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
        "lists and mappings are more than {} levels deep here, including those of included files",
        limits::YAML_NESTING
    );
    Box::new(Diagnostic::new("yaml-too-deep", message).on(pos))
}
