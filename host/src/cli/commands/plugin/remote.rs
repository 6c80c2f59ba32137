//! `orghost plugin add`, `list` and `remove` on a server. A plugin is fetched here, and examined there.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::cli::exit::Exit;
use crate::cli::print_json;
use crate::cli::render::text::{in_line, note, print_line};
use crate::cli::server::Server;
use crate::plugin::catalog::Fetched;
use crate::problem::Problem;

/// `orghost plugin add --server`: fetched here, examined there.
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
    let text = |field| word(added.get("plugin"), field);
    let what = match added.get("changed") {
        Some(Value::Bool(false)) => "installed already",
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
pub async fn list(server: &Server) -> Result<Exit, Problem> {
    let plugins = server.client.plugins().await?;
    if server.json {
        print_json(&plugins)?;
        return Ok(Exit::Done);
    }
    let list = |name: &str| plugins.get(name).and_then(Value::as_array).cloned();
    let installed = list("plugins").unwrap_or_default();
    if installed.is_empty() {
        note("no plugin is installed there but the built-in org-import");
    }
    for plugin in installed {
        let text = |field| word(Some(&plugin), field);
        print_line(&format!(
            "{} {} {} {}",
            text("name"),
            text("version"),
            text("digest"),
            text("source")
        ));
    }
    for refused in list("quarantine").unwrap_or_default() {
        let text = |field| word(Some(&refused), field);
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

/// A text of an answer, on one line.
fn word(object: Option<&Value>, field: &str) -> String {
    let text = object.and_then(|object| object.get(field)?.as_str());
    in_line(text.unwrap_or("-"))
}
