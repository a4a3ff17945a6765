//! `${UPPER_CASE}` in configuration files.
//!
//! The CLI expands on its own machine, and `serve --resources` does so for the one file that its command line names;
//! nothing that arrives through the API ever comes here (threats.md, K3). A value is never expanded again. Everything
//! that is not exactly `${UPPER_CASE}` stays as it is: `${lower_case}` is a rule's variable, `$${` is a plain `${`.

/// A variable that the environment does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment has no variable {0}")]
pub struct Missing(pub String);

/// The text with its variables replaced.
pub fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, Missing> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = if rest.starts_with("$${") {
            expanded.push_str("${");
            3
        } else if let Some(group) = group(rest) {
            match group
                .strip_prefix("${")
                .and_then(|name| name.strip_suffix('}'))
            {
                Some(name) if is_variable(name) => {
                    expanded.push_str(&lookup(name).ok_or_else(|| Missing(name.to_owned()))?);
                }
                _ => expanded.push_str(group),
            }
            group.len()
        } else {
            expanded.push('$');
            1
        };
        rest = &rest[taken..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The text so written that [`expand`] gives it back whatever the environment has.
pub fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

/// What begins with `${`, up to the brace that closes it: `${x:-${HOME}}` is one group, so that nothing inside of
/// what stays literal is expanded.
fn group(text: &str) -> Option<&str> {
    let inside = text.strip_prefix("${")?;
    let mut depth = 1usize;
    for (at, character) in inside.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&text[..at + 3]);
        }
    }
    None
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_uppercase() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "KEY" => Some("sk-1".to_owned()),
            "NESTED" => Some("${KEY}".to_owned()),
            "HOME" => Some("canary".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn only_the_one_form_is_expanded() {
        for (text, expanded) in [
            ("${KEY}", "sk-1"),
            ("Bearer ${KEY}!", "Bearer sk-1!"),
            ("${KEY}${KEY}", "sk-1sk-1"),
            ("${NESTED}", "${KEY}"),
            ("$${KEY}", "${KEY}"),
            ("$$${KEY}", "$${KEY}"),
            ("${request_id}", "${request_id}"),
            ("${x:-${HOME}}", "${x:-${HOME}}"),
            ("{{env.HOME}}", "{{env.HOME}}"),
            ("$HOME $ $$ ${", "$HOME $ $$ ${"),
            ("${}", "${}"),
            ("${Key}", "${Key}"),
            ("{}}${KEY}", "{}}sk-1"),
            ("$}${KEY}", "$}sk-1"),
        ] {
            assert_eq!(
                expand(text, &environment).as_deref(),
                Ok(expanded),
                "{text}"
            );
        }
        assert_eq!(
            expand("a ${NOT_SET}", &environment),
            Err(Missing("NOT_SET".to_owned()))
        );
    }

    proptest! {
        #[test]
        fn an_escaped_text_comes_back(text in "[${}A-Zx]{0,12}") {
            let unset = |_: &str| None;
            prop_assert_eq!(expand(&escape(&text), &unset), Ok(text));
        }
    }
}
