//! Asks a workspace whether it is ready. One request, no retries, no redirects.

use std::time::Duration;

use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// One question takes no longer.
const LIMIT: Duration = Duration::from_secs(5);

/// Who publishes a port for another accepts first, and hangs up this soon when nobody listens there.
const HANG_UP: Duration = Duration::from_millis(200);

/// `GET` on the health path must answer 200; without a path the port must
/// accept, and not hang up before anybody has said a word.
///
/// # Errors
/// Why it is not ready, in words.
pub async fn check(url: &str, path: Option<&str>) -> Result<(), String> {
    let asked = async {
        let Some(path) = path else {
            let address = url.strip_prefix("http://").unwrap_or(url);
            let failed = |e| format!("{url}: {e}");
            let mut stream = TcpStream::connect(address).await.map_err(failed)?;
            return match timeout(HANG_UP, stream.read(&mut [0])).await {
                Ok(Ok(0)) => Err(format!("{url} hangs up at once")),
                Ok(Err(e)) => Err(failed(e)),
                // It speaks, or waits to be spoken to.
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
    timeout(LIMIT, asked)
        .await
        .unwrap_or_else(|_| Err(format!("{url} does not answer")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    /// Accepts once, says `words`, and hangs up unless it `stays`.
    async fn asked(words: &[u8], stays: bool) -> Result<(), String> {
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
    async fn without_a_path_an_open_port_counts() {
        asked(b"", true).await.unwrap();
        asked(b"220 hello", true).await.unwrap();
        asked(b"220 and bye", false).await.unwrap();
    }

    #[tokio::test]
    async fn a_port_that_hangs_up_or_refuses_does_not() {
        let why = asked(b"", false).await.unwrap_err();
        assert!(why.contains("hangs up"), "{why}");
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", free.local_addr().unwrap());
        drop(free);
        let why = check(&url, None).await.unwrap_err();
        assert!(why.contains("refused"), "{why}");
    }
}
