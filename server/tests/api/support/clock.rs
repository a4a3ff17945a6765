//! Clocks that tests set.

use std::path::{Path, PathBuf};

/// A process whose clock is set by a file.
pub struct Clock(PathBuf);

impl Clock {
    /// Where Debian's `faketime` keeps what is loaded before a program.
    const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

    /// The clock and what a process needs in its environment to go by it. Time that passes stays as it is.
    pub fn new(folder: &Path) -> (Self, Vec<(&'static str, String)>) {
        let lib = Path::new("/usr/lib");
        let folders = std::fs::read_dir(lib)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let library = folders
            .map(|folder| folder.join(Self::LIBRARY))
            .find(|library| library.exists())
            .expect("Debian's package faketime: `make setup-test` installs it");
        let clock = Self(folder.join("clock"));
        clock.set("+0");
        let environment = vec![
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", clock.0.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        (clock, environment)
    }

    /// Sets it so far from the true time, whole at once.
    pub fn set(&self, offset: &str) {
        let next = self.0.with_extension("next");
        std::fs::write(&next, offset).unwrap();
        std::fs::rename(next, &self.0).unwrap();
    }
}
