//! Forwards a TCP port of the loopback to the Unix socket of an engine, as an engine on another machine is reached.

use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinSet;

/// An endpoint over TCP; dropping it ends its connections.
pub struct OverTcp {
    pub endpoint: String,
    _tasks: JoinSet<()>,
}

impl OverTcp {
    /// Leads to the engine at `unix`, a `unix://` endpoint.
    pub async fn to(unix: &str) -> Self {
        let path = unix.replace("unix://", "");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut going = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let mut engine = UnixStream::connect(&path).await.unwrap();
                going.spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut engine).await;
                });
            }
        });
        Self {
            endpoint,
            _tasks: tasks,
        }
    }
}
