//! The platform's people looking at a tenant through its owner's eyes.

use std::collections::HashMap;

use futures_util::future::join_all;

use super::{
    login::{EMAIL, PASSWORD, by as signed_in, signing_in, somebody, token_of, whole},
    roles::{BOTH, by, creation, operations, order, text, thing, token},
    *,
};
use crate::{admin::view::HEADER, store};

/// Stands in the names of all that is the other tenant's.
const CANARY: &str = "canary";
/// What a tenant may have, as paths call it.
const KINDS: [&str; 12] = [
    "requests",
    "keys",
    "groups",
    "roles",
    "users",
    "models",
    "channels",
    "limits",
    "budgets",
    "service-tokens",
    "identity-providers",
    "invitations",
];

/// Ids by their kinds: of acme's, and of the other tenant's.
type Things = HashMap<&'static str, [String; 2]>;

/// One of each kind in both tenants, and these themselves.
async fn things<S: Answers>(test: &TestStores, app: &S) -> Things {
    let mut things = Things::new();
    for (at, kind) in KINDS.into_iter().enumerate() {
        let path = format!("/{kind}");
        let own = thing(test, app, &path, "acme", &format!("own{at}")).await;
        let foreign = thing(test, app, &path, "other", &format!("{CANARY}{at}")).await;
        things.insert(kind, [own, foreign].map(|made| text(&made["id"])));
    }
    let (_, tenants) = answer(app, request(Method::GET, "/tenants?sort=name")).await;
    let ids = [0, 1].map(|at: usize| text(&tenants["data"][at]["id"]));
    things.insert("tenants", ids);
    things
}

fn built_in(word: &str) -> weir_api_types::manage::AnyRole {
    serde_json::from_value(json!(word)).expect("a role")
}

/// A new service token with a role that is built in.
async fn holder<S: Answers>(app: &S, role: &str, tenant: Option<&str>) -> String {
    let name = format!("{role}-{}", tenant.unwrap_or("all"));
    let (status, made) = answer(app, token(&name, tenant, &built_in(role))).await;
    assert_eq!(status, 201, "{made}");
    text(&made["value"])
}

/// Somebody of acme's who is an operator too, signed in.
async fn operator<S: Answers>(test: &TestStores, app: &S) -> String {
    somebody(test).await;
    let sql = format!("UPDATE users SET platform_role = 'platform_admin' WHERE email = '{EMAIL}'");
    test.execute(&sql, Vec::new()).await;
    token_of(&whole(app, signing_in(EMAIL, PASSWORD)).await)
}

/// A look as whoever has this token.
fn seen(value: &str, path: &str, tenant: &str) -> TestRequest {
    by(value, "GET", path).insert_header((HEADER, tenant.to_owned()))
}

/// A call of somebody who is signed in.
fn viewing(value: &str, tenant: &str, method: &str, path: &str) -> TestRequest {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    signed_in(value, method, path).insert_header((HEADER, tenant.to_owned()))
}

/// What the audit log has for whoever has this token, the latest first.
async fn log<S: Answers>(app: &S, value: &str, words: &str) -> Vec<Value> {
    let path = format!("/audit-log?limit=1000{words}");
    let (status, log) = answer(app, by(value, "GET", &path)).await;
    assert_eq!(status, 200, "{log}");
    log["data"].as_array().expect("rows").clone()
}

/// What is about whoever calls is theirs in any disguise; the others are asked with words.
fn is_compared(path: &str) -> bool {
    !path.starts_with("/me") && !["/resources", "/search"].contains(&path)
}

/// What acme's owner is answered, and whoever views as acme as well: nothing of the other tenant's.
async fn same<S: Answers>(app: &S, things: &Things, owner: &str, path: &str) -> (u16, Value) {
    let theirs = answer(app, by(owner, "GET", path)).await;
    let (status, mine) = answer(app, seen(TOKEN, path, "acme")).await;
    assert_eq!(status, theirs.0, "{path}: {mine}");
    let text = mine.to_string();
    let mut foreign = things.values().map(|[_, foreign]| foreign.as_str());
    assert!(
        !text.contains(CANARY) && foreign.all(|id| !text.contains(id)),
        "{path}: {text}"
    );
    // The log has more rows by then: that somebody looked, and that the owner's token was used.
    if !["/audit-log", "/service-tokens"].contains(&path) {
        let bodies = [theirs.1, mine.clone()].map(|mut body| {
            body.as_object_mut().map(|body| body.remove("request_id"));
            body
        });
        assert_eq!(bodies[1], bodies[0], "{path}");
    }
    (status, mine)
}

