//! Policies in files.

use std::path::{Path, PathBuf};

/// Files with policies, in the order in which they are loaded.
pub type PolicyFiles = Vec<PathBuf>;

/// Lists the files of a directory and of its sub-directories (links followed), by name. Hidden ones are left out: that is how a
/// ConfigMap is swapped, and how editors leave traces.
///
/// # Errors
/// If a directory can't be read.
pub fn read_policy_files(directory: &Path) -> std::io::Result<PolicyFiles> {
    let mut files = Vec::new();
    for path in entries(directory)? {
        if path.is_dir() {
            files.extend(entries(&path)?.into_iter().filter(|path| path.is_file()));
        } else if path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

fn entries(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_one_level_deep_and_hidden_ones_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir_all(root.join("sub/deep")).unwrap();
        for name in ["b.yaml", "a.yaml", ".hidden.yaml", "sub/c.yaml", "sub/deep/d.yaml"] {
            std::fs::write(root.join(name), "x").unwrap();
        }
        let names: Vec<PathBuf> = read_policy_files(root)
            .unwrap()
            .iter()
            .map(|p| p.strip_prefix(root).unwrap().to_owned())
            .collect();
        assert_eq!(names, ["a.yaml", "b.yaml", "sub/c.yaml"].map(PathBuf::from));
        assert!(read_policy_files(&root.join("missing")).is_err());
    }
}
