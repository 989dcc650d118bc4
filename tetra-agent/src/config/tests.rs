use std::ffi::OsString;

use super::*;

fn config(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut layers = Layers::default();
    for (flag, value) in settings {
        layers.push(flag, *value, "test");
    }
    Config::new(&layers)
}

fn check_refused(settings: &[(&str, &str)], expected: &str) {
    let error = config(settings).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn the_table_is_sorted_and_its_defaults_are_accepted() {
    assert!(FLAGS.windows(2).all(|pair| pair[0].name < pair[1].name));
    let config = config(&[]).unwrap();
    assert_eq!(
        config.server_address,
        ServerAddress::Unix("/var/run/tetragon/tetragon.sock".into())
    );
    assert_eq!(config.table.capacity, 65_536);
    assert!(config.export.is_none());
    command().debug_assert();
}

#[test]
fn settings_that_are_not_implemented_are_refused_unless_they_are_the_default() {
    check_refused(&[("enable-k8s-api", "true")], "not watched yet");
    check_refused(&[("export-rate-limit", "-5")], "must be a number");
    check_refused(&[("server-address", "localhost")], "HOST:PORT");
    check_refused(&[("health-server-address", "unix:///x")], "HOST:PORT");
    assert!(
        config(&[
            ("enable-k8s-api", "false"),
            ("export-rate-limit", "-1"),
            ("metrics-server", "")
        ])
        .is_ok()
    );
}

#[test]
fn unknown_settings_and_wrong_values_are_refused() {
    check_refused(
        &[("expose-kernel-addresses", "true")],
        "unknown setting `expose-kernel-addresses` (test)",
    );
    check_refused(&[("log-level", "loud")], "must be one of");
    check_refused(&[("event-queue-size", "-5")], "must be a number");
    check_refused(&[("export-file-perm", "1777")], "octal");
    check_refused(&[("enable-ancestors", "kprobe")], "`base` must be among them");
    check_refused(&[("tracing-policy-dir", "policies")], "absolute");
    check_refused(&[("export-allowlist", "{")], "export-allowlist");
    for name in ["", "/sys/fs/bpf/tetragon", "../tetragon", "a/"] {
        check_refused(&[("bpf-dir", name)], "a name below /sys/fs/bpf");
    }
}

#[test]
fn the_environment_stands_below_the_command_line() {
    let mut layers = Layers::default();
    layers.environment(
        [
            ("TETRAGON_LOG_LEVEL", "debug"),
            ("TETRAGON_EXPORT_FILENAME", "/tmp/x"),
            ("TETRAGON_OTHER", "1"),
            ("HOME", "/"),
        ]
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value))),
    );
    layers.push("export-filename", "/tmp/y", "command line");
    let config = Config::new(&layers).unwrap();
    assert_eq!(config.log_level, "debug");
    assert_eq!(config.export.unwrap().filename, PathBuf::from("/tmp/y"));
    assert_eq!(config.effective["log-level"].origin, "environment, TETRAGON_LOG_LEVEL");
}

#[test]
fn drop_in_files_are_settings() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("log-level"), "warning\n").unwrap();
    std::fs::write(directory.path().join("enable-ancestors"), "base, kprobe\n").unwrap();
    std::fs::create_dir(directory.path().join("..data")).unwrap();
    let mut layers = Layers::default();
    layers.drop_ins(directory.path()).unwrap();
    let config = Config::new(&layers).unwrap();
    assert_eq!(config.log_level, "warn");
    assert!(config.table.ancestors);
    assert!(layers.drop_ins(&directory.path().join("missing")).is_err());
}

#[test]
fn the_command_line_is_read() {
    let matches = command()
        .try_get_matches_from([
            "tetra-agent",
            "--export-filename",
            "-",
            "--enable-process-ns",
            "--enable-process-cred=false",
        ])
        .unwrap();
    let layers = Layers::read(&matches).unwrap();
    let config = Config::new(&layers).unwrap();
    assert!(config.enable_process_ns && !config.enable_process_cred);
    assert_eq!(config.export.unwrap().filename, PathBuf::from("-"));
    assert!(
        command()
            .try_get_matches_from(["tetra-agent", "--no-such-flag"])
            .is_err()
    );
}