// Threats: T14.
#[actix_rt::test]
async fn whoever_views_as_a_tenant_sees_what_its_owner_sees_and_nothing_of_another() {
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(BOTH, "")).await.0, 200);
        let things = things(&test, &app).await;
        let owner = holder(&app, "owner", Some("acme")).await;
        let mut compared = [0; 2];
        for operation in operations() {
            let path = operation.path.as_str();
            if operation.method != "GET" || operation.is_open || !is_compared(path) {
                continue;
            }
            let kind = path.split('/').nth(1).expect("a kind");
            if !path.contains("{id}") {
                let (status, body) = same(&app, &things, &owner, path).await;
                if path == format!("/{kind}")
                    && let Some([own, _]) = things.get(kind)
                {
                    assert!(body.to_string().contains(own), "{path}: {body}");
                }
                let of_other = format!("{path}?tenant=other");
                same(&app, &things, &owner, &of_other).await;
                compared[0] += usize::from(status == 200);
                continue;
            }
            let needs = operation.permission.expect("a permission");
            if !needs.is_for_tenants() {
                let path = path.replace("{id}", &uuid::Uuid::new_v4().to_string());
                let (status, body) = same(&app, &things, &owner, &path).await;
                assert_eq!(status, 403, "{path}: {body}");
                continue;
            }
            for (id, wanted) in things[kind].iter().zip([200, 404]) {
                let path = path.replace("{id}", id);
                let (status, body) = same(&app, &things, &owner, &path).await;
                assert_eq!(status, wanted, "{path}: {body}");
            }
            compared[1] += 1;
        }
        assert!(compared[0] > 10 && compared[1] > 15, "{compared:?}");
        let (_, usage) = same(&app, &things, &owner, "/usage?by=tenant").await;
        let tenants: Vec<&Value> = usage.as_array().expect("rows").iter().collect();
        assert_eq!(tenants.len(), 1, "{usage}");
        assert_eq!(tenants[0]["tenant"], "acme");
        let found = async |words: &str| {
            let path = format!("/search?q={words}");
            let (status, hits) = same(&app, &things, &owner, &path).await;
            assert_eq!(status, 200, "{path}: {hits}");
            hits["data"].as_array().expect("hits").len()
        };
        assert!(found("own").await > 5);
        assert_eq!(found(CANARY).await, 0);
        for (kind, [own, foreign]) in &things {
            let hits = (found(own.as_str()).await, found(foreign.as_str()).await);
            assert_eq!(hits, (1, 0), "{kind}");
        }
    }
}

// Threats: T14.
#[actix_rt::test]
async fn a_view_is_no_more_than_its_caller_may_see_and_nobodys_but_an_operators() {
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(BOTH, "")).await.0, 200);
        let owner = holder(&app, "owner", Some("acme")).await;
        let viewer = holder(&app, "platform_viewer", None).await;
        // Nothing that is only theirs as an operator.
        for path in ["/resources", "/instances", "/settings"] {
            let (status, body) = answer(&app, seen(TOKEN, path, "acme")).await;
            assert_eq!(status, 403, "{path}: {body}");
        }
        let (_, me) = answer(&app, seen(&viewer, "/me", "acme")).await;
        let may = me["permissions"].as_array().expect("permissions");
        let only_looks = |one: &Value| text(one).ends_with(":read");
        assert!(may.len() > 10 && may.iter().all(only_looks), "{me}");
        assert!(
            !may.contains(&json!("bodies:read")),
            "nor what they may not: {me}"
        );
        assert_eq!(me["tenant"], "acme");
        // By its id as well, as browsers send no other letters than Latin ones.
        let (_, list) = answer(&app, request(Method::GET, "/tenants?q=other")).await;
        let other = text(&list["data"][0]["id"]);
        let (_, me) = answer(&app, seen(&viewer, "/me", &other)).await;
        assert_eq!(me["tenant"], "other");
        let nobodys = uuid::Uuid::new_v4().to_string();
        for nobody in ["nobody", "", &nobodys] {
            let (status, body) = answer(&app, seen(TOKEN, "/me", nobody)).await;
            assert_eq!(status, 404, "{nobody}: {body}");
        }
        // Whoever is a tenant's own has no disguise, and learns of no name by trying one.
        let mut told = Vec::new();
        for tenant in ["acme", "other", "nobody", &other] {
            let (status, mut body) = answer(&app, seen(&owner, "/keys", tenant)).await;
            body["request_id"].take();
            assert_eq!(status, 403, "{body}");
            told.push(body);
        }
        told.dedup();
        assert_eq!(told.len(), 1, "{told:?}");
    }
}

