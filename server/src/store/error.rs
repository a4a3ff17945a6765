//! What can go wrong with a database, by what a caller decides on; and the one place where constraints become words.

use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{self, error::DatabaseError},
};

/// Why something could not be read or written. A failure is never "not there".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached or cannot serve now: worth another try later.
    #[error("the database is unavailable: {0}")]
    Unavailable(#[source] DbErr),
    /// Another row has it already.
    #[error("the {what} is taken")]
    Taken {
        /// Such as `tenant name`.
        what: &'static str,
    },
    /// The row, or one that it refers to, is not there.
    #[error("not found")]
    NotFound,
    /// A statement or row that is wrong: a defect, or a database changed by hand.
    #[error("the database refused: {0}")]
    Other(#[source] DbErr),
}

/// Whether a statement about one row met it.
pub fn found(rows: u64) -> Result<()> {
    match rows {
        0 => Err(Error::NotFound),
        _ => Ok(()),
    }
}

/// What functions of the store return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of our own making about what a row holds.
    pub fn other(message: impl Into<String>) -> Self {
        Self::Other(DbErr::Custom(message.into()))
    }

    /// Whether one value is at fault, and not the database: the same rows without it would have been taken.
    pub fn is_about_a_value(&self) -> bool {
        let Self::Other(DbErr::Exec(cause) | DbErr::Query(cause)) = self else {
            return false;
        };
        let RuntimeErr::SqlxError(cause) = cause else {
            return false;
        };
        let sqlx::Error::Database(refused) = cause.as_ref() else {
            return false;
        };
        let code = refused.code().unwrap_or_default();
        if is_postgres(refused.as_ref()) {
            // Data exceptions, and constraints.
            code.starts_with("22") || code.starts_with("23")
        } else {
            // TOOBIG, CONSTRAINT, MISMATCH.
            primary_sqlite(&code).is_some_and(|code| matches!(code, 18..=20))
        }
    }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        match &error {
            DbErr::RecordNotFound(_) | DbErr::RecordNotUpdated => Self::NotFound,
            DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => Self::Unavailable(error),
            DbErr::Exec(RuntimeErr::SqlxError(cause))
            | DbErr::Query(RuntimeErr::SqlxError(cause)) => match cause.as_ref() {
                sqlx::Error::Database(refused) => match Refusal::of(refused.as_ref()) {
                    Refusal::Taken(what) => Self::Taken { what },
                    Refusal::Dangling => Self::NotFound,
                    Refusal::Passing => Self::Unavailable(error),
                    Refusal::Wrong => Self::Other(error),
                },
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
                _ => Self::Other(error),
            },
            _ => Self::Other(error),
        }
    }
}

/// What a database's own error means.
enum Refusal {
    Taken(&'static str),
    /// A row refers to one that is not there.
    Dangling,
    /// It may go by itself: shutting down, locked, read-only, full, a deadlock's victim.
    Passing,
    Wrong,
}

impl Refusal {
    fn of(error: &dyn DatabaseError) -> Self {
        if error.is_unique_violation() {
            return Self::Taken(taken(error.constraint(), error.message()));
        }
        if error.is_foreign_key_violation() {
            return Self::Dangling;
        }
        let code = error.code().unwrap_or_default();
        let passing = if is_postgres(error) {
            is_passing_postgres(&code)
        } else {
            is_passing_sqlite(&code)
        };
        if passing { Self::Passing } else { Self::Wrong }
    }
}

/// By SQLSTATE: connection (08), login (28), read-only (25006), rolled back (40), resources (53), operator (57), system (58).
fn is_passing_postgres(code: &str) -> bool {
    code == "25006"
        || ["08", "28", "40", "53", "57", "58"]
            .iter()
            .any(|class| code.starts_with(class))
}

/// By primary result code: BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN, PROTOCOL.
fn is_passing_sqlite(code: &str) -> bool {
    primary_sqlite(code).is_some_and(|code| matches!(code, 5..=8 | 10 | 13..=15))
}

/// The primary code within an extended one.
fn primary_sqlite(code: &str) -> Option<u32> {
    code.parse::<u32>().ok().map(|code| code & 0xff)
}

fn is_postgres(error: &dyn DatabaseError) -> bool {
    error
        .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
        .is_some()
}

/// Every unique key that people can run into: table, columns, and what it is to them.
const UNIQUE: &[(&str, &[&str], &str)] = &[
    ("tenants", &["name"], "tenant name"),
    ("users", &["email"], "user email"),
    ("memberships", &["tenant_id", "user_id"], "membership"),
    ("groups", &["tenant_id", "name"], "group name"),
    (
        "group_members",
        &["group_id", "user_id"],
        "group membership",
    ),
    ("proxy_keys", &["tenant_id", "name"], "key name"),
    ("key_secrets", &["digest"], "key value"),
    ("key_secrets", &["key_id", "slot"], "key's second secret"),
    ("service_tokens", &["name"], "service token name"),
    (
        "service_tokens",
        &["tenant_id", "name"],
        "service token name",
    ),
    ("channels", &["name"], "channel name"),
    ("channels", &["tenant_id", "name"], "channel name"),
    ("models", &["name"], "model name"),
    ("models", &["tenant_id", "name"], "model name"),
    (
        "routes",
        &["model_id", "channel_id", "upstream_model"],
        "route",
    ),
    ("prices", &["model_id", "effective_ms"], "price's date"),
];

/// PostgreSQL names the constraint (`tenants_name_key`), SQLite the columns (`tenants.name`).
fn taken(constraint: Option<&str>, message: &str) -> &'static str {
    let found = UNIQUE.iter().find(|(table, columns, _)| match constraint {
        Some(constraint) => constraint == format!("{table}_{}_key", columns.join("_")),
        None => {
            let named: Vec<String> = columns
                .iter()
                .map(|column| format!("{table}.{column}"))
                .collect();
            message.ends_with(&format!(": {}", named.join(", ")))
        }
    });
    found.map_or("id", |(_, _, what)| what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_stores_words_for_a_taken_name_mean_the_same() {
        for (constraint, message, what) in [
            (Some("channels_tenant_id_name_key"), "", "channel name"),
            (
                None,
                "UNIQUE constraint failed: channels.tenant_id, channels.name",
                "channel name",
            ),
            (
                None,
                "UNIQUE constraint failed: channels.name",
                "channel name",
            ),
            (Some("users_email_key"), "", "user email"),
            (None, "UNIQUE constraint failed: users.email", "user email"),
            (Some("tenants_pkey"), "", "id"),
        ] {
            assert_eq!(taken(constraint, message), what, "{constraint:?} {message}");
        }
    }

    #[test]
    fn what_goes_by_itself_is_told_from_what_is_wrong() {
        assert!(is_passing_postgres("57P01") && is_passing_postgres("40P01"));
        assert!(!is_passing_postgres("23514") && !is_passing_postgres("42P01"));
        assert!(is_passing_sqlite("517"), "SQLITE_BUSY_SNAPSHOT");
        assert!(!is_passing_sqlite("275"), "SQLITE_CONSTRAINT_CHECK");
    }
}
