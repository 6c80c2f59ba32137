//! A headless Chromium for one test, driven through its WebDriver, with a temporary profile.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::actions::{InputSource as _, KeyAction, KeyActions};
use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

/// The longest wait for a state of the page.
const LIMIT: Duration = Duration::from_secs(90);

pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    pub client: Client,
    http: reqwest::Client,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens a browser with a window of this size in CSS pixels.
    pub async fn open(width: u32, height: u32) -> Self {
        let (driver, port) = start_driver();
        let profile = tempfile::tempdir().unwrap();
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(wanted.as_object().unwrap().clone())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("Chromium does not start: run scripts/browser");
        let session = client.session_id().await.unwrap().unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let browser = Self {
            driver,
            port,
            session,
            client,
            http: reqwest::Client::new(),
            _profile: profile,
        };
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        browser
            .devtools("Emulation.setDeviceMetricsOverride", metrics)
            .await;
        browser
    }

    /// Opens an address.
    pub async fn goto(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// The value of an expression in the page.
    pub async fn eval(&self, expression: &str) -> Value {
        let script = format!("return ({expression});");
        self.client
            .execute(&script, vec![])
            .await
            .unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub fn until<'a>(&'a self, expression: &'a str) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let began = Instant::now();
            while self.eval(&format!("Boolean({expression})")).await != true {
                if began.elapsed() > LIMIT {
                    let text = self.eval("document.body.innerText").await;
                    panic!(
                        "{caller}: never became true: {expression}\n{}",
                        text.as_str().unwrap_or_default()
                    );
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Waits for the element.
    pub async fn find(&self, css: &str) -> Element {
        let found = self
            .client
            .wait()
            .at_most(LIMIT)
            .for_element(Locator::Css(css));
        found.await.unwrap_or_else(|error| panic!("{css}: {error}"))
    }

    pub async fn click(&self, css: &str) {
        self.find(css).await.click().await.unwrap();
    }

    /// Clicks the first visible button or link with this text.
    pub async fn press(&self, text: &str) {
        let path = format!("//*[self::button or self::a][normalize-space()={text:?}]");
        let found = self
            .client
            .wait()
            .at_most(LIMIT)
            .for_element(Locator::XPath(&path));
        found.await.unwrap().click().await.unwrap();
    }

    pub async fn fill(&self, css: &str, text: &str) {
        self.find(css).await.send_keys(text).await.unwrap();
    }

    pub async fn text(&self, css: &str) -> String {
        self.find(css).await.text().await.unwrap()
    }

    /// Presses and releases one key, wherever the focus is.
    pub async fn key(&self, key: impl Into<char>) {
        let value = key.into();
        let keys = KeyActions::new("keys".to_owned())
            .then(KeyAction::Down { value })
            .then(KeyAction::Up { value });
        self.client.perform_actions(keys).await.unwrap();
    }

    /// Sets the colour scheme, light or dark, as an operating system does.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!({"features": [
            {"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}
        ]});
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// Runs a script in each new page before the page's own scripts.
    pub async fn before_each_page(&self, script: &str) {
        self.devtools(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({"source": script}),
        )
        .await;
    }

    /// The console messages: output of scripts, violations of the page's policy, failed requests.
    pub async fn console(&self) -> Vec<String> {
        let entries = self.driver("se/log", json!({"type": "browser"})).await;
        let entries = entries.as_array().unwrap().iter();
        entries
            .filter(|entry| entry["level"] != "DEBUG")
            .map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The address of each request since the last call.
    pub async fn requests(&self) -> Vec<String> {
        let entries = self.driver("se/log", json!({"type": "performance"})).await;
        let messages = entries
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| serde_json::from_str(entry["message"].as_str().unwrap()).unwrap());
        messages
            .filter(|entry: &Value| entry["message"]["method"] == "Network.requestWillBeSent")
            .map(|entry| {
                entry["message"]["params"]["request"]["url"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }

    async fn devtools(&self, command: &str, parameters: Value) {
        let body = json!({"cmd": command, "params": parameters});
        self.driver("goog/cdp/execute", body).await;
    }

    /// Sends a command of the driver that is not in the WebDriver standard.
    async fn driver(&self, path: &str, body: Value) -> Value {
        let url = format!(
            "http://127.0.0.1:{}/session/{}/{path}",
            self.port, self.session
        );
        let answer = self.http.post(url).json(&body).send().await.unwrap();
        let mut answer: Value = answer.json().await.unwrap();
        let value = answer["value"].take();
        assert!(value["error"].is_null(), "{path} {body}: {value}");
        value
    }

    /// Ends the session and the browser: a killed driver would leave its browser running.
    fn quit(&self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "DELETE /session/{} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n",
            self.session, self.port
        )?;
        stream.read_to_end(&mut Vec::new())?;
        Ok(())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.quit();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Starts a driver and returns its port. The driver takes a free port of IPv4 and then needs the same port of IPv6;
/// when another program has that one, the driver exits, and the next attempt takes another port.
fn start_driver() -> (Child, u16) {
    for _ in 0..10 {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is not installed: run scripts/browser");
        let mut said = BufReader::new(driver.stdout.take().unwrap());
        if let Some(port) = port_of(&mut said) {
            // Reads the rest of the output, so that the driver never blocks on a full pipe.
            std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
            return (driver, port);
        }
        driver.wait().unwrap();
    }
    panic!("chromedriver exited before it listened");
}

/// The port in the driver's output; `None` when the driver exited.
fn port_of(said: &mut impl std::io::BufRead) -> Option<u16> {
    said.lines().find_map(|line| {
        let line = line.unwrap();
        let (_, port) = line.split_once("started successfully on port ")?;
        Some(port.trim_end_matches('.').parse().unwrap())
    })
}
