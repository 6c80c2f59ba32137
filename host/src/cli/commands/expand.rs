//! `orghost expand`: expands the references in one text, as templates do.

use crate::cli::args::{ExpandCommand, PluginArgs};
use crate::cli::exit::Exit;
use crate::cli::render::plan::print_expansion;
use crate::cli::request::{plan_request, plugin_input};
use crate::cli::server::{self, Server};
use crate::cli::{Host, block_on};
use crate::problem::Problem;

/// `orghost expand`.
///
/// # Errors
/// The plugin cannot be loaded or has no expander, or the server does not answer.
pub fn expand(
    host: &Host,
    server: Option<&Server>,
    command: &ExpandCommand,
) -> Result<Exit, Problem> {
    match server {
        Some(server) => block_on(on_server(server, command)),
        None => on_this_machine(host, command),
    }
}

fn on_this_machine(host: &Host, command: &ExpandCommand) -> Result<Exit, Problem> {
    let PluginArgs { plugin, wasi } = &command.plugin;
    let chosen = host.planner.choose(plugin.as_deref(), wasi.wasi, None)?;
    let input = plugin_input(host, &command.env, &chosen.grant)?;
    let (plugin, _) = host.planner.load(&chosen, &host.sandbox()?)?;
    let expansion = plugin
        .expand(&command.text, &input)
        .map_err(|error| error.into_problem(None))?;
    print_expansion(host.json, &expansion)?;
    Ok(Exit::Done)
}

async fn on_server(server: &Server, command: &ExpandCommand) -> Result<Exit, Problem> {
    if command.plugin.plugin.is_some() {
        return Err(server::not_from_here(
            "--plugin",
            "a server always expands with the built-in plugin",
        ));
    }
    let request = plan_request(&command.env)?;
    let expansion = server
        .client
        .expand(&command.text, &request.vars, &request.grant)
        .await?;
    print_expansion(server.json, &expansion)?;
    Ok(Exit::Done)
}
