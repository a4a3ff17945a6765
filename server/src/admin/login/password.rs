//! Passwords: hashed off the workers, a few at a time, on threads that let everybody else go first.
//!
//! Argon2id with 19 MiB, two passes and one lane, as OWASP's cheat sheet on password storage asks at least. A semaphore bounds how
//! much memory a flood of sign-ins takes, and how many may wait for it (threats.md, A3).

use std::{io, sync::Arc};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::{PasswordHash, SaltString},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::Semaphore,
};
use weir_api_types::secret::Sensitive;

use super::super::error::{ApiError, Code};
use crate::store;

/// Fewest characters of a new password (NIST SP 800-63B-4, 3.1.1.2, where it is one of two factors or alone).
const MIN_CHARACTERS: usize = 12;
/// Longest password, in bytes: more would be work for nothing.
const MAX_BYTES: usize = 256;
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// Hashes at once: each has a core and the memory for itself.
const AT_ONCE: usize = 2;
/// How far the threads stand back (nice(2)): on a machine whose cores are all busy a call goes before a hash, and a hash still gets
/// a quarter of a core.
const NICE: i32 = 5;
/// Sign-ins that may wait for their turn.
const MAX_WAITING: usize = 64;

/// Hashes and compares passwords.
pub struct Passwords {
    /// Of threads alone; taken when it ends.
    threads: Option<Runtime>,
    turns: Arc<Semaphore>,
    waiting: Semaphore,
    /// Of a password that nobody has: what a try for nobody is compared with, so that it takes as long.
    nobody: String,
}

impl Drop for Passwords {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            // Without waiting: it may be dropped where nothing may block.
            threads.shutdown_background();
        }
    }
}

impl Passwords {
    /// Threads that hash, which begin with the first password. Errors are the system's.
    pub fn new() -> io::Result<Self> {
        let nobody = hash(&format!("{:x}", rand::random::<u128>()));
        let threads = Builder::new_current_thread()
            .max_blocking_threads(AT_ONCE)
            .thread_name("passwords")
            .on_thread_start(stand_back)
            .build()?;
        Ok(Self {
            threads: Some(threads),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Semaphore::new(AT_ONCE + MAX_WAITING),
            nobody: nobody.unwrap_or_default(),
        })
    }

    /// A new password, in PHC string format.
    pub async fn hash(&self, field: &str, password: &Sensitive) -> Result<String, ApiError> {
        let text = password.expose();
        if text.chars().count() < MIN_CHARACTERS {
            let message = format!("has at least {MIN_CHARACTERS} characters");
            return Err(ApiError::field(field, message));
        }
        if text.len() > MAX_BYTES {
            let message = format!("has at most {MAX_BYTES} bytes");
            return Err(ApiError::field(field, message));
        }
        let text = password.clone();
        let hashed = self.in_turn(move || hash(text.expose())).await?;
        hashed.ok_or_else(|| store::Error::other("a password could not be hashed").into())
    }

    /// Whether it is the password that was hashed. Takes the same time where there is none.
    pub async fn is(&self, password: &Sensitive, hashed: Option<String>) -> Result<bool, ApiError> {
        let (there, hashed) = match hashed {
            Some(hashed) => (true, hashed),
            None => (false, self.nobody.clone()),
        };
        let text = password.clone();
        let same = move || {
            let text = text.expose();
            let hashed = PasswordHash::new(&hashed);
            let fits = text.len() <= MAX_BYTES;
            fits && hashed.is_ok_and(|hashed| {
                Argon2::default()
                    .verify_password(text.as_bytes(), &hashed)
                    .is_ok()
            })
        };
        Ok(self.in_turn(same).await? && there)
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let busy = || {
            ApiError::new(
                Code::Overloaded,
                "Many are signing in: try again in a moment.",
            )
        };
        // Whoever gives up waiting leaves the queue.
        let _waiting = self.waiting.try_acquire().map_err(|_| busy())?;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| busy())?;
        let threads = self.threads.as_ref().ok_or_else(busy)?;
        // The turn goes along: whoever gives up later does not give the core and the memory back.
        let worked = threads.spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        worked
            .await
            .map_err(|error| store::Error::other(format!("hashing: {error}")).into())
    }
}

/// Only Linux has a priority for each thread; elsewhere it would be the whole process's.
#[cfg(target_os = "linux")]
fn stand_back() {
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!(%error, "passwords are hashed with the priority of everything else");
    }
}

#[cfg(not(target_os = "linux"))]
fn stand_back() {}

fn hash(text: &str) -> Option<String> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).ok()?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).ok()?;
    let hashed = argon2.hash_password(text.as_bytes(), &salt).ok()?;
    Some(hashed.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn hashing_lets_everybody_else_go_first() {
        let nice = || rustix::process::getpriority_process(None);
        let passwords = Passwords::new().expect("threads");
        let own = nice().expect("a priority");
        let theirs = passwords.in_turn(nice).await;
        assert_eq!(theirs.expect("their turn").expect("a priority"), NICE);
        assert_eq!(nice().expect("a priority"), own);
    }

    #[tokio::test]
    async fn no_more_than_some_wait_and_who_gives_up_leaves_the_queue() {
        let passwords = Passwords::new().expect("threads");
        let (go, stop) = std::sync::mpsc::channel::<()>();
        let stop = Arc::new(std::sync::Mutex::new(stop));
        let mut all = Vec::new();
        for _ in 0..AT_ONCE + MAX_WAITING {
            let stop = Arc::clone(&stop);
            let turn = passwords.in_turn(move || stop.lock().expect("a lock").recv());
            let mut turn = Box::pin(turn);
            assert!(futures_util::poll!(&mut turn).is_pending());
            all.push(turn);
        }
        let refused = passwords.in_turn(|| ()).await;
        assert_eq!(
            refused.expect_err("there is no place").code(),
            Code::Overloaded
        );
        // Most give up, none of which has begun.
        all.truncate(AT_ONCE + 1);
        let mut late = Box::pin(passwords.in_turn(|| ()));
        assert!(futures_util::poll!(&mut late).is_pending());
        drop(go);
        for turn in all {
            turn.await.expect("their turn").expect_err("nobody sends");
        }
        passwords
            .in_turn(|| ())
            .await
            .expect("there is place again");
    }
}
