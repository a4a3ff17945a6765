//! Accounts of three instances against the real scripts, in any order of calls, answers lost and answers late.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use uuid::Uuid;
use weir_api_types::limit::{Mode, Period};

use super::Shared;
use crate::{
    limits::{
        Account, Window,
        budget::{Accounts, Outcome, Reserved, Ticket},
        claim::{Most, Watched},
        lease::Told,
    },
    redis::Redis,
    tenancy::{Budget, BudgetId, RequestId, Scope, TenantId, limit::Amount},
};

const INSTANCES: usize = 3;
const AMOUNT: u64 = 1_000;
const WINDOW: Window = Window::FOREVER;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A call wants to reserve so much of an instance; those that have to wait stay in its queue.
    Call { at: usize, tokens: u64 },
    /// The first in an instance's queue tries again, or gives up.
    Again { at: usize, leaves: bool },
    /// The oldest call of an instance ends, with so many per cent of what it had reserved.
    End { at: usize, percent: u64 },
    /// An instance tells, and hears the answer, or does not.
    Tell { at: usize, heard: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..INSTANCES, 1..300u64).prop_map(|(at, tokens)| Step::Call { at, tokens }),
        4 => (0..INSTANCES, prop::bool::weighted(0.2)).prop_map(|(at, leaves)| Step::Again { at, leaves }),
        2 => (0..INSTANCES, 0..=100u64).prop_map(|(at, percent)| Step::End { at, percent }),
        4 => (0..INSTANCES, prop::bool::weighted(0.8)).prop_map(|(at, heard)| Step::Tell { at, heard }),
    ];
    prop::collection::vec(step, 1..150)
}

/// One instance as the test sees it.
struct Instance {
    accounts: Accounts,
    shared: Shared,
    under_way: Vec<Reserved>,
    waiting: VecDeque<(Ticket, u64)>,
    tickets: u64,
}

struct World {
    budget: Budget,
    account: Account,
    instances: Vec<Instance>,
    spent: u64,
    /// A moment that goes on by itself, so that nothing has to be waited for.
    now: Instant,
}

impl World {
    async fn new(redis: &Redis) -> Self {
        let tenant = TenantId(Uuid::new_v4());
        let budget = Budget {
            id: BudgetId::random(),
            scope: Scope::Tenant(tenant),
            amount: Amount::Tokens(AMOUNT),
            period: Period::Forever,
            mode: Mode::Hard,
            alert_at: Vec::new(),
            position: 0,
        };
        let instance = || Instance {
            accounts: Accounts::shared(),
            shared: Shared::new(redis.clone(), Duration::from_secs(5), Uuid::new_v4()),
            under_way: Vec::new(),
            waiting: VecDeque::new(),
            tickets: 0,
        };
        let world = Self {
            account: Account::of(&budget),
            budget,
            instances: (0..INSTANCES).map(|_| instance()).collect(),
            spent: 0,
            now: Instant::now(),
        };
        let build = Uuid::new_v4();
        let place = (world.account, WINDOW);
        let shared = &world.instances[0].shared;
        let patience = Duration::from_secs(5);
        assert!(
            shared
                .claim(place, build, patience, None)
                .await
                .expect("claimed")
        );
        assert!(shared.finish(place, build, 0, &[]).await.expect("finished"));
        world
    }

    async fn take(&mut self, step: Step) {
        self.now += Duration::from_millis(150);
        match step {
            Step::Call { at, tokens } => {
                let instance = &mut self.instances[at];
                instance.tickets += 1;
                let ticket = Ticket {
                    number: instance.tickets,
                    has_waited: false,
                };
                self.ask(at, ticket, tokens, false);
            }
            Step::Again { at, leaves } => {
                if let Some((ticket, tokens)) = self.instances[at].waiting.pop_front() {
                    self.ask(at, ticket, tokens, leaves);
                }
            }
            Step::End { at, percent } => {
                let instance = &mut self.instances[at];
                if instance.under_way.is_empty() {
                    return;
                }
                let held = instance.under_way.remove(0);
                let actual = held.units * percent / 100;
                self.spent += actual;
                let budgets = std::slice::from_ref(&self.budget);
                let id = RequestId::new();
                instance.accounts.settle(&held, id, actual, budgets);
            }
            Step::Tell { at, heard } => {
                let instance = &mut self.instances[at];
                let tells = instance.accounts.tells(self.now, false, |_| Some(AMOUNT));
                let told = instance.shared.tell(&tells).await;
                for (tell, told) in tells.iter().zip(told) {
                    let told = if heard { told } else { Told::Nothing };
                    instance.accounts.told(tell, told, self.now, &[]);
                }
            }
        }
    }

    /// A call asks; where it has to wait it is the first that is asked again.
    fn ask(&mut self, at: usize, mut ticket: Ticket, tokens: u64, leaves: bool) {
        let most = Most {
            input: Some(tokens),
            ..Most::default()
        };
        let watched = [Watched {
            budget: &self.budget,
            window: WINDOW,
        }];
        let instance = &mut self.instances[at];
        match instance
            .accounts
            .reserve_of(&watched, &most, Some(0), ticket)
        {
            Outcome::Reserved(reserved, _) => instance.under_way.extend(reserved),
            Outcome::Rejected(_) => {}
            Outcome::Wait(_) if leaves => instance.accounts.leave(&watched, ticket),
            Outcome::Wait(_) => {
                ticket.has_waited = true;
                instance.waiting.push_back((ticket, tokens));
            }
        }
    }

    fn reserved(&self) -> u64 {
        let held = self
            .instances
            .iter()
            .flat_map(|instance| &instance.under_way);
        held.map(|held| held.units).sum()
    }
}

/// What is spent and what is reserved is never more than the budget; and when all is told, everybody knows what was spent.
#[test]
fn instances_together_never_hold_more_than_there_is() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let Some(redis) = runtime.block_on(async { crate::redis::for_test() }) else {
        return;
    };
    let cases = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(60)
    };
    proptest!(cases, |(steps in steps())| {
        runtime.block_on(async {
            let mut world = World::new(&redis).await;
            for step in steps {
                world.take(step).await;
                let (spent, reserved) = (world.spent, world.reserved());
                prop_assert!(spent + reserved <= AMOUNT, "{step:?}: {spent} and {reserved}");
            }
            let place = (world.account, WINDOW);
            for at in 0..INSTANCES {
                while !world.instances[at].under_way.is_empty() {
                    world.take(Step::End { at, percent: 50 }).await;
                }
            }
            for _ in 0..2 {
                for at in 0..INSTANCES {
                    world.instances[at].accounts.want(place);
                    world.take(Step::Tell { at, heard: true }).await;
                }
            }
            for instance in &mut world.instances {
                let standing = instance.accounts.standing(world.account, WINDOW);
                prop_assert_eq!(standing.map(|standing| standing.spent), Some(world.spent));
            }
            Ok(())
        })?;
    });
}
