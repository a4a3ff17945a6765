//! What a route is, and the words in which [`super::routes`] tells of each.

use super::{
    access::{Mark, Needs},
    openapi::{Body, Params, Wire},
};

/// A route, and what there is to know of it from outside.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub method: &'static str,
    /// Below `/v1/admin`.
    pub path: &'static str,
    pub needs: Needs,
    pub mark: Mark,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// What its query may say.
    pub query: &'static [Params],
    /// What it takes.
    pub order: Option<Body>,
    /// The status of its success.
    pub status: u16,
    /// What it answers then.
    pub answer: Option<Wire>,
}

macro_rules! needs {
    (Nothing) => {
        Needs::Nothing
    };
    (Caller) => {
        Needs::Caller
    };
    ($permission:ident) => {
        Needs::To(Permission::$permission)
    };
}

macro_rules! mark {
    () => {
        Mark::Plain
    };
    (fresh) => {
        Mark::Fresh
    };
    (secret) => {
        Mark::Secret
    };
}

macro_rules! order {
    () => {
        None
    };
    (json $body:ty) => {
        Some(Body::json(Wire::of::<$body>()))
    };
    (yaml $body:ty) => {
        Some(Body::yaml(Wire::of::<$body>()))
    };
}

macro_rules! answer {
    () => {
        None
    };
    (page $item:ty) => {
        Some(Wire::page::<$item>())
    };
    (detail $thing:ty) => {
        Some(Wire::detail::<$thing>())
    };
    (list $item:ty) => {
        Some(Wire::list::<$item>())
    };
    (one $answer:ty) => {
        Some(Wire::of::<$answer>())
    };
}

macro_rules! routes {
    ($($path:literal { $(
        $method:ident $needs:ident $($mark:ident)? => $handler:path, $summary:literal
            $(, ? $query:ty)* $(, $format:ident $body:ty)? => $status:literal $($shape:ident $answer:ty)?;
    )+ })+) => {
        /// All routes.
        pub const TABLE: &[Route] = &[$($(
            Route {
                method: stringify!($method),
                path: $path,
                needs: needs!($needs),
                mark: mark!($($mark)?),
                summary: $summary,
                query: &[$(openapi::params::<$query>),*],
                order: order!($($format $body)?),
                status: $status,
                answer: answer!($($shape $answer)?),
            },
        )+)+];

        /// Mounts them. A path says 405 to every method that it has no route for.
        pub fn mount(scope: Scope) -> Scope {
            scope$(.service(
                web::resource($path)
                    $(.route(web::method(Method::$method).to($handler).wrap(from_fn(
                        |request, next| access::needs(needs!($needs), mark!($($mark)?), request, next),
                    ))))+
                    .default_service(web::to(error::method_not_allowed)),
            ))+
        }
    };
}

pub(super) use {answer, mark, needs, order, routes};
