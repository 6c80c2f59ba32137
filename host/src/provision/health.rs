//! Asks a workspace whether it is ready. One request, no retries, no redirects.

use std::time::Duration;

use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// One question takes no longer.
const LIMIT: Duration = Duration::from_secs(5);

/// `GET` on the health path must answer 200; without a path the port must accept.
///
/// # Errors
/// Why it is not ready, in words.
pub async fn check(url: &str, path: Option<&str>) -> Result<(), String> {
    let asked = async {
        let Some(path) = path else {
            let address = url.strip_prefix("http://").unwrap_or(url);
            let connected = tokio::net::TcpStream::connect(address).await;
            return connected.map(drop).map_err(|e| format!("{url}: {e}"));
        };
        let target = format!("{url}{path}");
        let uri = target.parse().map_err(|e| format!("{target}: {e}"))?;
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<&[u8]>>();
        let answer = client
            .get(uri)
            .await
            .map_err(|e| format!("{target}: {e}"))?;
        match answer.status().as_u16() {
            200 => Ok(()),
            status => Err(format!("{target} answers {status}")),
        }
    };
    tokio::time::timeout(LIMIT, asked)
        .await
        .unwrap_or_else(|_| Err(format!("{url} does not answer")))
}
