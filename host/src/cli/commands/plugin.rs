//! `orghost plugin …`: a module for each command or group of commands.

mod add;
mod bench;
mod build;
mod dev;
mod inspect;
mod new;
mod oci;
mod remote;
mod sign;
mod test;

use crate::cli::args::PluginCommand;
use crate::cli::exit::Exit;
use crate::cli::server::Server;
use crate::cli::{Host, block_on, not_with_server};
use crate::problem::Problem;

/// `orghost plugin …`. The commands for plugin authors run on this machine even if there is a server.
///
/// # Errors
/// The errors of the command.
pub fn run(host: &Host, server: Option<&Server>, command: &PluginCommand) -> Result<Exit, Problem> {
    match (command, server) {
        (PluginCommand::Add(args), Some(server)) => {
            let fetched = add::fetch(host, args)?;
            block_on(remote::add(server, fetched, args.name.as_deref()))
        }
        (PluginCommand::List, Some(server)) => block_on(remote::list(server)),
        (PluginCommand::Remove { name }, Some(server)) => block_on(remote::remove(server, name)),
        (PluginCommand::Verify(_), Some(_)) => Err(not_with_server()),
        (PluginCommand::New(args), _) => new::new(host, args),
        (PluginCommand::Build(args), _) => build::build(host, args),
        (PluginCommand::Test(args), _) => test::test(host, args),
        (PluginCommand::Dev(args), _) => dev::dev(host, args),
        (PluginCommand::Bench(args), _) => bench::bench(host, args),
        (PluginCommand::Inspect { file }, _) => inspect::inspect(host, file),
        (PluginCommand::Keygen { secret }, _) => sign::keygen(host, secret),
        (PluginCommand::Sign(args), _) => sign::sign(host, args),
        (PluginCommand::Push(args), _) => oci::push(host, args),
        (PluginCommand::Pull(args), _) => oci::pull(host, args),
        (PluginCommand::Add(args), None) => add::add(host, args),
        (PluginCommand::List, None) => add::list(host),
        (PluginCommand::Remove { name }, None) => add::remove(host, name),
        (PluginCommand::Verify(args), None) => add::verify(host, args),
    }
}
