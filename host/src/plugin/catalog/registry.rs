//! Pushes plugins to OCI registries and pulls them, in the format that other WebAssembly tools use: a manifest with a wasm
//! config and one layer. Bytes that do not match the manifest's digest are refused.

mod error;

use std::collections::BTreeMap;
use std::sync::Once;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use orghost_build::inspect::Inspection;

use super::Fetched;
use crate::limits;
use crate::model::plugin::PluginDigest;
use error::digest_error;

pub use error::RegistryError;

const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
const TITLE: &str = "org.opencontainers.image.title";
/// The annotation with the text of the plugin's `.minisig`. A second layer would confuse other tools.
const SIGNATURE: &str = "org.orghost.signature.minisign";

/// A reference to a plugin in a registry: the registry, the repository, and a tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginReference(Box<Reference>);

/// How to connect to a registry.
#[derive(Debug, Clone, Default)]
pub struct RegistryAccess {
    /// Whether to use HTTP without TLS. Registries on the loopback are always used without TLS. Default: false.
    pub plain_http: bool,
    /// The text of docker's `config.json`, which has the credentials. Default: none, and access is anonymous.
    pub docker_config: Option<String>,
}

impl std::fmt::Display for PluginReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for PluginReference {
    type Err = RegistryError;

    /// Parses a reference. Unlike in docker, there is no default registry.
    ///
    /// # Errors
    /// [`RegistryError::Reference`] when the text is not a reference or has no registry.
    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let wrong = |reason: &str| RegistryError::Reference {
            text: text.to_owned(),
            reason: reason.to_owned(),
        };
        let registry = text.split_once('/').map(|(registry, _)| registry);
        if !registry.is_some_and(|it| it == "localhost" || it.contains(['.', ':'])) {
            return Err(wrong(
                "it must begin with the registry, as in registry.example/team/name:1.0.0",
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
    /// The same repository with a digest instead of the tag.
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

    /// Pushes a plugin and returns the digest of its manifest. The same file and signature give the same manifest.
    ///
    /// # Errors
    /// [`RegistryError::Reference`] when the reference has a digest, and other [`RegistryError`]s when the registry does not answer or
    /// refuses the plugin.
    pub async fn push(
        &self,
        bytes: Vec<u8>,
        component: &Inspection,
        title: &str,
        signature: Option<&str>,
        access: &RegistryAccess,
    ) -> Result<String, RegistryError> {
        if self.0.digest().is_some() {
            return Err(RegistryError::Reference {
                text: self.to_string(),
                reason: "the registry computes the digest of a push, so give a tag instead"
                    .to_owned(),
            });
        }
        let annotation = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let digest = PluginDigest::of(&bytes).to_string();
        // The config of the wasm artifact specification. `created` is required; it is constant, so that two pushes of one
        // file are equal.
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
        self.with_timeout(work)
            .await?
            .map_err(|error| self.translate(error))?;
        Ok(manifest_digest)
    }

    /// Pulls a plugin and its signature. A tag is resolved once, and all bytes are checked against digests.
    ///
    /// # Errors
    /// [`RegistryError`], when the registry does not answer, has no such plugin, or returns something else.
    pub async fn pull(&self, access: &RegistryAccess) -> Result<Fetched, RegistryError> {
        self.with_timeout(self.pull_without_timeout(access)).await?
    }

    async fn pull_without_timeout(
        &self,
        access: &RegistryAccess,
    ) -> Result<Fetched, RegistryError> {
        let (client, auth) = self.client(access)?;
        let (manifest, manifest_digest) = client
            .pull_image_manifest(&self.0, &auth)
            .await
            .map_err(|error| self.translate(error))?;
        let not_wasm = |found: String| RegistryError::NotWasm {
            reference: self.clone(),
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
            return Err(RegistryError::TooLarge {
                reference: self.clone(),
                size: layer.size,
            });
        };
        let altered = |reason: &str| RegistryError::Altered {
            reference: self.clone(),
            reason: reason.to_owned(),
        };
        let mut stream = client
            .pull_blob_stream(&self.0, layer)
            .await
            .map_err(|error| self.translate(error))?;
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
            return Err(RegistryError::Failed {
                reference: self.clone(),
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

    fn client(&self, access: &RegistryAccess) -> Result<(Client, RegistryAuth), RegistryError> {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // This fails only when a provider is already installed.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let loopback = self.is_loopback();
        let config = ClientConfig {
            // Without TLS, requests must not leave this machine through the environment's proxy. Setting a proxy that is
            // used for no loopback host overrides the environment's proxy.
            http_proxy: loopback.then(|| "http://127.0.0.1".to_owned()),
            no_proxy: loopback.then(|| "localhost,127.0.0.0/8,::1".to_owned()),
            protocol: if access.plain_http || loopback {
                ClientProtocol::Http
            } else {
                ClientProtocol::Https
            },
            // An index of images for several platforms is not a plugin.
            platform_resolver: None,
            connect_timeout: Some(limits::REGISTRY_CONNECT),
            read_timeout: Some(limits::REGISTRY_READ),
            user_agent: concat!("orghost/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|error| self.translate(error))?;
        let credentials = access.docker_config.as_deref();
        let auth = match credentials.and_then(|text| credential(text, self.0.registry())) {
            Some((user, password)) => RegistryAuth::Basic(user, password),
            None => RegistryAuth::Anonymous,
        };
        Ok((client, auth))
    }

    async fn with_timeout<T>(&self, work: impl Future<Output = T>) -> Result<T, RegistryError> {
        tokio::time::timeout(limits::REGISTRY_TRANSFER, work)
            .await
            .map_err(|_| RegistryError::TooSlow {
                reference: self.clone(),
            })
    }
}

/// The user and the password for a registry in docker's `config.json`. Credential helpers are not supported.
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
