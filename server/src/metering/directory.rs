//! A directory that one process owns: where the spool and the in-flight record live.
//!
//! It is locked by its owner, closed to others (0700, files 0600), and suspicious of what it finds: a symlink, a FIFO,
//! a file of another owner or one that others may write is never opened for its content. Such a file is moved into
//! `set-aside/` for a person to look at; it never stops a start.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

const LOCK: &str = "lock";
const SET_ASIDE: &str = "set-aside";
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const OTHERS_MAY_WRITE: u32 = 0o022;

/// A directory that this process holds the lock of, until it is dropped.
pub struct Directory {
    path: PathBuf,
    _lock: File,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{} is in use by another process: each instance needs a directory of its own", path.display())]
    Locked { path: PathBuf },
    #[error("{} is not a directory of this user", path.display())]
    NotOurs { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Why a file is not opened.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    #[error("it is not a plain file of this user that nobody else may write")]
    Untrusted,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Directory {
    /// Makes the directory if it is missing, closes it to others and locks it. Fails with [`Error::Locked`] while
    /// another process, or another part of this one, holds it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let not_ours = || Error::NotOurs {
            path: path.to_owned(),
        };
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(path)
            .map_err(failed)?;
        let metadata = fs::symlink_metadata(path).map_err(failed)?;
        if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(not_ours());
        }
        fs::set_permissions(path, fs::Permissions::from_mode(DIRECTORY_MODE)).map_err(failed)?;
        let lock_path = path.join(LOCK);
        let lock = match open_lock(&lock_path) {
            Ok(lock) => lock,
            Err(Rejected::Untrusted) => {
                set_aside(path, LOCK).map_err(failed)?;
                open_lock(&lock_path).map_err(|_| not_ours())?
            }
            Err(Rejected::Io(source)) => return Err(failed(source)),
        };
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked {
                path: path.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a new file, for appending or mapping. Whatever stands at its name already is set aside first.
    pub fn create(&self, name: &str) -> io::Result<File> {
        let create = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(FILE_MODE)
                .open(self.path.join(name))
        };
        match create() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.set_aside(name)?;
                create()
            }
            other => other,
        }
    }

    /// Opens a file that should be this directory's own, for reading, and for writing too if `write`.
    pub fn open_file(&self, name: &str, write: bool) -> Result<File, Rejected> {
        let mut options = OpenOptions::new();
        options.read(true).write(write);
        open_trusted(&options, &self.path.join(name))
    }

    /// The names that end like this, in order.
    pub fn names(&self, ending: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is no UTF-8 is none that Weir gave.
            if let Ok(name) = entry?.file_name().into_string()
                && name.ends_with(ending)
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Deletes a file; one that is gone already is no error.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Moves a file out of the way, into `set-aside/`, without opening or following it.
    pub fn set_aside(&self, name: &str) -> io::Result<()> {
        set_aside(&self.path, name)
    }

    /// Makes the directory's entries last through a power cut.
    pub fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

fn open_lock(path: &Path) -> Result<File, Rejected> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(FILE_MODE);
    open_trusted(&options, path)
}

/// Opens without following a symlink or waiting for a FIFO's other end, then looks at what was opened: a check of the
/// name alone could be outrun.
fn open_trusted(options: &OpenOptions, path: &Path) -> Result<File, Rejected> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let opened = options.clone().custom_flags(flags.cast_signed()).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if is_special(&error) => return Err(Rejected::Untrusted),
        Err(error) => return Err(Rejected::Io(error)),
    };
    let metadata = file.metadata()?;
    let trusted = metadata.is_file()
        && metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.mode() & OTHERS_MAY_WRITE == 0;
    if trusted {
        Ok(file)
    } else {
        Err(Rejected::Untrusted)
    }
}

/// What opening says of a symlink, a directory, a socket or device, and of a file that this user may not read.
fn is_special(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let special = [
        Errno::LOOP,
        Errno::ISDIR,
        Errno::NXIO,
        Errno::NODEV,
        Errno::ACCESS,
        Errno::PERM,
    ];
    Errno::from_io_error(error).is_some_and(|errno| special.contains(&errno))
}

fn set_aside(directory: &Path, name: &str) -> io::Result<()> {
    let aside = directory.join(SET_ASIDE);
    match DirBuilder::new().mode(DIRECTORY_MODE).create(&aside) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if !fs::symlink_metadata(&aside)?.is_dir() {
        return Err(io::Error::from(io::ErrorKind::NotADirectory));
    }
    // A name may come back: a number makes each one's place its own.
    let free = (0..u32::MAX)
        .map(|number| aside.join(format!("{name}.{number}")))
        .find(|path| fs::symlink_metadata(path).is_err())
        .ok_or(io::ErrorKind::StorageFull)?;
    fs::rename(directory.join(name), free)
}
