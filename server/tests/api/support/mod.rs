//! The bench: a gateway, a vendor, the stores, and short ways to ask them.

pub mod binary;
pub mod books;
pub mod clock;
pub mod crowd;
pub mod gateway;
pub mod marked;
pub mod outage;
pub mod pair;
pub mod people;
pub mod process;
pub mod provider;
pub mod raw;
pub mod redis_cluster;
pub mod redis_server;
mod refused;
pub mod smtp;
pub mod stores;
pub mod trap;

pub use binary::Binary;
pub use books::Books;
pub use clock::Clock;
pub use crowd::Crowd;
pub use gateway::{Bench, Setup};
pub use marked::Mark;
pub use outage::Pipe;
pub use pair::{Pair, apply_everywhere, behind_a_pipe};
pub use process::{Process, weir};
pub use raw::Raw;
pub use refused::{assert_refused, refused};
pub use stores::{Store, Stores};

use std::time::Duration;

/// How long an event that must come is waited for: three times what is promised would be too short on a busy machine only
/// if nothing came at all.
pub const SOON: Duration = Duration::from_secs(10);

/// How much of something a test does or how long a fault lasts: little in `make test`, all of it in `make faults`.
pub fn window<T>(short: T, full: T) -> T {
    let is_full = std::env::var("WEIR_FAULTS").is_ok_and(|length| length == "full");
    if is_full { full } else { short }
}

/// Writes a test once for each store: `both_stores!(name, |bench| { ... })` with a default set-up, or with
/// `both_stores!(name, Setup { .. }, |bench| { ... })`.
#[macro_export]
macro_rules! both_stores {
    ($(#[doc = $doc:literal])* $name:ident, |$bench:ident| $body:block) => {
        $crate::both_stores!($(#[doc = $doc])* $name, $crate::support::Setup::default(), |$bench| $body);
    };
    ($(#[doc = $doc:literal])* $name:ident, $setup:expr, |$bench:ident| $body:block) => {
        $(#[doc = $doc])*
        mod $name {
            #[allow(unused_imports, reason = "not every test uses what its neighbours do")]
            use super::*;

            async fn case($bench: $crate::support::Bench) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn embedded() {
                case($crate::support::Bench::start($crate::support::Store::Embedded, $setup).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn cluster() {
                if !$crate::support::Store::cluster_is_there() {
                    return;
                }
                case($crate::support::Bench::start($crate::support::Store::Cluster, $setup).await).await;
            }
        }
    };
}
