//! A fake Docker engine: HTTP on a Unix socket and everything in memory, or with its volumes in a folder of this machine. It
//! records every call, and a test can make any call fail. It stands at the wire, so the tests see the real requests.
//!
//! It fails the test, when the engine is dropped, for three violations: a container was started before its seed was put
//! under `/configs` and read back, a container was made with a restart policy before there was a seed, or two containers of
//! one workspace ran at the same time. What is put into a folder, or read there, the engine cannot see: there it looks at the
//! content alone.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

/// A fault of a call.
pub enum Fault {
    /// Answers with this status and message and does not perform the call.
    Answer(u16, &'static str),
    /// Closes the connection before the call is performed.
    CutBefore,
    /// Closes the connection after the call was performed.
    CutAfter,
    /// Performs the call after this time.
    Delay(Duration),
    /// Performs the call when a permit is available.
    Hold(Arc<tokio::sync::Semaphore>),
    /// Never answers.
    Hang,
    /// Stores another content than the uploaded archive, or shows another one than is on the disk.
    Tear(fn(&mut Files)),
    /// Runs this function first.
    Meanwhile(Box<dyn Fn() + Send + Sync>),
    /// Runs this function after the call was performed, and then answers.
    After(Arc<dyn Fn() + Send + Sync>),
}

/// The calls that a fault applies to.
pub enum When {
    /// Every call with this line.
    Call(&'static str),
    /// Every call.
    Always,
}

/// The files of a volume, by path.
pub type Files = BTreeMap<String, Entry>;

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub mode: u32,
    pub owner: u64,
    /// The content of a file; `None` for a folder.
    pub bytes: Option<Vec<u8>>,
}

/// A running engine; dropping it ends it.
pub struct FakeDocker {
    dir: tempfile::TempDir,
    state: Arc<Mutex<State>>,
    _server: JoinSet<()>,
}

#[derive(Default)]
struct State {
    calls: Vec<String>,
    faults: Vec<(When, Arc<Fault>)>,
    containers: BTreeMap<String, Container>,
    volumes: BTreeMap<String, Volume>,
    networks: BTreeMap<String, Value>,
    images: Vec<String>,
    violations: Vec<String>,
    /// Identities and the keys that replace them in recorded lines.
    names: HashMap<String, String>,
    made: u16,
    /// The port where new containers answer; 0 for none.
    port: Option<u16>,
    busy: usize,
    most_concurrent_calls: usize,
    disk: Option<Disk>,
}

/// Where the volumes are when they are on this machine's disk.
struct Disk {
    root: PathBuf,
    /// Where the engine says that they are.
    claimed: PathBuf,
    security_options: Vec<&'static str>,
    /// What the engine adds to the owner of each file that it shows.
    owners_from: u64,
}

struct Container {
    id: String,
    port: u16,
    body: Value,
    status: &'static str,
    /// The last upload, even when a fault changed what was stored.
    uploaded: Option<Files>,
    /// Whether the upload was read back.
    looked: bool,
}

struct Volume {
    labels: Value,
    files: Files,
}

impl FakeDocker {
    /// Starts an engine that has the image `agent:1` and the demonstration image.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("docker.sock")).unwrap();
        let state = Arc::new(Mutex::new(State {
            images: ["agent:1", "orghost-demo:latest"]
                .map(str::to_owned)
                .to_vec(),
            ..State::default()
        }));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, state.clone()));
        Self {
            dir,
            state,
            _server: server,
        }
    }

    /// Starts an engine that keeps its volumes in a folder of this machine.
    pub fn on_disk(root: &Path) -> Self {
        let fake = Self::start();
        fake.state().disk = Some(Disk {
            root: root.to_owned(),
            claimed: root.to_owned(),
            security_options: Vec::new(),
            owners_from: 0,
        });
        fake
    }

    /// Says from now on that the volumes are in another folder.
    pub fn claim(&self, root: &Path) {
        self.state().disk.as_mut().unwrap().claimed = root.to_owned();
    }

    /// Reports this security option from now on.
    pub fn report_security_option(&self, option: &'static str) {
        let mut state = self.state();
        state.disk.as_mut().unwrap().security_options.push(option);
    }

    /// Shows files with other owners from now on.
    pub fn map_owners(&self, from: u64) {
        self.state().disk.as_mut().unwrap().owners_from = from;
    }

    /// The endpoint, in the form of `DOCKER_HOST`.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.dir.path().join("docker.sock").display())
    }

    pub fn fault(&self, when: When, fault: Fault) {
        self.state().faults.push((when, Arc::new(fault)));
    }

    /// Every call since the last [`forget`](Self::forget), such as `PUT containers/ws-pm/dev/archive`, with keys in
    /// place of identities.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// Clears recorded calls and faults, and nothing else.
    pub fn forget(&self) {
        let mut state = self.state();
        state.calls.clear();
        state.faults.clear();
        state.most_concurrent_calls = 0;
    }

    /// The largest number of concurrent calls.
    pub fn most_concurrent_calls(&self) -> usize {
        self.state().most_concurrent_calls
    }

    /// The names and states of all containers, with keys in place of identities.
    pub fn containers(&self) -> Vec<String> {
        let state = self.state();
        let shown = |(name, container): (&String, &Container)| {
            format!("{} {}", state.render(name), container.status)
        };
        let mut containers: Vec<_> = state.containers.iter().map(shown).collect();
        containers.sort();
        containers
    }

    /// The names of all volumes, with keys in place of identities.
    pub fn volumes(&self) -> Vec<String> {
        let state = self.state();
        let mut volumes: Vec<_> = state
            .volumes
            .keys()
            .map(|name| state.render(name))
            .collect();
        volumes.sort();
        volumes
    }

    /// The names of all networks.
    pub fn networks(&self) -> Vec<String> {
        self.state().networks.keys().cloned().collect()
    }

    /// The body of the request that created a container.
    pub fn body(&self, name: &str) -> Value {
        let state = self.state();
        let mut found = state.containers.iter();
        let found = found.find(|(own, _)| state.render(own) == name);
        found.expect("a container of that name").1.body.clone()
    }

    /// Sets the loopback port where new containers answer; 0 for none.
    pub fn answer_at(&self, port: u16) {
        self.state().port = Some(port);
    }

    /// Removes a label everywhere, as if an older version had made the resources.
    pub fn drop_label(&self, label: &str) {
        let mut state = self.state();
        let State {
            containers,
            volumes,
            ..
        } = &mut *state;
        let of_containers = containers.values_mut().map(|c| &mut c.body["Labels"]);
        let of_volumes = volumes.values_mut().map(|volume| &mut volume.labels);
        for labels in of_containers.chain(of_volumes) {
            labels.as_object_mut().unwrap().remove(label);
        }
    }

    /// Starts a container without a request of the host, as an engine does after a reboot.
    pub fn start_again(&self, name: &str) {
        self.set_status(name, "running");
    }

    /// Ends a container without a restart.
    pub fn end(&self, name: &str) {
        self.set_status(name, "exited");
    }

    fn set_status(&self, name: &str, status: &'static str) {
        let mut state = self.state();
        let names = state.names.clone();
        let shown = |own: &str| {
            let replace = |text: String, (id, key): (&String, &String)| text.replace(id, key);
            names.iter().fold(own.to_owned(), replace)
        };
        let mut found = state.containers.iter_mut();
        let found = found.find(|(own, _)| shown(own) == name);
        found.expect("a container of that name").1.status = status;
    }

    /// Whether no call is running.
    pub fn is_idle(&self) -> bool {
        self.state().busy == 0
    }

    /// Inserts a running container that this host did not make. It may carry our labels, as a container from an image
    /// of one of ours does.
    pub fn insert_foreign_container(&self, name: &str, labels: &Value) {
        let foreign = Container {
            id: format!("foreign-{name}"),
            port: 1,
            body: json!({"Labels": labels, "HostConfig": {"Mounts": []}}),
            status: "running",
            uploaded: None,
            looked: false,
        };
        self.state().containers.insert(name.to_owned(), foreign);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for FakeDocker {
    fn drop(&mut self) {
        let violations = std::mem::take(&mut self.state().violations);
        if !std::thread::panicking() {
            assert!(violations.is_empty(), "{violations:#?}");
        }
    }
}

async fn serve(listener: UnixListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        connections.spawn(async move {
            let service = service_fn(|request| handle(request, state.clone()));
            let serving = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // A fault cuts the connection on purpose, so the error is ignored.
            let _ = serving.await;
        });
    }
}

