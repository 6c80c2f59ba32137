//! `orghost serve`: puts the host together, serves it, and takes it apart again in order: listener, work, store.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::ServeCommand;
use super::report::Exit;
use super::text::{note, print_line};
use super::{Host, block_on, plan, print_json};
use crate::api::Api;
use crate::daemon::{Daemon, Parts};
use crate::diagnostic::Diagnostic;
use crate::planner::{Loaded, Planner};
use crate::problem::{Class, Problem};
use crate::snapshot::Snapshots;
use crate::store::Store;

/// `orghost serve`.
pub fn serve(host: &Host, command: &ServeCommand) -> Result<Exit, Problem> {
    log();
    let mut config = (*host.config).clone();
    config.engine = command.engine.engine.or(config.engine);
    config.concurrency = command.concurrency.map(usize::from).or(config.concurrency);
    let server = &mut config.server;
    server.listen = command.listen.unwrap_or(server.listen);
    server.templates = command.templates.clone().or(server.templates.take());
    server.tls_cert = command.tls_cert.clone().or(server.tls_cert.take());
    server.tls_key = command.tls_key.clone().or(server.tls_key.take());
    let config = Arc::new(config);
    let state = &host.folders.state;
    // All of it is read before anything is accepted: a damage is found now, not in a month.
    let store = Store::open_sound(state)?;
    let lock = store.lock()?;
    let planner = Planner::new(config.clone(), host.environment.clone(), state);
    let daemon = Daemon::new(Parts {
        policy: planner.policy(&plan::policy_keys(&command.policy)?),
        loaded: Loaded::new(host.sandbox()?),
        vault: block_on(host.vault(&store))?,
        snapshots: Snapshots::of(state),
        templates: config
            .server
            .templates
            .clone()
            .unwrap_or_else(|| state.join("templates")),
        engines: host.engines()?,
        config,
        planner,
        store,
        lock,
    });
    block_on(run(host, daemon))
}

async fn run(host: &Host, daemon: Daemon) -> Result<Exit, Problem> {
    let server = daemon.config().server.clone();
    let listener = std::net::TcpListener::bind(server.listen).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok((listener.local_addr()?, listener))
    });
    let (address, listener) = listener.map_err(|error| {
        let message = format!("orghost cannot listen on {}: {error}", server.listen);
        let diagnostic =
            Diagnostic::new("listen", message).help("--listen ADDRESS:PORT names another place");
        Problem::one(Class::Failed, diagnostic)
    })?;
    daemon.resume().await?;
    let handle = Handle::new();
    let service = Api::new(daemon.clone())
        .router()
        .into_make_service_with_connect_info::<SocketAddr>();
    let failed = |error: std::io::Error| {
        Problem::one(Class::Failed, Diagnostic::new("serve", error.to_string()))
    };
    let served = axum_server::from_tcp(listener)
        .map_err(failed)?
        .handle(handle.clone())
        .serve(service);
    // Before anybody knows of it, and can ask it to stop.
    let mut signals = Signals::new();
    announce(host, address)?;
    let limit = Duration::from_secs(server.drain_seconds);
    let stop = async {
        signals.next().await;
        note(
            "stopping: what runs is finished or taken up again by the next start (again to stop at once)",
        );
        handle.graceful_shutdown(Some(limit));
        tokio::select! {
            left = daemon.drain(limit) => left,
            () = signals.next() => {
                note("stopped half-way: the next start goes on from the journal");
                std::process::exit(1);
            }
        }
    };
    let (served, left) = tokio::join!(served, stop);
    served.map_err(failed)?;
    for name in &left {
        note(&format!(
            "still running, and left to the next start: {name}"
        ));
    }
    Ok(if left.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// The one line that scripts wait for: where the server answers.
fn announce(host: &Host, address: SocketAddr) -> Result<(), Problem> {
    let url = format!("http://{address}");
    if host.json {
        return print_json(&serde_json::json!({ "event": "listening", "url": url }));
    }
    print_line(&format!("orghost listens on {url}"));
    note(
        "without a token only this machine may ask: orghost token new NAME --scope admin makes one",
    );
    Ok(())
}

/// INT and TERM.
struct Signals(Option<(Signal, Signal)>);

impl Signals {
    fn new() -> Self {
        let interrupt = signal(SignalKind::interrupt());
        Self(
            interrupt
                .and_then(|int| Ok((int, signal(SignalKind::terminate())?)))
                .ok(),
        )
    }

    async fn next(&mut self) {
        let Some((int, term)) = &mut self.0 else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
    }
}

/// Logs go to standard error: for people on a terminal, JSON elsewhere.
fn log() {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    let filter =
        tracing_subscriber::filter::Targets::new().with_target("orghost", tracing::Level::INFO);
    let is_terminal = std::io::stderr().is_terminal();
    let people = is_terminal.then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_target(false)
    });
    let programs = (!is_terminal).then(|| {
        tracing_subscriber::fmt::layer()
            .json()
            .with_writer(std::io::stderr)
    });
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(people)
        .with(programs)
        .try_init();
}
