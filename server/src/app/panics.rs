//! A panic in a handler is that request's alone.
//!
//! The data plane answers in the caller's dialect and closes its account (`proxy::handle`); whatever else panics is caught
//! here. What the panic said is in the log alone. The worker lives on.

use std::{fmt, panic::AssertUnwindSafe};

use actix_web::{
    Error, HttpResponse, ResponseError,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::StatusCode,
    middleware::Next,
};
use futures_util::FutureExt as _;

use crate::{admin, tenancy::RequestId};

/// Around the application.
pub async fn caught<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    match AssertUnwindSafe(next.call(request)).catch_unwind().await {
        Ok(answered) => answered,
        Err(_) => {
            let id = RequestId::new();
            tracing::error!(%id, "a handler panicked");
            Err(Panicked(id).into())
        }
    }
}

#[derive(Debug)]
struct Panicked(RequestId);

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the handler panicked")
    }
}

impl ResponseError for Panicked {
    fn status_code(&self) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }

    fn error_response(&self) -> HttpResponse {
        admin::panicked(&self.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{
        App, HttpRequest,
        body::to_bytes,
        middleware::from_fn,
        test::{TestRequest, init_service, try_call_service},
        web,
    };

    use super::*;

    /// Threats: H10.
    #[actix_rt::test]
    async fn a_panic_is_a_bland_500_with_an_id_and_the_next_request_is_served() {
        let app = init_service(
            App::new()
                .wrap(from_fn(caught))
                .route(
                    "/panics",
                    web::get().to(|request: HttpRequest| async move {
                        // Not the constant that clippy and the compiler would see.
                        assert!(request.path() != "/panics", "sk-canary: what a panic says");
                        HttpResponse::Ok().finish()
                    }),
                )
                .route("/works", web::get().to(HttpResponse::Ok)),
        )
        .await;
        for _ in 0..3 {
            let request = TestRequest::get().uri("/panics").to_request();
            let error = try_call_service(&app, request).await.expect_err("a panic");
            let response = error.error_response();
            assert_eq!(response.status(), 500);
            let id = response
                .headers()
                .get("x-request-id")
                .expect("an id")
                .clone();
            let body = to_bytes(response.into_body()).await.expect("a body");
            let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(body["request_id"], id.to_str().expect("ASCII"));
            assert!(!body.to_string().contains("canary"), "{body}");
            let request = TestRequest::get().uri("/works").to_request();
            let answered = try_call_service(&app, request).await.expect("an answer");
            assert_eq!(answered.status(), 200);
        }
    }
}
