//! `orghost serve`: builds the service, serves its HTTP API, and stops in order: listener first, then operations, then the
//! store.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::args::ServeCommand;
use crate::cli::exit::Exit;
use crate::cli::interrupt::Signals;
use crate::cli::render::text::{note, print_line};
use crate::cli::request::policy_keys;
use crate::cli::tls::Tls;
#[cfg(feature = "otel")]
use crate::cli::traces::Traces;
use crate::cli::{Host, block_on, print_json};
use crate::config::{Config, PolicyKeys};
use crate::http::{Api, Connections};
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::planning::planner::{Loaded, Planner};
use crate::problem::{Class, Problem};
use crate::service::{Parts, Service};
use crate::state::snapshots::Snapshots;
use crate::state::store::Store;

/// `orghost serve`: returns after a signal stopped the server.
///
/// # Errors
/// The configuration, the certificate or the state folder cannot be used, or the address cannot be listened on.
pub fn serve(host: &Host, command: &ServeCommand) -> Result<Exit, Problem> {
    block_on(serving(host, command))
}

async fn serving(host: &Host, command: &ServeCommand) -> Result<Exit, Problem> {
    let log = log(host.config.server.otlp.as_deref())?;
    let mut config = (*host.config).clone();
    config.engine = command.engine.engine.or(config.engine);
    config.concurrency = command.concurrency.map(usize::from).or(config.concurrency);
    config.policy.skip_external |= command.policy.skip_external;
    let server = &mut config.server;
    server.listen = command.listen.unwrap_or(server.listen);
    server.templates = command.templates.clone().or(server.templates.take());
    server.tls_cert = command.tls_cert.clone().or(server.tls_cert.take());
    server.tls_key = command.tls_key.clone().or(server.tls_key.take());
    let policy = policy_keys(&command.policy)?;
    let served = async {
        // The whole store is checked before anything is accepted, so that damage is found at the start and not months later.
        let store = Store::open_sound(&host.folders.state)?;
        let loaded = Loaded::new(host.sandbox()?);
        run(host, service(host, config, &policy, store, loaded).await?).await
    };
    let exit = served.await;
    log.finish().await;
    exit
}

/// Makes the service of a command that runs one operation in this process.
///
/// # Errors
/// Those of [`service`].
pub async fn service_for_one(host: &Host, config: Config) -> Result<Service, Problem> {
    let loaded = Loaded::new(host.sandbox()?);
    service(host, config, &PolicyKeys::default(), host.store()?, loaded).await
}

/// Makes the service for this configuration. It holds the write lock of the state folder.
///
/// # Errors
/// Another process has the write lock, or the encryption key cannot be loaded.
pub async fn service(
    host: &Host,
    config: Config,
    policy: &PolicyKeys,
    store: Store,
    loaded: Loaded,
) -> Result<Service, Problem> {
    let config = Arc::new(config);
    let state = &host.folders.state;
    let lock = store.lock()?;
    let planner = Planner::new(config.clone(), host.environment.clone(), state);
    Ok(Service::new(Parts {
        policy: planner.policy(policy),
        loaded,
        keyring: host.keyring(&store).await?,
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
    }))
}

/// Lets this process open a file for every connection. Many systems allow a program 1 024 until it asks for more.
fn allow_open_files() {
    let now = getrlimit(Resource::Nofile);
    let wanted = now
        .maximum
        .map_or(limits::OPEN_FILES, |most| most.min(limits::OPEN_FILES));
    if now.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: now.maximum,
        };
        // Without it, the server works with fewer connections.
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files could not be raised");
        }
    }
}

