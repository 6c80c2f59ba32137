//! `orghost plugin inspect`: shows a plugin file's metadata, imports and exports, and whether this host would run it.

use std::path::Path;

use orghost_build::{Grant, Metadata};
use serde_json::json;

use crate::cli::exit::Exit;
use crate::cli::render::report::print_problem;
use crate::cli::render::text::{in_line, print_line};
use crate::cli::{Host, print_json};
use crate::limits;
use crate::model::plugin::{PluginDigest, PluginLimits, Wasi};
use crate::planning::planner::read_plugin;
use crate::plugin::sandbox::LoadError;
use crate::problem::Problem;

/// `orghost plugin inspect`. The exit code is 2 if this host would not run the plugin.
///
/// # Errors
/// The file cannot be read or is not a component.
pub fn inspect(host: &Host, file: &Path) -> Result<Exit, Problem> {
    let bytes = read_plugin(file)?;
    let inspection = orghost_build::inspect(&bytes)
        .map_err(|e| Problem::from(LoadError::from(e)).in_file(file))?;
    let digest = PluginDigest::of(&bytes);
    let metadata = Metadata::read(&bytes);
    // The plugin is loaded with the WASI that it needs, to show the need. Only the operator can grant it.
    let world = orghost_build::check(&inspection, Grant::Strict).map(|world| (world, Wasi::None));
    let world = world.or_else(|error| {
        orghost_build::check(&inspection, Grant::ClosedWasi)
            .map(|world| (world, Wasi::Closed))
            .map_err(|_| error)
    });
    let plugin_limits = PluginLimits {
        wasi: world.as_ref().map_or(Wasi::None, |(_, wasi)| *wasi),
        ..PluginLimits::default()
    };
    // Loading checks the contract, and `describe` gives the plugin's own description.
    let loaded = host.sandbox()?.load(&bytes, &plugin_limits);
    let described = loaded
        .map_err(Problem::from)
        .and_then(|plugin| plugin.describe().map_err(|error| error.into_problem(None)))
        .map_err(|failure| failure.in_file(file));
    let (description, errors) = match &described {
        Ok(description) => (Some(description), &[][..]),
        Err(failure) => (None, failure.errors.as_slice()),
    };
    if host.json {
        print_json(&json!({
            "file": file, "size": inspection.size, "digest": format!("sha256:{}", digest.as_str()),
            "description": description, "metadata": metadata,
            "world": world.as_ref().ok().map(|(world, _)| world.to_string()), "wasi": plugin_limits.wasi,
            "limits": {
                "deadline_ms": u64::try_from(plugin_limits.deadline.as_millis()).unwrap_or(u64::MAX),
                "memory_bytes": plugin_limits.memory, "answer_bytes": limits::PLAN_BYTES,
                "template_bytes": limits::TEMPLATE_BYTES,
            },
            "imports": inspection.imports, "exports": inspection.exports, "errors": errors,
        }))?;
    } else {
        if let Some(description) = description {
            print_line(&format!(
                "{} {}",
                description.name,
                in_line(&description.version)
            ));
            print_line(&format!(
                "handles  {}",
                in_line(&description.handles.join(", "))
            ));
        }
        print_line(&format!("file     {}", file.display()));
        print_line(&format!("size     {} bytes", inspection.size));
        print_line(&format!("digest   sha256:{}", digest.as_str()));
        for (label, value) in [
            ("package ", &metadata.name),
            ("version ", &metadata.version),
            ("about   ", &metadata.description),
            ("authors ", &metadata.authors),
            ("licence ", &metadata.licenses),
            ("source  ", &metadata.source),
            ("homepage", &metadata.homepage),
            ("sdk     ", &metadata.sdk),
        ] {
            if let Some(value) = value {
                print_line(&format!("{label} {}", in_line(value)));
            }
        }
        if let Ok((world, wasi)) = &world {
            print_line(&format!("world    orghost:plugin {world}"));
            if *wasi == Wasi::Closed {
                print_line(
                    "wasi     closed is needed: `--wasi closed`, or `wasi = \"closed\"` under [plugins.NAME]",
                );
            }
        }
        print_line(&format!(
            "limits   {} s, {} MiB of memory and {} MiB of answer for a call",
            plugin_limits.deadline.as_secs(),
            plugin_limits.memory >> 20,
            limits::PLAN_BYTES >> 20,
        ));
        for (label, names) in [
            ("imports", &inspection.imports),
            ("exports", &inspection.exports),
        ] {
            for name in names {
                print_line(&format!("{label}  {}", in_line(name)));
            }
        }
        if let Err(failure) = &described {
            print_problem(failure, false);
        }
    }
    Ok(if described.is_ok() {
        Exit::Done
    } else {
        Exit::Invalid
    })
}
