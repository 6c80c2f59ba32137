//! The engine contract: rules that hold on every engine, which are the local engine, a real Docker engine, the fake one
//! and a swarm.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::models::{NetworkCreateRequest, VolumeCreateRequest};
use bollard::query_parameters::RemoveVolumeOptions;
use orghost::model::engine_kind::EngineKind;
use orghost::model::event::Before;
use orghost::model::plan::{Access, Content, SeedFile};
use orghost::provision::engine::Engine;
use orghost::provision::generation::Generation;
use orghost::provision::observed::{State, VolumeKind};

use super::world::{World, workspace};

/// An org comes up with exactly its seed, and a second `up` finds nothing to do.
pub async fn a_second_up_changes_nothing<E: Engine>(world: &World<E>) {
    world.write("scripts/run.sh", b"#!/bin/sh\r\n");
    let mut pm = workspace("pm");
    pm.files.push(SeedFile {
        path: "scripts/run.sh".to_owned(),
        content: Content::Template {
            path: "scripts/run.sh".to_owned(),
            text: true,
        },
        secret: false,
    });
    let org = [pm, workspace("pm/dev")];
    let outcomes = world.up(&org).await;
    assert!(
        outcomes.is_up("pm") && outcomes.is_up("pm/dev"),
        "{outcomes:?}"
    );
    for workspace in &org {
        let spec = world.spec(workspace);
        let first = Generation::first(&spec.id);
        let stored = world.engine.read_seed(&first).await.unwrap();
        assert_eq!(stored.manifest(), spec.seed.manifest());
        let seen = world.engine.inspect(&first).await.unwrap();
        assert_eq!(seen.state, State::Running);
        assert_eq!(
            (seen.key, seen.spec),
            (workspace.key.as_str().to_owned(), spec.digest)
        );
        assert!(is_reachable_from_here(
            world.engine.kind(),
            &seen.url.unwrap()
        ));
    }
    let again = world.up(&org).await;
    assert!(
        again.is_unchanged("pm") && again.is_unchanged("pm/dev"),
        "{again:?}"
    );
}

/// Whether a URL is reachable from this machine only. A swarm cannot bind a port to an address, so there it is the
/// task's own address on the engine's bridge; elsewhere it is the loopback.
pub fn is_reachable_from_here(engine: EngineKind, url: &str) -> bool {
    let Some((host, port)) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once(':'))
    else {
        return false;
    };
    let host: std::net::Ipv4Addr = host.parse().unwrap();
    let is_there = match engine {
        EngineKind::Swarm => host.is_private(),
        EngineKind::Docker | EngineKind::Local => host == std::net::Ipv4Addr::LOCALHOST,
    };
    is_there && port.parse::<u16>().is_ok()
}

/// A changed workspace is replaced, and its sibling is not. The agent's own volume stays.
pub async fn a_changed_workspace_is_replaced<E: Engine>(world: &World<E>) {
    let mut org = [workspace("pm"), workspace("qa")];
    world.up(&org).await;
    let operations = async || {
        let volumes = world.engine.volumes(&world.org()).await.unwrap();
        let made = volumes.into_iter();
        let made = made.map(|v| ((v.volume.id().clone(), v.volume.kind()), v.operation));
        made.collect::<BTreeMap<_, _>>()
    };
    let before = operations().await;

    org[0].files.remove(2);
    let outcomes = world.up(&org).await;
    assert!(
        outcomes.is_up("pm") && outcomes.is_unchanged("qa"),
        "{outcomes:?}"
    );
    let spec = world.spec(&org[0]);
    let current = world.current(&org[0]).await.unwrap();
    let stored = world.engine.read_seed(&current.generation).await.unwrap();
    assert_eq!(
        stored.manifest(),
        spec.seed.manifest(),
        "no file of the older seed is left"
    );
    let after = operations().await;
    let same = |kind| before[&(spec.id.clone(), kind)] == after[&(spec.id.clone(), kind)];
    assert!(!same(VolumeKind::Configs) && same(VolumeKind::Workspace));
}

/// A replacement that exits before it is ready is removed, and the old generation runs again with its own seed.
pub async fn a_failed_replacement_is_rolled_back<E: Engine>(world: &mut World<E>) {
    world.options.wait = Some(Duration::from_secs(60));
    let good = workspace("pm");
    assert!(world.up(std::slice::from_ref(&good)).await.is_up("pm"));
    let before = world.current(&good).await.unwrap();

    let mut bad = good.clone();
    // The demonstration runtime exits with 78 for an invalid config.
    let config = bad.files.iter_mut().find(|file| file.path == "config.yaml");
    config.unwrap().content = Content::Inline(b" ".to_vec());
    let outcomes = world.up(&[bad]).await;
    assert_eq!(outcomes.failure("pm"), "ready ended", "{outcomes:?}");
    assert!(
        matches!(outcomes.before("pm"), Some(Before::RunsAgain { .. })),
        "{outcomes:?}"
    );
    let after = world.current(&good).await.unwrap();
    assert_eq!(
        (&after.generation, after.state),
        (&before.generation, State::Running)
    );
    let stored = world.engine.read_seed(&after.generation).await.unwrap();
    assert_eq!(stored.manifest(), world.spec(&good).seed.manifest());
    assert_eq!(world.engine.observe(&world.org()).await.unwrap().len(), 1);
    assert_eq!(world.engine.volumes(&world.org()).await.unwrap().len(), 2);
    // The old generation answers, and there is nothing to do.
    let outcomes = world.up(&[good]).await;
    assert!(outcomes.is_unchanged("pm"), "{outcomes:?}");
}

