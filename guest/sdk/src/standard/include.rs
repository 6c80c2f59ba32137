//! Loads a template's YAML files, and replaces each `!include` with the file that it names (org-template.md §2).

use std::collections::BTreeMap;
use std::rc::Rc;

use super::files::{self, Template};
use super::limits;
use super::node::{Node, Value};
use super::problems::{At, Pos, Problems, quoted};
use super::yaml::{self, Handler};
use crate::Diagnostic;

/// The document of the entry file, with everything that it includes. `None` after a reported problem.
pub(crate) fn load(
    template: &mut Template<'_>,
    entry: &str,
    skip_external: bool,
    problems: &mut Problems,
) -> Option<Rc<Node>> {
    let mut loader = Loader {
        template,
        problems,
        skip_external,
        path: Vec::new(),
        done: BTreeMap::new(),
        bytes: 0,
    };
    loader.load(entry, None)
}

struct Loader<'a, 'f> {
    template: &'a mut Template<'f>,
    problems: &'a mut Problems,
    skip_external: bool,
    /// The files from the entry file to the one that is being composed.
    path: Vec<Level>,
    done: BTreeMap<Rc<str>, Done>,
    /// Bytes of all files that were read. At most [`limits::YAML_BYTES`].
    bytes: usize,
}

/// A file that is being composed.
struct Level {
    file: Rc<str>,
    /// How many files are included inside each other, below this file.
    depth: usize,
}

/// A file that was composed.
#[derive(Clone)]
struct Done {
    /// `None` after a reported problem.
    node: Option<Rc<Node>>,
    /// As [`Level::depth`].
    depth: usize,
}

impl Handler for Loader<'_, '_> {
    fn report(&mut self, problem: Diagnostic) {
        self.problems.error(problem);
    }

    fn resolve(&mut self, tag: &str, node: Node) -> Rc<Node> {
        let pos = node.pos.clone();
        let resolved = match tag {
            "!include" => self.include(&node),
            "!external" => {
                self.external(&node);
                None
            }
            other => {
                let near = self.problems.did_you_mean(other, ["!include", "!external"]);
                let help = "known tags are `!include` and `!external`; a text that begins with `!` needs quotes";
                let message = format!("the tag {} is unknown{near}", quoted(other));
                self.error(Diagnostic::new("unknown-tag", message).help(help), &pos);
                None
            }
        };
        resolved.unwrap_or_else(|| Rc::new(Node::omitted(pos)))
    }
}

impl Loader<'_, '_> {
    fn include(&mut self, node: &Node) -> Option<Rc<Node>> {
        let pos = &node.pos;
        let Value::Scalar { text: path, .. } = &node.value else {
            let message = format!(
                "`!include` takes the path of a file, and this is {}",
                node.kind()
            );
            self.error(Diagnostic::new("include-path", message), pos);
            return None;
        };
        let folder = files::folder_of(&pos.file);
        let file = match files::joined(folder, path) {
            Ok(file) => file,
            Err(why) => {
                let help = "the path is relative to the file with the `!include`, and stays inside the template";
                let message = format!("the included path {} {why}", quoted(path));
                self.error(Diagnostic::new("include-path", message).help(help), pos);
                return None;
            }
        };
        if self.path.iter().any(|level| *level.file == *file) {
            let message = format!("the file includes itself: {}", self.chain(&file));
            let help = "remove one of these includes";
            self.error(Diagnostic::new("include-cycle", message).help(help), pos);
            return None;
        }
        self.load(&file, Some(pos))
    }

    /// Loads a file, or returns it when it was loaded before. `from` is the place of the tag that includes it.
    fn load(&mut self, file: &str, from: Option<&Pos>) -> Option<Rc<Node>> {
        let file: Rc<str> = file.into();
        let here = self.path.len();
        let Done { node, depth } = match self.done.get(&file) {
            Some(done) => done.clone(),
            None if here > limits::INCLUDE_DEPTH => Done {
                node: None,
                depth: 0,
            },
            None => self.compose(&file, from),
        };
        if here + depth > limits::INCLUDE_DEPTH {
            let message = format!(
                "includes are more than {} files deep: {}",
                limits::INCLUDE_DEPTH,
                self.chain(&file)
            );
            let unknown = Pos::of_file(&file, 0);
            self.error(
                Diagnostic::new("include-depth", message),
                from.unwrap_or(&unknown),
            );
            return None;
        }
        if let Some(above) = self.path.last_mut() {
            above.depth = above.depth.max(1 + depth);
        }
        node
    }