/// The parts of one call.
struct Call {
    method: String,
    /// The path without the API version.
    path: Vec<String>,
    query: HashMap<String, String>,
    body: Bytes,
}

#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut on purpose")
    }
}

impl std::error::Error for Cut {}

async fn handle(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, Cut> {
    let call = Call::of(request, &state).await.ok_or(Cut)?;
    if call.path == ["version"] {
        return Ok(answer(
            200,
            &json!({"ApiVersion": "1.41", "Version": "20.10.24"}),
        ));
    }
    let faults = state.lock().unwrap().record(&call);
    let _busy = Busy::new(&state);
    let mut cut_after = false;
    let mut tear = None;
    let mut after = None;
    for fault in &faults {
        match &**fault {
            Fault::Answer(status, message) => {
                return Ok(answer(*status, &json!({"message": message})));
            }
            Fault::CutBefore => return Err(Cut),
            Fault::CutAfter => cut_after = true,
            Fault::Delay(time) => tokio::time::sleep(*time).await,
            Fault::Hold(permits) => permits.acquire().await.unwrap().forget(),
            Fault::Hang => std::future::pending().await,
            Fault::Tear(by) => tear = Some(*by),
            Fault::Meanwhile(happens) => happens(),
            Fault::After(happens) => after = Some(happens.clone()),
        }
    }
    let answer = state.lock().unwrap().perform(&call, tear);
    if let Some(happens) = after {
        happens();
    }
    if cut_after { Err(Cut) } else { Ok(answer) }
}

/// Counts a running call.
struct Busy<'a>(&'a Mutex<State>);

