//! Reads the configuration: the file, then the environment or arguments, then the checks.
//!
//! Invariant: an error names the place (file and line, variable or argument), what is wrong, and what is allowed. It never shows a
//! value, which may be a secret.

use super::{Config, Problem};
use crate::secret::Secret;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// `INBOXLAYER_HTTP__LISTEN=…` sets `[http] listen`.
const PREFIX: &str = "INBOXLAYER_";
/// Variables of the command-line client, which are not configuration keys.
const NOT_CONFIGURATION: [&str; 5] =
    ["INBOXLAYER_CONFIG", "INBOXLAYER_URL", "INBOXLAYER_TOKEN", "INBOXLAYER_SECRET_KEY", "INBOXLAYER_NEXT_SECRET_KEY"];

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    /// It has errors, one per line.
    #[error("{}", .0.join("\n"))]
    Wrong(Vec<String>),
}

/// A key that is set outside the file and overrides it.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The variable or argument, for errors.
    source: String,
    key: String,
    value: Secret,
}

impl Setting {
    /// `INBOXLAYER_HTTP__LISTEN` sets `[http] listen`; `None` for other variables.
    pub fn of_variable(variable: String, value: String) -> Option<Self> {
        let name = variable.strip_prefix(PREFIX).filter(|_| !NOT_CONFIGURATION.contains(&variable.as_str()))?;
        let key = name.to_lowercase().replace("__", ".");
        Some(Self { source: variable, key, value: Secret::new(value) })
    }

    /// `section.key=value` of `--set`.
    pub fn of_argument(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok(Self { source: format!("--set {key}"), key: key.to_owned(), value: Secret::new(value.to_owned()) })
            }
            _ => Err("write section.key=value, like limits.recipients=10".to_owned()),
        }
    }

    /// The key, like `http.listen`.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// A configuration and its sources, so that problems found later can name their lines.
struct Sources {
    file: Option<(PathBuf, String)>,
    settings: Vec<Setting>,
}

impl Config {
    /// Reads `path` (`None`: the defaults), applies `environment`, and checks the result.
    pub fn load(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let (config, sources) = read(path, of_environment(environment))?;
        sources.refuse(&config.problems())?;
        Ok(config)
    }

    /// The defaults with some keys set.
    pub fn of_settings(settings: Vec<Setting>) -> Result<Self, ConfigError> {
        let (config, sources) = read(None, settings)?;
        sources.refuse(&config.problems())?;
        Ok(config)
    }

    /// The same, with the checks of `serve`.
    pub fn load_for_serve(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let (config, sources) = read(path, of_environment(environment))?;
        let mut problems = config.problems();
        problems.extend(config.problems_for_serve());
        sources.refuse(&problems)?;
        Ok(config)
    }
}

fn of_environment(environment: impl IntoIterator<Item = (String, String)>) -> Vec<Setting> {
    environment.into_iter().filter_map(|(variable, value)| Setting::of_variable(variable, value)).collect()
}

fn read(path: Option<&Path>, settings: Vec<Setting>) -> Result<(Config, Sources), ConfigError> {
    let file = match path {
        None => None,
        Some(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|source| ConfigError::Io { path: path.to_owned(), source })?;
            Some((path.to_owned(), text))
        }
    };
    let text = file.as_ref().map_or("", |(_, text)| text);
    let in_file = |error: toml::de::Error| {
        let path = path.unwrap_or(Path::new("")).display();
        let at = error.span().map_or(String::new(), |span| format!(":{}", line_at(text, span.start)));
        ConfigError::Wrong(vec![format!("{path}{at}: {}", one_line(error.message()))])
    };
    // First alone, for errors that know their line.
    let mut config: Config = toml::from_str(text).map_err(in_file)?;
    let mut table: toml::Table = toml::from_str(text).map_err(in_file)?;

    for Setting { source, key, value } in &settings {
        (config, table) = overridden(&table, key, value.reveal())
            .map_err(|message| ConfigError::Wrong(vec![format!("{source}: {message}")]))?;
    }
    Ok((config, Sources { file, settings }))
}

/// The configuration with one key set: parsed as TOML if possible (`25`, `true`, `["a"]`), otherwise a string.
fn overridden(table: &toml::Table, key: &str, value: &str) -> Result<(Config, toml::Table), String> {
    let as_toml = toml::from_str::<toml::Table>(&format!("value = {value}")).ok().and_then(|mut t| t.remove("value"));
    let as_text = toml::Value::String(value.to_owned());
    let mut first_error = None;
    for candidate in as_toml.into_iter().chain([as_text]) {
        let mut table = table.clone();
        set(&mut table, key, candidate)?;
        match table.clone().try_into::<Config>() {
            Ok(config) => return Ok((config, table)),
            Err(error) => {
                first_error.get_or_insert(one_line(error.message()));
            }
        }
    }
    Err(first_error.unwrap_or_default())
}

