//! A real registry server for one test, on a free port of the loopback.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub struct Registry {
    server: Child,
    folder: TempDir,
    port: u16,
}

impl Registry {
    /// Starts a registry without authentication.
    pub fn start() -> Self {
        Self::with("")
    }

    /// Starts a registry for the user `ann` with the password `s3cret`.
    pub fn with_password() -> Self {
        Self::with("auth: {htpasswd: {realm: orghost, path: HTPASSWD}}\n")
    }

    fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display().to_string();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let hash = "ann:$2y$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n";
        std::fs::write(folder.path().join("htpasswd"), hash).unwrap();
        let more = more.replace("HTPASSWD", &format!("{at}/htpasswd"));
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {at}/data}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n{more}"
        );
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let mut server = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is not installed: run scripts/registry");
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = server.try_wait().unwrap() {
                panic!("docker-registry ended: {status}");
            }
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "docker-registry does not answer"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            server,
            folder,
            port,
        }
    }

    /// A reference to a tag of this registry.
    pub fn reference(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/{rest}", self.port)
    }

    /// The file with the bytes of a digest (`sha256:…`).
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs");
        blobs.join("sha256").join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