impl<'a> Busy<'a> {
    fn new(state: &'a Mutex<State>) -> Self {
        let mut counts = state.lock().unwrap();
        counts.busy += 1;
        counts.most_concurrent_calls = counts.most_concurrent_calls.max(counts.busy);
        Self(state)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().busy -= 1;
    }
}

impl Call {
    async fn of(request: Request<Incoming>, state: &Mutex<State>) -> Option<Self> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        let mut path: Vec<String> = head
            .uri
            .path()
            .split('/')
            .skip(1)
            .map(str::to_owned)
            .collect();
        if path[0].starts_with("v1.") {
            path.remove(0);
        } else if path != ["version"] && !head.headers.contains_key("x-other-client") {
            let violation = format!("without a version: {}", head.uri);
            state.lock().unwrap().violations.push(violation);
        }
        let types: Vec<_> = head.headers.get_all("content-type").iter().collect();
        let wanted = match path.last().map(String::as_str) {
            Some("archive") if head.method == "PUT" => "application/x-tar",
            _ => "application/json",
        };
        if types != [wanted] {
            let violation = format!("content types {types:?}: {} {}", head.method, head.uri);
            state.lock().unwrap().violations.push(violation);
        }
        let query = head.uri.query().unwrap_or_default().split('&');
        let query = query.filter_map(|pair| pair.split_once('='));
        Some(Self {
            method: head.method.to_string(),
            path,
            query: query
                .map(|(name, value)| (name.to_owned(), decode(value)))
                .collect(),
            body,
        })
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The values of one key of `filters`, such as `label`.
    fn filters(&self, name: &str) -> Vec<String> {
        let filters: Value =
            serde_json::from_str(self.query.get("filters").map_or("{}", String::as_str)).unwrap();
        let values = filters[name].as_array().cloned().unwrap_or_default();
        values
            .iter()
            .map(|value| value.as_str().unwrap().to_owned())
            .collect()
    }
}

