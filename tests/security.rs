//! Tests of the promises on the security page, one or more for each promise.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use orghost::http::{RouteAccess, needed};
use orghost::state::token::Scope;
use orghost::template::bundle::Bundle;
use orghost::template::path::is_normal;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::server::Server;
use crate::support::{Operator, root};

const ORG: &str = "name: Acme\ndefaults: {runtime: x}\nworkspaces: [{name: One}]\n";
const DEMO: [&str; 3] = ["--demo", "--engine", "local"];

/// Makes a token and returns its text and its id.
fn token(operator: &Operator, scope: &str) -> (String, String) {
    let ran = operator.run(&["token", "new", scope, "--scope", scope, "--json"]);
    let json = ran.exits(0).json();
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    (text("token"), text("id"))
}

async fn as_token(server: &Server, token: &str, method: Method, path: &str) -> Response {
    let request = server.request(method, path).bearer_auth(token);
    request.send().await.unwrap()
}

async fn problem(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(kind, "application/problem+json", "{status}");
    let json: Value = response.json().await.unwrap();
    (status, json["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_server_without_tokens_listens_on_the_loopback_only() {
    let operator = Operator::new();
    let ran = operator.run(&["serve", "--listen", "0.0.0.0:0", "--json"]);
    assert_eq!(ran.exits(2).error_codes(), ["listen-needs-token"]);
}

#[tokio::test]
async fn a_server_without_tokens_refuses_other_sites_and_proxies() {
    let operator = Operator::new();
    let server = Server::start(&operator, &DEMO);
    let own = server
        .request(Method::GET, "/v1/orgs")
        .header("origin", &server.url);
    assert_eq!(own.send().await.unwrap().status(), 200);
    let cases = [
        ("origin", "https://evil.example", (403, "foreign-origin")),
        ("origin", "null", (403, "foreign-origin")),
        // A page of another port on this machine.
        ("origin", "http://127.0.0.1:1", (403, "foreign-origin")),
        // DNS rebinding: the browser takes the server for a site of its own.
        ("host", "evil.example:7420", (401, "loopback-only")),
        ("host", "localhost.evil.example", (401, "loopback-only")),
        ("x-forwarded-for", "192.0.2.1", (401, "loopback-only")),
    ];
    for (name, value, (status, code)) in cases {
        let request = server.request(Method::POST, "/v1/orgs").header(name, value);
        let response = request.json(&json!({"inline": ORG})).send().await.unwrap();
        assert_eq!(
            problem(response).await,
            (status, code.to_owned()),
            "{name}: {value}"
        );
    }
    assert_eq!(server.get("/v1/orgs").await["orgs"], json!([]));
}

#[test]
fn every_route_has_an_access_rule() {
    let document: Value = serde_json::from_str(&orghost::http::document_text()).unwrap();
    let mut routes = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let Some(access) = needed(&method, path) else {
                panic!("{method} {path} has no row in http/middleware/access.rs");
            };
            let changes = !method.is_safe() && access == RouteAccess::Needs(Scope::Read);
            assert!(
                !changes,
                "{method} {path} needs no more than the right to read"
            );
            routes += 1;
        }
    }
    assert!(routes > 8);
    assert_eq!(needed(&Method::GET, "/not/in/the/table"), None);
}

#[tokio::test]
async fn a_tokens_scope_limits_what_it_can_do() {
    let operator = Operator::new();
    let tokens = ["read", "plan", "write", "admin"].map(|scope| token(&operator, scope).0);
    let server = Server::start(&operator, &DEMO);
    // The expected status for each scope. Allowed requests find nothing or have an empty body.
    let cases = [
        (Method::GET, "/v1/orgs", [200, 200, 200, 200]),
        (Method::POST, "/v1/plans", [403, 415, 415, 415]),
        (Method::DELETE, "/v1/orgs/nobody", [403, 403, 404, 404]),
        (Method::GET, "/v1/audit", [403, 403, 403, 200]),
        (Method::GET, "/not/there", [404, 404, 404, 404]),
        (Method::PUT, "/v1/orgs", [405, 405, 405, 405]),
    ];
    for (method, path, wanted) in cases {
        for (token, wanted) in tokens.iter().zip(wanted) {
            let answer = as_token(&server, token, method.clone(), path).await;
            assert_eq!(answer.status(), wanted, "{method} {path} {token}");
        }
        if wanted[3] != 404 && wanted[3] != 405 || path == "/v1/orgs/nobody" {
            let answer = server.request(method, path).send().await.unwrap();
            assert_eq!(
                answer.headers()["www-authenticate"],
                "Bearer realm=\"orghost\""
            );
            assert_eq!(problem(answer).await, (401, "token-missing".to_owned()));
        }
    }
    for open in ["/", "/healthz", "/readyz", "/openapi.json", "/page/page.js"] {
        let answer = server.request(Method::GET, open).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{open}");
    }
    let wrong = format!("orgh_{}", "0".repeat(64));
    for wrong in [wrong.as_str(), "orgh_", "x"] {
        let answer = as_token(&server, wrong, Method::GET, "/v1/orgs").await;
        assert_eq!(problem(answer).await, (401, "token-invalid".to_owned()));
    }
}

