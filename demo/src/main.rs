//! The program `orghost-demo`. It passes the process environment to the library.

use std::process::ExitCode;

#[allow(
    clippy::disallowed_methods,
    reason = "main is this program's only reader of the environment"
)]
fn main() -> ExitCode {
    let var = |name: &str| std::env::var(name).ok();
    orghost_demo::run(orghost_demo::Env {
        config_path: var("WORKSPACE_CONFIG_PATH"),
        port: var("PORT"),
        host: var("HOST"),
        workspace_id: var("WORKSPACE_ID"),
    })
}
