//! TLS of `orghost serve`: the operator's certificate and key, read at the start and again on SIGHUP. Never falls back to
//! plain HTTP.

use std::convert::Infallible;
use std::path::PathBuf;

use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::render::text::note;
use crate::config::ServerKeys;
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

/// A certificate that is served.
pub struct Tls {
    config: RustlsConfig,
    files: (PathBuf, PathBuf),
}

impl Tls {
    /// The certificate that the operator named, if any.
    pub async fn of(server: &ServerKeys) -> Result<Option<Self>, Problem> {
        let (Some(cert), Some(key)) = (&server.tls_cert, &server.tls_key) else {
            return Ok(None);
        };
        // Another one may have been installed by who fetches plugins; it is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = RustlsConfig::from_pem_file(cert, key).await.map_err(|error| {
            let message = format!("the certificate {} and the key {} cannot be used: {error}", cert.display(), key.display());
            let help = "both are PEM files; the certificate's own comes first, then those that signed it";
            Problem::one(Class::Failed, Diagnostic::new("tls", message).help(help))
        })?;
        Ok(Some(Self {
            config,
            files: (cert.clone(), key.clone()),
        }))
    }

    /// Accepts connections; whoever does not finish a handshake in time is gone.
    pub fn acceptor(&self) -> RustlsAcceptor {
        RustlsAcceptor::new(self.config.clone()).handshake_timeout(limits::HANDSHAKE)
    }

    /// Reads the files again at each SIGHUP, for ever. When they cannot be used, the certificate before stays.
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
                Ok(()) => note("the certificate was read again"),
                Err(error) => note(&format!(
                    "the certificate was not read again, the one before stays: {error}"
                )),
            }
        }
        std::future::pending().await
    }
}
