//! `orghost token`: makes, lists and revokes the tokens of a server. It works on the state folder, even while a server
//! runs; a token's text is printed only once, when it is made.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use comfy_table::{ContentArrangement, Table};

use crate::cli::args::TokenCommand;
use crate::cli::exit::Exit;
use crate::cli::render::text::{in_line, note, print_line};
use crate::cli::{Host, print_json};
use crate::model::diagnostic::Diagnostic;
use crate::model::digest::hex;
use crate::problem::{Class, Problem};
use crate::random::random;
use crate::state::store::TokenRow;
use crate::state::token;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// A new token as JSON, with its text.
#[derive(serde::Serialize)]
struct NewToken<'a, Row> {
    #[serde(flatten)]
    row: Row,
    token: &'a str,
}

/// `orghost token …`.
///
/// # Errors
/// `token-name`: the name is not allowed. `unknown-token`: no token has the id. Or the store cannot be used.
pub async fn token(host: &Host, command: &TokenCommand) -> Result<Exit, Problem> {
    let store = host.store()?;
    match command {
        TokenCommand::New {
            name,
            scope,
            expires,
        } => {
            if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
                let message = "a token's name has 1 to 100 bytes and no control characters";
                let diagnostic = Diagnostic::new("token-name", message);
                return Err(Problem::one(Class::Invalid, diagnostic));
            }
            let (text, digest) = token::mint()?;
            let id = hex(random::<6>()?);
            let lifetime = expires.map(|days| i64::from(days) * DAY_MS);
            let row = store.put_token(&id, name, *scope, lifetime, digest).await?;
            if host.json {
                print_json(&NewToken { row, token: &text })?;
            } else {
                print_line(&text);
                note(&format!(
                    "the token is shown only this once; its id is {id}"
                ));
            }
        }
        TokenCommand::List => {
            let tokens = store.tokens().await?;
            match host.json {
                true => print_json(&serde_json::json!({ "tokens": tokens }))?,
                false => print_table(&tokens),
            }
        }
        TokenCommand::Revoke { id } => {
            if !store.revoke_token(id).await? {
                let diagnostic =
                    Diagnostic::new("unknown-token", format!("there is no token {id:?}"))
                        .help("`orghost token list` shows the ids");
                return Err(Problem::one(Class::Invalid, diagnostic));
            }
            match host.json {
                true => print_json(&serde_json::json!({ "id": id, "revoked": true }))?,
                false => print_line(&format!("{id} is revoked and is rejected from now on")),
            }
        }
    }
    Ok(Exit::Done)
}

fn print_table(tokens: &[TokenRow]) {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["ID", "NAME", "SCOPE", "STATE", "LAST USED"]);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    for token in tokens {
        let state = match (token.revoked_ms, token.expires_ms) {
            (Some(_), _) => "revoked".to_owned(),
            (None, Some(at)) if at <= now => "expired".to_owned(),
            (None, Some(at)) => format!("expires in {}", span(at - now)),
            (None, None) => "valid".to_owned(),
        };
        let used = token.used_ms.map(|at| format!("{} ago", span(now - at)));
        table.add_row([
            token.id.clone(),
            in_line(&token.name),
            token.scope.map_or("?", token::Scope::as_str).to_owned(),
            state,
            used.unwrap_or_else(|| "never".to_owned()),
        ]);
    }
    print_line(&table.to_string());
}

/// Formats a time (ms) in a unit that gives a small number; negative times become 0 s.
fn span(ms: i64) -> String {
    let seconds = Duration::from_millis(ms.max(0).unsigned_abs()).as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}
