//! Service tokens, made and used as automation does.

use super::*;

both_stores!(
    /// Threats: T8.
    a_tenants_token_sees_what_its_role_may_and_ends_when_it_is_switched_off,
    |bench| {
        let made = [
            "service-tokens", "create", "--tenant", "acme", "--name", "books", "--role", "finance",
        ];
        let value = succeeded(&cli(&bench, &made).await).trim().to_owned();
        assert!(value.starts_with("wst-"), "{value}");
        let again = failed(&cli(&bench, &made).await, 5);
        assert!(again.contains("service token name"), "{again}");
        let books = async |arguments: &[&str]| {
            let environment = [
                ("WEIR_URL".to_owned(), bench.url.clone()),
                ("WEIR_TOKEN".to_owned(), value.clone()),
            ];
            weir(&environment, arguments).await
        };

        assert_eq!(bench.chat(hello("gpt-test")).await.status(), 200);
        let usage = ["usage", "--by", "tenant,model", "--wait", "--output", "json"];
        let rows: Value = serde_json::from_str(&succeeded(&books(&usage).await)).unwrap();
        assert_eq!(
            (&rows[0]["tenant"], &rows[0]["model"], &rows[0]["requests"]),
            (&"acme".into(), &"gpt-test".into(), &1.into()),
            "{rows}"
        );
        let tenants = succeeded(&books(&["tenants", "list", "--output", "csv"]).await);
        assert!(tenants.contains(",acme,") && tenants.lines().count() == 2, "{tenants}");
        for refused in [
            &["export"] as &[&str],
            &["instances"],
            &["keys", "create", "--tenant", "acme", "--name", "mine"],
            &["service-tokens", "list"],
        ] {
            let said = failed(&books(refused).await, 4);
            assert!(said.contains("This needs "), "{refused:?}: {said}");
        }

        let listed = succeeded(&cli(&bench, &["service-tokens", "list", "--output", "json"]).await);
        assert!(!listed.contains(&value), "{listed}");
        let listed: Value = serde_json::from_str(&listed).unwrap();
        assert_eq!(listed[0]["role"], "finance", "{listed}");
        let id = listed[0]["id"].as_str().unwrap();
        succeeded(&cli(&bench, &["service-tokens", "disable", id]).await);
        failed(&books(&["tenants", "list"]).await, 4);
        succeeded(&cli(&bench, &["service-tokens", "enable", id]).await);
        succeeded(&books(&["tenants", "list"]).await);
        succeeded(&cli(&bench, &["service-tokens", "delete", id]).await);
        failed(&books(&["tenants", "list"]).await, 4);

        // All of it is in the log, and the log is whole.
        let log = succeeded(&cli(&bench, &["audit", "list", "--tenant", "acme"]).await);
        for action in ["service_token:create", "service_token:update", "service_token:delete"] {
            assert!(log.contains(action), "{log}");
        }
        assert!(!log.contains(&value), "{log}");
        let head = succeeded(&cli(&bench, &["audit", "verify"]).await);
        assert_eq!(head.trim().len(), 64, "{head}");
    }
);

both_stores!(
    /// Threats: T14.
    an_operator_looks_as_a_tenant_does_and_whoever_lost_their_place_takes_another,
    |bench| {
        let made = ["service-tokens", "create", "--name", "help", "--role", "platform_viewer"];
        let value = succeeded(&cli(&bench, &made).await).trim().to_owned();
        let help = async |arguments: &[&str]| {
            let environment = [
                ("WEIR_URL".to_owned(), bench.url.clone()),
                ("WEIR_TOKEN".to_owned(), value.clone()),
                ("WEIR_VIEW_AS".to_owned(), "acme".to_owned()),
            ];
            weir(&environment, arguments).await
        };
        let tenants = succeeded(&help(&["tenants", "list", "--output", "csv"]).await);
        assert!(tenants.contains(",acme,") && tenants.lines().count() == 2, "{tenants}");
        let refused = failed(&help(&["keys", "create", "--tenant", "acme", "--name", "mine"]).await, 4);
        assert!(refused.contains("changes nothing"), "{refused}");
        let log = succeeded(&cli(&bench, &["audit", "list", "--tenant", "acme"]).await);
        assert!(log.contains("view:create"), "{log}");

        // A tenant of any letters, whose only member has another one to go to.
        let url = bench.url.as_str();
        succeeded(&cli(&bench, &["tenants", "create", "研发部"]).await);
        let invited = async |tenant: &str| {
            let invite = [
                "invitations", "create", "--tenant", tenant, "--email", "li@acme.example", "--role", "viewer",
            ];
            succeeded(&cli(&bench, &invite).await)
        };
        let password = "the password of li";
        let first = invited("研发部").await;
        let accept = ["invitations", "accept", "--name", "Li", "--url", url];
        let lines = format!("{}\n{password}\n", first.trim());
        succeeded(&weir_with_input(&[], &accept, &lines).await);
        let seen = succeeded(&cli(&bench, &["users", "list", "--view-as", "研发部"]).await);
        assert!(seen.contains("li@acme.example"), "{seen}");
        succeeded(&cli(&bench, &["tenants", "change", "研发部", "--set", "enabled=false"]).await);
        let sign_in = ["sign-in", "--email", "li@acme.example", "--url", url];
        let alone = format!("{password}\n");
        failed(&weir_with_input(&[], &sign_in, &alone).await, 4);
        let second = invited("globex").await;
        let accept = ["invitations", "accept", "--with-password", "--url", url];
        let wrong = format!("{}\nwrong\n", second.trim());
        failed(&weir_with_input(&[], &accept, &wrong).await, 4);
        let lines = format!("{}\n{password}\n", second.trim());
        succeeded(&weir_with_input(&[], &accept, &lines).await);
        succeeded(&weir_with_input(&[], &sign_in, &alone).await);
    }
);
