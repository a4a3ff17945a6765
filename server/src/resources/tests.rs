//! `apply` and back, on every store there is here.

mod limits;

use weir_api_types::{
    apply::{Action, Applied},
    resources::Resources,
};

use super::{Error, Options, apply, read, stored};
use crate::{
    access::Author,
    secrets::Sealer,
    store::testing::{TestStores, all},
};

/// The YAML of the design, less its rules.
const DESIGN: &str = r#"
channels:
  - name: openai
    kind: openai
    base_url: https://api.openai.com/v1
    auth: {header: authorization, value: "Bearer {secret}"}
    credentials: ["sk-first", "sk-second"]
    timeouts: {connect: 5s, first_byte: 120s, idle: 120s, total: 30m}
    retry: {attempts: 2, on: [connect, timeout, "429", "5xx"]}
    limits:  [{metric: requests, per: second, max: 100}]
models:
  - name: gpt-4o-mini
    prices: {input: "0.15", cached_input: "0.075", output: "0.60"}
    max_output_tokens: 16384
    routes:
      - {channel: openai, model: gpt-4o-mini, weight: 100, priority: 1, max_rps: 1000}
tenants:
  - name: acme
    time_zone: Asia/Shanghai
    grants:  {models: ["*"], channels: [openai]}
    limits:  [{metric: requests, per: minute, max: 6000, burst: 600, algorithm: token_bucket}]
    budgets: [{amount: "500.00", period: month, mode: hard, alert_at: [50, 80, 100]}]
    groups:  [{name: platform-team}]
    users:
      - {email: zhang@acme.example, name: 张三, department: 技术部, contact: "+86 ...", role: developer, groups: [platform-team]}
    keys:
      - {name: zhang-laptop, user: zhang@acme.example, value: "sk-zhang-0123456789abcdef", models: ["*"], ip_allow: ["10.0.0.0/8"],
         channels: [{channel: openai, priority: 10}], expires_at: 2027-12-31T00:00:00Z, limits: [], budgets: []}
platform:
  limits: [{metric: requests, per: minute, max: 600, each: ip}]
"#;

fn sealer() -> Sealer {
    Sealer::new(&[7; 32])
}

fn parse(text: &str) -> Resources {
    read::parse(text).expect(text)
}

async fn run(test: &TestStores, text: &str, options: Options) -> Result<Applied, Error> {
    apply(
        &test.stores,
        &sealer(),
        &Author::process("test"),
        &parse(text),
        options,
    )
    .await
}

async fn applied(test: &TestStores, text: &str) -> Applied {
    run(test, text, Options::default()).await.expect(text)
}

async fn pruned(test: &TestStores, text: &str) -> Result<Applied, Error> {
    let options = Options {
        prune: true,
        dry_run: false,
    };
    run(test, text, options).await
}

async fn refused(test: &TestStores, text: &str) -> String {
    match run(test, text, Options::default()).await {
        Err(Error::Refused(errors)) => {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            errors.join(" | ")
        }
        other => panic!("{other:?}: {text}"),
    }
}

async fn exported(test: &TestStores) -> Resources {
    stored(&test.stores, &sealer()).await.expect("an export")
}

/// What changed, as `action kind name fields…`.
fn words(applied: &Applied) -> Vec<String> {
    let word = |change: &weir_api_types::apply::Change| {
        let fields: Vec<&str> = match change.action {
            Action::Update => change
                .fields
                .iter()
                .map(|field| field.field.as_str())
                .collect(),
            _ => Vec::new(),
        };
        let words = format!("{:?} {} {}", change.action, change.kind, change.name);
        format!("{words} {}", fields.join(","))
            .trim_end()
            .to_owned()
    };
    applied.changes.iter().map(word).collect()
}

