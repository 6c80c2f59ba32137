//! Methods of a plan's workspace: its parent, and changes that keep the lists sorted and the names and paths unique.

use crate::{EnvVar, SeedFile, Workspace};

impl Workspace {
    /// The key of the parent; `None` for a root.
    pub fn parent(&self) -> Option<&str> {
        self.key.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// Adds a file, or replaces the one with the same path.
    pub fn put_file(&mut self, file: SeedFile) {
        match self
            .files
            .binary_search_by(|known| known.path.cmp(&file.path))
        {
            Ok(place) => self.files.splice(place..=place, [file]).for_each(drop),
            Err(place) => self.files.insert(place, file),
        }
    }

    /// Adds a variable of the workspace's process, or replaces the one with the same name.
    pub fn put_env(&mut self, variable: EnvVar) {
        match self
            .env
            .binary_search_by(|known| known.name.cmp(&variable.name))
        {
            Ok(place) => self.env.splice(place..=place, [variable]).for_each(drop),
            Err(place) => self.env.insert(place, variable),
        }
    }
}
