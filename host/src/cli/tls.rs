//! TLS of `orghost serve`: reads the operator's certificate and key at the start and again on SIGHUP. It never falls
//! back to plain HTTP.

use std::convert::Infallible;
use std::path::PathBuf;

use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::render::text::note;
use crate::config::ServerKeys;
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

/// The certificate and key that a server uses.
pub struct Tls {
    config: RustlsConfig,
    files: (PathBuf, PathBuf),
}

impl Tls {
    /// Reads the certificate and key that the operator configured, if any.
    ///
    /// # Errors
    /// `tls`: a file cannot be read, or is not a usable certificate or key.
    pub async fn of(server: &ServerKeys) -> Result<Option<Self>, Problem> {
        let (Some(cert), Some(key)) = (&server.tls_cert, &server.tls_key) else {
            return Ok(None);
        };
        // The client that fetches plugins may have installed a provider already; it is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = RustlsConfig::from_pem_file(cert, key).await.map_err(|error| {
            let message = format!("the certificate {} and the key {} cannot be used: {error}", cert.display(), key.display());
            let help = "both are PEM files; the server's certificate comes first, then those that signed it";
            Problem::one(Class::Failed, Diagnostic::new("tls", message).help(help))
        })?;
        Ok(Some(Self {
            config,
            files: (cert.clone(), key.clone()),
        }))
    }

    /// Makes the acceptor of connections. It closes a connection whose handshake does not finish in time.
    pub fn acceptor(&self) -> RustlsAcceptor {
        RustlsAcceptor::new(self.config.clone()).handshake_timeout(limits::HANDSHAKE)
    }

    /// Reads the files again at each SIGHUP and never returns. If they cannot be used, the server keeps its current
    /// certificate.
    pub async fn renew(&self) -> Infallible {
        let Ok(mut hangups) = signal(SignalKind::hangup()) else {
            return std::future::pending().await;
        };
        while hangups.recv().await.is_some() {
            match self
                .config
                .reload_from_pem_file(&self.files.0, &self.files.1)
                .await
            {
                Ok(()) => note("the certificate was reloaded"),
                Err(error) => note(&format!(
                    "the certificate was not reloaded, and the current one stays in use: {error}"
                )),
            }
        }
        std::future::pending().await
    }
}
