//! Which policy owns which pool.
//!
//! Two policies that resize one pool would undo each other's work for ever. So a pool belongs to the oldest policy
//! that names it, as its target or as a fallback pool: by time of creation, then by namespace and name, which is the
//! same on every machine and after every restart. A younger one that has it as its target is conflicting and resizes
//! nothing; one that has it as a fallback pool goes without that one.
//!
//! Being conflicting does not change what a policy owns: its fallback pools, if no older policy names them, stay its
//! own. Else the end of one policy would move pools between others that it had nothing to do with.
//!
//! Only policies in mode `Enforce` compete. A policy in mode `Recommend` never writes, so it takes nothing from
//! anybody and nobody takes anything from it: a policy can be tried out beside the one in charge.

use std::collections::BTreeMap;

use crate::policy::config::Millis;

use super::ports::{PolicyKey, PoolKey};
use super::{Mode, Policy};

/// What a policy says about pools.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Who it is.
    pub policy: &'a PolicyKey,
    /// When it was created.
    pub created_ms: Millis,
    /// Whether it acts.
    pub mode: Mode,
    /// The pool it resizes.
    pub target: &'a PoolKey,
    /// Pools that take over, in order.
    pub fallbacks: &'a [PoolKey],
}

impl<'a> From<&'a Policy> for Claim<'a> {
    fn from(policy: &'a Policy) -> Self {
        Self {
            policy: &policy.key,
            created_ms: policy.created_ms,
            mode: policy.mode,
            target: &policy.target,
            fallbacks: &policy.fallbacks,
        }
    }
}

/// Who owns the pools that are named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ownership<'a> {
    /// Each pool and the oldest policy in mode `Enforce` that names it.
    owners: BTreeMap<&'a PoolKey, (Millis, &'a PolicyKey)>,
}

/// How a policy stands to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing<'a> {
    /// It may resize it, as far as other policies go.
    Clear,
    /// An older policy owns it.
    Conflicting(&'a PolicyKey),
}

/// Gives every pool to the oldest policy that names it, whatever the order of the claims.
#[must_use]
pub fn owners<'a>(claims: impl IntoIterator<Item = Claim<'a>>) -> Ownership<'a> {
    let mut owners = BTreeMap::new();
    for claim in claims.into_iter().filter(|claim| claim.mode == Mode::Enforce) {
        let age = (claim.created_ms, claim.policy);
        for pool in std::iter::once(claim.target).chain(claim.fallbacks) {
            let oldest = owners.entry(pool).or_insert(age);
            *oldest = age.min(*oldest);
        }
    }
    Ownership { owners }
}

