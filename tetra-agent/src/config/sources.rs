//! Where settings come from.
//!
//! Files, in the order in which they are read (a later one wins): the drop-in directories `/usr/lib/tetragon/tetragon.conf.d`
//! and `/usr/local/lib/tetragon/tetragon.conf.d`, `/etc/tetragon/tetragon.yaml`, the drop-in directory
//! `/etc/tetragon/tetragon.conf.d`, and the one named by `--config-dir`. In a drop-in directory a file's name is the setting
//! and its text the value; sub-directories are left out, links are followed (that is how Kubernetes mounts a ConfigMap).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::ConfigError;
use super::flags::{FLAGS, Kind, Support};
use super::value::parse_boolean;

/// Directories and files that need not exist.
const FILES: [(&str, bool); 4] = [
    ("/usr/lib/tetragon/tetragon.conf.d", true),
    ("/usr/local/lib/tetragon/tetragon.conf.d", true),
    ("/etc/tetragon/tetragon.yaml", false),
    ("/etc/tetragon/tetragon.conf.d", true),
];

/// A value and where it was set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// As it was written.
    pub value: String,
    /// File, variable, `command line` or `default`.
    pub origin: String,
}

impl Setting {
    /// Origin of a value that nobody set.
    pub const DEFAULT: &str = "default";
}

/// Settings in the order of growing precedence.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    settings: Vec<(String, Setting)>,
}

impl Layers {
    /// Reads everything: files, environment, command line.
    ///
    /// # Errors
    /// `--config-dir` or a file that exists can't be read.
    pub fn read(matches: &clap::ArgMatches) -> Result<Self, ConfigError> {
        let mut layers = Self::default();
        for (path, directory) in FILES {
            let path = Path::new(path);
            match (path.exists(), directory) {
                (false, _) => {}
                (true, true) => layers.drop_ins(path)?,
                (true, false) => layers.yaml(path)?,
            }
        }
        let config_dir = given(matches, "config-dir").or_else(|| std::env::var("TETRAGON_CONFIG_DIR").ok());
        if let Some(directory) = config_dir.filter(|directory| !directory.is_empty()) {
            layers.drop_ins(Path::new(&directory))?;
        }
        layers.environment(std::env::vars_os());
        for flag in FLAGS {
            if let Some(value) = given(matches, flag.name) {
                layers.push(flag.name, value, "command line");
            }
        }
        Ok(layers)
    }

    /// Adds a setting above the others.
    pub fn push(&mut self, flag: &str, value: impl Into<String>, origin: impl Into<String>) {
        self.settings.push((
            flag.to_owned(),
            Setting {
                value: value.into(),
                origin: origin.into(),
            },
        ));
    }

    /// Adds the files of a drop-in directory.
    ///
    /// # Errors
    /// If it, or a file in it, can't be read.
    pub fn drop_ins(&mut self, directory: &Path) -> Result<(), ConfigError> {
        let wrong = |path: &Path, error: std::io::Error| ConfigError::File {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let mut names: Vec<OsString> = std::fs::read_dir(directory)
            .map_err(|error| wrong(directory, error))?
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        names.sort();
        for name in names {
            let path = directory.join(&name);
            // `..data` and its like are how a ConfigMap is swapped
            if path.is_dir() || name.to_string_lossy().starts_with('.') {
                continue;
            }
            let text = std::fs::read_to_string(&path).map_err(|error| wrong(&path, error))?;
            self.push(&name.to_string_lossy(), text.trim(), path.display().to_string());
        }
        Ok(())
    }

    /// Adds a YAML file: a map from setting to value.
    fn yaml(&mut self, path: &Path) -> Result<(), ConfigError> {
        let wrong = |reason: String| ConfigError::File {
            path: path.display().to_string(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        if text.trim().is_empty() {
            return Ok(());
        }
        let map: BTreeMap<String, serde_json::Value> =
            serde_yaml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        for (flag, value) in map {
            let value = match value {
                serde_json::Value::String(text) => text,
                serde_json::Value::Array(values) => {
                    let words = values
                        .iter()
                        .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
                    words.collect::<Vec<_>>().join(",")
                }
                serde_json::Value::Null => String::new(),
                other => other.to_string(),
            };
            self.push(&flag, value, path.display().to_string());
        }
        Ok(())
    }

    /// Adds the `TETRAGON_*` variables that name a setting.
    pub fn environment(&mut self, variables: impl Iterator<Item = (OsString, OsString)>) {
        let mut found: Vec<(String, String, String)> = variables
            .filter_map(|(name, value)| {
                let name = name.into_string().ok()?;
                let flag = name.strip_prefix("TETRAGON_")?.to_ascii_lowercase().replace('_', "-");
                // other programs may use the prefix for their own variables
                FLAGS
                    .iter()
                    .any(|known| known.name == flag)
                    .then(|| (flag, value.to_string_lossy().into_owned(), name))
            })
            .collect();
        found.sort();
        for (flag, value, name) in found {
            self.push(&flag, value, format!("environment, {name}"));
        }
    }

    /// The setting in force of every flag.
    ///
    /// # Errors
    /// Settings that nobody knows, or that are not implemented and differ from their default.
    pub fn effective(&self) -> Result<BTreeMap<&'static str, Setting>, ConfigError> {
        let mut effective: BTreeMap<&'static str, Setting> = FLAGS
            .iter()
            .map(|flag| {
                (
                    flag.name,
                    Setting {
                        value: flag.default.to_owned(),
                        origin: Setting::DEFAULT.to_owned(),
                    },
                )
            })
            .collect();
        for (name, setting) in &self.settings {
            let Some(flag) = FLAGS.iter().find(|flag| flag.name == name) else {
                return Err(ConfigError::Unknown {
                    flag: name.clone(),
                    origin: setting.origin.clone(),
                });
            };
            effective.insert(flag.name, setting.clone());
        }
        for flag in FLAGS {
            let setting = &effective[flag.name];
            if let Support::Refused(reason) = flag.support
                && !same(flag.kind, &setting.value, flag.default)
            {
                return Err(ConfigError::Unsupported {
                    flag: flag.name.to_owned(),
                    value: setting.value.clone(),
                    origin: setting.origin.clone(),
                    reason: reason.to_owned(),
                });
            }
        }
        Ok(effective)
    }

    /// Settings that are accepted but do nothing here: the agent says so once.
    pub fn ignored(effective: &BTreeMap<&'static str, Setting>) -> Vec<(&'static str, &'static str)> {
        FLAGS
            .iter()
            .filter_map(|flag| match flag.support {
                Support::Ignored(reason) if !same(flag.kind, &effective[flag.name].value, flag.default) => {
                    Some((flag.name, reason))
                }
                _ => None,
            })
            .collect()
    }
}

/// Whether two texts are the same value.
fn same(kind: Kind, a: &str, b: &str) -> bool {
    match kind {
        Kind::Boolean => parse_boolean(a.trim()) == parse_boolean(b),
        _ => a.trim() == b,
    }
}

fn given(matches: &clap::ArgMatches, flag: &str) -> Option<String> {
    matches
        .get_many::<String>(flag)
        .map(|values| values.cloned().collect::<Vec<_>>().join(","))
}
