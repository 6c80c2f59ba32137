//! Which plugin a command runs: `--plugin`, else the one that the template names and policy allows, else the built-in
//! one. It compiles and runs nothing before the operator's demands are met.

use std::borrow::Cow;
use std::path::Path;

use super::Host;
use super::plan::{about, read_plugin};
use super::plugin::signature_file;
use super::report::{Exit, Failure};
use crate::catalog::{BUILT_IN, Catalog, Demands, NotAName, PluginName, read_signature};
use crate::diagnostic::Diagnostic;
use crate::plugin::{ORG_IMPORT, Plugin, Sandbox, Terms, Wasi};
use crate::template::TemplateDir;

/// The plugin that a command runs.
pub struct Chosen<'a> {
    choice: Choice<'a>,
    bytes: Cow<'static, [u8]>,
    signature: Option<String>,
    demands: Demands,
    /// Variables that the operator's file lets templates use with it.
    pub grant: Vec<String>,
}

/// What was asked for, by an argument or by the template.
pub fn chosen<'a>(
    host: &Host,
    asked: Option<&'a str>,
    wasi: Wasi,
    template: Option<&TemplateDir>,
) -> Result<Chosen<'a>, Failure> {
    let choice = choose(host, asked, template)?;
    if wasi != Wasi::None && !matches!(choice, Choice::File(_)) {
        let diagnostic = Diagnostic::new("wasi-grant", "--wasi is for a plugin file")
            .help("what an installed plugin gets is under [plugins.NAME] in the operator's file");
        return Err(Failure::one(Exit::Invalid, diagnostic));
    }
    let name = match &choice {
        Choice::File(file) => {
            let terms = Terms {
                wasi,
                ..Terms::default()
            };
            return Ok(Chosen {
                bytes: read_plugin(file)?.into(),
                signature: read_signature(&signature_file(file))?,
                demands: Demands::of_file(&host.config, terms),
                grant: Vec::new(),
                choice,
            });
        }
        Choice::Installed(name) => name,
    };
    let keys = host.config.plugins.get(name);
    let grant = keys.map(|keys| keys.grant.clone()).unwrap_or_default();
    let mut demands = Demands::of(&host.config, name);
    if name.is_built_in() {
        // It is part of orghost, and needs no signature.
        demands.keys.clear();
        return Ok(Chosen {
            bytes: ORG_IMPORT.into(),
            signature: None,
            demands,
            grant,
            choice,
        });
    }
    let fetched = Catalog::of(&host.folders.state).fetch(name)?;
    Ok(Chosen {
        bytes: fetched.bytes.into(),
        signature: fetched.signature,
        demands,
        grant,
        choice,
    })
}

impl Chosen<'_> {
    /// Admits and loads it, and says what it is called when it is not the built-in one.
    pub fn load(&self, sandbox: &Sandbox) -> Result<(Plugin, Option<String>), Failure> {
        let loaded = self
            .demands
            .load(sandbox, &self.bytes, self.signature.as_deref());
        let (plugin, met) = loaded.map_err(|refusal| match &self.choice {
            Choice::File(file) => about(refusal.into(), file),
            Choice::Installed(name) => named(refusal.into(), name),
        })?;
        let name = match &self.choice {
            Choice::File(file) => file.display().to_string(),
            Choice::Installed(name) if name.is_built_in() => return Ok((plugin, None)),
            Choice::Installed(name) => name.to_string(),
        };
        Ok((plugin, Some(format!("{name} ({})", met.digest.short()))))
    }
}

enum Choice<'a> {
    File(&'a Path),
    Installed(PluginName),
}

fn choose<'a>(
    host: &Host,
    asked: Option<&'a str>,
    template: Option<&TemplateDir>,
) -> Result<Choice<'a>, Failure> {
    let built_in = || {
        let name = PluginName::try_from(BUILT_IN.to_owned());
        name.map_err(|error| Failure::one(Exit::Invalid, name_diagnostic(&error)))
    };
    if let Some(asked) = asked {
        if is_file(asked) {
            return Ok(Choice::File(Path::new(asked)));
        }
        let name = PluginName::try_from(asked.to_owned())
            .map_err(|error| Failure::one(Exit::Invalid, name_diagnostic(&error)))?;
        return Ok(Choice::Installed(name));
    }
    let Some((template, wanted)) = template.and_then(|dir| Some((dir, dir.wanted_plugin()?)))
    else {
        return Ok(Choice::Installed(built_in()?));
    };
    let placed = |exit, mut diagnostic: Diagnostic| {
        diagnostic.file = Some(wanted.file.to_owned());
        diagnostic.line = Some(wanted.line);
        diagnostic.field = Some("plugin".to_owned());
        let mut failure = Failure::one(exit, diagnostic);
        failure.template = Some(template.clone());
        failure
    };
    let name = PluginName::try_from(wanted.name.clone())
        .map_err(|error| placed(Exit::Invalid, name_diagnostic(&error)))?;
    if name.is_built_in() {
        return Ok(Choice::Installed(name));
    }
    let installed = Catalog::of(&host.folders.state).lock()?.plugins;
    let listed = host.config.policy.plugins.as_ref();
    let allowed = |name: &PluginName| listed.is_none_or(|list| list.contains(name));
    if installed.contains_key(&name) && allowed(&name) {
        return Ok(Choice::Installed(name));
    }
    let mut usable = vec![BUILT_IN];
    usable.extend(
        installed
            .keys()
            .filter(|name| allowed(name))
            .map(PluginName::as_str),
    );
    let usable = usable.join(", ");
    let (message, help) = if allowed(&name) {
        (
            format!("the template asks for the plugin {name}, which is not installed"),
            format!(
                "to install it: orghost plugin add FILE|REF --name {name}; templates may use {usable}"
            ),
        )
    } else {
        (
            format!(
                "the template asks for the plugin {name}, which the operator's file does not allow"
            ),
            format!(
                "templates may use {usable}; [policy] plugins in the operator's file lists more"
            ),
        )
    };
    let diagnostic = Diagnostic::new("plugin-not-allowed", message).help(help);
    Err(placed(Exit::Refused, diagnostic))
}

/// Whether `--plugin` means a file, and not the name of an installed plugin.
pub fn is_file(plugin: &str) -> bool {
    plugin.contains('/') || plugin.ends_with(".wasm")
}

/// A text that is no name of a plugin.
pub fn name_diagnostic(error: &NotAName) -> Diagnostic {
    Diagnostic::new("plugin-name", error.to_string())
        .help("a plugin file is written with a `/`, such as ./acme.wasm; `orghost plugin list` shows the installed ones")
}

/// The same failure, of an installed plugin.
pub fn named(mut failure: Failure, name: &PluginName) -> Failure {
    for error in &mut failure.errors {
        error.message = format!("{name}: {}", error.message);
    }
    failure
}