impl State {
    fn record(&mut self, call: &Call) -> Vec<Arc<Fault>> {
        let mut line = format!("{} {}", call.method, call.path.join("/"));
        if call.path.last().is_some_and(|last| last == "create") {
            let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
            let labels = &body["Labels"];
            if let (Some(id), Some(key)) = (
                labels["orghost.id"].as_str(),
                labels["orghost.workspace"].as_str(),
            ) {
                self.names.insert(id.to_owned(), key.to_owned());
            }
            let name = call
                .query
                .get("name")
                .map(String::as_str)
                .or(body["Name"].as_str());
            if call.path[0] != "networks"
                && let Some(name) = name
            {
                line = format!("{line} {name}");
            }
        }
        let line = self.render(&line);
        let faults = self.faults.iter().filter(|(when, _)| match when {
            When::Call(wanted) => *wanted == line,
            When::Always => true,
        });
        let faults = faults.map(|(_, fault)| fault.clone()).collect();
        self.calls.push(line);
        faults
    }

    fn render(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (id, name) in &self.names {
            text = text.replace(id, name);
        }
        text
    }

    fn perform(&mut self, call: &Call, tear: Option<fn(&mut Files)>) -> Response<Full<Bytes>> {
        let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
        match (call.method.as_str(), path.as_slice()) {
            ("GET", ["info"]) => {
                let disk = self.disk.as_ref();
                let options = disk.map(|disk| disk.security_options.clone());
                answer(200, &json!({"NCPU": 2, "SecurityOptions": options}))
            }
            ("GET", ["containers", "json"]) => self.list(call),
            ("POST", ["containers", "create"]) => self.create(call),
            ("POST", ["images", "create"]) => self.pull(call),
            ("POST", ["volumes", "create"]) => self.create_volume(call),
            ("GET", ["volumes"]) => {
                let wanted = call.filters("label");
                let found = self
                    .volumes
                    .iter()
                    .filter(|(_, v)| matches(&v.labels, &wanted));
                let found = found.map(|(name, v)| self.volume(name, &v.labels));
                let found: Vec<_> = found.collect();
                answer(200, &json!({"Volumes": found, "Warnings": null}))
            }
            (method, ["volumes", name]) => self.one_volume(method, name),
            ("GET", ["networks"]) => {
                let (labels, names) = (call.filters("label"), call.filters("name"));
                let found = self.networks.iter().filter(|(name, network)| {
                    matches(&network["Labels"], &labels) && names.iter().all(|n| name.contains(n))
                });
                answer(200, &found.map(|(_, network)| network.clone()).collect())
            }
            ("POST", ["networks", "create"]) => {
                let body = call.json();
                let name = body["Name"].as_str().unwrap().to_owned();
                let network =
                    json!({"Name": name, "Id": format!("net-{name}"), "Labels": body["Labels"]});
                self.networks.insert(name, network.clone());
                let id = &network["Id"];
                answer(201, &json!({"Id": id, "Warning": ""}))
            }
            ("DELETE", ["networks", id]) => {
                let before = self.networks.len();
                self.networks
                    .retain(|name, network| network["Id"] != *id && name != id);
                if self.networks.len() < before {
                    empty(204)
                } else {
                    not_found("network")
                }
            }
            (method, ["containers", name, rest @ ..]) => {
                let mut found = self.containers.iter();
                let found = found.find(|(own, c)| own == name || c.id == *name);
                match found.map(|(own, _)| own.clone()) {
                    Some(name) => self.one_container(method, &name, rest, call, tear),
                    None => not_found("container"),
                }
            }
            other => panic!("the fake engine does not know {other:?}"),
        }
    }

    fn list(&self, call: &Call) -> Response<Full<Bytes>> {
        let wanted = call.filters("label");
        let found = self.containers.iter();
        let found = found.filter(|(_, c)| matches(&c.body["Labels"], &wanted));
        let shown = |(name, c): (&String, &Container)| {
            let ports = match c.status {
                "running" if c.port != 0 => {
                    json!([{"IP": "127.0.0.1", "PrivatePort": 8000, "PublicPort": c.port, "Type": "tcp"}])
                }
                _ => json!([]),
            };
            json!({"Id": c.id, "Names": [format!("/{name}")], "Labels": c.body["Labels"],
                   "State": c.status, "Status": "", "Ports": ports})
        };
        answer(200, &found.map(shown).collect())
    }

