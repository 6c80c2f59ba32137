//! `orghost plugin add`, `list` and `remove` on a server. This program fetches the plugin, and the server checks it.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::cli::exit::Exit;
use crate::cli::print_json;
use crate::cli::render::text::{in_line, note, print_line};
use crate::cli::server::Server;
use crate::plugin::catalog::Fetched;
use crate::problem::Problem;

/// `orghost plugin add --server`: sends the fetched plugin to the server, which checks and installs it.
///
/// # Errors
/// The server does not answer, or refuses the plugin.
pub async fn add(server: &Server, fetched: Fetched, name: Option<&str>) -> Result<Exit, Problem> {
    server.will_change();
    let (component, signature) = (Bytes::from(fetched.bytes), fetched.signature);
    let added = server
        .client
        .add_plugin(component, name, signature.as_deref())
        .await?;
    if server.json {
        print_json(&added)?;
        return Ok(Exit::Done);
    }
    let text = |field| text_of(added.get("plugin"), field);
    let what = match added.get("changed") {
        Some(Value::Bool(false)) => "already installed",
        _ => "installed",
    };
    print_line(&format!(
        "{} {}: {what}, {}",
        text("name"),
        text("version"),
        text("digest")
    ));
    Ok(Exit::Done)
}

/// `orghost plugin list --server`.
///
/// # Errors
/// The server does not answer.
pub async fn list(server: &Server) -> Result<Exit, Problem> {
    let plugins = server.client.plugins().await?;
    if server.json {
        print_json(&plugins)?;
        return Ok(Exit::Done);
    }
    let list = |name: &str| plugins.get(name).and_then(Value::as_array).cloned();
    let installed = list("plugins").unwrap_or_default();
    if installed.is_empty() {
        note("only the built-in org-import is installed on the server");
    }
    for plugin in installed {
        let text = |field| text_of(Some(&plugin), field);
        print_line(&format!(
            "{} {} {} {}",
            text("name"),
            text("version"),
            text("digest"),
            text("source")
        ));
    }
    for refused in list("quarantine").unwrap_or_default() {
        let text = |field| text_of(Some(&refused), field);
        print_line(&format!(
            "quarantined: {} {}: {}",
            text("name"),
            text("digest"),
            text("reason")
        ));
    }
    Ok(Exit::Done)
}

/// `orghost plugin remove --server`.
///
/// # Errors
/// The server does not answer, or has no such plugin.
pub async fn remove(server: &Server, name: &str) -> Result<Exit, Problem> {
    server.will_change();
    server.client.remove_plugin(name).await?;
    if server.json {
        print_json(&json!({ "removed": name }))?;
    } else {
        print_line(&format!("{name}: removed"));
    }
    Ok(Exit::Done)
}

/// A text field of an answer on one line, or `-`.
fn text_of(object: Option<&Value>, field: &str) -> String {
    let text = object.and_then(|object| object.get(field)?.as_str());
    in_line(text.unwrap_or("-"))
}