#[tokio::test]
async fn tokens_are_stored_as_digests_and_can_be_revoked() {
    let operator = Operator::new();
    // Tokens are made and revoked while the server runs.
    let server = Server::start(&operator, &DEMO);
    assert_eq!(server.get("/v1/orgs").await["orgs"], json!([]));
    let (one, one_id) = token(&operator, "read");
    let (two, two_id) = token(&operator, "admin");
    let status = async |token: &str| {
        let answer = as_token(&server, token, Method::GET, "/v1/orgs").await;
        answer.status().as_u16()
    };
    assert_eq!((status(&one).await, status(&two).await), (200, 200));
    operator.run(&["token", "revoke", &one_id]).exits(0);
    assert_eq!((status(&one).await, status(&two).await), (401, 200));
    let database = rusqlite::Connection::open(operator.state().join("orghost.db")).unwrap();
    let expired = database.execute("UPDATE tokens SET expires_ms = 1 WHERE id = ?1", [&two_id]);
    assert_eq!(expired, Ok(1));
    assert_eq!(status(&two).await, 401);
    // A host that once had a token never answers without one again.
    let nobody = server
        .request(Method::GET, "/v1/orgs")
        .send()
        .await
        .unwrap();
    assert_eq!(nobody.status(), 401);

    let list = operator.run(&["token", "list", "--json"]).exits(0);
    assert!(
        list.json()["tokens"][0]["used_ms"].is_i64(),
        "{}",
        list.stdout
    );
    let table = operator.run(&["token", "list"]).exits(0).stdout;
    assert!(
        table.contains("revoked") && table.contains("expired"),
        "{table}"
    );
    assert_eq!(server.stop(), 0);
    drop(database);
    let mut looked = 0;
    for (path, bytes) in files(&operator.state()) {
        let holds = |token: &str| {
            bytes
                .windows(token.len())
                .any(|part| part == token.as_bytes())
        };
        assert!(!holds(&one) && !holds(&two), "{path}");
        looked += 1;
    }
    assert!(looked > 1 && !list.stdout.contains(&one) && !table.contains(&one));
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
    found
}

#[tokio::test]
async fn the_audit_records_every_change_and_no_secret() {
    let operator = Operator::new();
    let (admin, id) = token(&operator, "admin");
    let server = Server::start(&operator, &DEMO);
    let body = json!({"inline": ORG, "env": {"KEY": "hush-in-body"}});
    let request = server
        .request(Method::POST, "/v1/orgs?wait=60")
        .bearer_auth(&admin);
    let request = request.header("x-request-id", "mine-1").json(&body);
    assert_eq!(request.send().await.unwrap().status(), 200);
    let refused = server
        .request(Method::DELETE, "/v1/orgs/acme?password=hush-in-query")
        .bearer_auth("hush-token");
    assert_eq!(refused.send().await.unwrap().status(), 401);
    as_token(
        &server,
        &admin,
        Method::DELETE,
        "/v1/orgs/acme?volumes=true&wait=60",
    )
    .await;

    let page = |query: String| {
        let server = &server;
        let admin = &admin;
        async move {
            let answer = as_token(
                server,
                admin,
                Method::GET,
                &format!("/v1/audit?limit=2{query}"),
            )
            .await;
            answer.json::<Value>().await.unwrap()
        }
    };
    let first = page(String::new()).await;
    let second = page(format!("&before={}", first["next"])).await;
    assert!(second["next"].is_null(), "{second}");
    let rows: Vec<&Value> = [&first, &second]
        .iter()
        .flat_map(|page| page["requests"].as_array().unwrap())
        .collect();
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["action"].as_str().unwrap(),
                row["target"].as_str().unwrap(),
                row["status"].as_u64(),
            )
        })
        .collect();
    let delete = "DELETE /v1/orgs/{org}";
    assert_eq!(
        told,
        [
            (delete, "/v1/orgs/acme?volumes=true&wait=60", Some(200)),
            (delete, "/v1/orgs/acme", Some(401)),
            ("POST /v1/orgs", "/v1/orgs?wait=60", Some(200)),
        ]
    );
    assert_eq!(
        (rows[2]["caller"].as_str(), rows[2]["name"].as_str()),
        (Some(id.as_str()), Some("admin"))
    );
    assert_eq!(
        (rows[2]["request"].as_str(), rows[2]["address"].as_str()),
        (Some("mine-1"), Some("127.0.0.1"))
    );
    assert_eq!(rows[1]["caller"], "");
    let all = format!("{first}{second}");
    assert!(!all.contains("hush") && !all.contains(&admin), "{all}");
}