fn set(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<(), String> {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
            Ok(())
        }
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            match inner.as_table_mut() {
                Some(inner) => set(inner, rest, value),
                None => Err(format!("{section} has no keys of its own")),
            }
        }
    }
}

impl Sources {
    fn refuse(&self, problems: &[Problem]) -> Result<(), ConfigError> {
        if problems.is_empty() {
            return Ok(());
        }
        let line = |problem: &Problem| format!("{}: {}: {}", self.place_of(problem.key), problem.key, problem.message);
        Err(ConfigError::Wrong(problems.iter().map(line).collect()))
    }

    /// The variable or argument, or the file and line, that set a key; the file alone for a default.
    fn place_of(&self, key: &str) -> String {
        if let Some(setting) = self.settings.iter().rev().find(|setting| setting.key == key) {
            return setting.source.clone();
        }
        let Some((path, text)) = &self.file else { return "the configuration".to_owned() };
        match offset_of(text, key) {
            Some(offset) => format!("{}:{}", path.display(), line_at(text, offset)),
            None => path.display().to_string(),
        }
    }
}

/// The line of a key in the file, or of its section if the key is not set.
fn offset_of(text: &str, key: &str) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let mut table = root.get_ref();
    let mut offset = None;
    for part in key.split('.') {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == part) else { break };
        offset = Some(name.span().start);
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    offset
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|b| *b == b'\n').count()
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HumanDuration;

    const DOCUMENTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/inboxlayer.toml");

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn error_of(text: &str, variables: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.toml");
        std::fs::write(&path, text).unwrap();
        let error = Config::load_for_serve(Some(&path), env(variables)).unwrap_err().to_string();
        error.replace(dir.path().to_str().unwrap(), "")
    }

    #[test]
    fn the_documented_file_says_the_defaults() {
        assert_eq!(Config::load(Some(Path::new(DOCUMENTED)), []).unwrap(), Config::default());
    }

    #[test]
    fn the_documented_file_has_every_key() {
        let text = std::fs::read_to_string(DOCUMENTED).unwrap();
        let mut seen = 0;
        let mut section = "";
        // serde itself lists the keys, in its answer to one that is unknown.
        let keys_of = |section: &str| -> Vec<String> {
            let relay = "host = \"h\"\nport = 1\n";
            let probe = format!("[{section}]\n{}no_such_key = 1", if section == "queue.relay" { relay } else { "" });
            let error = toml::from_str::<Config>(&probe).unwrap_err();
            let known = error.message().split("expected").nth(1).unwrap().to_owned();
            known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        for line in text.lines() {
            let line = line.trim_start_matches("# ");
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                section = name;
                for key in keys_of(section).iter().filter(|k| *k != "relay") {
                    let after = text.split(&format!("[{section}]")).nth(1).unwrap();
                    let body = after.split("\n[").next().unwrap();
                    assert!(
                        body.lines().any(|l| l.trim_start_matches("# ").starts_with(&format!("{key} = "))),
                        "[{section}] {key} is not documented"
                    );
                    seen += 1;
                }
            }
        }
        assert!(seen > 50 && !section.is_empty(), "{seen}");
    }

    #[test]
    fn an_unknown_key_names_its_line_and_what_is_allowed() {
        let error = error_of("[http]\nlisten = \"127.0.0.1:1\"\n\n[smtp]\nport = 25\n", &[]);
        assert!(error.starts_with("/t.toml:5: unknown field `port`, expected one of `mx`"), "{error}");
        let error = error_of("[htp]\n", &[]);
        assert!(error.starts_with("/t.toml:1: unknown field `htp`, expected one of `data_dir`"), "{error}");
    }

    #[test]
    fn a_bad_value_names_its_line_and_what_is_allowed() {
        let error = error_of("[smtp]\nmx = \"25\"\n", &[]);
        assert!(error.starts_with("/t.toml:2: \"25\" is not an address to listen at: write IP:port"), "{error}");
        let error = error_of("\n[verification]\nwindow = \"3 weeks\"\n", &[]);
        assert!(error.starts_with("/t.toml:3:") && error.contains("write a whole number and s, m, h or d"), "{error}");
        let error = error_of("[platform]\ndomain = \"10.0.0.1\"\n", &[]);
        assert!(error.starts_with("/t.toml:2:") && error.contains("an IP address is not a domain name"), "{error}");
        let error = error_of("[log]\nformat = \"xml\"\n", &[]);
        assert!(error.contains("`text` or `json`"), "{error}");
        let error = error_of("[log\n", &[]);
        assert!(error.starts_with("/t.toml:1:"), "{error}");
    }

    #[test]
    fn what_does_not_go_together_names_its_line() {
        let error =
            error_of("[records]\nmx_priority = 5\nrequired = [\"mx\"]\n[dkim]\nzone = \"dkim.amazonses.com\"\n", &[]);
        let lines: Vec<_> = error.lines().collect();
        assert_eq!(lines.len(), 3, "{error}");
        assert!(lines[0].starts_with("/t.toml:3: records.required: must contain \"dkim\""), "{error}");
        assert!(lines[1].starts_with("/t.toml: tls.certificate: smtp.mx needs a certificate"), "{error}");
        assert!(lines[2].starts_with("/t.toml:5: dkim.zone: dkim.amazonses.com belongs to Amazon"), "{error}");
    }

    #[test]
    fn the_environment_goes_over_the_file() {
        let variables = env(&[
            ("INBOXLAYER_HTTP__LISTEN", "[::1]:81"),
            ("INBOXLAYER_DATA_DIR", "/x"),
            ("INBOXLAYER_SMTP__MX", "off"),
            ("INBOXLAYER_QUEUE__HOP_LIMIT", "7"),
            ("INBOXLAYER_DKIM__PLATFORM_SELECTOR", "2026"),
            ("INBOXLAYER_RECORDS__REQUIRED", "[\"dkim\", \"mx\"]"),
            ("INBOXLAYER_VERIFICATION__WINDOW", "5d"),
            ("INBOXLAYER_QUEUE__RELAY", "{ host = \"relay.example\", port = 587 }"),
            ("INBOXLAYER_QUEUE__RELAY__USERNAME", "u"),
            ("INBOXLAYER_QUEUE__RELAY__PASSWORD", "1234"),
            ("INBOXLAYER_TOKEN", "of the command line"),
            ("HOME", "/root"),
        ]);
        let config = Config::load(None, variables).unwrap();
        assert_eq!(config.http.listen.to_string(), "[::1]:81");
        assert_eq!(config.data_dir.0, Path::new("/x"));
        assert_eq!(config.smtp.mx, None);
        assert_eq!(config.queue.hop_limit, 7);
        assert_eq!(config.dkim.platform_selector, "2026");
        assert_eq!(config.records.required.len(), 2);
        assert_eq!(config.verification.window, HumanDuration::hours(120));
        assert_eq!(config.queue.relay.unwrap().password.unwrap().reveal(), "1234");
    }

    #[test]
    fn arguments_are_read_like_the_environment() {
        let settings = |texts: &[&str]| texts.iter().map(|text| Setting::of_argument(text).unwrap()).collect();
        let config =
            Config::of_settings(settings(&["limits.recipients=7", "queue.retry_pauses=[\"1m\"]", "smtp.mx=off"]))
                .unwrap();
        assert_eq!((config.limits.recipients, config.queue.retry_pauses.len(), config.smtp.mx), (7, 1, None));
        for (text, says) in [
            ("limits.recipients=many", "--set limits.recipients: invalid type"),
            ("limits.recipents=7", "--set limits.recipents: unknown field `recipents`, expected one of `message_size`"),
            ("queue.hop_limit=0", "--set queue.hop_limit: queue.hop_limit: must not be 0"),
        ] {
            let error = Config::of_settings(settings(&[text])).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
        assert!(Setting::of_argument("limits.recipients").is_err() && Setting::of_argument("=7").is_err());
    }

    #[test]
    fn a_bad_variable_is_named() {
        for (variable, value, says) in [
            ("INBOXLAYER_HTTP__LISTN", "x", "unknown field `listn`, expected one of `listen`, `tls`, `cors_origins`"),
            ("INBOXLAYER_HTPP__LISTEN", "x", "unknown field `htpp`"),
            ("INBOXLAYER_DATA_DIR__X", "x", "expected"),
            ("INBOXLAYER_SMTP__MX", "25", "expected a string"),
            ("INBOXLAYER_QUEUE__HOP_LIMIT", "many", "invalid type"),
            ("INBOXLAYER_QUEUE__HOP_LIMIT", "0", "queue.hop_limit: must not be 0"),
        ] {
            let error = error_of("", &[(variable, value)]);
            let line = error.lines().next().unwrap();
            assert!(line.starts_with(&format!("{variable}: ")) && line.contains(says), "{variable}={value}: {error}");
        }
    }
}
