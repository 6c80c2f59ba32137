//! `orghost plugin …`: one module for each command or group of commands.

mod add;
mod bench;
mod build;
mod dev;
mod inspect;
mod new;
mod oci;
mod sign;
mod test;

use crate::cli::Host;
use crate::cli::args::PluginCommand;
use crate::cli::exit::Exit;
use crate::problem::Problem;
pub use add::fetch;

/// What needs neither folders nor a configuration runs without a [`Host`].
pub fn run(host: &Host, command: &PluginCommand) -> Result<Exit, Problem> {
    match command {
        PluginCommand::New(args) => new::new(host, args),
        PluginCommand::Build(args) => build::build(host, args),
        PluginCommand::Test(args) => test::test(host, args),
        PluginCommand::Dev(args) => dev::dev(host, args),
        PluginCommand::Bench(args) => bench::bench(host, args),
        PluginCommand::Inspect { file } => inspect::inspect(host, file),
        PluginCommand::Keygen { secret } => sign::keygen(host, secret),
        PluginCommand::Sign(args) => sign::sign(host, args),
        PluginCommand::Push(args) => oci::push(host, args),
        PluginCommand::Pull(args) => oci::pull(host, args),
        PluginCommand::Add(args) => add::add(host, args),
        PluginCommand::List => add::list(host),
        PluginCommand::Remove { name } => add::remove(host, name),
        PluginCommand::Verify(args) => add::verify(host, args),
    }
}