#[tokio::test]
async fn a_repeated_idempotency_key_does_nothing_again() {
    let operator = Operator::new();
    let server = Server::start(&operator, &DEMO);
    let ask = async |server: &Server, key: &str, name: &str| {
        let request = server
            .request(Method::POST, "/v1/orgs?wait=60")
            .header("idempotency-key", key);
        let body = json!({"inline": ORG.replace("Acme", name)});
        request.json(&body).send().await.unwrap()
    };
    let first = ask(&server, "k1", "Acme").await;
    assert!(!first.headers().contains_key("idempotency-replayed"));
    assert_eq!(first.status(), 200);
    let location = first.headers()["location"].clone();
    let first: Value = first.json().await.unwrap();
    assert_eq!(server.stop(), 0);

    // The stored answer survives a restart.
    let server = Server::start(&operator, &DEMO);
    let again = ask(&server, "k1", "Acme").await;
    assert_eq!(again.status(), 200);
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(again.headers()["location"], location);
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    assert_eq!(
        problem(ask(&server, "k1", "Other").await).await,
        (422, "idempotency-reused".to_owned())
    );
    // An answer that says that nothing was done is not stored.
    for _ in 0..2 {
        let wrong = ask(&server, "k2", "{").await;
        assert!(!wrong.headers().contains_key("idempotency-replayed"));
        assert_eq!(wrong.status(), 422);
    }
    assert_eq!(ask(&server, "k2", "Acme").await.status(), 200);
    // Of two concurrent requests one does the work; the other gets 409 or the stored answer.
    let (one, two) = tokio::join!(ask(&server, "k3", "Acme"), ask(&server, "k3", "Acme"));
    let mut statuses = [one.status().as_u16(), two.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200);
    assert!([200, 409].contains(&statuses[1]), "{statuses:?}");
    let orgs = server.get("/v1/orgs").await;
    assert_eq!(orgs["orgs"].as_array().unwrap().len(), 1, "{orgs}");
    server
        .ask(Method::DELETE, "/v1/orgs/acme?volumes=true&wait=60", None)
        .await;
}

#[tokio::test]
async fn a_change_is_finished_when_its_caller_disconnects() {
    let operator = Operator::new();
    let server = Server::start(&operator, &DEMO);
    let body = json!({"inline": ORG}).to_string();
    let address = server.url.strip_prefix("http://").unwrap();
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v1/orgs?wait=60 HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket
        .write_all(format!("{head}{body}").as_bytes())
        .unwrap();
    // The audit entry shows that the change began. It cannot have been answered, because the client read nothing.
    let begun = async {
        while server.get("/v1/audit").await["requests"] == json!([]) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), begun)
        .await
        .unwrap();
    drop(socket);
    let came = async {
        while server.get("/v1/orgs").await["orgs"][0]["up"] != json!(1) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), came)
        .await
        .unwrap();
    server
        .ask(Method::DELETE, "/v1/orgs/acme?volumes=true&wait=60", None)
        .await;
}