#[actix_rt::test]
async fn the_design_applies_and_a_second_time_changes_nothing() {
    for test in all().await {
        let first = applied(&test, DESIGN).await;
        assert_eq!(
            words(&first),
            [
                "Create tenant acme",
                "Create group platform-team",
                "Create user zhang@acme.example",
                "Create channel openai",
                "Create model gpt-4o-mini",
                "Create key zhang-laptop",
                "Create limit channel openai: requests per second",
                "Create limit platform: requests per minute for each address",
                "Create limit tenant acme: requests per minute",
                "Create budget tenant acme: money per month",
            ]
        );
        assert!(first.generated.is_empty());
        let second = applied(&test, DESIGN).await;
        assert_eq!(
            (words(&second), second.version),
            (Vec::new(), first.version)
        );
        let said = serde_json::to_string(&first).expect("JSON");
        assert!(
            !said.contains("sk-first") && !said.contains("sk-zhang"),
            "{said}"
        );
    }
}

#[actix_rt::test]
async fn what_is_exported_changes_nothing_when_applied() {
    for test in all().await {
        let first = applied(&test, DESIGN).await;
        applied(&test, "models: [{name: odd, prices: [{input: '1'}, {from: 2031-01-01T00:00:00.250Z, input: '2'}]}]").await;
        applied(&test, "tenants: [{name: '${HOME}', users: [{email: a@b.example, name: '$${X} {{env.X}} ${x:-${HOME}}'}], keys: [{name: made}]}]").await;
        applied(&test, "channels: [{name: openai, tenant: acme, kind: custom, base_url: 'http://10.0.0.1:8000', allowed_origin: 'http://10.0.0.1:8000'}]
models: [{name: own, tenant: acme, routes: [{channel: openai}, {channel: platform/openai}]}]").await;
        let export = exported(&test).await;
        let text = read::write(&export).expect("YAML");
        assert!(!text.contains("sk-"), "{text}");
        let canary = |_: &str| Some("canary".to_owned());
        let again = read::parse_expanding(&text, &canary).expect("the export reads");
        assert_eq!(again, export, "no form of a variable is touched");
        for prune in [false, true] {
            let options = Options {
                prune,
                dry_run: false,
            };
            let nothing = apply(
                &test.stores,
                &sealer(),
                &Author::process("test"),
                &again,
                options,
            )
            .await
            .expect("applied");
            assert_eq!(words(&nothing), Vec::<String>::new());
            assert_eq!(nothing.version, first.version + 3);
        }
    }
}

#[actix_rt::test]
async fn a_field_that_is_given_is_the_whole_truth_and_one_that_is_not_stays() {
    for test in all().await {
        applied(&test, DESIGN).await;
        let change = applied(
            &test,
            "
channels: [{name: openai, credentials: [{name: new, value: sk-third}, sk-second], timeouts: {connect: 1s}}]
tenants: [{name: acme, grants: null, keys: [{name: zhang-laptop, ip_allow: [], user: null, expires_at: null}]}]
",
        )
        .await;
        assert_eq!(
            words(&change),
            [
                "Update tenant acme grants",
                "Update channel openai credentials,timeouts",
                "Update key zhang-laptop expires_at,ip_allow,user",
            ]
        );
        let export = exported(&test).await;
        let channel = &export.channels.as_ref().expect("channels")[0];
        let names: Vec<_> = channel
            .credentials
            .iter()
            .flatten()
            .map(|c| c.name.clone())
            .collect();
        assert_eq!(names, [Some("new".to_owned()), None]);
        let text =
            "channels: [{name: openai, credentials: [{name: new, value: sk-third}, sk-second]}]";
        assert_eq!(words(&applied(&test, text).await), Vec::<String>::new());
        let key = &export.tenants.as_ref().expect("tenants")[0]
            .keys
            .as_ref()
            .expect("keys")[0];
        assert_eq!((&key.user, &key.expires_at), (&Some(None), &Some(None)));
        assert_eq!(key.models, Some(Some(vec!["*".to_owned()])));
    }
}

#[actix_rt::test]
async fn another_origin_drops_the_credentials_unless_they_are_given_again() {
    for test in all().await {
        applied(&test, DESIGN).await;
        let export = exported(&test).await;
        let kept = &export.channels.as_ref().expect("channels")[0].credentials;
        let kept = serde_json::to_string(kept).expect("JSON");
        let moved = "channels: [{name: openai, base_url: 'https://api.openai.com/v2'}]";
        assert_eq!(
            words(&applied(&test, moved).await),
            ["Update channel openai base_url"]
        );
        for origin in [
            "https://api.openai.com:444",
            "http://api.openai.com",
            "https://evil.example",
        ] {
            let keep =
                format!("channels: [{{name: openai, base_url: '{origin}', credentials: {kept}}}]");
            assert!(
                refused(&test, &keep).await.contains("cannot be kept"),
                "{origin}"
            );
        }
        let given = "channels: [{name: openai, base_url: 'https://eu.api.openai.com', credentials: [sk-first]}]";
        assert_eq!(
            words(&applied(&test, given).await),
            ["Update channel openai base_url,credentials"]
        );
        let alone = "channels: [{name: openai, base_url: 'https://evil.example'}]";
        assert_eq!(
            words(&applied(&test, alone).await),
            ["Update channel openai base_url,credentials"]
        );
        let export = exported(&test).await;
        assert_eq!(
            export.channels.expect("channels")[0].credentials,
            Some(Vec::new())
        );
    }
}

#[actix_rt::test]
async fn only_prune_deletes_and_never_what_is_still_needed() {
    for test in all().await {
        applied(&test, DESIGN).await;
        let nothing =
            "{channels: [], models: [], tenants: [{name: acme, keys: [], users: [], groups: []}]}";
        assert_eq!(words(&applied(&test, nothing).await), Vec::<String>::new());
        for (text, reason) in [
            (
                "channels: []",
                "openai cannot be pruned: the model gpt-4o-mini is routed to it",
            ),
            (
                "tenants: [{name: acme, users: []}]",
                "the key zhang-laptop is theirs",
            ),
        ] {
            let error = pruned(&test, text).await.expect_err(text).to_string();
            assert!(error.contains(reason), "{error}");
        }
        let error = pruned(&test, "{channels: [], models: []}")
            .await
            .expect_err("a key names it");
        assert!(
            error.to_string().contains("the key zhang-laptop names it"),
            "{error}"
        );
        let groups = pruned(&test, "tenants: [{name: acme, groups: []}]")
            .await
            .expect("pruned");
        assert_eq!(
            words(&groups),
            [
                "Delete group platform-team",
                "Update user zhang@acme.example tenants"
            ]
        );
        let all = pruned(
            &test,
            "{platform: {limits: []}, channels: [], models: [], tenants: []}",
        )
        .await
        .expect("pruned");
        assert_eq!(
            words(&all),
            [
                "Delete budget tenant acme: money per month",
                "Delete limit channel openai: requests per second",
                "Delete limit platform: requests per minute for each address",
                "Delete limit tenant acme: requests per minute",
                "Delete key zhang-laptop",
                "Delete model gpt-4o-mini",
                "Delete channel openai",
                "Delete user zhang@acme.example",
                "Delete tenant acme",
            ]
        );
        let empty = parse("{platform: {limits: []}, channels: [], models: [], tenants: []}");
        assert_eq!(exported(&test).await, empty);
    }
}

#[actix_rt::test]
async fn keys_are_made_once_given_by_value_or_digest_and_never_shared() {
    for test in all().await {
        let made = applied(&test, "tenants: [{name: t, keys: [{name: a}, {name: b, sha256: '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'}]}]").await;
        assert_eq!(made.generated.len(), 1);
        let value = made.generated[0].value.clone().expect("its value");
        assert!(value.starts_with("wk-"));
        let again = applied(&test, "tenants: [{name: t, keys: [{name: a}, {name: b}]}]").await;
        assert!(again.changes.is_empty() && again.generated.is_empty());
        let same = format!("tenants: [{{name: t, keys: [{{name: a, value: '{value}'}}]}}]");
        assert!(applied(&test, &same).await.changes.is_empty());
        let other = format!("tenants: [{{name: u, keys: [{{name: c, value: '{value}'}}]}}]");
        assert!(refused(&test, &other).await.contains("another key has too"));
        let passed = format!(
            "tenants: [{{name: t, keys: [{{name: a, value: sk-another-0123456789abc}}, {{name: b, value: '{value}'}}]}}]"
        );
        assert_eq!(
            words(&applied(&test, &passed).await),
            ["Update key a value", "Update key b value"]
        );
    }
}

#[actix_rt::test]
async fn a_dry_run_says_the_same_and_writes_nothing() {
    for test in all().await {
        let options = Options {
            prune: false,
            dry_run: true,
        };
        let dry = run(&test, DESIGN, options).await.expect("a plan");
        assert_eq!(
            exported(&test).await,
            parse("{platform: {limits: []}, channels: [], models: [], tenants: []}")
        );
        let wet = applied(&test, DESIGN).await;
        assert_eq!(words(&dry), words(&wet));
        assert_eq!(wet.version, dry.version + 1);
    }
}

#[actix_rt::test]
async fn bad_values_are_all_named_with_their_paths() {
    let test = crate::store::testing::sqlite().await;
    let text = "
channels:
  - {name: chat, kind: openai, base_url: 'https://a'}
  - {name: оpenai, kind: openai, base_url: 'https://a'}
  - {name: 'OpenAI ', kind: openai, base_url: 'https://a'}
  - {name: ok, kind: openai, base_url: 'https://user@a/'}
  - {name: new}
  - {name: auth, kind: openai, base_url: 'https://a', auth: {header: host, value: '{secret}'}, credentials: ['', a, a], retry: {attempts: 0}, proxy_paths: [v1], weight: 4294967295}
  - {name: lost, tenant: nobody, kind: openai, base_url: 'https://a'}
models:
  - {name: \"a\\u200bb\"}
  - {name: m, prices: {input: '-1'}, routes: [{channel: nowhere}], max_output_tokens: 0, tokenizer: klingon}
  - {name: n, prices: {inputs: '1'}}
  - {name: n}
tenants:
  - name: t
    time_zone: Mars/Olympus
    groups: [{name: Café}, {name: \"Cafe\\u0301\"}]
    users: [{email: nobody}, {email: a@b.c, groups: [none], name: A}, {email: A@B.C}]
    keys:
      - {name: short, value: sk-short}
      - {name: both, value: sk-0123456789abcdefghijkl, sha256: ab}
      - {name: owner, user: x@y.z, group: none}
      - {name: owner2, user: x@y.z}
      - {name: nets, ip_allow: [10.0.0.0/33], expires_at: tomorrow, channels: [{channel: none}]}
      - {name: kept, value: {keep: 00000000-0000-0000-0000-000000000001}}
  - {name: u, users: [{email: a@b.c, name: B}]}
";
    let refused = refused(&test, text).await;
    insta::assert_snapshot!(refused.replace(" | ", "\n"));
    assert_eq!(
        exported(&test).await,
        parse("{platform: {limits: []}, channels: [], models: [], tenants: []}")
    );
}

#[actix_rt::test]
async fn a_price_holds_from_now_on_and_the_past_stays() {
    for test in all().await {
        applied(&test, "models: [{name: m, prices: {input: '1'}}]").await;
        applied(&test, "models: [{name: m, prices: {input: '2'}}]").await;
        assert!(
            applied(&test, "models: [{name: m, prices: {input: '2'}}]")
                .await
                .changes
                .is_empty()
        );
        let export = exported(&test).await;
        let prices = export.models.expect("models")[0].prices.clone();
        let Some(weir_api_types::resources::Prices::Dated(prices)) = prices else {
            panic!("two prices are dated: {prices:?}");
        };
        assert_eq!(prices.len(), 2);
        assert_eq!(
            (prices[0].from.as_deref(), prices[0].rates["input"].as_str()),
            (None, "1")
        );
        let dated = "models: [{name: m, prices: [{input: '3'}]}]";
        applied(&test, dated).await;
        assert!(
            applied(&test, "models: [{name: m, prices: {input: '3'}}]")
                .await
                .changes
                .is_empty()
        );
    }
}
