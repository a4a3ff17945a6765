//! What runs in Redis; each script says what it does where it stands.

use redis::Script;

/// All of it, read once.
pub(super) struct Scripts {
    pub(super) take: Script,
    pub(super) settle: Script,
    pub(super) hold: Script,
    pub(super) tell: Script,
    pub(super) claim: Script,
    pub(super) finish: Script,
    pub(super) lose: Script,
    pub(super) epoch: Script,
    pub(super) restock: Script,
    pub(super) left: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            take: Script::new(include_str!("lua/take.lua")),
            settle: Script::new(concat!(
                include_str!("lua/put.lua"),
                include_str!("lua/settle.lua")
            )),
            hold: Script::new(include_str!("lua/hold.lua")),
            tell: Script::new(concat!(
                include_str!("lua/run.lua"),
                include_str!("lua/tell.lua")
            )),
            claim: Script::new(concat!(
                include_str!("lua/run.lua"),
                include_str!("lua/claim.lua")
            )),
            finish: Script::new(concat!(
                include_str!("lua/run.lua"),
                include_str!("lua/finish.lua")
            )),
            lose: Script::new(include_str!("lua/lose.lua")),
            epoch: Script::new(concat!(
                include_str!("lua/run.lua"),
                include_str!("lua/epoch.lua")
            )),
            restock: Script::new(concat!(
                include_str!("lua/put.lua"),
                include_str!("lua/restock.lua")
            )),
            left: Script::new(include_str!("lua/left.lua")),
        }
    }
}
