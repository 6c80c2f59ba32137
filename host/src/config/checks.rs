//! Checks of the configuration file's values that their types do not make.

use super::keys::{Config, PluginKeys, PolicyKeys, Runtime, ServerKeys};
use crate::limits;
use crate::model::plan::is_identifier;
use crate::model::plugin::PluginName;

const VARIABLE_NAME: &str = "use letters, digits and `_`, and do not begin with a digit";

/// A value that cannot be meant, and what to write instead.
#[derive(Debug)]
pub struct InvalidValue {
    /// Which key is wrong, and how.
    pub message: String,
    /// What to do about it.
    pub help: &'static str,
}

type Checked = Result<(), InvalidValue>;

/// Checks the whole file.
///
/// # Errors
/// The first [`InvalidValue`].
pub fn check(config: &Config) -> Checked {
    if config.concurrency == Some(0) {
        let message = "concurrency is 0, so no workspace could start";
        return invalid(message, "set at least 1; the default is 4");
    }
    policy(&config.policy)?;
    server(&config.server)?;
    for (name, keys) in &config.plugins {
        plugin(name, keys)?;
    }
    for (name, keys) in &config.runtimes {
        runtime(name, keys)?;
    }
    Ok(())
}

fn policy(policy: &PolicyKeys) -> Checked {
    if let Some(tier) = policy.max_tier.filter(|tier| !(1..=4).contains(tier)) {
        return invalid(format!("policy.max_tier is {tier}"), "set 1, 2, 3 or 4");
    }
    match policy.allow_mount.iter().find(|root| !root.is_absolute()) {
        Some(root) => invalid(
            format!(
                "policy.allow_mount has the relative path {}",
                root.display()
            ),
            "write an absolute path",
        ),
        None => Ok(()),
    }
}

fn server(server: &ServerKeys) -> Checked {
    if server.tls_cert.is_some() != server.tls_key.is_some() {
        let message = "[server] has only one of tls_cert and tls_key";
        return invalid(message, "TLS needs both");
    }
    if server.requests_per_second == 0 {
        let message = "server.requests_per_second is 0, so every request would be refused";
        return invalid(message, "set at least 1; the default is 100");
    }
    let kept = [
        ("keep_days", server.keep_days),
        ("keep_events", server.keep_events),
        ("keep_operations", server.keep_operations),
    ];
    if let Some((key, _)) = kept.iter().find(|(_, kept)| *kept == 0) {
        let message = format!("server.{key} is 0, so no history would be kept");
        return invalid(
            message,
            "set at least 1, or leave the key out for its default",
        );
    }
    variable_names("server.grant", &server.grant)
}

fn plugin(name: &PluginName, keys: &PluginKeys) -> Checked {
    let most = limits::PLUGIN_MEMORY >> 20;
    if let Some(mib) = keys
        .memory_mib
        .filter(|mib| *mib == 0 || usize::try_from(*mib).is_ok_and(|mib| mib > most))
    {
        let message = format!("plugins.{name}.memory_mib is {mib}");
        return invalid(message, "set 1 to 256 MiB");
    }
    if let Some(ms) = keys
        .deadline_ms
        .filter(|ms| !(1..=limits::LONGEST_DEADLINE_MS).contains(ms))
    {
        let message = format!("plugins.{name}.deadline_ms is {ms}");
        return invalid(message, "set 1 to 600000 milliseconds");
    }
    if name.is_built_in() && (!keys.require_signature.is_empty() || keys.digest.is_some()) {
        let message = format!("plugins.{name} requires a signature or a digest");
        return invalid(
            message,
            "leave it out: this plugin is part of the orghost program and is not installed",
        );
    }
    variable_names(&format!("plugins.{name}.grant"), &keys.grant)
}

fn runtime(name: &str, keys: &Runtime) -> Checked {
    if keys.image.is_none() && keys.command.is_none() {
        let message = format!("the runtime {name:?} has neither an image nor a command");
        return invalid(
            message,
            "set `image` for the Docker engine, or `command` for the local engine",
        );
    }
    if keys.command.as_ref().is_some_and(Vec::is_empty) {
        let message = format!("the command of the runtime {name:?} is empty");
        return invalid(message, "write the program and its arguments as a list");
    }
    if keys
        .health
        .as_ref()
        .is_some_and(|path| !path.starts_with('/'))
    {
        let message = format!("runtimes.{name}.health is not a path");
        return invalid(message, "begin it with `/`, such as /health");
    }
    if keys.port == 0 {
        let message = format!("runtimes.{name}.port is 0");
        return invalid(
            message,
            "set the port that the runtime listens on in its container",
        );
    }
    variable_names(&format!("runtimes.{name}.env"), keys.env.keys())
}

fn variable_names<'a>(key: &str, names: impl IntoIterator<Item = &'a String>) -> Checked {
    match names.into_iter().find(|name| !is_identifier(name)) {
        Some(name) => invalid(
            format!("{key}: {name:?} is not a name of a variable"),
            VARIABLE_NAME,
        ),
        None => Ok(()),
    }
}

fn invalid(message: impl Into<String>, help: &'static str) -> Checked {
    Err(InvalidValue {
        message: message.into(),
        help,
    })
}