async fn run(host: &Host, service: Service) -> Result<Exit, Problem> {
    allow_open_files();
    let server = service.config().server.clone();
    let listener = std::net::TcpListener::bind(server.listen).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok((listener.local_addr()?, listener))
    });
    let (address, listener) = listener.map_err(|error| {
        let message = format!("orghost cannot listen on {}: {error}", server.listen);
        let diagnostic = Diagnostic::new("listen", message)
            .help("give another address with --listen ADDRESS:PORT");
        Problem::one(Class::Failed, diagnostic)
    })?;
    let has_token = service.store().has_token().await?;
    if !has_token && !address.ip().is_loopback() {
        let message = format!(
            "without a token orghost listens on the loopback interface only, and {address} is not on it"
        );
        let diagnostic = Diagnostic::new("listen-needs-token", message)
            .help("make a token first: orghost token new NAME --scope admin");
        return Err(Problem::one(Class::Invalid, diagnostic));
    }
    let tls = Tls::of(&server).await?;
    if tls.is_none() && !address.ip().is_loopback() {
        note(
            "warning: without TLS (--tls-cert, --tls-key) anyone on the network path can read tokens and secrets",
        );
    }
    service.resume().await?;
    service.keep_sweeping()?;
    service.keep_pruning()?;
    let handle = Handle::new();
    let connections = Connections::to(Api::new(service.clone()).router());
    let failed = |error: std::io::Error| {
        Problem::one(Class::Failed, Diagnostic::new("serve", error.to_string()))
    };
    let mut listening = axum_server::from_tcp(listener)
        .map_err(failed)?
        .handle(handle.clone())
        .first_request_timeout(limits::HEAD_READ);
    let http = listening.http_builder();
    http.http1().header_read_timeout(limits::HEAD_READ);
    http.http2().max_concurrent_streams(limits::STREAMS);
    let served = async {
        match &tls {
            Some(tls) => listening.acceptor(tls.acceptor()).serve(connections).await,
            None => listening.serve(connections).await,
        }
    };
    let renewed = async {
        match &tls {
            Some(tls) => tls.renew().await,
            None => std::future::pending().await,
        }
    };
    // Signals must be handled before the address is announced, because a script may stop the server at once.
    let mut signals = Signals::new();
    announce(host, address, tls.is_some(), has_token)?;
    let limit = Duration::from_secs(server.drain_seconds);
    let stop = async {
        signals.next().await;
        note(
            "stopping: running operations are finished, or resumed by the next start (interrupt again to stop at once)",
        );
        handle.graceful_shutdown(Some(limit));
        tokio::select! {
            left = service.drain(limit) => left,
            _ = signals.next() => {
                note("stopped at once: the next start resumes the operations from the journal");
                std::process::exit(1);
            }
        }
    };
    let (served, left) = tokio::select! {
        ended = async { tokio::join!(served, stop) } => ended,
        never = renewed => match never {},
    };
    served.map_err(failed)?;
    for name in &left {
        note(&format!("still running; the next start resumes it: {name}"));
    }
    Ok(if left.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// Prints the line that scripts wait for: the server's URL.
fn announce(host: &Host, address: SocketAddr, tls: bool, has_token: bool) -> Result<(), Problem> {
    let scheme = if tls { "https" } else { "http" };
    let url = format!("{scheme}://{address}");
    if host.json {
        return print_json(&serde_json::json!({ "event": "listening", "url": url }));
    }
    print_line(&format!("orghost listens on {url}"));
    if !has_token {
        note(
            "without a token only this machine can use the server; `orghost token new NAME --scope admin` makes one",
        );
    }
    Ok(())
}

/// The log. [`Log::finish`] must be called at the end, so that the last traces are sent.
#[must_use]
struct Log {
    #[cfg(feature = "otel")]
    traces: Option<Traces>,
}

impl Log {
    #[allow(
        clippy::unused_async,
        reason = "without traces there is nothing to send"
    )]
    async fn finish(self) {
        #[cfg(feature = "otel")]
        if let Some(traces) = self.traces {
            traces.finish().await;
        }
    }
}

/// Starts the log on standard error: text on a terminal, JSON elsewhere. Traces go to the collector, if there is one.
///
/// # Errors
/// `otlp`: the collector's URL cannot be used, or this build cannot send traces.
fn log(collector: Option<&str>) -> Result<Log, Problem> {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    let filter =
        tracing_subscriber::filter::Targets::new().with_target("orghost", tracing::Level::INFO);
    let is_terminal = std::io::stderr().is_terminal();
    let for_people = is_terminal.then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_target(false)
    });
    let for_programs = (!is_terminal).then(|| {
        tracing_subscriber::fmt::layer()
            .json()
            .with_writer(std::io::stderr)
    });
    let registry = tracing_subscriber::registry()
        .with(filter)
        .with(for_people)
        .with(for_programs);
    #[cfg(feature = "otel")]
    {
        let traces = collector.map(Traces::to).transpose()?;
        let _ = registry.with(traces.as_ref().map(Traces::layer)).try_init();
        Ok(Log { traces })
    }
    #[cfg(not(feature = "otel"))]
    {
        let _ = registry.try_init();
        match collector {
            None => Ok(Log {}),
            Some(_) => {
                let diagnostic =
                    Diagnostic::new("otlp", "this orghost was built without the feature `otel`")
                        .help("remove `otlp` from [server], or build with --features otel");
                Err(Problem::one(Class::Invalid, diagnostic))
            }
        }
    }
}
