//! Another tenant's ids, names and addresses, in every place of every operation that takes any.

use sea_orm::{ConnectionTrait as _, Statement};

use super::{
    login::{EMAIL, PASSWORD, signing_in, somebody, token_of, whole},
    roles::{by, creation, operations, order, text, thing},
    *,
};
use crate::{
    clock::now_ms,
    store::{self, sessions::Voucher},
};

/// The other tenant's name, which is sent, as somebody may have heard of it.
const OTHER: &str = "canary";
/// What everything of it is called besides, which nobody ever sends.
const HUSH: &str = "hush";
const BOTH: &str = "
channels: [{name: openai, kind: openai, base_url: 'https://api.openai.com/v1', credentials: [sk-first-secret]}]
models: [{name: m, routes: [{channel: openai}]}]
tenants:
  - {name: acme, policies: {own_channels: true}, users: [{email: a@acme.example, role: owner}], keys: [{name: k}]}
  - {name: canary, policies: {own_channels: true}, users: [{email: someone@canary.example, name: hush}], limits: [{metric: requests, per: day, max: 41}], budgets: [{amount: '6', period: month}]}
";
/// They end what the test calls with.
const LEFT_OUT: [(&str, &str); 1] = [("DELETE", "/me/sessions")];

/// Pairs that somebody could know without having seen anything.
const KNOWN: usize = 3;

/// Something of the other tenant's, and something that nobody has, of the same form.
struct Pair {
    kind: String,
    theirs: String,
    nobodys: String,
}

/// A caller of acme's, by what they show.
struct Caller {
    what: &'static str,
    value: String,
    /// A proxy key is nobody in management.
    is_nobody: bool,
}

/// Status and body without what each request has of its own; what was sent stands there as `_`.
fn told(sent: &[&str], (status, mut body): (u16, Value)) -> (u16, String) {
    if let Some(body) = body.as_object_mut() {
        body.remove("request_id");
    }
    let mut text = body.to_string();
    for sent in sent.iter().filter(|sent| !sent.is_empty()) {
        text = text.replace(sent, "_");
    }
    (status, text)
}

/// Refused, both are told alike; done, neither has a word of the other tenant's.
fn assert_alike(said: &str, theirs: &(u16, String), nobodys: &(u16, String)) {
    assert_eq!(theirs.0, nobodys.0, "{said}: {theirs:?} and {nobodys:?}");
    assert!(theirs.0 < 500, "{said}: {theirs:?}");
    if theirs.0 >= 400 {
        assert_eq!(theirs.1, nobodys.1, "{said}");
    }
    let tells = [HUSH, "\"tenant\":\"canary\""].map(|word| theirs.1.contains(word));
    assert_eq!(tells, [false; 2], "{said}: {theirs:.2000?}");
}

/// What is tried in one place: what is known of the other tenant, and of the ids the one that fits, or one by turns.
fn of_place<'a>(pairs: &'a [Pair], place: &str, turn: usize) -> Vec<&'a Pair> {
    let (known, ids) = pairs.split_at(KNOWN);
    let fits = ids.iter().find(|pair| pair.kind.starts_with(place));
    let id = fits.unwrap_or(&ids[turn % ids.len()]);
    known.iter().chain([id]).collect()
}

/// What the other tenant's is called and known by.
async fn words<S: Answers>(
    test: &TestStores,
    app: &S,
    tenant: uuid::Uuid,
    kinds: &[&str],
) -> Vec<Pair> {
    let pair = |kind: &str, theirs: &str, nobodys: String| Pair {
        kind: kind.to_owned(),
        theirs: theirs.to_owned(),
        nobodys,
    };
    let nobody = || uuid::Uuid::new_v4().to_string();
    let mut pairs = vec![
        pair("", &tenant.to_string(), nobody()),
        pair("", OTHER, "canaxy".to_owned()),
        pair(
            "",
            "someone@canary.example",
            "someone@canaxy.example".to_owned(),
        ),
    ];
    for kind in kinds {
        let made = thing(test, app, &format!("/{kind}/{{id}}"), OTHER, "hush-word").await;
        if let Some(id) = made["id"].as_str() {
            pairs.push(pair(kind, id, nobody()));
        }
    }
    pairs
}

/// A session, and an identity, of somebody of the other tenant.
async fn of_somebody_else(test: &TestStores, provider: uuid::Uuid) -> (uuid::Uuid, uuid::Uuid) {
    let db = &test.stores.config.write;
    let user = store::users::of_email(db, "someone@canary.example").await;
    let user = user.expect("a look").expect("somebody");
    let session = store::sessions::New {
        id: uuid::Uuid::new_v4(),
        user,
        expires_ms: now_ms() + 600_000,
        proved_ms: now_ms(),
        address: "127.0.0.9".to_owned(),
        agent: HUSH.to_owned(),
        voucher: Voucher::default(),
    };
    let id = session.id;
    store::sessions::insert(db, session, now_ms())
        .await
        .expect("a session");
    store::identities::link(db, provider, user, HUSH, now_ms())
        .await
        .expect("an identity");
    let page = store::Page {
        rows: 1,
        ..store::Page::default()
    };
    let identities = store::identities::of_user(db, user, &page).await;
    (id, identities.expect("identities").data[0].id)
}

