//! Every URL that the server answers.

use actix_web::{HttpRequest, Route, web};
use weir_frontend::ASSETS;

use crate::{
    admin,
    app::pages,
    proxy::{self, Call, Endpoint, Shared, upstream::Upstream},
};

/// Open to anybody, on every listener.
pub fn open(app: &mut web::ServiceConfig) {
    app.route("/health", web::get().to(pages::health))
        .route("/ready", web::get().to(pages::ready));
}

/// Programs' paths, by proxy key.
pub fn data_plane(app: &mut web::ServiceConfig) {
    app.route("/v1/chat/completions", plain(Endpoint::Chat))
        .route("/v1/completions", plain(Endpoint::Completions))
        .route("/v1/embeddings", plain(Endpoint::Embeddings))
        .route("/v1/models", plain(Endpoint::Models))
        .route("/v1/models/{model:.+}", named_model())
        .route("/v1/images/{rest:.*}", plain(Endpoint::Images))
        .route("/v1/audio/{rest:.*}", plain(Endpoint::Audio))
        .route("/v1/moderations", plain(Endpoint::Moderations))
        .route("/v1/rerank", plain(Endpoint::Rerank))
        .route("/v1/files", plain(Endpoint::Files))
        .route("/v1/files/{rest:.*}", plain(Endpoint::Files))
        .route("/v1/batches", plain(Endpoint::Batches))
        .route("/v1/batches/{rest:.*}", plain(Endpoint::Batches))
        .route(
            "/v1/{channel}/chat/completions",
            on_channel(Endpoint::ChannelChat),
        )
        .route(
            "/v1/{channel}/completions",
            on_channel(Endpoint::ChannelCompletions),
        )
        .route("/api/v1/chat/completions", plain(Endpoint::SessionChat))
        .route("/api/v1/embeddings", plain(Endpoint::SessionEmbeddings))
        .route("/api/v1/models", plain(Endpoint::Models))
        .route("/api/v1/models/{model:.+}", named_model())
        .route("/proxy/{rest:.*}", proxied());
}

/// People's paths: the front page, the documents, metrics, the management API.
pub fn management(app: &mut web::ServiceConfig) {
    for asset in ASSETS {
        app.route(
            asset.path,
            web::get().to(move || async move { pages::asset(asset) }),
        );
    }
    app.route("/docs", web::get().to(pages::documents))
        .route("/docs/api/{file:.*}", web::get().to(admin::openapi::page))
        .route("/docs/{name}", web::get().to(pages::document))
        .route("/metrics", web::get().to(pages::metrics))
        .configure(admin::configure);
}

/// Whatever is none of these.
pub fn unknown(app: &mut web::ServiceConfig) {
    app.default_service(web::to(|request: HttpRequest| async move {
        proxy::unknown_path(&request)
    }));
}

fn plain(endpoint: Endpoint) -> Route {
    call(move |request| Call::new(request, endpoint))
}

/// A model's name may hold slashes.
fn named_model() -> Route {
    call(|request| {
        let model = request
            .match_info()
            .get("model")
            .map(proxy::decoded_segment);
        Call {
            rest: model,
            ..Call::new(request, Endpoint::Models)
        }
    })
}

fn on_channel(endpoint: Endpoint) -> Route {
    call(move |request| {
        let channel = request
            .match_info()
            .get("channel")
            .map(proxy::decoded_segment);
        Call {
            channel,
            ..Call::new(request, endpoint)
        }
    })
}

/// `/proxy/{channel}/{path}`, from the raw path: actix decodes and would lose what the vendor must see.
fn proxied() -> Route {
    call(|request| {
        let raw = request
            .uri()
            .path()
            .strip_prefix("/proxy/")
            .unwrap_or_default();
        let (channel, rest) = raw.find('/').map_or((raw, "/"), |at| raw.split_at(at));
        let (channel, rest) = (Some(proxy::decoded_segment(channel)), Some(rest.to_owned()));
        Call {
            channel,
            rest,
            ..Call::new(request, Endpoint::Proxy)
        }
    })
}

fn call(read: impl Fn(HttpRequest) -> Call + Clone + 'static) -> Route {
    web::route().to(
        move |request: HttpRequest,
              payload: web::Payload,
              shared: web::Data<Shared>,
              upstream: web::Data<Upstream>| {
            let call = read(request);
            async move { proxy::handle(call, payload, &shared, &upstream).await }
        },
    )
}
