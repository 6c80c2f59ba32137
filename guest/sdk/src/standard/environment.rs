//! Collects the variables of each workspace.
//!
//! They come from the template's `.env`, then from the `.env` of the workspace's folder, and then from the operator. A
//! later source replaces an earlier one. Granted values are not among them.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::dotenv;
use super::expand::Variables;
use super::files::{Template, Unreadable};
use super::problems::{At, Pos, Problems};

/// The variables of the org and of each folder. Each folder is read once.
pub(crate) struct Layers {
    root: Variables,
    operator: Variables,
    folders: BTreeMap<String, Rc<Variables>>,
}

impl Layers {
    pub fn new(operator: Variables, template: &mut Template<'_>, problems: &mut Problems) -> Self {
        Self {
            root: read("", template, problems),
            operator,
            folders: BTreeMap::new(),
        }
    }

    /// The variables of a workspace with this folder. The empty path stands for the org, and for a workspace without a
    /// folder.
    pub fn of(
        &mut self,
        folder: &str,
        template: &mut Template<'_>,
        problems: &mut Problems,
    ) -> Rc<Variables> {
        if let Some(known) = self.folders.get(folder) {
            return Rc::clone(known);
        }
        let mut variables = self.root.clone();
        if !folder.is_empty() {
            variables.extend(read(folder, template, problems));
        }
        variables.extend(self.operator.clone());
        let variables = Rc::new(variables);
        self.folders
            .insert(folder.to_owned(), Rc::clone(&variables));
        variables
    }
}

/// Reads the `.env` of a folder. A missing file is read as an empty one.
fn read(folder: &str, template: &mut Template<'_>, problems: &mut Problems) -> Variables {
    if template.lacks(folder, ".env") {
        return Variables::new();
    }
    let file = if folder.is_empty() {
        ".env".to_owned()
    } else {
        format!("{folder}/.env")
    };
    match template.text(&file) {
        Ok(text) => dotenv::read(&file, &text, problems),
        Err(Unreadable::Missing) => Variables::new(),
        Err(why) => {
            let at = At::outside(Pos::of_file(&file, 0));
            problems.error(why.diagnose("file-unreadable", &file, &at));
            Variables::new()
        }
    }
}
