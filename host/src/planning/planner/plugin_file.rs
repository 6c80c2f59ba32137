//! A plugin file that a caller names: how it is recognised and read, and where its signature is.

use std::path::{Path, PathBuf};

use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

/// Whether the text names a plugin file, and not an installed plugin: it contains `/`, or ends in `.wasm`.
pub fn is_file(plugin: &str) -> bool {
    plugin.contains('/') || plugin.ends_with(".wasm")
}

/// Reads a plugin file of at most [`limits::PLUGIN_FILE_BYTES`].
///
/// # Errors
/// `plugin-unreadable` when it cannot be read, is not a regular file, or is larger.
pub fn read_plugin(file: &Path) -> Result<Vec<u8>, Problem> {
    let unreadable = |message: String| {
        let diagnostic =
            Diagnostic::new("plugin-unreadable", message).file(file.display().to_string());
        Problem::one(Class::Invalid, diagnostic)
    };
    let name = file.display();
    let metadata = std::fs::metadata(file)
        .map_err(|e| unreadable(format!("the plugin {name} cannot be read: {e}")))?;
    if !metadata.is_file() {
        return Err(unreadable(format!("the plugin {name} is not a file")));
    }
    if metadata.len() > limits::PLUGIN_FILE_BYTES {
        let limit = limits::PLUGIN_FILE_BYTES >> 20;
        return Err(unreadable(format!(
            "the plugin {name} is larger than {limit} MiB"
        )));
    }
    std::fs::read(file).map_err(|e| unreadable(format!("the plugin {name} cannot be read: {e}")))
}

/// The path of a plugin file's signature: the path of the file with `.minisig` appended.
pub fn signature_file(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}