    fn create(&mut self, call: &Call) -> Response<Full<Bytes>> {
        let name = call.query["name"].clone();
        let body = call.json();
        if self.containers.contains_key(&name) {
            return answer(
                409,
                &json!({"message": "Conflict. The container name is already in use"}),
            );
        }
        if !self.images.iter().any(|image| body["Image"] == **image) {
            return answer(
                404,
                &json!({"message": format!("No such image: {}", body["Image"])}),
            );
        }
        let seed = format!("{name}-configs");
        if body["HostConfig"]["RestartPolicy"]["Name"] != "no" && !self.has_config_on_disk(&seed) {
            self.violations
                .push(format!("{} could start by itself", self.render(&name)));
        }
        for mount in body["HostConfig"]["Mounts"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let source = mount["Source"].as_str().unwrap();
            if mount["Type"] == "volume" && !self.volumes.contains_key(source) {
                self.violations
                    .push(format!("{} was not made first", self.render(source)));
            }
        }
        self.made += 1;
        let id = format!("{:064x}", self.made);
        self.names.insert(id.clone(), self.render(&name));
        let container = Container {
            id: id.clone(),
            port: self.port.unwrap_or(40_000 + self.made),
            body,
            status: "created",
            uploaded: None,
            looked: false,
        };
        self.containers.insert(name, container);
        answer(201, &json!({"Id": id, "Warnings": []}))
    }