/// `down` keeps the agents' work unless `--volumes` is given, and leaves nothing else.
pub async fn down_leaves_nothing<E: Engine>(world: &World<E>) {
    let org = [workspace("pm"), workspace("pm/dev")];
    world.up(&org).await;
    let removal = world.down(false).await;
    assert_eq!(
        (removal.removed, removal.kept.len()),
        (vec!["pm/dev".into(), "pm".into()], 2)
    );
    let kept = world.engine.volumes(&world.org()).await.unwrap();
    assert!(
        kept.len() == 2
            && kept
                .iter()
                .all(|v| v.volume.kind() == VolumeKind::Workspace),
        "{kept:?}"
    );

    // The kept volumes are used again.
    assert!(world.up(&org).await.is_up("pm"));
    let removal = world.down(true).await;
    assert!(
        removal.failed.is_empty() && removal.kept.is_empty(),
        "{removal:?}"
    );
    assert!(world.engine.observe(&world.org()).await.unwrap().is_empty());
    assert!(world.engine.volumes(&world.org()).await.unwrap().is_empty());
}

/// A workspace without its image fails and leaves nothing behind, and its sibling comes up.
pub async fn a_missing_image_fails_only_its_workspace<E: Engine>(world: &mut World<E>) {
    world.image = "localhost:1/orghost-absent".to_owned();
    let outcomes = world.up(&[workspace("pm")]).await;
    assert_eq!(
        outcomes.failure("pm"),
        "create image-missing",
        "{outcomes:?}"
    );
    assert!(world.engine.observe(&world.org()).await.unwrap().is_empty());
    assert!(world.engine.volumes(&world.org()).await.unwrap().is_empty());
}

/// A volume, a container and a network of somebody else are not changed.
pub async fn resources_of_others_are_not_changed<E: Engine>(world: &World<E>, endpoint: &str) {
    let client = bollard::Docker::connect_with_unix(endpoint, 30, bollard::API_DEFAULT_VERSION);
    // The fake engine checks this host's requests strictly and others loosely.
    let client = client.unwrap().with_request_modifier(|mut request| {
        let other = "x-other-client".parse().unwrap();
        request.headers_mut().insert("x-other-client", other);
        request
    });
    let spec = world.spec(&workspace("pm"));
    let name = format!("ws-{}-workspace", spec.id);
    let foreign = VolumeCreateRequest {
        name: Some(name.clone()),
        ..VolumeCreateRequest::default()
    };
    client.create_volume(foreign).await.unwrap();
    let outcomes = world.up(&[workspace("pm"), workspace("qa")]).await;
    assert_eq!(
        outcomes.failure("pm"),
        "volumes name-in-use",
        "{outcomes:?}"
    );
    assert!(outcomes.is_up("qa"));
    let own = world.engine.volumes(&world.org()).await.unwrap();
    assert!(
        own.iter().all(|found| *found.volume.id() != spec.id),
        "{own:?}"
    );
    client
        .remove_volume(&name, None::<RemoveVolumeOptions>)
        .await
        .expect("the foreign volume is still there");
    world.down(true).await;

    let name = format!("orghost-{}-acme", world.store.instance().as_str());
    let foreign = NetworkCreateRequest {
        name: name.clone(),
        ..NetworkCreateRequest::default()
    };
    client.create_network(foreign).await.unwrap();
    let error = world.try_up(&[workspace("pm")]).await.unwrap_err();
    assert!(
        error.to_string().contains("is in use by a network"),
        "{error}"
    );
    client
        .remove_network(&name)
        .await
        .expect("the foreign network is still there");
}

/// A directory whose links lead out of its allowed root is not mounted.
pub async fn a_mount_that_leads_out_of_its_root_is_refused<E: Engine>(world: &mut World<E>) {
    let root = world.path().join("allowed");
    let inside = root.join("inside");
    std::fs::create_dir_all(&inside).unwrap();
    std::os::unix::fs::symlink("/etc", root.join("link")).unwrap();
    std::fs::write(root.join("file"), "").unwrap();
    world.policy.allow_mount = vec![root.clone()];
    let at = |name: &str| {
        let mut pm = workspace("pm");
        pm.workspace_dir = Some(root.join(name).to_str().unwrap().to_owned());
        pm.workspace_access = Access::ReadOnly;
        [pm]
    };
    for name in ["link", "file", "absent"] {
        let outcomes = world.up(&at(name)).await;
        assert_eq!(
            outcomes.failure("pm"),
            "create mount",
            "{name}: {outcomes:?}"
        );
        assert!(world.engine.volumes(&world.org()).await.unwrap().is_empty());
    }
    assert!(world.up(&at("inside")).await.is_up("pm"));
}
