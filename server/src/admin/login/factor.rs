//! The second factor: codes by time (RFC 6238, as the usual apps make them), and recovery codes for when the telephone is gone.
//!
//! A code works once, over all instances: the step of the last one that was taken is kept, and none at or before it is taken again.

use sha2::{Digest as _, Sha256};
use totp_rs::{Algorithm, TOTP};
use weir_api_types::people::Seed;

use super::super::error::ApiError;
use crate::{
    clock::now_ms,
    secrets::{Place, Sealed, Sealer, Secret},
    store::{self, Stores, sign_ins, sign_ins::SignIn},
    tenancy::UserId,
};

const DIGITS: usize = 6;
const STEP_SECONDS: u64 = 30;
/// Steps before and after the present one whose codes are taken: clocks differ.
const SKEW: i64 = 1;
const RECOVERY_CODES: usize = 10;
/// Of 80 random bits, in base32 without what looks alike.
const RECOVERY_CHARACTERS: usize = 16;
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const ISSUER: &str = "Weir";
/// RFC 4226 section 4 asks for 160 bits.
const SEED_BYTES: usize = 20;

/// A new seed for somebody, sealed and shown.
pub fn seed(sealer: &Sealer, user: UserId, email: &str) -> Result<(Sealed, Seed), ApiError> {
    let bytes = rand::random::<[u8; SEED_BYTES]>().to_vec();
    let totp = totp(bytes, email)?;
    let secret = totp.get_secret_base32();
    let sealed = sealer.seal(&Secret::new(secret.clone()), place(user));
    let sealed = sealed.map_err(|error| store::Error::other(error.to_string()))?;
    let seed = Seed {
        uri: totp.get_url(),
        secret,
    };
    Ok((sealed, seed))
}

/// Whether a code is right and was never taken; if so, it is taken now. Recovery codes are taken where `recovery` says so.
pub async fn take(
    stores: &Stores,
    sealer: &Sealer,
    user: UserId,
    kept: &SignIn,
    code: &str,
    recovery: bool,
) -> Result<bool, ApiError> {
    let code = bare(code);
    if is_time_code(&code) {
        let Some(sealed) = &kept.totp else {
            return Ok(false);
        };
        let secret = sealer.open(sealed, place(user));
        let secret = secret.map_err(|error| store::Error::other(error.to_string()))?;
        let bytes = totp_rs::Secret::Encoded(secret.expose().to_owned()).to_bytes();
        let bytes = bytes.map_err(|error| store::Error::other(format!("a seed: {error}")))?;
        let totp = totp(bytes, "")?;
        let now = now_ms() / 1_000 / STEP_SECONDS as i64;
        let mut steps = now - SKEW..=now + SKEW;
        let step = steps.find(|step| {
            let at = step.unsigned_abs() * STEP_SECONDS;
            subtle::ConstantTimeEq::ct_eq(totp.generate(at).as_bytes(), code.as_bytes()).into()
        });
        return match step {
            Some(step) => Ok(sign_ins::take_step(&stores.config.write, user, step).await?),
            None => Ok(false),
        };
    }
    if !recovery || code.len() != RECOVERY_CHARACTERS {
        return Ok(false);
    }
    let transaction = stores.config.begin_write().await?;
    let digest = digest(&code.to_ascii_lowercase());
    let taken = sign_ins::take_recovery(&transaction, user, &digest, now_ms()).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    Ok(taken)
}

/// Whether it looks like what an app shows, and not like a recovery code.
pub fn is_time_code(code: &str) -> bool {
    let code = bare(code);
    code.len() == DIGITS && code.bytes().all(|byte| byte.is_ascii_digit())
}

/// As it is compared: people set codes apart.
fn bare(code: &str) -> String {
    let kept = code.chars().filter(|c| !c.is_whitespace() && *c != '-');
    kept.collect()
}

/// New recovery codes, and what is kept of them.
pub fn recovery_codes() -> (Vec<String>, Vec<String>) {
    let codes = (0..RECOVERY_CODES).map(|_| {
        let random = rand::random::<[u8; RECOVERY_CHARACTERS]>();
        let letters = random
            .iter()
            .map(|byte| ALPHABET[usize::from(byte % 32)] as char);
        letters.collect::<String>()
    });
    let codes: Vec<String> = codes.collect();
    let digests = codes.iter().map(|code| digest(code)).collect();
    let shown = codes.iter().map(|code| {
        let (one, two) = code.split_at(RECOVERY_CHARACTERS / 2);
        format!("{one}-{two}")
    });
    (shown.collect(), digests)
}

fn totp(seed: Vec<u8>, email: &str) -> Result<TOTP, ApiError> {
    let issuer = Some(ISSUER.to_owned());
    // A colon would end the name in the URI.
    let name = email.replace(':', "");
    TOTP::new(Algorithm::SHA1, DIGITS, 0, STEP_SECONDS, seed, issuer, name)
        .map_err(|error| store::Error::other(format!("a second factor: {error}")).into())
}

fn digest(code: &str) -> String {
    hex::encode(Sha256::digest(code.as_bytes()))
}

fn place(user: UserId) -> Place {
    Place {
        table: "sign_ins",
        column: "totp_sealed",
        row: user.0,
        tenant: None,
    }
}
