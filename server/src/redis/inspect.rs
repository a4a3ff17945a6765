//! What an operator should know of the Redis that a server would use (threats.md, R1).

use redis::{AsyncCommands as _, AsyncConnectionConfig, ConnectionAddr, RedisResult};

use super::{PATIENCE, Redis};

/// Keys that are looked at for others than our own.
const SAMPLE: usize = 1_000;
/// What Redis calls a right that is missing.
const NO_PERMISSION: &str = "NOPERM";

impl Redis {
    /// Asks for all that a server needs, and says what is amiss with it all the same: who else may reach it, and what it may
    /// forget. Fails where a server could not work with it.
    pub async fn inspect(&self) -> RedisResult<Vec<String>> {
        self.ping().await?;
        let patience = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let mut node = self
            .client
            .get_multiplexed_async_connection_with_config(&patience)
            .await?;
        let about: String = redis::cmd("INFO").query_async(&mut node).await?;
        let mut look = redis::cmd("EVAL");
        look.arg("return redis.call('EXISTS', KEYS[1])")
            .arg(1)
            .arg(self.tagged("doctor", "look"));
        let _: i64 = look.query_async(&mut self.connection().await?).await?;
        let info = self.client.get_connection_info();
        let mut amiss = Vec::new();
        if info.redis_settings().password().is_none() {
            amiss.push(
                "it asks for no password: whoever reaches it can read and change the counts"
                    .to_owned(),
            );
        } else if is_allowed(
            node.exists::<_, bool>("weir-doctor-looks-beyond-its-prefix")
                .await,
        )? {
            amiss.push(format!(
                "its user may touch every key: an ACL user for ~{}:* is enough",
                self.prefix
            ));
        }
        if let ConnectionAddr::Tcp(host, _) = info.addr()
            && !is_loopback(host)
        {
            amiss.push("what is said to it can be read on the way: rediss:// is TLS".to_owned());
        }
        if let Some(policy) = forgets(&about) {
            amiss.push(format!(
                "it forgets counts when memory is short (maxmemory-policy {policy}): noeviction keeps them"
            ));
        }
        let mut scan = redis::cmd("SCAN");
        scan.arg(0).arg("COUNT").arg(SAMPLE);
        let found: RedisResult<(String, Vec<Vec<u8>>)> = scan.query_async(&mut node).await;
        let own = format!("{}:", self.prefix);
        let is_foreign = |key: &Vec<u8>| !key.starts_with(own.as_bytes());
        if found.is_ok_and(|(_, keys)| keys.iter().any(is_foreign)) {
            amiss.push("others keep keys in the same database".to_owned());
        }
        Ok(amiss)
    }
}

/// Whether a question was answered, and not refused for a right that is missing or a place that is another node's.
fn is_allowed<T>(answer: RedisResult<T>) -> RedisResult<bool> {
    match answer {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some(NO_PERMISSION) => Ok(false),
        Err(error) if error.redirect_node().is_some() => Ok(true),
        Err(error) => Err(error),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// By which policy it drops keys that it should keep, from its own account of itself.
fn forgets(about: &str) -> Option<&str> {
    let field = |name: &str| {
        let mut fields = about.lines().filter_map(|line| line.split_once(':'));
        fields
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim())
    };
    let is_bounded = field("maxmemory").is_some_and(|bytes| bytes != "0");
    field("maxmemory_policy").filter(|policy| is_bounded && *policy != "noeviction")
}
