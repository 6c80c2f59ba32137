//! A server with a few scripted answers that records its requests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, Response};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

/// One answer.
#[derive(Clone)]
pub enum Answer {
    /// A status, headers, a body.
    Says(u16, Vec<(&'static str, String)>, String),
    /// Events; then the stream stays open.
    Tells(Vec<(i64, Value)>),
    /// Events; then the stream ends.
    EndsAfter(Vec<(i64, Value)>),
    /// No answer: the connection is closed.
    HangsUp,
}

/// One request, as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The method and path, such as `GET /v1/orgs`.
    pub what: String,
    pub query: String,
    pub key: Option<String>,
    pub last_event: Option<String>,
    pub at: Instant,
}

/// Answers by request. The last answer is repeated without end; a request without answers gets 404.
#[derive(Clone, Default)]
pub struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    answers: BTreeMap<String, VecDeque<Answer>>,
    asked: Vec<Asked>,
}

impl Answer {
    pub fn json(status: u16, body: Value) -> Self {
        Self::Says(status, Vec::new(), body.to_string())
    }

    /// The 429 answer of orghost.
    pub fn busy(retry_after: Option<&str>) -> Self {
        Self::problem(429, "busy", retry_after)
    }

    pub fn problem(status: u16, code: &str, retry_after: Option<&str>) -> Self {
        let headers = retry_after.map(|text| ("retry-after", text.to_owned()));
        let body = json!({"status": status, "errors": [{"code": code, "message": "later"}]});
        Self::Says(status, headers.into_iter().collect(), body.to_string())
    }

    /// An operation of the org `acme`.
    pub fn operation(status: u16, state: &str) -> Self {
        let operation = json!({
            "id": "7", "org": "acme", "operation": "up", "state": state, "failed": 0, "began_ms": 0,
        });
        Self::json(status, operation)
    }
}

impl Scripted {
    /// Sets the answers of a request such as `GET /v1/orgs`, in order.
    pub fn on(self, what: &str, answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers = answers.into_iter().collect();
        let mut script = self.0.lock().unwrap();
        script.answers.insert(what.to_owned(), answers);
        drop(script);
        self
    }

    /// Starts the server and returns its address. It runs until the test's runtime ends.
    pub async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    /// The requests so far, of one method and path.
    pub fn asked(&self, what: &str) -> Vec<Asked> {
        let script = self.0.lock().unwrap();
        let asked = script.asked.iter().filter(|asked| asked.what == what);
        asked.cloned().collect()
    }
}

async fn answer(State(scripted): State<Scripted>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let header = |name: &str| {
        let value = head.headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let what = format!("{} {}", head.method, head.uri.path());
    let asked = Asked {
        what: what.clone(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        key: header("idempotency-key"),
        last_event: header("last-event-id"),
        at: Instant::now(),
    };
    // Reads the whole request before it answers, as a real server does.
    let _ = axum::body::to_bytes(body, usize::MAX).await;
    let answer = {
        let mut script = scripted.0.lock().unwrap();
        script.asked.push(asked);
        let answers = script.answers.get_mut(&what);
        answers.and_then(|answers| match answers.len() {
            0 | 1 => answers.front().cloned(),
            _ => answers.pop_front(),
        })
    };
    let stream = |events: &[(i64, Value)]| {
        let text: String = events
            .iter()
            .map(|(id, event)| format!("id: {id}\ndata: {event}\n\n"))
            .collect();
        futures_util::stream::iter([Ok::<_, std::io::Error>(text)])
    };
    let streamed = |body| {
        let response = Response::builder().header("content-type", "text/event-stream");
        response.body(body).unwrap()
    };
    match answer {
        None => Response::builder().status(404).body(Body::empty()).unwrap(),
        Some(Answer::Says(status, headers, body)) => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = status.try_into().unwrap();
            for (name, value) in headers {
                let name = HeaderName::from_static(name);
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
        Some(Answer::Tells(events)) => {
            let endless = stream(&events).chain(futures_util::stream::pending());
            streamed(Body::from_stream(endless))
        }
        Some(Answer::EndsAfter(events)) => streamed(Body::from_stream(stream(&events))),
        // Ends the connection without a panic message in the test's output.
        Some(Answer::HangsUp) => std::panic::resume_unwind(Box::new("hangs up")),
    }
}
