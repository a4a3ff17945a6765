//! What an operator sees: metrics, the access log, traces, health. And what nobody may ever see in a log.

mod canaries;
mod log;
mod metrics;
mod pages;
pub mod traces;

use weir_upstream::Vendor;

use crate::support::{Bench, Binary, Stores, binary::succeeded};

/// The binary on stores of its own before a vendor, with the usual resources.
async fn binary(stores: &Stores, vendor: &Vendor, further: &[(&str, &str)]) -> Binary {
    let mut environment = stores.environment("one");
    environment.extend(
        further
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let server = Binary::serve(&environment, &[]).await;
    let file = stores.folder.path().join("usual.yaml");
    std::fs::write(
        &file,
        Bench::usual_resources().replace("{vendor}", &vendor.base_url()),
    )
    .unwrap();
    succeeded(
        &server
            .weir(&["apply", "-f", &file.display().to_string()])
            .await,
    );
    server
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}