#[tokio::test]
async fn request_size_and_rate_are_limited() {
    let operator = Operator::new();
    let config = operator.file("orghost.toml", "[server]\nrequests_per_second = 2\n");
    let server = Server::start(&operator, &["--config", config.to_str().unwrap(), "--demo"]);
    // The server refuses by `Content-Length`, before it reads any of the body.
    let address = server.url.strip_prefix("http://").unwrap();
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    let head =
        format!("POST /v1/plans HTTP/1.1\r\nhost: {address}\r\ncontent-length: 17000000\r\n\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 413") && answer.contains("body-too-large"),
        "{answer}"
    );
    let mut refused = None;
    for _ in 0..50 {
        let answer = server
            .request(Method::GET, "/v1/orgs")
            .send()
            .await
            .unwrap();
        if answer.status() != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("fifty requests at once are more than four");
    let seconds: u64 = refused.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=5).contains(&seconds));
    assert_eq!(problem(refused).await, (429, "rate".to_owned()));
}

#[tokio::test]
async fn responses_have_request_ids_and_are_not_cached() {
    let operator = Operator::new();
    let server = Server::start(&operator, &DEMO);
    let ask = |id: &'static str| {
        server
            .request(Method::GET, "/v1/orgs")
            .header("x-request-id", id)
            .send()
    };
    let plain = ask("abc-1.2_3").await.unwrap();
    assert_eq!(plain.headers()["x-request-id"], "abc-1.2_3");
    assert_eq!(plain.headers()["x-content-type-options"], "nosniff");
    assert_eq!(plain.headers()["cache-control"], "no-store");
    for wrong in [
        "a b",
        "<script>",
        "0123456789012345678901234567890123456789012345678901234567890123456789",
    ] {
        let made = ask(wrong).await.unwrap().headers()["x-request-id"].clone();
        assert_eq!(made.len(), 16, "{made:?}");
    }
    let document = server
        .request(Method::GET, "/openapi.json")
        .header("accept-encoding", "gzip");
    assert_eq!(
        document.send().await.unwrap().headers()["content-encoding"],
        "gzip"
    );
    let events = server
        .request(Method::GET, "/v1/events")
        .header("accept-encoding", "gzip");
    assert!(
        !events
            .send()
            .await
            .unwrap()
            .headers()
            .contains_key("content-encoding")
    );
}

#[tokio::test]
async fn plain_http_is_refused_with_tls() {
    let operator = Operator::new();
    let pem = |name: &str| std::fs::read(root().join("tests/tls").join(name)).unwrap();
    let (cert, key) = (
        operator.file("cert.pem", pem("cert.pem")),
        operator.file("key.pem", pem("key.pem")),
    );
    let paths = [cert.to_str().unwrap(), key.to_str().unwrap()];
    let server = Server::start(
        &operator,
        &["--demo", "--tls-cert", paths[0], "--tls-key", paths[1]],
    );
    assert!(
        server.url.starts_with("https://127.0.0.1:"),
        "{}",
        server.url
    );
    let trusted = reqwest::Certificate::from_pem(&pem("cert.pem")).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([trusted])
        .build()
        .unwrap();
    let answer = client
        .get(format!("{}/healthz", server.url))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.text().await.unwrap(), "ok\n");
    let plain = server.url.replace("https://", "http://");
    assert!(reqwest::get(format!("{plain}/healthz")).await.is_err());
    // A client that does not trust the certificate refuses.
    assert!(
        reqwest::get(format!("{}/healthz", server.url))
            .await
            .is_err()
    );

    let other = operator.home.path().join("other");
    let ran = operator.run(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--json",
        "--state",
        other.to_str().unwrap(),
        "--tls-cert",
        paths[1],
        "--tls-key",
        paths[0],
    ]);
    assert_eq!(ran.exits(1).error_codes(), ["tls"]);
}

/// An entry of an archive: path, type, and content or link target.
type Made<'a> = (&'a [u8], u8, &'a [u8]);

