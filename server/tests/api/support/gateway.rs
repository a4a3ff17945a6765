//! A gateway in this process, as the binary would run it, before a vendor of its own.

use std::{path::PathBuf, thread::JoinHandle, time::Duration};

use serde_json::{Value, json};
use tokio::sync::oneshot;
use weir::{app, config, telemetry};
use weir_upstream::Vendor;

use super::{
    Books, Pipe, Process, SOON, Store, Stores,
    outage::{self, Outage},
    stores::ADMIN_TOKEN,
};

/// What a bench differs in from the usual one.
#[derive(Clone, Default)]
pub struct Setup {
    /// Further settings, by their environment names.
    pub environment: Vec<(&'static str, String)>,
    /// The resources to apply instead of [`Bench::usual_resources`]; `{vendor}` is the vendor's base URL.
    pub resources: Option<String>,
    /// Whether the gateway reaches PostgreSQL through a pipe, for [`Bench::lose_database`].
    pub outages: bool,
}

impl Setup {
    /// On a machine as busy as a test makes it, Redis' answer may take its time.
    pub fn patient() -> Self {
        Self {
            environment: vec![("WEIR_REDIS_TIMEOUT", "5s".to_owned())],
            ..Self::default()
        }
    }
}

/// What a call for a model is answered with, by its status.
pub async fn status(http: &reqwest::Client, url: &str, key: &str, model: &str) -> u16 {
    let call = http
        .post(format!("{url}/v1/chat/completions"))
        .bearer_auth(key);
    let answer = call.json(&hello(model)).send().await.unwrap();
    answer.status().as_u16()
}

/// A running gateway and its vendor.
pub struct Bench {
    pub stores: Stores,
    pub vendor: Vendor,
    pub url: String,
    /// Where management answers: the same, unless it has a listener of its own.
    pub admin_url: String,
    pub http: reqwest::Client,
    /// What differs from the stores' usual environment.
    pub differs: Vec<(String, String)>,
    pipe: Option<Pipe>,
    gateway: Option<Gateway>,
}

struct Gateway {
    admin_url: String,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// The key of tenant `acme`.
pub const KEY: &str = "wk-acme-0123456789-abcdefghij-KLMNOP";
/// The key of tenant `globex`.
pub const OTHER_KEY: &str = "wk-globex-9876543210-jihgfedcba-ZYXWVU";

impl Bench {
    /// Starts everything and applies the resources.
    pub async fn start(kind: Store, setup: Setup) -> Self {
        let resources = setup.resources.clone();
        let mut bench = Self::without_gateway(kind, setup).await;
        bench.start_again().await;
        bench
            .apply(&resources.unwrap_or_else(Self::usual_resources))
            .await;
        bench
    }

    /// The vendor and the stores alone: the gateway will be a process, see [`Bench::process`].
    pub async fn without_gateway(kind: Store, setup: Setup) -> Self {
        let vendor = Vendor::spawn();
        let stores = Stores::create(kind).await;
        let mut differs: Vec<(String, String)> = setup
            .environment
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let mut pipe = None;
        if let (true, Some(url)) = (setup.outages, stores.variable("WEIR_DATABASE_URL")) {
            let (made, url) = Pipe::before_url(&url).await;
            differs.push(("WEIR_DATABASE_URL".to_owned(), url));
            pipe = Some(made);
        }
        // Tests of TLS present certificates that nobody has signed.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        // Tests of idle and dead connections want to see each one: the client keeps none.
        let http = reqwest::Client::builder()
            .pool_max_idle_per_host(0)
            .tcp_nodelay(true)
            .tls_danger_accept_invalid_certs(true)
            .no_proxy()
            .build()
            .unwrap();
        Self {
            stores,
            vendor,
            url: String::new(),
            admin_url: String::new(),
            http,
            differs,
            pipe,
            gateway: None,
        }
    }

    /// The environment of an instance.
    pub fn environment(&self, instance: &str) -> Vec<(String, String)> {
        let mut environment = self.stores.environment(instance);
        environment.retain(|(name, _)| self.differs.iter().all(|(other, _)| other != name));
        environment.extend(self.differs.iter().cloned());
        environment
    }

    /// The data folder of the instance that is asked.
    pub fn data(&self) -> PathBuf {
        let environment = self.environment("one");
        let mut variables = environment.into_iter();
        let data = variables.find(|(name, _)| name == "WEIR_DATA_DIR");
        PathBuf::from(data.unwrap().1)
    }

    /// Starts the gateway as a process with a disk of its own, of so many bytes, for its data.
    pub async fn process_on_disk_of(&mut self, bytes: u64) -> Process {
        let data = self.data();
        std::fs::create_dir(&data).unwrap();
        let environment = self.environment("one");
        let process = Process::start_on_disk_of(bytes, &data, &self.stores, environment).await;
        // Nobody else sees what is mounted there.
        let seen = process.seen(&data).display().to_string();
        self.differs.push(("WEIR_DATA_DIR".to_owned(), seen));
        self.url.clone_from(&process.url);
        self.admin_url.clone_from(&process.url);
        process
    }

    /// Starts the gateway as a process, which then is the one that is asked.
    pub async fn process(&mut self) -> Process {
        let process = Process::start(&self.stores, self.environment("one"), &[]).await;
        self.url.clone_from(&process.url);
        self.admin_url.clone_from(&process.url);
        process
    }

    /// Takes the database away until [`Outage::end`].
    pub async fn lose_database(&self) -> Outage {
        outage::begin(&self.stores, self.pipe.clone()).await
    }