// Threats: T14.
#[actix_rt::test]
async fn whoever_views_as_a_tenant_changes_nothing_anywhere() {
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(BOTH, "")).await.0, 200);
        let things = things(&test, &app).await;
        let operator = operator(&test, &app).await;
        // To export is told in the log: before it is read, and after.
        let export = async || {
            let (status, all) = answer(&app, request(Method::GET, "/resources")).await;
            assert_eq!(status, 200, "{all}");
            all
        };
        let db = &test.stores.config.read;
        let version = async || store::catalog::version(db).await.expect("a version");
        let before = (export().await, version().await);
        let told = log(&app, TOKEN, "").await;
        let nobody = uuid::Uuid::new_v4().to_string();
        for operation in operations() {
            if operation.method == "GET" {
                continue;
            }
            let kind = operation.path.split('/').nth(1).expect("a kind");
            // What would be done but for the disguise.
            let id = things.get(kind).map_or(&nobody, |[own, _]| own);
            let path = operation.path.replace("{id}", id);
            let path = path.replace("{credential}", &nobody);
            let made = creation(kind, "acme", "late");
            let made = made.filter(|_| operation.method == "POST" && path == format!("/{kind}"));
            let ordered = made.unwrap_or_else(|| order(&operation.method, &operation.path));
            let call = viewing(&operator, "acme", &operation.method, &path).set_json(ordered);
            let (status, body) = answer(&app, call).await;
            let said = format!("{} {path}: {status} {body}", operation.method);
            assert_eq!(
                (status, &body["code"]),
                (403, &json!("forbidden")),
                "{said}"
            );
            assert!(
                body["detail"].to_string().contains("changes nothing"),
                "{said}"
            );
        }
        assert_eq!(log(&app, TOKEN, "").await, told);
        assert_eq!((export().await, version().await), before);
    }
}

// Threats: T14.
#[actix_rt::test]
async fn the_tenant_is_told_who_looks_and_what_cannot_be_told_is_not_shown() {
    const VIEWS: &str = "&action=view";
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(BOTH, "")).await.0, 200);
        let operator = operator(&test, &app).await;
        let owner = holder(&app, "owner", Some("acme")).await;
        let others = holder(&app, "owner", Some("other")).await;
        let look = |tenant: &str, path: &str| viewing(&operator, tenant, "GET", path);
        let from = |look: TestRequest, address: &str| {
            look.peer_addr(format!("{address}:1").parse().expect("an address"))
        };
        // Many looks of one person, at once and one after the other, are one.
        let paths = ["/keys", "/users", "/requests", "/keys", "/me"];
        let at_once = paths.map(|path| answer(&app, look("acme", path)));
        let mut answers = join_all(at_once).await;
        for path in paths {
            answers.push(answer(&app, look("acme", path)).await);
        }
        for (status, body) in answers {
            assert_eq!(status, 200, "{body}");
        }
        let told = log(&app, TOKEN, VIEWS).await;
        assert_eq!(told.len(), 1, "{told:?}");
        for (field, wanted) in [
            ("action", "view:create"),
            ("tenant", "acme"),
            ("object", "acme"),
            ("actor_name", EMAIL),
            ("address", "127.0.0.1"),
        ] {
            assert_eq!(told[0][field], wanted, "{told:?}");
        }
        // The same row, but for how many the installation has.
        let mut to_owner = told.clone();
        to_owner[0]["seq"].take();
        assert_eq!(log(&app, &owner, VIEWS).await, to_owner);
        // From another place, and in another session, it is another look.
        let elsewhere = from(look("acme", "/keys"), "127.0.0.2");
        assert_eq!(answer(&app, elsewhere).await.0, 200);
        let again = token_of(&whole(&app, signing_in(EMAIL, PASSWORD)).await);
        let again = viewing(&again, "acme", "GET", "/keys");
        assert_eq!(answer(&app, again).await.0, 200);
        let told = log(&app, &owner, VIEWS).await;
        let addresses: Vec<&Value> = told.iter().map(|row| &row["address"]).collect();
        assert_eq!(addresses, ["127.0.0.1", "127.0.0.2", "127.0.0.1"]);
        // One that is refused is none.
        for path in ["/resources", "/settings", "/instances", "/audit-log/verify"] {
            let (status, body) = answer(&app, look("other", path)).await;
            assert_eq!(status, 403, "{path}: {body}");
        }
        let write = viewing(&operator, "other", "POST", "/keys").set_json(json!({"name": "k"}));
        assert_eq!(answer(&app, write).await.0, 403);
        assert_eq!(log(&app, TOKEN, VIEWS).await.len(), 3);
        // The other tenant has no word of it, until it is looked at itself.
        assert!(log(&app, &others, VIEWS).await.is_empty());
        assert_eq!(answer(&app, look("other", "/keys")).await.0, 200);
        assert_eq!(log(&app, &others, VIEWS).await.len(), 1);
        assert_eq!(log(&app, &owner, VIEWS).await.len(), 3);
        // Without a row there is no look, and all else goes on.
        test.execute("DROP TABLE audit_log", Vec::new()).await;
        let untold = from(look("acme", "/keys"), "127.0.0.3");
        let (status, body) = answer(&app, untold).await;
        assert!(status >= 500, "{status} {body}");
        let plain = signed_in(&operator, Method::GET, "/keys");
        assert_eq!(answer(&app, plain).await.0, 200);
    }
}