    fn one_container(
        &mut self,
        method: &str,
        name: &str,
        rest: &[&str],
        call: &Call,
        tear: Option<fn(&mut Files)>,
    ) -> Response<Full<Bytes>> {
        let configs = self.configs(name);
        let shown = self.render(name);
        let data = self.data(configs.as_deref());
        let owners_from = self.disk.as_ref().map_or(0, |disk| disk.owners_from);
        let is_seeded_on_disk = configs.as_ref().is_some_and(|c| self.has_config_on_disk(c));
        let container = self.containers.get_mut(name).unwrap();
        match (method, rest) {
            ("GET", ["json"]) => {
                let ports = match container.status {
                    "running" if container.port != 0 => {
                        json!({"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": container.port.to_string()}]})
                    }
                    _ => json!({}),
                };
                let details = json!({"Id": container.id, "Name": format!("/{name}"), "RestartCount": 0,
                    "State": {"Status": container.status, "ExitCode": 0},
                    "Config": {"Labels": container.body["Labels"]}, "NetworkSettings": {"Ports": ports}});
                answer(200, &details)
            }
            ("PUT", ["archive"]) => {
                if call.query["path"] != "/configs" {
                    self.violations
                        .push(format!("an archive for {}", call.query["path"]));
                }
                let Some(files) = untar(&call.body) else {
                    return answer(500, &json!({"message": "unexpected EOF"}));
                };
                container.uploaded = Some(files.clone());
                container.looked = false;
                let mut stored = files;
                if let Some(tear) = tear {
                    tear(&mut stored);
                }
                if let Some(data) = data {
                    tar::Archive::new(&call.body[..]).unpack(data).unwrap();
                }
                let volume = configs.and_then(|configs| self.volumes.get_mut(&configs));
                volume.expect("a volume for /configs").files.extend(stored);
                empty(200)
            }
            ("GET", ["archive"]) if data.is_some() => {
                let path = &call.query["path"];
                match tar_of_disk(&data.unwrap(), path, owners_from, tear) {
                    Some(archive) => Response::new(Full::new(archive.into())),
                    None => not_found("file"),
                }
            }
            ("GET", ["archive"]) => {
                container.looked = true;
                let volume = configs.and_then(|configs| self.volumes.get(&configs));
                let files = &volume.expect("a volume for /configs").files;
                Response::new(Full::new(tar_of(files).into()))
            }
            ("POST", ["update"]) => {
                container.body["HostConfig"]["RestartPolicy"] =
                    call.json()["RestartPolicy"].clone();
                answer(200, &json!({"Warnings": []}))
            }
            ("POST", ["start"]) => {
                let stored = configs.and_then(|configs| self.volumes.get(&configs));
                let stored = stored.map(|volume| &volume.files);
                let config = stored.and_then(|files| files.get("config.yaml"));
                let has_config = config
                    .is_some_and(|config| config.bytes.as_ref().is_some_and(|b| !b.is_empty()));
                let is_seeded =
                    container.uploaded.as_ref() == stored && container.looked && has_config;
                if !is_seeded && !is_seeded_on_disk {
                    self.violations.push(format!("unseeded start of {shown}"));
                }
                if container.status == "running" {
                    self.violations.push(format!("second start of {shown}"));
                    return empty(304);
                }
                container.status = "running";
                let id = container.body["Labels"]["orghost.id"].clone();
                let same = self.containers.values();
                let same = same.filter(|c| c.body["Labels"]["orghost.id"] == id);
                if same.filter(|c| c.status == "running").count() > 1 {
                    self.violations
                        .push(format!("{shown} runs beside another of its workspace"));
                }
                empty(204)
            }
            ("POST", ["stop"]) if container.status == "running" => {
                container.status = "exited";
                empty(204)
            }
            ("POST", ["stop"]) => empty(304),
            ("GET", ["logs"]) => Response::new(Full::new(Bytes::new())),
            ("DELETE", []) => {
                if call.query.get("v").is_some_and(|v| v == "true") {
                    self.violations
                        .push(format!("{shown} was removed with its volumes"));
                }
                self.containers.remove(name);
                empty(204)
            }
            other => panic!("the fake engine does not know {other:?} of a container"),
        }
    }

    /// The name of the volume at `/configs`.
    fn configs(&self, container: &str) -> Option<String> {
        let mounts = &self.containers[container].body["HostConfig"]["Mounts"];
        let mut mounts = mounts.as_array()?.iter();
        let found = mounts.find(|mount| mount["Target"] == "/configs")?;
        Some(found["Source"].as_str()?.to_owned())
    }

    /// Pulls `team/present`. The pull of `team/broken` fails in its stream, after the status 200 was sent.
    fn pull(&mut self, call: &Call) -> Response<Full<Bytes>> {
        if !call.query.contains_key("tag") {
            self.violations.push("every tag would be pulled".to_owned());
        }
        let image = call.query["fromImage"].clone();
        let progress =
            json!({"status": "Downloading", "progressDetail": {"current": 1, "total": 2}});
        let end = match image.as_str() {
            "team/present" => json!({"status": "Status: Downloaded newer image"}),
            "team/broken" => {
                json!({"errorDetail": {"message": "unexpected EOF"}, "error": "unexpected EOF"})
            }
            _ => return answer(404, &json!({"message": "pull access denied"})),
        };
        if image == "team/present" {
            self.images.push(image);
        }
        Response::new(Full::new(format!("{progress}\r\n{end}\r\n").into()))
    }

    fn create_volume(&mut self, call: &Call) -> Response<Full<Bytes>> {
        let body = call.json();
        let name = body["Name"].as_str().unwrap().to_owned();
        let made = self.volumes.entry(name.clone()).or_insert_with(|| Volume {
            labels: body["Labels"].clone(),
            files: Files::new(),
        });
        let labels = made.labels.clone();
        if let Some(data) = self.data(Some(&name)) {
            std::fs::create_dir_all(data).unwrap();
        }
        answer(201, &self.volume(&name, &labels))
    }

    /// The folder with the content of a volume, when the volumes are on this machine's disk.
    fn data(&self, volume: Option<&str>) -> Option<PathBuf> {
        let disk = self.disk.as_ref()?;
        Some(disk.root.join(volume?).join("_data"))
    }

    fn has_config_on_disk(&self, volume: &str) -> bool {
        let config = self.data(Some(volume)).map(|data| data.join("config.yaml"));
        config.is_some_and(|path| std::fs::metadata(path).is_ok_and(|found| found.len() > 0))
    }

    fn volume(&self, name: &str, labels: &Value) -> Value {
        let claimed = self
            .disk
            .as_ref()
            .map(|disk| disk.claimed.join(name).join("_data"));
        let folder = claimed.unwrap_or_else(|| "/nowhere".into());
        json!({"Name": name, "Driver": "local", "Mountpoint": folder, "Labels": labels,
               "Scope": "local", "Options": null, "CreatedAt": "2026-01-01T00:00:00Z"})
    }

    fn one_volume(&mut self, method: &str, name: &str) -> Response<Full<Bytes>> {
        let Some(found) = self.volumes.get(name) else {
            return not_found("volume");
        };
        let is_used = self.containers.values().any(|container| {
            let mounts = container.body["HostConfig"]["Mounts"].as_array();
            mounts
                .into_iter()
                .flatten()
                .any(|mount| mount["Source"] == *name)
        });
        match method {
            "GET" => answer(200, &self.volume(name, &found.labels)),
            "DELETE" if is_used => answer(409, &json!({"message": "volume is in use"})),
            "DELETE" => {
                let folder = self.disk.as_ref().map(|disk| disk.root.join(name));
                if let Some(Err(error)) = folder.map(std::fs::remove_dir_all)
                    && error.kind() != std::io::ErrorKind::NotFound
                {
                    return answer(500, &json!({"message": error.to_string()}));
                }
                self.volumes.remove(name);
                empty(204)
            }
            other => panic!("the fake engine does not know {other} of a volume"),
        }
    }
}

