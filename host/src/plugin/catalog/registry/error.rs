//! Why a registry did not accept or return a plugin, translated from the errors of the registry client.

use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};

use super::PluginReference;
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

/// Why a plugin cannot be pushed or pulled.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The text is not a reference.
    #[error("{text:?} is not a reference to a plugin in a registry: {reason}")]
    Reference {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The registry does not answer.
    #[error("the registry {registry} does not answer: {reason}")]
    Unreachable {
        /// The host and port of the registry.
        registry: String,
        /// The error of the connection.
        reason: String,
    },
    /// The registry has no such repository, tag or digest.
    #[error("the registry has no {0}")]
    NotFound(PluginReference),
    /// The registry requires credentials or other ones.
    #[error("the registry refuses access to {0}")]
    Unauthorized(PluginReference),
    /// The artifact is not a WebAssembly component, such as a container image.
    #[error("{reference} is not a WebAssembly component: {found}")]
    NotWasm {
        /// The reference of the artifact.
        reference: PluginReference,
        /// What it is instead.
        found: String,
    },
    /// The plugin has more than [`limits::PLUGIN_FILE_BYTES`].
    #[error(
        "{reference} has {size} bytes, and a plugin can have at most {}",
        limits::PLUGIN_FILE_BYTES
    )]
    TooLarge {
        /// The reference of the plugin.
        reference: PluginReference,
        /// The size in its manifest, in bytes.
        size: i64,
    },
    /// The bytes do not match the digest.
    #[error("the registry returned bytes for {reference} that do not match the digest: {reason}")]
    Altered {
        /// The reference of the plugin.
        reference: PluginReference,
        /// The expected digest, or the client's error.
        reason: String,
    },
    /// The transfer took longer than [`limits::REGISTRY_TRANSFER`].
    #[error("the transfer of {reference} took longer than {} seconds", limits::REGISTRY_TRANSFER.as_secs())]
    TooSlow {
        /// The reference of the plugin.
        reference: PluginReference,
    },
    /// Another error of the registry or the network.
    #[error("{reference}: {reason}")]
    Failed {
        /// The reference of the plugin.
        reference: PluginReference,
        /// The error of the registry or the network.
        reason: String,
    },
}

impl PluginReference {
    /// An error that has no variant of its own.
    pub(super) fn failed(&self, error: &dyn std::error::Error) -> RegistryError {
        RegistryError::Failed {
            reference: self.clone(),
            reason: innermost(error),
        }
    }

    /// Translates an error of the registry client.
    pub(super) fn translate(&self, error: OciDistributionError) -> RegistryError {
        use OciDistributionError as E;
        let reference = self.clone();
        match error {
            E::UnauthorizedError { .. }
            | E::AuthenticationFailure(_)
            | E::ServerError {
                code: 401 | 403, ..
            } => RegistryError::Unauthorized(reference),
            E::RegistryError { envelope, .. }
                if envelope.errors.iter().any(|e| {
                    matches!(e.code, OciErrorCode::Unauthorized | OciErrorCode::Denied)
                }) =>
            {
                RegistryError::Unauthorized(reference)
            }
            E::RegistryError { envelope, .. }
                if envelope.errors.iter().any(|e| {
                    matches!(
                        e.code,
                        OciErrorCode::ManifestUnknown
                            | OciErrorCode::NameUnknown
                            | OciErrorCode::NotFound
                            | OciErrorCode::BlobUnknown
                    )
                }) =>
            {
                RegistryError::NotFound(reference)
            }
            E::ImageManifestNotFoundError(_) | E::ServerError { code: 404, .. } => {
                RegistryError::NotFound(reference)
            }
            E::ImageIndexParsingNoPlatformResolverError => RegistryError::NotWasm {
                reference,
                found: "it is an index of images".to_owned(),
            },
            E::DigestError(error) => RegistryError::Altered {
                reference,
                reason: error.to_string(),
            },
            E::RequestError(error) if error.is_connect() || error.is_timeout() => {
                RegistryError::Unreachable {
                    registry: self.0.registry().to_owned(),
                    reason: innermost(&error),
                }
            }
            error => self.failed(&error),
        }
    }
}

/// The client's error when the bytes of a stream do not match the digest. `None` for other errors.
pub(super) fn digest_error(error: &std::io::Error) -> Option<String> {
    let inner = error.get_ref()?;
    let digest = inner.downcast_ref::<DigestError>().map(ToString::to_string);
    digest.or_else(|| match inner.downcast_ref::<OciDistributionError>() {
        Some(OciDistributionError::DigestError(error)) => Some(error.to_string()),
        _ => None,
    })
}

/// The message of the innermost error. The outer ones only repeat the address.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        let (class, code, help) = match &error {
            RegistryError::Reference { .. } => (
                Class::Invalid,
                "registry-reference",
                "write it as REGISTRY/REPOSITORY:TAG, or with @sha256:… instead of the tag",
            ),
            RegistryError::Unreachable { .. } => (
                Class::Failed,
                "registry-unreachable",
                "check the host name and the port; a registry without TLS needs --plain-http",
            ),
            RegistryError::NotFound(_) => (
                Class::Invalid,
                "registry-not-found",
                "check the repository and the tag",
            ),
            RegistryError::Unauthorized(_) => (
                Class::Failed,
                "registry-unauthorized",
                "run `docker login`: orghost uses the credentials in config.json, but no credential helpers",
            ),
            RegistryError::NotWasm { .. } => (
                Class::Invalid,
                "registry-not-wasm",
                "name an artifact that `orghost plugin push` or another WebAssembly tool has pushed",
            ),
            RegistryError::TooLarge { .. } => (
                Class::Invalid,
                "registry-too-large",
                "ask its author for a smaller plugin",
            ),
            RegistryError::Altered { .. } => (
                Class::Failed,
                "registry-altered",
                "do not trust this registry, and try again over another network",
            ),
            RegistryError::TooSlow { .. } => (Class::Failed, "registry-slow", "try again"),
            RegistryError::Failed { .. } => (
                Class::Failed,
                "registry-failed",
                "try again, or ask the operator of the registry",
            ),
        };
        Self::one(class, Diagnostic::new(code, error.to_string()).help(help))
    }
}