/// All that is the other tenant's, as the database has it: its rows of every table with a tenant.
async fn all_of_theirs(test: &TestStores, tenant: uuid::Uuid) -> Vec<String> {
    let db = &test.stores.config;
    let mut found = Vec::new();
    for table in [
        "tenants",
        "groups",
        "roles",
        "proxy_keys",
        "channels",
        "models",
        "limits",
        "budgets",
        "memberships",
        "service_tokens",
        "identity_providers",
        "one_time_links",
        "audit_log",
    ] {
        let column = if table == "tenants" {
            "id"
        } else {
            "tenant_id"
        };
        let sql = format!("SELECT * FROM {table} WHERE {column} = $1");
        let rows = Statement::from_sql_and_values(db.backend(), sql, [tenant.into()]);
        let rows = db.read.query_all_raw(rows).await.expect("rows");
        found.extend(rows.iter().map(|row| format!("{table} {row:?}")));
    }
    found.sort();
    found
}

// Threats: T1, T11.
#[actix_rt::test]
async fn what_is_anothers_is_as_if_it_were_not_there_wherever_it_is_named() {
    for test in all().await {
        let app = app!(&test);
        assert_eq!(answer(&app, document(BOTH, "")).await.0, 200);
        somebody(&test).await;
        let platforms =
            json!({"name": "everybody", "issuer": "https://id.example", "client_id": "weir"});
        let (status, made) = answer(
            &app,
            request(Method::POST, "/identity-providers").set_json(platforms),
        )
        .await;
        assert_eq!(status, 201, "{made}");
        let provider = text(&made["id"]).parse().expect("an id");
        let (session, identity) = of_somebody_else(&test, provider).await;
        let tenant = store::tenants::named(&test.stores.config.read, OTHER).await;
        let tenant = tenant.expect("a look").expect("the other tenant").0;
        let operations = operations();
        let mut kinds: Vec<&str> = operations
            .iter()
            .filter(|one| one.path.contains("{id}"))
            .filter_map(|one| one.path.split('/').nth(1))
            .filter(|kind| *kind != "me")
            .collect();
        kinds.dedup();
        let pairs = words(&test, &app, tenant, &kinds).await;
        let callers = callers(&app).await;
        let before = all_of_theirs(&test, tenant).await;
        assert!(before.len() > 10, "{before:?}");
        let mut tried = 0;
        for caller in &callers {
            for (at, one) in operations.iter().enumerate() {
                if LEFT_OUT.contains(&(one.method.as_str(), one.path.as_str())) || one.is_open {
                    continue;
                }
                let ask = async |path: &str, order: &Value, sent: &[&str]| {
                    if one.method == "POST" && path == "/identity-providers" {
                        // There can be so many of them.
                        let sql = "DELETE FROM identity_providers WHERE tenant_id = (SELECT id FROM tenants WHERE name = 'acme')";
                        let db = &test.stores.config.write;
                        db.execute_unprepared(sql).await.expect("SQL");
                    }
                    let call = by(&caller.value, &one.method, path).set_json(order);
                    let answered = answer(&app, call).await;
                    assert!(
                        !caller.is_nobody || answered.0 == 401,
                        "{path}: {answered:?}"
                    );
                    told(sent, answered)
                };
                let usual = order(&one.method, &one.path);
                let kind = one.path.split('/').nth(1).expect("a kind");
                // Theirs in the path, for what is there and for what is not.
                let name = format!("of{at}{}", caller.what);
                let theirs = match one.path.as_str() {
                    path if !path.contains("{id}") => None,
                    path if path.starts_with("/me/sessions") => Some(json!({"id": session})),
                    path if path.starts_with("/me/identities") => Some(json!({"id": identity})),
                    path if path.starts_with("/me/") => Some(
                        thing(&test, &app, "/keys/{id}", OTHER, &format!("{HUSH}{name}")).await,
                    ),
                    path => Some(thing(&test, &app, path, OTHER, &format!("{HUSH}{name}")).await),
                };
                let before = all_of_theirs(&test, tenant).await;
                let mut own_path = one.path.clone();
                if let Some(theirs) = &theirs {
                    let credential = theirs["pool"][0]["id"].as_str().unwrap_or_default();
                    let (id, nobody) = (text(&theirs["id"]), uuid::Uuid::new_v4().to_string());
                    let at = |id: &str, credential: &str| {
                        one.path
                            .replace("{id}", id)
                            .replace("{credential}", credential)
                    };
                    let said = format!("{} {} {}", caller.what, one.method, one.path);
                    let foreign = ask(&at(&id, credential), &usual, &[&id, credential]).await;
                    let absent = ask(&at(&nobody, &nobody), &usual, &[&nobody]).await;
                    assert_alike(&said, &foreign, &absent);
                    let wanted = if caller.is_nobody { 401 } else { 404 };
                    let refused = [wanted, 403].contains(&foreign.0);
                    assert!(refused, "{said}: {foreign:?}");
                    tried += 1;
                    if kind == "me" {
                        continue;
                    }
                    let own = thing(&test, &app, &one.path, "acme", &own_name(kind, &name)).await;
                    let own_id = text(&own["id"]);
                    if one.path.contains("{credential}") {
                        // Their credential, under one's own channel.
                        let foreign = ask(&at(&own_id, credential), &usual, &[credential]).await;
                        let absent = ask(&at(&own_id, &nobody), &usual, &[&nobody]).await;
                        assert_alike(&said, &foreign, &absent);
                        assert!(foreign.0 >= 400, "{said}: {foreign:?}");
                    }
                    let credential = own["pool"][0]["id"].as_str().unwrap_or_default();
                    own_path = at(&own_id, credential);
                }
                // A person's calls are taken as a token's are, once it is known who they are.
                let is_tried_whole = caller.what == "token" && test.postgres.is_none();
                if !is_tried_whole || one.method == "DELETE" {
                    continue;
                }
                // Theirs in each word of the query.
                for word in &one.words {
                    for pair in of_place(&pairs, word, tried) {
                        let said = format!(
                            "{} {} {}?{word}={}",
                            caller.what, one.method, one.path, pair.theirs
                        );
                        let asked = |value: &str| format!("{own_path}?{word}={value}");
                        let foreign = ask(&asked(&pair.theirs), &usual, &[&pair.theirs]).await;
                        let absent = ask(&asked(&pair.nobodys), &usual, &[&pair.nobodys]).await;
                        assert_alike(&said, &foreign, &absent);
                        tried += 1;
                    }
                }
                // Theirs in each field of an order.
                let mut made = 0;
                let mut full = || {
                    made += 1;
                    let name = match kind {
                        "limits" | "budgets" => name.clone(),
                        _ => format!("{name}-{made:06}"),
                    };
                    let order = creation(kind, "acme", &name).filter(|_| one.method == "POST");
                    (order.unwrap_or_else(|| usual.clone()), name)
                };
                for field in one.fields.iter().flatten() {
                    for pair in of_place(&pairs, field, tried) {
                        // Lists have names of their own.
                        for in_list in [false, true]
                            .into_iter()
                            .take(1 + usize::from(field.ends_with('s')))
                        {
                            let said = format!(
                                "{} {} {} {field}: {}",
                                caller.what, one.method, one.path, pair.theirs
                            );
                            let mut told = Vec::new();
                            for value in [&pair.theirs, &pair.nobodys] {
                                let (mut order, name) = full();
                                order[field] = if in_list {
                                    json!([value])
                                } else {
                                    json!(value)
                                };
                                told.push(ask(&own_path, &order, &[value, &name]).await);
                            }
                            if one.method == "PATCH" && field == "name" {
                                // Neither word stays the name of something of one's own alone.
                                ask(&own_path, &json!({"name": full().1}), &[]).await;
                            }
                            let (foreign, absent) = (told.remove(0), told.remove(0));
                            assert_alike(&said, &foreign, &absent);
                            tried += 1;
                        }
                    }
                }
                assert_eq!(
                    all_of_theirs(&test, tenant).await,
                    before,
                    "{} {}",
                    one.method,
                    one.path
                );
            }
        }
        let most = if test.postgres.is_none() { 1_000 } else { 100 };
        assert!(tried > most, "{tried}");
    }
}

/// Of tenants there is one that is one's own.
fn own_name(kind: &str, name: &str) -> String {
    match kind {
        "tenants" => "own".to_owned(),
        _ => name.to_owned(),
    }
}

async fn callers<S: Answers>(app: &S) -> [Caller; 3] {
    let order = json!({"tenant": "acme", "name": "owner", "role": "owner"});
    let (_, token) = answer(
        app,
        request(Method::POST, "/service-tokens").set_json(order),
    )
    .await;
    let order = json!({"tenant": "acme", "name": "proxy"});
    let (_, key) = answer(app, request(Method::POST, "/keys").set_json(order)).await;
    let person = whole(app, signing_in(EMAIL, PASSWORD)).await;
    [
        Caller {
            what: "token",
            value: text(&token["value"]),
            is_nobody: false,
        },
        Caller {
            what: "person",
            value: token_of(&person),
            is_nobody: false,
        },
        Caller {
            what: "key",
            value: text(&key["value"]),
            is_nobody: true,
        },
    ]
}