fn matches(labels: &Value, wanted: &[String]) -> bool {
    wanted.iter().all(|wanted| {
        let (name, value) = wanted.split_once('=').unwrap();
        labels[name] == value
    })
}

fn answer(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.to_string().into()));
    *response.status_mut() = status.try_into().unwrap();
    response
}

fn empty(status: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status.try_into().unwrap();
    response
}

fn not_found(what: &str) -> Response<Full<Bytes>> {
    answer(404, &json!({"message": format!("No such {what}")}))
}

fn untar(archive: &[u8]) -> Option<Files> {
    let mut files = Files::new();
    for entry in tar::Archive::new(archive).entries().ok()? {
        let mut entry = entry.ok()?;
        let path = String::from_utf8(entry.path_bytes().into_owned()).ok()?;
        let path = path.trim_end_matches('/').trim_start_matches("./");
        let path = if path == "." { "" } else { path };
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).ok()?;
        let header = entry.header();
        let entry = Entry {
            mode: header.mode().ok()?,
            owner: header.uid().ok()?,
            bytes: header.entry_type().is_file().then_some(bytes),
        };
        files.insert(path.to_owned(), entry);
    }
    Some(files)
}

/// Packs the files as an engine does: below a folder with the name of the path.
fn tar_of(files: &Files) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, entry) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(entry.mode);
        header.set_uid(entry.owner);
        header.set_gid(entry.owner);
        let bytes = entry.bytes.as_deref().unwrap_or_default();
        header.set_size(bytes.len() as u64);
        let mut path = format!("configs/{path}");
        if entry.bytes.is_none() {
            header.set_entry_type(tar::EntryType::Directory);
            path = format!("{}/", path.trim_end_matches('/'));
        }
        tar.append_data(&mut header, path, bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Packs a path of a container from the folder of its volume, as an engine does.
fn tar_of_disk(
    data: &Path,
    path: &str,
    owners_from: u64,
    tear: Option<fn(&mut Files)>,
) -> Option<Vec<u8>> {
    let below = path
        .strip_prefix("/configs")
        .unwrap()
        .trim_start_matches('/');
    let mut files = Files::new();
    let mut paths = vec![data.join(below)];
    while let Some(path) = paths.pop() {
        let metadata = path.symlink_metadata().ok()?;
        let inner = path.strip_prefix(data).unwrap().to_str().unwrap();
        if metadata.is_symlink() {
            // Enough for the host to see that something is wrong.
            return Some(b"a link".repeat(200));
        }
        if metadata.is_dir() {
            paths.extend(
                std::fs::read_dir(&path)
                    .ok()?
                    .map(|entry| entry.unwrap().path()),
            );
        }
        let entry = Entry {
            mode: metadata.mode() & 0o7777,
            owner: u64::from(metadata.uid()) + owners_from,
            bytes: metadata.is_file().then(|| std::fs::read(&path).unwrap()),
        };
        files.insert(inner.to_owned(), entry);
    }
    if let Some(tear) = tear {
        tear(&mut files);
    }
    Some(tar_of(&files))
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                let digits = std::str::from_utf8(&digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}
