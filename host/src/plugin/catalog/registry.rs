//! Plugins in OCI registries, as other tools for components keep them: a
//! manifest with a wasm config and one layer. Never takes a byte for a plugin
//! that the manifest's digest does not stand for, and knows nothing of policy.

use std::collections::BTreeMap;
use std::sync::Once;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use orghost_build::inspect::Inspection;

use super::Fetched;
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::plugin::PluginDigest;
use crate::problem::{Class, Problem};

const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
const TITLE: &str = "org.opencontainers.image.title";
/// The text of the plugin's `.minisig`: an annotation, so that other tools still see one layer.
const SIGNATURE: &str = "org.orghost.signature.minisign";

/// One plugin's place in a registry: the registry by name, the repository, a tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginReference(Box<Reference>);

/// How to speak to a registry.
#[derive(Debug, Clone, Default)]
pub struct RegistryAccess {
    /// HTTP without TLS. Registries on the loopback get that anyway.
    pub plain_http: bool,
    /// The text of docker's `config.json`: where the credentials are.
    pub docker_config: Option<String>,
}

/// Why a registry did not give or take a plugin.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// The text is no reference.
    #[error("{text:?} is no reference to a plugin in a registry: {reason}")]
    Reference {
        /// As it was written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answers.
    #[error("the registry {registry} does not answer: {reason}")]
    Unreachable {
        /// Its host, and port.
        registry: String,
        /// What the attempt came to.
        reason: String,
    },
    /// It is not there.
    #[error("{0} is not there")]
    NotFound(PluginReference),
    /// The registry wants other credentials, or any.
    #[error("the registry does not allow this for {0}")]
    Unauthorized(PluginReference),
    /// It is something else, such as a container image.
    #[error("{place} is no WebAssembly component: {found}")]
    NotWasm {
        /// Where.
        place: PluginReference,
        /// What it is instead.
        found: String,
    },
    /// See [`limits::PLUGIN_FILE_BYTES`].
    #[error(
        "{place} has {size} bytes, and a plugin has at most {}",
        limits::PLUGIN_FILE_BYTES
    )]
    TooLarge {
        /// Where.
        place: PluginReference,
        /// As its manifest says.
        size: i64,
    },
    /// The bytes are not those of the digest.
    #[error("the registry gave other bytes for {place} than the digest stands for: {reason}")]
    Altered {
        /// Where.
        place: PluginReference,
        /// Which digest.
        reason: String,
    },
    /// See [`limits::REGISTRY_TRANSFER`].
    #[error("{place} took longer than {} seconds", limits::REGISTRY_TRANSFER.as_secs())]
    TooSlow {
        /// Where.
        place: PluginReference,
    },
    /// Anything else.
    #[error("{place}: {reason}")]
    Failed {
        /// Where.
        place: PluginReference,
        /// The registry's words, or the network's.
        reason: String,
    },
}

impl std::fmt::Display for PluginReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for PluginReference {
    type Err = OciError;

    /// Unlike docker's, a reference names its registry: none is the default.
    fn from_str(text: &str) -> Result<Self, OciError> {
        let wrong = |reason: &str| OciError::Reference {
            text: text.to_owned(),
            reason: reason.to_owned(),
        };
        let registry = text.split_once('/').map(|(registry, _)| registry);
        if !registry.is_some_and(|it| it == "localhost" || it.contains(['.', ':'])) {
            return Err(wrong(
                "it begins with the registry, as in registry.example/team/name:1.0.0",
            ));
        }
        let reference: Reference = text.parse().map_err(|error| wrong(&format!("{error}")))?;
        if let Some(digest) = reference.digest() {
            PluginDigest::try_from(digest.to_owned()).map_err(|error| wrong(&error.to_string()))?;
        }
        Ok(Self(Box::new(reference)))
    }
}

impl PluginReference {
    /// The same place by digest.
    #[must_use]
    pub fn by_digest(&self, digest: &str) -> Self {
        let (registry, repository) = (self.0.registry(), self.0.repository());
        Self(Box::new(Reference::with_digest(
            registry.to_owned(),
            repository.to_owned(),
            digest.to_owned(),
        )))
    }

    /// The last part of the repository's name.
    pub fn short_name(&self) -> &str {
        let repository = self.0.repository();
        repository.rsplit('/').next().unwrap_or(repository)
    }

