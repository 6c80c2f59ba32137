//! The network of an org: its workspaces reach each other there, and other orgs do not.

use std::collections::HashMap;

use bollard::errors::Error;
use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::ListNetworksOptionsBuilder;

use super::{Docker, answer, found_or_none, names};
use crate::model::ids::OrgId;
use crate::provision::engine::error::EngineError;

impl Docker {
    /// The networks that match a filter.
    async fn networks(
        &self,
        filter: HashMap<String, Vec<String>>,
    ) -> Result<Vec<bollard::models::Network>, EngineError> {
        let options = ListNetworksOptionsBuilder::default().filters(&filter);
        let networks = self.client.list_networks(Some(options.build())).await;
        networks.map_err(|e| self.error(e))
    }

    /// Whether the org's network is there. The filter of the engine also matches parts of names, so names are compared again.
    async fn has_network(&self, org: &OrgId) -> Result<bool, EngineError> {
        let name = names::network(org);
        let filter = HashMap::from([("name".to_owned(), vec![name.clone()])]);
        let networks = self.networks(filter).await?;
        let mut same = networks
            .into_iter()
            .filter(|network| network.name.as_ref() == Some(&name))
            .peekable();
        if same.peek().is_none() {
            return Ok(false);
        }
        if same.all(|network| names::is_of_org(&network.labels.unwrap_or_default(), org)) {
            return Ok(true);
        }
        Err(EngineError::NameInUse {
            name,
            what: "a network",
        })
    }

    /// Makes the org's network, unless it is there. An overlay network is attachable, so that containers outside a service can
    /// join it too.
    pub(in crate::provision) async fn ensure_network(
        &self,
        org: &OrgId,
        driver: &str,
    ) -> Result<(), EngineError> {
        if self.has_network(org).await? {
            return Ok(());
        }
        let network = NetworkCreateRequest {
            name: names::network(org),
            driver: Some(driver.to_owned()),
            attachable: (driver == "overlay").then_some(true),
            labels: Some(names::of_org(org)),
            ..NetworkCreateRequest::default()
        };
        match self.client.create_network(network).await {
            Ok(_) => Ok(()),
            // Another operation made it first, or the client did not understand the engine's answer.
            Err(error)
                if answer::status(&error) == Some(409)
                    || matches!(error, Error::JsonDataError { .. }) =>
            {
                match self.has_network(org).await? {
                    true => Ok(()),
                    false => Err(self.error(error)),
                }
            }
            Err(error) => Err(self.error(error)),
        }
    }

    /// Removes the networks of an org.
    pub(super) async fn remove_networks(&self, org: &OrgId) -> Result<(), EngineError> {
        for network in self.networks(names::filter(org)).await? {
            if let (Some(id), Some(labels)) = (network.id, network.labels)
                && names::is_of_org(&labels, org)
            {
                let removed = self.client.remove_network(&id).await;
                found_or_none(removed).map_err(|e| self.error(e))?;
            }
        }
        Ok(())
    }
}
