//! A service in the test's own process, with a store and clock that the test made.

use std::path::Path;
use std::sync::Arc;

use orghost::config::Config;
use orghost::planning::planner::{Loaded, Planner};
use orghost::planning::policy::Policy;
use orghost::plugin::sandbox::Sandbox;
use orghost::provision::engine::backend::Engines;
use orghost::service::{Import, ImportOptions, Parts, Service, Source};
use orghost::state::encryption::Keyring;
use orghost::state::snapshots::Snapshots;
use orghost::state::store::Store;

/// A service on a state folder, with a Docker engine at `docker`. The demonstration stands in for every runtime.
pub fn service(state: &Path, store: Store, config: Config, docker: String) -> Service {
    let config = Arc::new(config);
    let key = Keyring::new_key().unwrap();
    Service::new(Parts {
        planner: Planner::new(config.clone(), Arc::default(), state),
        loaded: Loaded::new(Sandbox::new(None).unwrap()),
        policy: Policy {
            demo: true,
            ..Policy::default()
        },
        lock: store.lock().unwrap(),
        store,
        keyring: Keyring::of_text(&key).unwrap(),
        snapshots: Snapshots::of(state),
        templates: state.join("templates"),
        engines: Engines::new(Some(docker), state.join("local"), "/none".into()),
        config,
    })
}

/// An import of this `org.yaml`.
pub fn import(org_yaml: &str) -> Import {
    Import {
        caller: "test".to_owned(),
        template: Source::Text(org_yaml.to_owned()),
        vars: Default::default(),
        request: ImportOptions::default(),
    }
}
