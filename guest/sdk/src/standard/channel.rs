//! Resolves channels (org-template.md §7): expands their configuration and checks it against the channel's type. A
//! channel that cannot work is left out with a reason, and no reason holds the value of a variable.

use std::collections::BTreeSet;

use super::expand::{self, Sources};
use super::problems::{Problems, listed, quoted};
use super::schema;
use crate::{Channel, ConfigEntry, Diagnostic, SkippedChannel};

/// The channels that can work, and the channels that are left out.
pub(crate) fn resolve(
    list: &[schema::Channel],
    sources: Sources<'_>,
    problems: &mut Problems,
) -> (Vec<Channel>, Vec<SkippedChannel>) {
    let (mut channels, mut skipped) = (Vec::new(), Vec::new());
    for spec in list {
        let kind = spec.kind.as_ref().map_or("", |kind| kind.text.as_str());
        match config(spec, kind, sources) {
            Ok(config) => {
                if spec.enabled && spec.allowed_users.is_empty() {
                    let message =
                        format!("the {kind} channel is open to everyone: `allowed_users` is empty");
                    let help = "list those who may use it in `allowed_users`";
                    problems.warn(
                        Diagnostic::new("channel-open", message)
                            .about(&spec.at)
                            .help(help),
                    );
                }
                channels.push(Channel {
                    kind: kind.to_owned(),
                    config,
                    allowed_users: spec
                        .allowed_users
                        .iter()
                        .map(|user| user.text.clone())
                        .collect(),
                    enabled: spec.enabled,
                });
            }
            Err(reason) => {
                let what = if kind.is_empty() {
                    "a".to_owned()
                } else {
                    format!("the {}", shown(kind))
                };
                let message = format!("{what} channel is left out: {reason}");
                problems.warn(Diagnostic::new("channel-skipped", message).about(&spec.at));
                skipped.push(SkippedChannel {
                    kind: kind.to_owned(),
                    reason,
                });
            }
        }
    }
    (channels, skipped)
}

fn shown(kind: &str) -> String {
    if ADAPTERS.iter().any(|adapter| adapter.kind == kind) {
        kind.to_owned()
    } else {
        quoted(kind)
    }
}

/// The expanded configuration, or the reason why the channel is left out.
fn config(
    spec: &schema::Channel,
    kind: &str,
    sources: Sources<'_>,
) -> Result<Vec<ConfigEntry>, String> {
    if kind.is_empty() {
        return Err("empty type".to_owned());
    }
    let Some(adapter) = ADAPTERS.iter().find(|adapter| adapter.kind == kind) else {
        let known: Vec<&str> = ADAPTERS.iter().map(|adapter| adapter.kind).collect();
        return Err(format!("unknown adapter; known are {}", known.join(", ")));
    };
    let (mut missing, mut malformed) = (BTreeSet::new(), BTreeSet::new());
    let mut entries = Vec::with_capacity(spec.config.len());
    for (name, text) in &spec.config {
        let expansion = sources.expand(&text.text);
        missing.extend(expansion.unresolved);
        if !expansion.malformed.is_empty() {
            // The message does not quote the group, because `${TOKEN:-…}` may hold a secret.
            malformed.insert(format!("`{name}`"));
        }
        entries.push(ConfigEntry {
            name: name.to_string(),
            value: expansion.text,
            secret: expand::has_reference(&text.text) || sounds_secret(name),
        });
    }
    let mut reasons = Vec::new();
    if !missing.is_empty() {
        reasons.push(format!("missing env: {}", listed(missing)));
    }
    if !malformed.is_empty() {
        reasons.push(format!("malformed reference in {}", listed(malformed)));
    }
    if !reasons.is_empty() {
        return Err(reasons.join("; "));
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    (adapter.check)(&Config(&entries))?;
    Ok(entries)
}

fn sounds_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    ["token", "secret", "password", "key", "webhook"]
        .iter()
        .any(|word| name.contains(word))
}

/// An expanded configuration.
struct Config<'a>(&'a [ConfigEntry]);

impl Config<'_> {
    /// The value with this name; empty when there is none.
    fn get(&self, name: &str) -> &str {
        let entry = self.0.iter().find(|entry| entry.name == name);
        entry.map_or("", |entry| &entry.value)
    }
}

struct Adapter {
    kind: &'static str,
    /// Checks a configuration; the error says what is wrong with it.
    check: fn(&Config<'_>) -> Result<(), String>,
}

const ADAPTERS: [Adapter; 4] = [
    Adapter {
        kind: "telegram",
        check: telegram,
    },
    Adapter {
        kind: "slack",
        check: slack,
    },
    Adapter {
        kind: "lark",
        check: |config| webhook(config, LARK),
    },
    Adapter {
        kind: "discord",
        check: |config| webhook(config, DISCORD),
    },
];

const LARK: &[&str] = &[
    "https://open.larksuite.com/open-apis/bot/v2/hook/",
    "https://open.feishu.cn/open-apis/bot/v2/hook/",
];
const DISCORD: &[&str] = &[
    "https://discord.com/api/webhooks/",
    "https://discordapp.com/api/webhooks/",
];

fn telegram(config: &Config<'_>) -> Result<(), String> {
    let all = |text: &str, allowed: fn(char) -> bool| !text.is_empty() && text.chars().all(allowed);
    let token = config.get("bot_token");
    if token.is_empty() {
        return Err("`bot_token` is missing".to_owned());
    }
    let valid = token.split_once(':').is_some_and(|(id, secret)| {
        all(id, |c| c.is_ascii_digit())
            && all(secret, |c| {
                c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
            })
    });
    if !valid {
        return Err("`bot_token` is not of the form `<number>:<token>`".to_owned());
    }
    if config.get("chat_id").is_empty() {
        return Err("`chat_id` is missing".to_owned());
    }
    Ok(())
}

fn slack(config: &Config<'_>) -> Result<(), String> {
    let bot = !config.get("bot_token").is_empty() && !config.get("channel_id").is_empty();
    if config.get("webhook_url").is_empty() && !bot {
        return Err("it needs `webhook_url`, or `bot_token` and `channel_id`".to_owned());
    }
    Ok(())
}

fn webhook(config: &Config<'_>, prefixes: &[&str]) -> Result<(), String> {
    let url = config.get("webhook_url");
    if url.is_empty() {
        return Err("`webhook_url` is missing".to_owned());
    }
    if !prefixes
        .iter()
        .any(|prefix| url.len() > prefix.len() && url.starts_with(prefix))
    {
        return Err(format!(
            "`webhook_url` does not begin with {}",
            prefixes.join(" or ")
        ));
    }
    Ok(())
}