    /// Two tenants, a platform channel `vendor` with two credentials, models that the stand-in plays.
    pub fn usual_resources() -> String {
        format!(
            r#"
channels:
  - {{name: vendor, kind: openai, base_url: "{{vendor}}", credentials: [sk-vendor-credential-one-1111, sk-vendor-credential-two-2222]}}
  - {{name: dedicated, tenant: acme, kind: openai, base_url: "{{vendor}}", allowed_origin: "{{vendor}}", credentials: [sk-dedicated-credential-3333]}}
models:
  - {{name: gpt-test, prices: {{input: "1", cached_input: "0.5", output: "2"}}, max_output_tokens: 4096, routes: [{{channel: vendor, model: gpt-test-upstream}}]}}
  - {{name: gpt-same, prices: {{input: "1", output: "2"}}, routes: [{{channel: vendor, model: gpt-same}}]}}
  - {{name: embed-test, prices: {{input: "0.02"}}, routes: [{{channel: vendor, model: embed-test}}]}}
  - {{name: unpriced, routes: [{{channel: vendor, model: unpriced}}]}}
tenants:
  - name: acme
    time_zone: Asia/Shanghai
    groups: [{{name: platform-team}}]
    users: [{{email: zhang@acme.example, name: 张三, role: developer, groups: [platform-team]}}]
    keys:
      - {{name: laptop, user: zhang@acme.example, value: "{KEY}"}}
  - name: globex
    keys:
      - {{name: server, value: "{OTHER_KEY}"}}
"#
        )
    }

    /// Makes the platform as a file says; fails the test if it is refused.
    pub async fn apply(&self, resources: &str) -> Value {
        let answer = self.try_apply(resources).await;
        assert!(
            answer.status().is_success(),
            "{}",
            answer.text().await.unwrap()
        );
        answer.json().await.unwrap()
    }

    pub async fn try_apply(&self, resources: &str) -> reqwest::Response {
        let resources = resources
            .replace("{vendor}", &self.vendor.base_url())
            .replace("{vendor_root}", &self.vendor.root_url());
        let request = self
            .http
            .post(format!("{}/v1/admin/resources/apply", self.admin_url))
            .bearer_auth(ADMIN_TOKEN);
        request
            .header("content-type", "application/yaml")
            .body(resources)
            .send()
            .await
            .unwrap()
    }

    /// A management request, to be sent.
    pub fn admin(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}/v1/admin{path}", self.admin_url))
            .bearer_auth(ADMIN_TOKEN)
    }

    /// A data-plane request with acme's key.
    pub fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.http
            .post(format!("{}{path}", self.url))
            .bearer_auth(KEY)
    }

    /// A chat request with acme's key, answered whole.
    pub async fn chat(&self, body: Value) -> reqwest::Response {
        self.post("/v1/chat/completions")
            .json(&body)
            .send()
            .await
            .unwrap()
    }

    /// The books: all usage events, once everything answered so far has been booked.
    pub async fn books(&self) -> Books {
        Books::read(self).await
    }

    /// Waits until the books fit, as for events of calls that were cut: they are settled after the caller has gone.
    pub async fn books_when(&self, fits: impl Fn(&Books) -> bool) -> Books {
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            let books = self.books().await;
            if fits(&books) {
                return books;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "the books never came to fit: {books:#?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops the gateway as SIGTERM would; the stores and the vendor stay.
    pub async fn stop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.stop().await;
        }
    }

    /// Starts the gateway anew on the same stores.
    pub async fn start_again(&mut self) {
        let (url, gateway) = run(self.environment("one")).await;
        self.admin_url.clone_from(&gateway.admin_url);
        (self.url, self.gateway) = (url, Some(gateway));
    }
}

impl Gateway {
    async fn stop(self) {
        // The thread ends by itself if it has panicked; then joining says so.
        if self.stop.send(()).is_err() {
            eprintln!("the gateway has ended by itself");
        }
        tokio::task::spawn_blocking(move || self.thread.join())
            .await
            .unwrap()
            .unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            drop(gateway.stop);
            // A panic of the gateway's thread fails the test, unless the test is failing anyway.
            let ended = gateway.thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "the gateway panicked"
            );
        }
    }
}

/// Runs an instance on a thread of its own, with actix's system, as the binary does.
async fn run(environment: Vec<(String, String)>) -> (String, Gateway) {
    let (ready, started) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let environment = environment
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect();
            let sources = config::Sources {
                environment,
                ..config::Sources::default()
            };
            let config = config::load(&sources).unwrap().config;
            let telemetry =
                telemetry::start(&config.logs(), &config.telemetry, &config.instance).unwrap();
            let running = app::start(config, app::Options::default(), telemetry)
                .await
                .unwrap();
            ready.send((running.url(), running.admin_url())).unwrap();
            // The other side dropped means the same as told.
            drop(stopped.await);
            running.stop().await;
        });
    });
    let (url, admin_url) = started.await.expect("the gateway starts");
    // A listener on every address is called on one that management answers to.
    let [url, admin_url] = [url, admin_url].map(|url| url.replace("[::]", "127.0.0.1"));
    let gateway = Gateway {
        admin_url,
        stop,
        thread,
    };
    (url, gateway)
}

/// A chat request as programs send it.
pub fn hello(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Say hello to the river."}]})
}

/// The same, streamed.
pub fn hello_stream(model: &str) -> Value {
    json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "Say hello to the river."}]})
}