/// Packs the entries as they are, however wrong.
fn archive(entries: &[Made<'_>]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (path, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        let name = &mut header.as_old_mut().name;
        let length = path.len().min(name.len());
        name[..length].copy_from_slice(&path[..length]);
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_mode(0o644);
        let is_file = matches!(kind, b'0' | b'x' | b'L' | b'S');
        if !is_file {
            let link = &mut header.as_old_mut().linkname;
            let length = content.len().min(link.len());
            link[..length].copy_from_slice(&content[..length]);
        }
        header.set_size(if is_file { content.len() as u64 } else { 0 });
        header.set_cksum();
        tar.extend(header.as_bytes());
        if is_file {
            tar.extend(*content);
            tar.resize(tar.len().next_multiple_of(512), 0);
        }
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn hostile_archives_are_refused() {
    let long = [b'a'; 99];
    let cases: &[(&[Made<'_>], &str)] = &[
        (&[(b"/etc/passwd", b'0', b"x")], "absolute"),
        (&[(b"a/../../x", b'0', b"x")], "leads out"),
        (&[(b"..", b'5', b"")], "leads out"),
        (&[(b"a", b'2', b"/etc")], "is a link"),
        (&[(b"a", b'1', b"org.yaml")], "is a link"),
        (&[(b"a", b'3', b"")], "is a device"),
        (&[(b"a", b'4', b"")], "is a device"),
        (&[(b"a", b'6', b"")], "is a pipe"),
        (&[(b"a", b'S', b"")], "neither a tar archive"),
        (&[(b"a", b'7', b"")], "neither a file nor a folder"),
        (&[(b"a", b'0', b"x"), (b"./a", b'0', b"y")], "twice"),
        (
            &[(b"a", b'0', b"x"), (b"a/b", b'0', b"y")],
            "both a file and a folder",
        ),
        (&[(b"a\xff", b'0', b"x")], "not UTF-8"),
        (&[(b"a\\b", b'0', b"x")], "no template can use"),
        (&[(b"a", b'5', b"")], "no file"),
        (&[], "no file"),
    ];
    for (entries, wanted) in cases {
        let tar = archive(entries);
        for bytes in [gzip(&tar), tar] {
            let said = Bundle::of_archive(&bytes).unwrap_err().to_string();
            assert!(said.contains(wanted), "{said}: {wanted}");
        }
    }
    // A long name is stored in its own entry.
    for name in [
        vec![b'a'; 256],
        vec![b'/'; 0]
            .into_iter()
            .chain(b"a/".repeat(600))
            .chain(*b"b")
            .collect(),
    ] {
        let tar = archive(&[(b"././@LongLink", b'L', &name), (&long, b'0', b"x")]);
        let said = Bundle::of_archive(&tar).unwrap_err().to_string();
        assert!(said.contains("too long"), "{said}");
    }
    for rubbish in [&b"no archive"[..], &[0x1f, 0x8b, 8, 0], &[7; 2000]] {
        assert!(Bundle::of_archive(rubbish).is_err());
    }
    let whole = archive(&[(b"org.yaml", b'0', &[b'x'; 4000])]);
    assert!(Bundle::of_archive(&whole).is_ok());
    assert!(Bundle::of_archive(&whole[..2000]).is_err());
}

#[test]
fn decompression_bombs_are_refused() {
    // Each file is below its limit, and together they are above the limit of the archive.
    let file = vec![0; 8 << 20];
    let names: Vec<_> = (0..9).map(|n| format!("f{n}").into_bytes()).collect();
    let entries: Vec<Made<'_>> = names
        .iter()
        .map(|name| (name.as_slice(), b'0', file.as_slice()))
        .collect();
    let bomb = gzip(&archive(&entries));
    assert!(bomb.len() < 1 << 20);
    let said = Bundle::of_archive(&bomb).unwrap_err().to_string();
    assert!(said.contains("more than 64 MiB"), "{said}");
    let large = vec![0; (8 << 20) + 1];
    let said = Bundle::of_archive(&gzip(&archive(&[(b"a", b'0', &large)])))
        .unwrap_err()
        .to_string();
    assert!(said.contains("larger than 8 MiB"), "{said}");
    // A long name of 200 MB, which is not part of a file.
    let name = vec![b'a'; 200 << 20];
    let said = Bundle::of_archive(&gzip(&archive(&[(b"x", b'L', &name), (b"a", b'0', b"")])))
        .unwrap_err()
        .to_string();
    assert!(said.contains("more than 64 MiB"), "{said}");
    let folders: Vec<_> = (0..40_001).map(|n| format!("f{n}").into_bytes()).collect();
    let entries: Vec<Made<'_>> = folders
        .iter()
        .map(|name| (name.as_slice(), b'5', &[][..]))
        .collect();
    let said = Bundle::of_archive(&gzip(&archive(&entries)))
        .unwrap_err()
        .to_string();
    assert!(said.contains("more than 20000 files"), "{said}");
}

/// Pseudo-random numbers that are the same in each run (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

#[test]
fn no_archive_entry_leads_out_of_its_folder() {
    const PARTS: [&str; 10] = [
        "a", "b", "..", ".", "", ".git", "org.yaml", "c\\d", "\u{e9}", "con",
    ];
    let (mut numbers, mut unpacked_some) = (Numbers(7), 0);
    for case in 0..3000 {
        let entries: Vec<(Vec<u8>, u8)> = (0..numbers.below(7))
            .map(|_| {
                let parts: Vec<_> = (0..numbers.below(5))
                    .map(|_| numbers.one_of(&PARTS))
                    .collect();
                let kind = match numbers.below(4) {
                    0 => numbers.one_of(b"0123456xgLKSV5"),
                    _ => b'0',
                };
                (parts.join("/").into_bytes(), kind)
            })
            .collect();
        let borrowed: Vec<_> = entries
            .iter()
            .map(|(path, kind)| (path.as_slice(), *kind, &b"some text"[..]))
            .collect();
        let mut bytes = archive(&borrowed);
        if numbers.below(4) == 0 {
            let at = numbers.below(bytes.len());
            bytes[at] = u8::try_from(numbers.below(256)).unwrap();
            bytes.truncate(numbers.below(bytes.len()) + 1);
        }
        if let Ok(bundle) = Bundle::of_archive(&bytes) {
            let tar = bundle.to_tar().unwrap();
            for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
                let entry = entry.unwrap();
                let kind = entry.header().entry_type();
                assert!(kind.is_file() || kind.is_dir(), "case {case}: {kind:?}");
                let path = entry.path().unwrap();
                let path = path.to_str().unwrap().trim_end_matches('/');
                assert!(is_normal(path), "case {case}: {path:?}");
            }
            unpacked_some += 1;
        }
    }
    assert!(unpacked_some > 100, "{unpacked_some}");
}

#[tokio::test]
async fn an_uploaded_archive_can_be_imported() {
    let operator = Operator::new();
    let server = Server::start(&operator, &DEMO);
    let tar = archive(&[
        (b"acme/", b'5', b""),
        (
            b"acme/org.yaml",
            b'0',
            b"name: Acme\ndefaults: {runtime: x}\nworkspaces: !include w.yaml\n",
        ),
        (b"acme/w.yaml", b'0', b"[{name: One}]\n"),
        // Files that macOS adds to an archive.
        (b"._acme", b'0', b"x"),
        (b"acme/._org.yaml", b'0', b"x"),
        (b"__MACOSX/", b'5', b""),
        (b"__MACOSX/acme/._w.yaml", b'0', b"x"),
    ]);
    for bytes in [gzip(&tar), tar] {
        let form = Form::new()
            .part("request", Part::text(r#"{"skip_external": true}"#))
            .part("archive", Part::bytes(bytes));
        let answer = server
            .request(Method::POST, "/v1/plans")
            .multipart(form)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let plan: Value = answer.json().await.unwrap();
        assert_eq!(plan["workspaces"][0]["name"], "One", "{plan}");
    }
    let evil = archive(&[(b"../../evil", b'0', b"x")]);
    let form = Form::new().part("archive", Part::bytes(evil));
    let answer = server
        .request(Method::POST, "/v1/orgs")
        .multipart(form)
        .send()
        .await
        .unwrap();
    assert_eq!(problem(answer).await, (422, "archive".to_owned()));
    // The same form sent again has another boundary and still counts as the same request.
    let again = async || {
        let tar = archive(&[(b"org.yaml", b'0', ORG.as_bytes())]);
        let form = Form::new().part("archive", Part::bytes(tar));
        let request = server
            .request(Method::POST, "/v1/orgs?wait=60")
            .header("idempotency-key", "form");
        request.multipart(form).send().await.unwrap()
    };
    assert_eq!(again().await.status(), 200);
    assert_eq!(again().await.headers()["idempotency-replayed"], "true");
    server
        .ask(Method::DELETE, "/v1/orgs/acme?volumes=true&wait=60", None)
        .await;
}
