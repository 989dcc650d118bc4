//! Collects the pages of `docs/errors/` into a table, so that a crate that adds a diagnostic code only adds a file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let crate_dir = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts"));
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it for build scripts"));
    let pages_dir = crate_dir.join("../docs/errors");
    println!("cargo:rerun-if-changed={}", pages_dir.display());

    let mut pages: Vec<(u16, PathBuf)> = Vec::new();
    for entry in fs::read_dir(&pages_dir)? {
        let path = entry?.path();
        if let Some(code) = code_of(&path) {
            pages.push((code, path.canonicalize()?));
        }
    }
    pages.sort();

    let mut table = String::from("pub(crate) static PAGES: &[(u16, &str)] = &[\n");
    for (code, path) in pages {
        writeln!(table, "    ({code}, include_str!({:?})),", path.display().to_string())
            .expect("strings accept writes");
    }
    table.push_str("];\n");
    fs::write(out_dir.join("pages.rs"), table)
}

/// `TP0012.md` → 12.
fn code_of(path: &Path) -> Option<u16> {
    path.file_name()?
        .to_str()?
        .strip_prefix("TP")?
        .strip_suffix(".md")?
        .parse()
        .ok()
}