    fn is_loopback(&self) -> bool {
        let registry = self.0.registry();
        let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// Puts a plugin there. The same file and signature give the same manifest. Gives the manifest's digest.
    ///
    /// # Errors
    /// See [`OciError`].
    pub async fn push(
        &self,
        bytes: Vec<u8>,
        component: &Inspection,
        title: &str,
        signature: Option<&str>,
        access: &RegistryAccess,
    ) -> Result<String, OciError> {
        if self.0.digest().is_some() {
            return Err(OciError::Reference {
                text: self.to_string(),
                reason: "a push makes the digest: give a tag".to_owned(),
            });
        }
        let annotation = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let digest = PluginDigest::of(&bytes).to_string();
        // The config of the wasm artifact specification. `created` must be there, and must not make two pushes differ.
        let config = serde_json::json!({
            "created": "1970-01-01T00:00:00Z", "architecture": "wasm", "os": "wasip2", "layerDigests": [digest],
            "component": {"exports": component.exports, "imports": component.imports, "target": null},
        });
        let config = Config::new(config.to_string(), CONFIG.to_owned(), None);
        let title = BTreeMap::from([annotation(TITLE, title)]);
        let layer = ImageLayer::new(bytes, LAYER.to_owned(), Some(title));
        let annotations = signature.map(|text| BTreeMap::from([annotation(SIGNATURE, text)]));
        let layers = [layer];
        let mut manifest = OciImageManifest::build(&layers, &config, annotations);
        manifest.media_type = Some(OCI_IMAGE_MEDIA_TYPE.to_owned());
        let text = serde_json::to_vec(&manifest).map_err(|error| self.failed(&error))?;
        let manifest_digest = PluginDigest::of(&text).to_string();

        let (client, auth) = self.client(access)?;
        let [layer] = layers;
        let work = async {
            client.auth(&self.0, &auth, RegistryOperation::Push).await?;
            client.push_blob(&self.0, layer.data, &digest).await?;
            let config_digest = &manifest.config.digest;
            client
                .push_blob(&self.0, config.data, config_digest)
                .await?;
            let media_type = http::HeaderValue::from_static(OCI_IMAGE_MEDIA_TYPE);
            client.push_manifest_raw(&self.0, text, media_type).await
        };
        self.within(work).await?.map_err(|error| self.told(error))?;
        Ok(manifest_digest)
    }

    /// Gets the plugin that is there, with its signature. A tag is looked up once; everything is held against digests.
    ///
    /// # Errors
    /// See [`OciError`].
    pub async fn pull(&self, access: &RegistryAccess) -> Result<Fetched, OciError> {
        self.within(self.pulled(access)).await?
    }

    async fn pulled(&self, access: &RegistryAccess) -> Result<Fetched, OciError> {
        let (client, auth) = self.client(access)?;
        let (manifest, manifest_digest) = client
            .pull_image_manifest(&self.0, &auth)
            .await
            .map_err(|error| self.told(error))?;
        let not_wasm = |found: String| OciError::NotWasm {
            place: self.clone(),
            found,
        };
        let kind = &manifest.config.media_type;
        if kind != CONFIG {
            return Err(not_wasm(format!("its config is {kind}")));
        }
        let [layer] = manifest.layers.as_slice() else {
            return Err(not_wasm(format!("it has {} layers", manifest.layers.len())));
        };
        if layer.media_type != LAYER {
            return Err(not_wasm(format!("its layer is {}", layer.media_type)));
        }
        let size = u64::try_from(layer.size).ok();
        let Some(size) = size.filter(|size| *size <= limits::PLUGIN_FILE_BYTES) else {
            return Err(OciError::TooLarge {
                place: self.clone(),
                size: layer.size,
            });
        };
        let altered = |reason: &str| OciError::Altered {
            place: self.clone(),
            reason: reason.to_owned(),
        };
        let mut stream = client
            .pull_blob_stream(&self.0, layer)
            .await
            .map_err(|error| self.told(error))?;
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| match digest_error(&error) {
                Some(reason) => altered(&reason),
                None => self.failed(&error),
            })?);
            if bytes.len() as u64 > size {
                return Err(altered("it is longer than its manifest says"));
            }
        }
        if PluginDigest::of(&bytes).to_string() != layer.digest {
            return Err(altered(&layer.digest));
        }
        let signature = manifest
            .annotations
            .and_then(|mut all| all.remove(SIGNATURE));
        if signature
            .as_ref()
            .is_some_and(|text| text.len() > limits::SIGNATURE_BYTES)
        {
            return Err(OciError::Failed {
                place: self.clone(),
                reason: format!(
                    "its signature is larger than {} bytes",
                    limits::SIGNATURE_BYTES
                ),
            });
        }
        Ok(Fetched {
            bytes,
            signature,
            source: self.to_string(),
            manifest: Some(manifest_digest),
        })
    }

    fn client(&self, access: &RegistryAccess) -> Result<(Client, RegistryAuth), OciError> {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // It fails only when there is one already.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let loopback = self.is_loopback();
        let config = ClientConfig {
            // What is in the clear because it does not leave this machine must not go to the environment's proxy: a
            // proxy of its own, for no loopback host, takes that one's place.
            http_proxy: loopback.then(|| "http://127.0.0.1".to_owned()),
            no_proxy: loopback.then(|| "localhost,127.0.0.0/8,::1".to_owned()),
            protocol: if access.plain_http || loopback {
                ClientProtocol::Http
            } else {
                ClientProtocol::Https
            },
            // An index of platforms is no plugin.
            platform_resolver: None,
            connect_timeout: Some(limits::REGISTRY_CONNECT),
            read_timeout: Some(limits::REGISTRY_READ),
            user_agent: concat!("orghost/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|error| self.told(error))?;
        let credentials = access.docker_config.as_deref();
        let auth = match credentials.and_then(|text| credential(text, self.0.registry())) {
            Some((user, password)) => RegistryAuth::Basic(user, password),
            None => RegistryAuth::Anonymous,
        };
        Ok((client, auth))
    }

    async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, OciError> {
        tokio::time::timeout(limits::REGISTRY_TRANSFER, work)
            .await
            .map_err(|_| OciError::TooSlow {
                place: self.clone(),
            })
    }

    fn failed(&self, error: &dyn std::error::Error) -> OciError {
        OciError::Failed {
            place: self.clone(),
            reason: chain(error),
        }
    }

    fn told(&self, error: OciDistributionError) -> OciError {
        use OciDistributionError as E;
        let place = self.clone();
        match error {
            E::UnauthorizedError { .. }
            | E::AuthenticationFailure(_)
            | E::ServerError {
                code: 401 | 403, ..
            } => OciError::Unauthorized(place),
            E::RegistryError { envelope, .. }
                if envelope.errors.iter().any(|e| {
                    matches!(e.code, OciErrorCode::Unauthorized | OciErrorCode::Denied)
                }) =>
            {
                OciError::Unauthorized(place)
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
                OciError::NotFound(place)
            }
            E::ImageManifestNotFoundError(_) | E::ServerError { code: 404, .. } => {
                OciError::NotFound(place)
            }
            E::ImageIndexParsingNoPlatformResolverError => OciError::NotWasm {
                place,
                found: "it is an index of images".to_owned(),
            },
            E::DigestError(error) => OciError::Altered {
                place,
                reason: error.to_string(),
            },
            E::RequestError(error) if error.is_connect() || error.is_timeout() => {
                OciError::Unreachable {
                    registry: self.0.registry().to_owned(),
                    reason: chain(&error),
                }
            }
            error => self.failed(&error),
        }
    }
}

/// What the client says of a stream whose bytes do not match.
fn digest_error(error: &std::io::Error) -> Option<String> {
    use oci_client::errors::DigestError;
    let inner = error.get_ref()?;
    let digest = inner.downcast_ref::<DigestError>().map(ToString::to_string);
    digest.or_else(|| match inner.downcast_ref::<OciDistributionError>() {
        Some(OciDistributionError::DigestError(error)) => Some(error.to_string()),
        _ => None,
    })
}

/// The innermost words: the outer ones only repeat the address.
fn chain(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The user and the password for a registry in docker's `config.json`. Credential helpers are not asked.
fn credential(config: &str, registry: &str) -> Option<(String, String)> {
    let config: serde_json::Value = serde_json::from_str(config).ok()?;
    let entry = config
        .get("auths")?
        .as_object()?
        .iter()
        .find_map(|(name, entry)| {
            let host = name
                .split_once("://")
                .map_or(name.as_str(), |(_, rest)| rest);
            (host.split('/').next() == Some(registry)).then_some(entry)
        })?;
    let decoded = STANDARD.decode(entry.get("auth")?.as_str()?).ok()?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

impl From<OciError> for Problem {
    fn from(error: OciError) -> Self {
        let (exit, code, help) = match &error {
            OciError::Reference { .. } => (
                Class::Invalid,
                "registry-reference",
                "write it as REGISTRY/REPOSITORY:TAG, or with @sha256:… in the place of the tag",
            ),
            OciError::Unreachable { .. } => (
                Class::Failed,
                "registry-unreachable",
                "see whether the name and the port are right; a registry without TLS needs --plain-http",
            ),
            OciError::NotFound(_) => (
                Class::Invalid,
                "registry-not-found",
                "see whether the repository and the tag are right",
            ),
            OciError::Unauthorized(_) => (
                Class::Failed,
                "registry-unauthorized",
                "`docker login` stores credentials that orghost uses too (config.json; no credential helpers)",
            ),
            OciError::NotWasm { .. } => (
                Class::Invalid,
                "registry-not-wasm",
                "name an artifact that orghost plugin push, or another tool for components, has made",
            ),
            OciError::TooLarge { .. } => (
                Class::Invalid,
                "registry-too-large",
                "ask its author for a smaller one",
            ),
            OciError::Altered { .. } => (
                Class::Failed,
                "registry-altered",
                "do not trust this registry; try again over another network",
            ),
            OciError::TooSlow { .. } => (Class::Failed, "registry-slow", "try again"),
            OciError::Failed { .. } => (
                Class::Failed,
                "registry-failed",
                "try again, or ask whoever runs the registry",
            ),
        };
        Self::one(exit, Diagnostic::new(code, error.to_string()).help(help))
    }
}
