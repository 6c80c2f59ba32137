//! A real Docker engine for one test, which may kill and start it: with its own socket, data and processes. The shared
//! engine is only asked for the demonstration image.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// An engine; dropping it removes everything that belongs to it.
pub struct OwnEngine {
    dir: tempfile::TempDir,
    process: Option<Child>,
}

impl OwnEngine {
    /// Starts an engine that has the demonstration image. Needs root.
    pub fn start() -> Self {
        let mut engine = Self {
            dir: tempfile::tempdir().unwrap(),
            process: None,
        };
        engine.revive();
        // Copies the image from the engine that scripts/docker-engine found.
        let mut saved = Command::new("docker")
            .args(["save", "orghost-demo:latest"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command docker: scripts/docker-engine installs it");
        let loaded = engine
            .docker(&["load"])
            .stdin(saved.stdout.take().unwrap())
            .output()
            .unwrap();
        let saved = saved.wait().unwrap();
        assert!(
            saved.success(),
            "no orghost-demo:latest: scripts/demo-image makes it"
        );
        said(loaded);
        engine
    }

    /// The endpoint, in the form of `DOCKER_HOST`.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.path("docker.sock").display())
    }

    /// Kills the engine at any moment. Its containers keep running.
    pub fn kill(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        process.kill().unwrap();
        process.wait().unwrap();
        // containerd ends a little later; a new engine that finds its pid file would wait for it.
        let file = self.path("exec/containerd/containerd.pid");
        let pid: i32 = std::fs::read_to_string(&file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        let runs = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
            // The process may be collected already.
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        while runs() {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::fs::remove_file(file).unwrap();
    }

    /// Starts the engine again on its data.
    pub fn revive(&mut self) {
        let _ = std::fs::remove_file(self.path("docker.pid"));
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let at = |option: &str, name: &str| format!("--{option}={}", self.path(name).display());
        let process = Command::new("dockerd")
            .arg(format!("--host={}", self.endpoint()))
            .args([at("data-root", "data"), at("exec-root", "exec")])
            .arg(at("pidfile", "docker.pid"))
            // Uses no bridge and no firewall rules, so it does not disturb another engine.
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .arg("--default-address-pool=base=10.213.0.0/16,size=24")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("dockerd: scripts/docker-engine installs it");
        self.process = Some(process);
        let began = Instant::now();
        while !self.docker(&["version"]).output().unwrap().status.success() {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            let log = || std::fs::read_to_string(self.path("log")).unwrap();
            assert!(ended.is_none(), "dockerd needs root: {}", log());
            assert!(began.elapsed() < Duration::from_secs(60), "{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The output of the `docker` command, line by line.
    pub fn lines(&self, args: &[&str]) -> Vec<String> {
        let said = said(self.docker(args).output().unwrap());
        said.lines().map(str::to_owned).collect()
    }

    fn docker(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .arg(format!("--host={}", self.endpoint()))
            .args(args);
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn said(output: Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker: {error}");
    String::from_utf8(output.stdout).unwrap()
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        let docker = |args: &[&str]| self.docker(args).output();
        if let Ok(left) = docker(&["ps", "--all", "--quiet"]) {
            for id in String::from_utf8_lossy(&left.stdout).lines() {
                let _ = docker(&["rm", "--force", id]);
            }
        }
        if let Some(process) = &mut self.process {
            let pid = rustix::process::Pid::from_child(process);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = process.wait();
        }
        // An engine that a failed test left killed has left processes of containers and their shims.
        let folder = self.dir.path().display().to_string();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let read = |name: &str| std::fs::read_to_string(entry.path().join(name));
            let is_ours = read("cmdline").is_ok_and(|line| line.contains(&folder));
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
                continue;
            };
            if is_ours {
                let children = read(&format!("task/{pid}/children")).unwrap_or_default();
                for pid in children
                    .split(' ')
                    .filter_map(|pid| pid.parse().ok())
                    .chain([pid])
                {
                    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                    }
                }
            }
        }
        // Unmounts what is below, so that the folder can be removed.
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let ours = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        let ours = ours.filter(|place| Path::new(place).starts_with(self.dir.path()));
        for place in ours.collect::<Vec<_>>().into_iter().rev() {
            let _ = Command::new("umount").args(["--lazy", place]).output();
        }
    }
}
