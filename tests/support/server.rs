//! One `orghost serve` process, and a client for it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use reqwest::{Method, RequestBuilder};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Operator;

/// A server that runs until it is stopped or dropped.
pub struct Server {
    child: Child,
    pub url: String,
    client: reqwest::Client,
}

impl Server {
    /// Starts one on a free port of the loopback and waits until it listens.
    pub fn start(operator: &Operator, args: &[&str]) -> Self {
        let mut all = vec!["serve", "--json", "--listen", "127.0.0.1:0"];
        all.extend(args);
        let mut command = operator.command(&all);
        // The log is beside the state folder, for a look after a failed test.
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(operator.home.path().join("serve.log"))
            .unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            let log = std::fs::read_to_string(operator.home.path().join("serve.log"));
            panic!("the server did not start: {line}{}", log.unwrap())
        });
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            child,
            url: said["url"].as_str().unwrap().to_owned(),
            client: reqwest::Client::new(),
        }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// The status and the JSON of an answer; `Null` when it has no JSON.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, json) = self.ask(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {json}");
        json
    }

    /// Imports an org and waits for the end of the operation.
    pub async fn import(&self, body: Value) -> Value {
        let (status, json) = self.ask(Method::POST, "/v1/orgs?wait=60", Some(body)).await;
        assert_eq!(status, 200, "{json}");
        json
    }

    /// Sends SIGTERM and returns the exit code.
    pub fn stop(mut self) -> i32 {
        self.signal(Signal::TERM);
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM and does not wait.
    pub fn ask_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for the end and returns the exit code, or -1 after a signal.
    pub fn ended(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Sends SIGKILL, which has the effect of a power cut.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}
