//! Passwords: hashed off the workers, a few at a time.
//!
//! Argon2id with 19 MiB, two passes and one lane, as OWASP's cheat sheet on password storage asks at least. A semaphore bounds how
//! much memory a flood of sign-ins takes, and how many may wait for it (threats.md, A3).

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::{PasswordHash, SaltString},
};
use tokio::sync::Semaphore;
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
/// Sign-ins that may wait for their turn.
const MAX_WAITING: usize = 64;

/// Hashes and compares passwords.
pub struct Passwords {
    turns: Arc<Semaphore>,
    waiting: Semaphore,
    /// Of a password that nobody has: what a try for nobody is compared with, so that it takes as long.
    nobody: String,
}

impl Default for Passwords {
    fn default() -> Self {
        let nobody = hash(&format!("{:x}", rand::random::<u128>()));
        Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Semaphore::new(AT_ONCE + MAX_WAITING),
            nobody: nobody.unwrap_or_default(),
        }
    }
}

impl Passwords {
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
        let _waiting = self.waiting.try_acquire().map_err(|_| busy())?;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| busy())?;
        // The turn goes along: whoever gives up waiting does not give the core and the memory back.
        let worked = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        worked
            .await
            .map_err(|error| store::Error::other(format!("hashing: {error}")).into())
    }
}

fn hash(text: &str) -> Option<String> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).ok()?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).ok()?;
    let hashed = argon2.hash_password(text.as_bytes(), &salt).ok()?;
    Some(hashed.to_string())
}
