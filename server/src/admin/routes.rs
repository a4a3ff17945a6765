//! The routes of management, and what each needs: the one place that says so.

use actix_web::{Scope, http::Method, middleware::from_fn, web};

use super::{
    access, audit, channels, error, instances, keys, limits, models, resources, service_tokens,
    tenants, usage, users,
};
use crate::access::Permission;

/// A route, and the permission without which nobody gets in.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub method: &'static str,
    /// Below `/v1/admin`.
    pub path: &'static str,
    pub needs: Permission,
}

macro_rules! routes {
    ($($path:literal { $($method:ident $needs:ident => $handler:path;)+ })+) => {
        /// All routes.
        pub const TABLE: &[Route] = &[$($(
            Route { method: stringify!($method), path: $path, needs: Permission::$needs },
        )+)+];

        /// Mounts them. A path says 405 to every method that it has no route for.
        pub fn mount(scope: Scope) -> Scope {
            scope$(.service(
                web::resource($path)
                    $(.route(web::method(Method::$method).to($handler).wrap(from_fn(
                        |request, next| access::needs(Permission::$needs, request, next),
                    ))))+
                    .default_service(web::to(error::method_not_allowed)),
            ))+
        }
    };
}

routes! {
    "/resources" { GET ResourcesRead => resources::export; }
    "/resources/apply" { POST ResourcesWrite => resources::apply; }
    "/tenants" { GET TenantsRead => tenants::list; }
    "/users" { GET UsersRead => users::list; }
    "/models" { GET ModelsRead => models::list; }
    "/instances" { GET InstancesRead => instances::list; }
    "/limits" { GET LimitsRead => limits::limits; }
    "/budgets" { GET BudgetsRead => limits::budgets; }
    "/alerts" { GET AlertsRead => limits::alerts; }
    "/channels" { GET ChannelsRead => channels::list; }
    "/keys" {
        GET KeysRead => keys::list;
        POST KeysWrite => keys::create;
    }
    "/keys/{id}" {
        GET KeysRead => keys::show;
        PATCH KeysWrite => keys::change;
        DELETE KeysWrite => keys::delete;
    }
    "/service-tokens" {
        GET ServiceTokensRead => service_tokens::list;
        POST ServiceTokensWrite => service_tokens::create;
    }
    "/service-tokens/{id}" {
        GET ServiceTokensRead => service_tokens::show;
        PATCH ServiceTokensWrite => service_tokens::change;
        DELETE ServiceTokensWrite => service_tokens::delete;
    }
    "/audit-log" { GET AuditRead => audit::list; }
    "/audit-log/verify" { GET AuditVerify => audit::verify; }
    "/usage" { GET UsageRead => usage::ask; }
}
