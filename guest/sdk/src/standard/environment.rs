//! Which variables a workspace has: the template's `.env`, its folder's `.env` over it, the operator's over both.
//! The process environment is out of reach, and granted values never become part of these.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::dotenv;
use super::expand::Variables;
use super::files::{Template, Unreadable};
use super::problems::{At, Pos, Problems};

/// The variables of the org, and of each folder, each made once.
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

    /// The variables of a workspace with this folder; the root is the folder of the org.
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

/// A missing file is an empty one.
fn read(folder: &str, template: &mut Template<'_>, problems: &mut Problems) -> Variables {
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
