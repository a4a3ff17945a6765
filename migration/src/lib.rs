//! The schema, one file per step. A step that has shipped never changes: what is wrong with it is
//! put right by a later one. For that reason nothing here knows `weir-entity`, which always shows
//! the tables as they are now and says what each column means.
//!
//! There are two lists of steps, because embedded mode keeps the usage in a SQLite file of its own:
//! [`config`] for what operators and tenants set up, [`usage`] for what traffic leaves behind. On
//! PostgreSQL both run on the same database. Callers use [`up`], [`down`] and [`pending`], which
//! take care of both and of the lock.
//!
//! In every table: ids are UUIDs (a 16-byte blob on SQLite); instants are Unix milliseconds in UTC
//! (`…_ms`), money is whole nano-dollars (`…_nanos`), both 64-bit; documents are `jsonb` (text on
//! SQLite).

#![forbid(unsafe_code)]
#![expect(
    elided_lifetimes_in_paths,
    reason = "`MigrationTrait` is written so, and async_trait takes `SchemaManager<'_>` for another signature"
)]

mod columns;
pub mod config;
mod run;
#[cfg(feature = "testing")]
pub mod testing;
pub mod usage;

pub use run::{down, oldest_binary, pending, up};
