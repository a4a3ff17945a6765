//! Two instances on the same stores, each behind a pipe to Redis of its own.

use super::{Bench, Pipe, Process, SOON, Stores};
use crate::fleet::until;

/// Both run until the test ends, or until it ends one.
pub struct Pair {
    pub first: Process,
    pub second: Process,
    /// Between the first one and Redis.
    pub first_pipe: Pipe,
    pub second_pipe: Pipe,
}

impl Pair {
    /// Starts both on the Redis of the tests, applies the usual resources, and waits until each knows of the other. The
    /// first is the one that is asked.
    pub async fn start(bench: &mut Bench) -> Self {
        let redis = std::env::var("WEIR_TEST_REDIS_URL").unwrap();
        Self::on(bench, &redis).await
    }

    /// The same on another Redis.
    pub async fn on(bench: &mut Bench, redis: &str) -> Self {
        let (first, first_pipe) = behind_a_pipe(bench, "one", redis).await;
        bench.url.clone_from(&first.url);
        bench.admin_url.clone_from(&first.url);
        bench.apply(&Bench::usual_resources()).await;
        let (second, second_pipe) = behind_a_pipe(bench, "two", redis).await;
        until(bench, SOON, |found| found.len() == 2).await;
        Self {
            first,
            second,
            first_pipe,
            second_pipe,
        }
    }

    pub fn urls(&self) -> [String; 2] {
        [self.first.url.clone(), self.second.url.clone()]
    }
}

/// Applies a file, and waits until all instances have it.
pub async fn apply_everywhere(bench: &Bench, file: &str) {
    bench.apply(file).await;
    until(bench, SOON, |found| {
        found.iter().all(|one| one["behind"] == 0)
    })
    .await;
}

/// An instance that reaches a Redis through a pipe.
pub async fn behind_a_pipe(bench: &Bench, instance: &str, redis: &str) -> (Process, Pipe) {
    let (pipe, environment) = environment_behind_a_pipe(bench, instance, redis).await;
    let stores: &Stores = &bench.stores;
    (Process::start(stores, environment, &[]).await, pipe)
}

/// The environment of one.
pub async fn environment_behind_a_pipe(
    bench: &Bench,
    instance: &str,
    redis: &str,
) -> (Pipe, Vec<(String, String)>) {
    let (pipe, url) = Pipe::before_url(redis).await;
    let mut environment = bench.environment(instance);
    environment.retain(|(name, _)| name != "WEIR_REDIS_URL");
    environment.push(("WEIR_REDIS_URL".to_owned(), url));
    (pipe, environment)
}
