//! Pulls images. Workspaces that need the same image at the same time share one pull and its result, which is then forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::TryStreamExt;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::answer;
use crate::limits;
use crate::provision::engine::error::EngineError;

type Pull = Arc<OnceCell<Result<(), EngineError>>>;

/// The pulls that are under way, by image.
#[derive(Debug, Clone, Default)]
pub(in crate::provision) struct Pulls(Arc<Mutex<HashMap<String, Pull>>>);

impl Pulls {
    /// Pulls an image, or waits for the pull of it that is under way.
    pub(in crate::provision) async fn pull(
        &self,
        client: &bollard::Docker,
        endpoint: &str,
        image: &str,
    ) -> Result<(), EngineError> {
        let shared = {
            let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            under_way.entry(image.to_owned()).or_default().clone()
        };
        let pull = || async {
            let pulled = timeout(limits::PULL, pull(client, endpoint, image)).await;
            let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            under_way.remove(image);
            pulled.unwrap_or(Err(EngineError::TimedOut(limits::PULL.as_secs())))
        };
        shared.get_or_init(pull).await.clone()
    }
}

async fn pull(client: &bollard::Docker, endpoint: &str, image: &str) -> Result<(), EngineError> {
    let mut options = CreateImageOptionsBuilder::default().from_image(image);
    if !has_tag(image) {
        // Without a tag, the engine would pull all tags.
        options = options.tag("latest");
    }
    let mut progress = client.create_image(Some(options.build()), None, None);
    // The pull ends when its progress ends; an error comes as a part of the progress.
    let pulled = async {
        while progress.try_next().await?.is_some() {}
        Ok(())
    };
    pulled
        .await
        .map_err(|error| match answer::error(error, endpoint) {
            EngineError::Refused(reason) => EngineError::ImageMissing {
                image: image.to_owned(),
                reason,
            },
            error => error,
        })
}

/// Whether a reference has a tag or digest. A colon before the last slash belongs to a registry's port.
fn has_tag(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    image.contains('@') || name.contains(':')
}

#[cfg(test)]
mod tests {
    use super::has_tag;

    #[test]
    fn the_port_of_a_registry_is_not_a_tag() {
        assert!(!has_tag("agent"));
        assert!(!has_tag("registry:5000/team/agent"));
        assert!(has_tag("registry:5000/team/agent:1"));
        assert!(has_tag("agent@sha256:00"));
    }
}
