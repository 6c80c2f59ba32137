//! The command `orghost-build`: its arguments, files and exit codes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use orghost_build::{BuildError, Built, Environment, Guest, Inputs, Provenance, build};

/// Builds a guest crate into a verified plugin component, and writes a lock file with what it was built from.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done · 1 it failed · 2 usage · 3 the artifact is not what its sources give"
)]
struct Arguments {
    /// The guest crate's folder
    package: PathBuf,
    /// The folder of the .wit files that it is built against
    #[arg(long, value_name = "DIR", default_value = "wit")]
    wit: PathBuf,
    /// The component to write or to check; its lock file has the extension `lock`
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Rebuild and compare with the existing component, and change neither file
    #[arg(long)]
    check: bool,
    /// With --check, write the rebuilt component to this file
    #[arg(long, value_name = "FILE", requires = "check")]
    rebuilt: Option<PathBuf>,
    /// The folder for cargo's output [default: target/guest in the workspace]
    #[arg(long, value_name = "DIR")]
    target_dir: Option<PathBuf>,
}

/// The exit code for an artifact that differs from what its sources give.
const DIFFERENT: u8 = 3;

#[allow(
    clippy::disallowed_methods,
    reason = "only main reads the process environment"
)]
fn main() -> ExitCode {
    let environment = Environment::from_vars(|name| std::env::var_os(name));
    let arguments = Arguments::parse();
    let done = if arguments.check {
        verify(&arguments, &environment)
    } else {
        make(&arguments, &environment)
    };
    done.unwrap_or_else(|error| {
        eprintln!("orghost-build: {error}");
        ExitCode::FAILURE
    })
}

fn open(arguments: &Arguments, environment: &Environment) -> Result<Guest, BuildError> {
    let mut guest = Guest::open(&arguments.package, &arguments.wit, environment)?;
    if let Some(dir) = &arguments.target_dir {
        guest.target_dir = std::path::absolute(dir).map_err(BuildError::at(dir))?;
    }
    Ok(guest)
}

fn make(arguments: &Arguments, environment: &Environment) -> Result<ExitCode, BuildError> {
    let Built {
        component,
        world,
        provenance,
        ..
    } = build(&open(arguments, environment)?, environment)?;
    write(&arguments.output, &component)?;
    write(
        &arguments.output.with_extension("lock"),
        provenance.to_text()?.as_bytes(),
    )?;
    eprintln!(
        "orghost-build: {} ({} bytes, orghost:plugin {world}, rustc {}, sha-256 {})",
        arguments.output.display(),
        component.len(),
        provenance.compiler.release,
        provenance.artifact.sha256,
    );
    Ok(ExitCode::SUCCESS)
}

fn verify(arguments: &Arguments, environment: &Environment) -> Result<ExitCode, BuildError> {
    let artifact = std::fs::read(&arguments.output).map_err(BuildError::at(&arguments.output))?;
    let recorded = Provenance::read(&arguments.output.with_extension("lock"))?;
    let guest = open(arguments, environment)?;
    let stale = recorded.stale(&Inputs::of(&guest)?, &artifact);
    if !stale.is_empty() {
        return Ok(different(&arguments.output, &stale));
    }
    let Built {
        component,
        provenance,
        ..
    } = build(&guest, environment)?;
    if let Some(path) = &arguments.rebuilt {
        write(path, &component)?;
    }
    let (then, now) = (&recorded.compiler, &provenance.compiler);
    if then == now {
        if component != artifact {
            let why = format!(
                "rustc {} now gives different bytes for the same sources",
                now.release
            );
            return Ok(different(&arguments.output, &[why]));
        }
        eprintln!(
            "orghost-build: {} is what its sources give, byte for byte",
            arguments.output.display()
        );
    } else {
        let (old, new) = (&recorded.artifact, &provenance.artifact);
        if (&old.imports, &old.exports) != (&new.imports, &new.exports) {
            return Ok(different(
                &arguments.output,
                &["its imports or exports differ".to_owned()],
            ));
        }
        eprintln!(
            "orghost-build: {} was made by rustc {} ({}) on {} and rebuilt here by {} ({}) on {}: only imports and exports were compared, and they are equal",
            arguments.output.display(),
            then.release,
            then.commit,
            then.host,
            now.release,
            now.commit,
            now.host,
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn different(artifact: &Path, why: &[String]) -> ExitCode {
    eprintln!(
        "orghost-build: {} is not what its sources give; build it again:",
        artifact.display()
    );
    for line in why {
        eprintln!("  - {line}");
    }
    ExitCode::from(DIFFERENT)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(BuildError::at(folder))?;
    }
    std::fs::write(path, bytes).map_err(BuildError::at(path))
}
