use std::fs;

use crate::manager::tests::{FakeKernel, yaml};

use super::*;

struct World {
    directory: tempfile::TempDir,
    files: PolicyFiles,
    manager: Mutex<Manager<FakeKernel>>,
    stopping: AtomicBool,
}

impl World {
    /// An agent that has started with these files.
    fn new(texts: &[(&str, String)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in texts {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let mut files = PolicyFiles {
            directory: directory.path().to_owned(),
            must_exist: true,
            single: None,
            known: BTreeMap::new(),
            prints: BTreeMap::new(),
            settled: false,
            complained: false,
        };
        let mut manager = Manager::new(FakeKernel::default(), Arc::default());
        let texts = files.read().unwrap();
        let loaded = manager.load(&texts, DOMAIN_STATIC).unwrap();
        files.loaded(texts, loaded);
        Self {
            directory,
            files,
            manager: Mutex::new(manager),
            stopping: AtomicBool::new(false),
        }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    fn look(&mut self) {
        self.files.follow(&self.manager, &self.stopping);
    }

    /// Names of the policies that are listed, by two looks later.
    fn settled(&mut self) -> Vec<String> {
        self.look();
        self.look();
        self.names()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .manager
            .lock()
            .unwrap()
            .list("")
            .into_iter()
            .map(|s| s.name)
            .collect();
        names.sort();
        names
    }
}

#[test]
fn what_is_in_the_files_is_in_force() {
    let mut world = World::new(&[("a.yaml", yaml("a")), ("b.yaml", yaml("b"))]);
    assert_eq!(world.settled(), ["a", "b"]);
    world.write("a.yaml", &yaml("a2"));
    world.write("c.yaml", &yaml("c"));
    fs::remove_file(world.directory.path().join("b.yaml")).unwrap();
    assert_eq!(world.settled(), ["a2", "c"]);
    // a policy may move to another file
    world.write("a.yaml", &yaml("c"));
    world.write("c.yaml", &yaml("a2"));
    assert_eq!(world.settled(), ["a2", "c"]);
}

#[test]
fn a_file_that_is_being_written_is_left_alone() {
    let mut world = World::new(&[("a.yaml", yaml("a"))]);
    for text in [
        "apiVersion: cilium.io/v1",
        "apiVersion: cilium.io/v1alpha1\nkind: Tracing",
        &yaml("longer"),
    ] {
        world.write("a.yaml", text);
        world.look();
        assert_eq!(world.names(), ["a"]);
    }
    world.look();
    assert_eq!(world.names(), ["longer"]);
}

#[test]
fn what_is_refused_leaves_what_was_there() {
    let mut world = World::new(&[("a.yaml", yaml("a")), ("b.yaml", yaml("b"))]);
    for bad in ["", "not: [a policy", &yaml("uncompilable"), &yaml("unloadable")] {
        world.write("a.yaml", bad);
        assert_eq!(world.settled(), ["a", "b"], "{bad}");
    }
    world.write("a.yaml", &yaml("good"));
    assert_eq!(world.settled(), ["b", "good"]);
}

#[test]
fn a_directory_that_cannot_be_read_changes_nothing() {
    let mut world = World::new(&[("a.yaml", yaml("a"))]);
    let elsewhere = world.directory.path().with_extension("elsewhere");
    fs::rename(world.directory.path(), &elsewhere).unwrap();
    assert_eq!(world.settled(), ["a"]);
    fs::rename(&elsewhere, world.directory.path()).unwrap();
    world.write("b.yaml", &yaml("b"));
    assert_eq!(world.settled(), ["a", "b"]);
}

#[test]
fn a_config_map_is_swapped_whole() {
    let mut world = World::new(&[]);
    let root = world.directory.path().to_owned();
    let version = |name: &str, policy: &str| {
        let version = root.join(name);
        fs::create_dir(&version).unwrap();
        fs::write(version.join("p.yaml"), yaml(policy)).unwrap();
        let link = root.join("..data_tmp");
        std::os::unix::fs::symlink(name, &link).unwrap();
        fs::rename(link, root.join("..data")).unwrap();
    };
    version("..2026_01", "first");
    std::os::unix::fs::symlink("..data/p.yaml", root.join("p.yaml")).unwrap();
    assert_eq!(world.settled(), ["first"]);
    version("..2026_02", "second");
    assert_eq!(world.settled(), ["second"]);
}

#[test]
fn nothing_is_put_in_force_once_the_agent_stops() {
    let mut world = World::new(&[("a.yaml", yaml("a"))]);
    world.stopping.store(true, Ordering::Release);
    world.write("a.yaml", &yaml("late"));
    assert_eq!(world.settled(), ["a"]);
}
