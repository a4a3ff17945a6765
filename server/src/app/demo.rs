//! Something to try at once: a tenant, a key, and a channel whose answers are plainly no model's.
//!
//! `serve --demo` sets it up through the same configuration as code as any file, each time it starts: the demo vendor
//! listens on another port each time. Vendors whose usual variable is in the environment get a real channel beside it.

use std::{fmt::Write as _, path::Path};

use anyhow::Context as _;
use weir_upstream::Vendor;

use crate::{
    access::Author,
    private_file,
    resources::{self, read},
    secrets::{Sealer, Secret},
    store::Stores,
};

/// Name of the file with the demo's key, so that every start prints the same.
const KEY_FILE: &str = "demo-key";

/// A vendor that speaks OpenAI's dialect, and models of its that a newcomer will look for. Prices are given only where the
/// design states them; a model without one is marked `unpriced`, never silently free.
struct Known {
    variable: &'static str,
    name: &'static str,
    base_url: &'static str,
    models: &'static [(&'static str, Option<&'static str>)],
}

const KNOWN: &[Known] = &[
    Known {
        variable: "OPENAI_API_KEY",
        name: "openai",
        base_url: "https://api.openai.com/v1",
        models: &[
            (
                "gpt-4o-mini",
                Some("{input: \"0.15\", cached_input: \"0.075\", output: \"0.60\"}"),
            ),
            ("gpt-4o", None),
        ],
    },
    Known {
        variable: "DEEPSEEK_API_KEY",
        name: "deepseek",
        base_url: "https://api.deepseek.com/v1",
        models: &[("deepseek-chat", None)],
    },
    Known {
        variable: "DASHSCOPE_API_KEY",
        name: "qwen",
        base_url: "https://dashscope.aliyuncs.com/compatible-mode/v1",
        models: &[("qwen-plus", None)],
    },
    Known {
        variable: "MISTRAL_API_KEY",
        name: "mistral",
        base_url: "https://api.mistral.ai/v1",
        models: &[("mistral-small-latest", None)],
    },
    Known {
        variable: "GROQ_API_KEY",
        name: "groq",
        base_url: "https://api.groq.com/openai/v1",
        models: &[("llama-3.3-70b-versatile", None)],
    },
];

/// What the demo made.
pub struct Demo {
    key: Secret,
    /// Real channels that were found.
    found: Vec<&'static str>,
    /// Stops when dropped.
    _vendor: Vendor,
}

/// Starts the demo vendor and applies the demo's configuration.
pub async fn set_up(stores: &Stores, sealer: &Sealer, data_dir: &Path) -> anyhow::Result<Demo> {
    let vendor = Vendor::spawn_demo("127.0.0.1:0").context("the demo vendor")?;
    let key = private_file::kept(&data_dir.join(KEY_FILE), || {
        crate::tenancy::key::Value::generate().reveal().to_owned()
    })?;
    let found: Vec<&Known> = KNOWN
        .iter()
        .filter(|known| read::environment(known.variable).is_some_and(|value| !value.is_empty()))
        .collect();
    let text = configuration(&vendor.base_url(), key.expose(), &found);
    let wanted = read::parse_expanding(&text, &read::environment)
        .map_err(|errors| anyhow::anyhow!("the demo: {errors:?}"))?;
    let author = Author::process("demo");
    let options = resources::Options::default();
    resources::apply(stores, sealer, &author, &wanted, options).await?;
    Ok(Demo {
        key,
        found: found.iter().map(|known| known.name).collect(),
        _vendor: vendor,
    })
}

fn configuration(base_url: &str, key: &str, found: &[&Known]) -> String {
    let mut text = format!(
        "channels:\n  - {{name: demo, kind: openai, base_url: \"{base_url}\", credentials: [demo]}}\n"
    );
    let mut models = "models:\n  - name: demo\n    prices: {input: \"0.10\", output: \"0.40\"}\n    max_output_tokens: 4096\n    \
                      routes: [{channel: demo, model: demo}]\n"
        .to_owned();
    for known in found {
        let (name, base_url, variable) = (known.name, known.base_url, known.variable);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  - {{name: {name}, kind: openai, base_url: \"{base_url}\", credentials: [\"${{{variable}}}\"]}}"
        );
        for (model, prices) in known.models {
            let prices = prices
                .map(|prices| format!("    prices: {prices}\n"))
                .unwrap_or_default();
            let _ = write!(
                models,
                "  - name: {model}\n{prices}    routes: [{{channel: {name}, model: {model}}}]\n"
            );
        }
    }
    format!(
        "{text}{models}tenants:\n  - name: demo\n    keys: [{{name: demo, value: \"{key}\"}}]\n"
    )
}

impl Demo {
    /// The key's value.
    pub fn key(&self) -> &Secret {
        &self.key
    }

    /// Prints what a newcomer pastes.
    #[expect(clippy::print_stdout, reason = "this is what the command is run for")]
    pub fn print(&self, url: &str) {
        let key = self.key.expose();
        println!(
            r#"
Weir is ready.

  address   {url}
  key       {key}
  docs      {url}/docs

Try it:

  curl -N {url}/v1/chat/completions \
    -H "authorization: Bearer {key}" -H "content-type: application/json" \
    -d '{{"model": "demo", "stream": true, "messages": [{{"role": "user", "content": "Hello, Weir!"}}]}}'

or in Python (pip install openai):

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key}")
  for chunk in client.chat.completions.create(
      model="demo", stream=True, messages=[{{"role": "user", "content": "Hello, Weir!"}}]
  ):
      print(chunk.choices[0].delta.content or "", end="", flush=True)
  print()
"#
        );
        if !self.found.is_empty() {
            println!(
                "Real channels, by the keys in your environment: {}\n",
                self.found.join(", ")
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demos_configuration_reads_with_every_vendor() {
        let all: Vec<&Known> = KNOWN.iter().collect();
        let text = configuration(
            "http://127.0.0.1:1/v1",
            "wk-test-key-that-is-long-enough",
            &all,
        );
        let read: weir_api_types::resources::Resources =
            read::parse_expanding(&text, &|_| Some("secret".to_owned())).unwrap();
        assert_eq!(
            read.channels.map(|channels| channels.len()),
            Some(KNOWN.len() + 1)
        );
    }
}
