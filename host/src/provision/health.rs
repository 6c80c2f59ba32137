//! Asks a workspace whether it is ready, with one request: no retries, no redirects.

use std::time::Duration;

use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest that one check takes.
const LIMIT: Duration = Duration::from_secs(5);

/// How long an open port must stay open. A proxy that publishes a port accepts the connection first, and closes it within
/// this time when no program listens behind it.
const STAYS_OPEN: Duration = Duration::from_millis(200);

/// Checks a workspace at `url`: `GET` on the health path must answer 200. Without a path, its port must accept a connection
/// and not close it at once.
///
/// # Errors
/// A sentence that says why the workspace is not ready.
pub async fn check(url: &str, path: Option<&str>) -> Result<(), String> {
    let check = async {
        let Some(path) = path else {
            let address = url.strip_prefix("http://").unwrap_or(url);
            let failed = |e| format!("{url}: {e}");
            let mut stream = TcpStream::connect(address).await.map_err(failed)?;
            return match timeout(STAYS_OPEN, stream.read(&mut [0])).await {
                Ok(Ok(0)) => Err(format!("{url} closes the connection at once")),
                Ok(Err(e)) => Err(failed(e)),
                // The program sent something, or waits for a request.
                Ok(Ok(_)) | Err(_) => Ok(()),
            };
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
    timeout(LIMIT, check)
        .await
        .unwrap_or_else(|_| Err(format!("{url} does not answer")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    /// Accepts one connection, sends `words`, and closes it unless it `stays`.
    async fn answer(words: &[u8], stays: bool) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(words).await.unwrap();
            stays.then_some(stream)
        };
        let (answer, _stream) = tokio::join!(check(&url, None), serve);
        answer
    }

    #[tokio::test]
    async fn without_a_path_an_open_port_is_ready() {
        answer(b"", true).await.unwrap();
        answer(b"220 hello", true).await.unwrap();
        answer(b"220 and bye", false).await.unwrap();
    }

    #[tokio::test]
    async fn a_port_that_closes_at_once_or_refuses_is_not_ready() {
        let why = answer(b"", false).await.unwrap_err();
        assert!(why.contains("closes the connection"), "{why}");
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", free.local_addr().unwrap());
        drop(free);
        let why = check(&url, None).await.unwrap_err();
        assert!(why.contains("refused"), "{why}");
    }
}