    fn compose(&mut self, file: &Rc<str>, from: Option<&Pos>) -> Done {
        self.path.push(Level {
            file: Rc::clone(file),
            depth: 0,
        });
        let node = match self.read(file, from) {
            Some(text) => match yaml::compose(file, &text, self) {
                Ok(Some(node)) if !node.is_null() => Some(node),
                Ok(_) => {
                    self.empty(file, from);
                    None
                }
                Err(problem) => {
                    self.problems.error(*problem);
                    None
                }
            },
            None => None,
        };
        let depth = self.path.pop().map_or(0, |level| level.depth);
        let done = Done { node, depth };
        self.done.insert(Rc::clone(file), done.clone());
        done
    }

    fn read(&mut self, file: &Rc<str>, from: Option<&Pos>) -> Option<Rc<str>> {
        let at = At::outside(from.cloned().unwrap_or_else(|| Pos::of_file(file, 0)));
        if self.done.len() + self.path.len() > limits::YAML_FILES {
            let message = format!(
                "the template includes more than {} files",
                limits::YAML_FILES
            );
            self.error(Diagnostic::new("too-many-files", message), &at.pos);
            return None;
        }
        let text = match self.template.text(file) {
            Ok(text) => text,
            Err(why) => {
                self.problems.error(match from {
                    None => why.diagnose("template-unreadable", file, &at),
                    Some(_) => why
                        .diagnose("include-unreadable", file, &at)
                        .help("an included path is relative to the file with the `!include`"),
                });
                return None;
            }
        };
        self.bytes += text.len();
        if self.bytes > limits::YAML_BYTES {
            let message = format!(
                "the template's YAML files have more than {} MiB together",
                limits::YAML_BYTES >> 20
            );
            self.error(Diagnostic::new("yaml-too-large", message), &at.pos);
            return None;
        }
        Some(text)
    }

    fn empty(&mut self, file: &Rc<str>, from: Option<&Pos>) {
        let problem = match from {
            Some(_) => Diagnostic::new(
                "include-empty",
                format!("the included file `{file}` is empty"),
            ),
            None => Diagnostic::new("template-empty", format!("`{file}` is empty"))
                .help("an org template needs at least `name` and `workspaces`"),
        };
        let whole = Pos::of_file(file, 0);
        self.error(problem, from.unwrap_or(&whole));
    }

    /// Reports an `!external`: the importer never fetches another repository (design decision 6).
    fn external(&mut self, node: &Node) {
        let field = |name: &str| match &node.value {
            Value::Map(pairs) => pairs
                .iter()
                .find(|pair| &*pair.key == name)
                .and_then(|pair| match &pair.value.value {
                    Value::Scalar { text, .. } if !text.is_empty() => Some(text.as_str()),
                    _ => None,
                }),
            _ => None,
        };
        let missing: Vec<&str> = ["repo", "ref", "path"]
            .into_iter()
            .filter(|name| field(name).is_none())
            .collect();
        if !missing.is_empty() {
            let message = format!("`!external` lacks {}", missing.join(" and "));
            let help = "`!external` takes a mapping with `repo`, `ref` and `path`";
            self.error(
                Diagnostic::new("external-invalid", message).help(help),
                &node.pos,
            );
            return;
        }
        let text = |name| field(name).unwrap_or_default();
        let what = format!(
            "`{}` of the repository {} at {}",
            text("path"),
            text("repo"),
            text("ref")
        );
        if self.skip_external {
            let message = format!("{what} is left out");
            self.problems
                .warn(Diagnostic::new("external-skipped", message).on(&node.pos));
        } else {
            let message = format!(
                "{what} cannot be included: the importer reads nothing outside of the template"
            );
            let help = "copy the file into the template and `!include` it, or leave it out with --skip-external";
            self.error(
                Diagnostic::new("external-unsupported", message).help(help),
                &node.pos,
            );
        }
    }

    fn error(&mut self, problem: Diagnostic, pos: &Pos) {
        self.problems.error(problem.on(pos));
    }

    /// `org.yaml -> a.yaml -> b.yaml`
    fn chain(&self, last: &str) -> String {
        let files = self.path.iter().map(|level| &*level.file);
        files.chain([last]).collect::<Vec<_>>().join(" -> ")
    }
}