impl<'a> Ownership<'a> {
    /// The policy that owns a pool; `None` if no policy that acts names it.
    #[must_use]
    pub fn owner(&self, pool: &PoolKey) -> Option<&'a PolicyKey> {
        self.owners.get(pool).map(|(_, policy)| *policy)
    }

    /// How a policy stands to its target.
    #[must_use]
    pub fn standing(&self, claim: &Claim<'_>) -> Standing<'a> {
        match self.owner(claim.target) {
            Some(owner) if claim.mode == Mode::Enforce && owner != claim.policy => {
                Standing::Conflicting(owner)
            }
            _ => Standing::Clear,
        }
    }

    /// The fallback pools that a policy keeps, by their index in its list, in its order: those that no older policy
    /// owns, each once, and never its own target.
    pub fn fallbacks(&self, claim: &Claim<'_>) -> impl Iterator<Item = usize> {
        let named = claim.fallbacks.iter().enumerate();
        named
            .filter(|(index, pool)| {
                let mut before = claim.fallbacks.iter().take(*index);
                *pool != claim.target && before.all(|other| other != *pool) && self.keeps(claim, pool)
            })
            .map(|(index, _)| index)
    }

    fn keeps(&self, claim: &Claim<'_>, pool: &PoolKey) -> bool {
        claim.mode == Mode::Recommend || self.owner(pool).is_none_or(|owner| owner == claim.policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A policy by name, time of creation, mode and pools, the target first.
    type Row<'a> = (&'a str, Millis, Mode, &'a [&'a str]);

    struct Named {
        policy: PolicyKey,
        created_ms: Millis,
        mode: Mode,
        target: PoolKey,
        fallbacks: Vec<PoolKey>,
    }

    fn pool(name: &str) -> PoolKey {
        match name.split_once('/') {
            Some((cluster, name)) => PoolKey::new(cluster, name),
            None => PoolKey::new("cluster", name),
        }
    }

    fn named(row: &Row<'_>) -> Named {
        let (name, created_ms, mode, pools) = *row;
        Named {
            policy: PolicyKey::new("default", name),
            created_ms,
            mode,
            target: pool(pools[0]),
            fallbacks: pools[1..].iter().map(|name| pool(name)).collect(),
        }
    }

    fn claim(named: &Named) -> Claim<'_> {
        Claim {
            policy: &named.policy,
            created_ms: named.created_ms,
            mode: named.mode,
            target: &named.target,
            fallbacks: &named.fallbacks,
        }
    }

    /// What becomes of a policy, as `clear` or `after NAME`, and its fallback pools.
    fn outcome(ownership: &Ownership<'_>, named: &Named) -> String {
        let claim = claim(named);
        let standing = match ownership.standing(&claim) {
            Standing::Clear => "clear".to_owned(),
            Standing::Conflicting(owner) => format!("after {}", owner.name),
        };
        let kept = ownership
            .fallbacks(&claim)
            .map(|index| format!(" {}", named.fallbacks[index].name));
        standing + &kept.collect::<String>()
    }

    /// Checks the outcome of each policy, in the order given and in the reverse one.
    fn check(rows: &[(Row<'_>, &str)]) {
        let policies: Vec<Named> = rows.iter().map(|(row, _)| named(row)).collect();
        let forward = owners(policies.iter().map(claim));
        assert_eq!(forward, owners(policies.iter().rev().map(claim)));
        for (policy, (row, expected)) in policies.iter().zip(rows) {
            assert_eq!(outcome(&forward, policy), *expected, "{row:?}");
        }
    }

    use Mode::{Enforce, Recommend};

    #[test]
    fn policies_that_share_nothing_leave_each_other_alone() {
        check(&[
            (("a", 1, Enforce, &["p", "q"]), "clear q"),
            (("b", 2, Enforce, &["r"]), "clear"),
        ]);
    }

    #[test]
    fn pools_of_one_name_in_two_clusters_are_two_pools() {
        check(&[
            (("a", 1, Enforce, &["east/p"]), "clear"),
            (("b", 2, Enforce, &["west/p"]), "clear"),
        ]);
    }

    #[test]
    fn the_older_owns_the_target() {
        check(&[
            (("young", 2, Enforce, &["p"]), "after old"),
            (("old", 1, Enforce, &["p"]), "clear"),
            (("youngest", 3, Enforce, &["p"]), "after old"),
        ]);
    }

    #[test]
    fn of_two_as_old_the_name_decides() {
        check(&[
            (("b", 1, Enforce, &["p"]), "after a"),
            (("a", 1, Enforce, &["p"]), "clear"),
        ]);
    }

    #[test]
    fn the_older_owns_a_pool_that_it_only_falls_back_to() {
        check(&[
            (("old", 1, Enforce, &["p", "q"]), "clear q"),
            (("young", 2, Enforce, &["q", "r"]), "after old r"),
        ]);
    }

    #[test]
    fn the_younger_goes_without_a_fallback_pool_that_an_older_one_names() {
        check(&[
            (("old", 1, Enforce, &["p", "q"]), "clear q"),
            (("young", 2, Enforce, &["r", "p", "s", "q"]), "clear s"),
        ]);
    }

    #[test]
    fn a_conflicting_policy_keeps_its_fallback_pools_from_the_younger() {
        check(&[
            (("old", 1, Enforce, &["p"]), "clear"),
            (("middle", 2, Enforce, &["p", "q"]), "after old q"),
            (("young", 3, Enforce, &["q"]), "after middle"),
        ]);
    }

    #[test]
    fn a_pool_that_a_policy_names_twice_counts_once() {
        check(&[(("a", 1, Enforce, &["p", "q", "p", "q", "r"]), "clear q r")]);
        check(&[(("a", 1, Recommend, &["p", "p", "q", "q"]), "clear q")]);
    }

    #[test]
    fn a_policy_that_only_recommends_takes_nothing_and_loses_nothing() {
        check(&[
            (("watcher", 1, Recommend, &["p", "q"]), "clear q"),
            (("actor", 2, Enforce, &["p", "q"]), "clear q"),
            (("second-watcher", 3, Recommend, &["p", "q"]), "clear q"),
        ]);
    }

    #[test]
    fn nobody_owns_what_nobody_names() {
        let watcher = named(&("watcher", 1, Recommend, &["p"]));
        let ownership = owners([claim(&watcher)]);
        assert_eq!(ownership.owner(&pool("p")), None);
        assert_eq!(owners([]).owner(&pool("p")), None);
    }
}
