//! Addresses of the resource provider. ARM takes them in any case of letters.

use crate::emulator::fault::Target;
use crate::emulator::message::{Call, Method, Refusal};

/// What an address names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// The pools of the cluster.
    Pools,
    /// A pool.
    Pool(String),
    /// Its abort.
    Abort(String),
    /// Its `deleteMachines`.
    DeleteMachines(String),
    /// Its machines.
    Machines(String),
    /// One of them.
    Machine(String, String),
    /// What it can be upgraded to.
    UpgradeProfile(String),
    /// The monitor of an operation.
    Monitor(String),
    /// The result of an operation.
    OperationResult(String),
}

/// Where the cluster is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) subscription: String,
    pub(super) group: String,
    pub(super) cluster: String,
    pub(super) location: String,
}

impl Place {
    /// The address of the cluster.
    pub(super) fn cluster_id(&self) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.ContainerService/managedClusters/{}",
            self.subscription, self.group, self.cluster
        )
    }

    /// The address of a pool.
    pub(super) fn pool_id(&self, pool: &str) -> String {
        format!("{}/agentPools/{pool}", self.cluster_id())
    }
}

impl Route {
    /// What a request is about.
    pub(super) fn of(path: &str, place: &Place) -> Result<Self, Refusal> {
        let lower = path.to_ascii_lowercase();
        let parts: Vec<&str> = lower.trim_matches('/').split('/').collect();
        match parts.as_slice() {
            [
                "subscriptions",
                subscription,
                "resourcegroups",
                group,
                "providers",
                "microsoft.containerservice",
                "managedclusters",
                cluster,
                "agentpools",
                rest @ ..,
            ] => {
                place.knows(subscription, Some(group), Some(cluster))?;
                Self::of_pools(rest).ok_or_else(|| nothing(path))
            }
            [
                "subscriptions",
                subscription,
                "providers",
                "microsoft.containerservice",
                "locations",
                _,
                word,
                id,
            ] => {
                place.knows(subscription, None, None)?;
                match *word {
                    "operations" | "operationstatus" => Ok(Self::Monitor((*id).to_owned())),
                    "operationresults" => Ok(Self::OperationResult((*id).to_owned())),
                    _ => Err(nothing(path)),
                }
            }
            _ => Err(nothing(path)),
        }
    }

    fn of_pools(parts: &[&str]) -> Option<Self> {
        let own = |text: &str| text.to_owned();
        Some(match parts {
            [] => Self::Pools,
            [pool] => Self::Pool(own(pool)),
            [pool, "abort"] => Self::Abort(own(pool)),
            [pool, "deletemachines"] => Self::DeleteMachines(own(pool)),
            [pool, "machines"] => Self::Machines(own(pool)),
            [pool, "machines", machine] => Self::Machine(own(pool), own(machine)),
            [pool, "upgradeprofiles", "default"] => Self::UpgradeProfile(own(pool)),
            _ => return None,
        })
    }

    /// The pool that it is about.
    pub(super) fn pool(&self) -> Option<&str> {
        match self {
            Self::Pool(pool)
            | Self::Abort(pool)
            | Self::DeleteMachines(pool)
            | Self::Machines(pool)
            | Self::Machine(pool, _)
            | Self::UpgradeProfile(pool) => Some(pool),
            Self::Pools | Self::Monitor(_) | Self::OperationResult(_) => None,
        }
    }

    /// What faults call it.
    pub(super) fn target(&self, method: Method) -> Target {
        match (self, method) {
            (Self::Pools, _) => Target::ListPools,
            (Self::Pool(_), Method::Put) => Target::PutPool,
            (Self::Pool(_), Method::Patch) => Target::PatchPool,
            (Self::Pool(_), Method::Delete) => Target::DeletePool,
            (Self::Pool(_), _) => Target::GetPool,
            (Self::Abort(_), _) => Target::Abort,
            (Self::DeleteMachines(_), _) => Target::DeleteMachines,
            (Self::Machines(_) | Self::Machine(..), _) => Target::Machines,
            (Self::UpgradeProfile(_), _) => Target::UpgradeProfile,
            (Self::Monitor(_) | Self::OperationResult(_), _) => Target::Operation,
        }
    }
}

impl Place {
    fn knows(&self, subscription: &str, group: Option<&str>, cluster: Option<&str>) -> Result<(), Refusal> {
        let differs =
            |asked: Option<&str>, own: &str| asked.is_some_and(|asked| !own.eq_ignore_ascii_case(asked));
        if differs(Some(subscription), &self.subscription) {
            let message = format!("The subscription '{subscription}' could not be found.");
            return Err(Refusal::new(404, "SubscriptionNotFound", message));
        }
        if differs(group, &self.group) {
            let message = format!(
                "Resource group '{}' could not be found.",
                group.unwrap_or_default()
            );
            return Err(Refusal::new(404, "ResourceGroupNotFound", message));
        }
        if differs(cluster, &self.cluster) {
            let message = format!(
                "The Resource 'Microsoft.ContainerService/managedClusters/{}' under resource group '{}' was not found.",
                cluster.unwrap_or_default(),
                self.group
            );
            return Err(Refusal::new(404, "ResourceNotFound", message));
        }
        Ok(())
    }
}

fn nothing(path: &str) -> Refusal {
    Refusal::new(
        404,
        "InvalidResourceType",
        format!("No resource type answers at '{path}'."),
    )
}

/// Which edition of the reference a request follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edition {
    /// `2026-08-01` and its like.
    Stable,
    /// `2026-08-02-preview` and its like.
    Preview,
}

/// The edition that a request asks for, and how it writes it.
pub(super) fn edition(call: &Call) -> Result<(Edition, String), Refusal> {
    let Some(version) = call
        .parameter("api-version")
        .filter(|version| !version.is_empty())
    else {
        let message = "The api-version query parameter (?api-version=) is required for all requests.";
        return Err(Refusal::new(400, "MissingApiVersionParameter", message));
    };
    let (date, edition) = match version.strip_suffix("-preview") {
        Some(date) => (date, Edition::Preview),
        None => (version.as_str(), Edition::Stable),
    };
    let dashes = |at: usize, c: char| {
        if at == 4 || at == 7 {
            c == '-'
        } else {
            c.is_ascii_digit()
        }
    };
    if date.len() != 10 || !date.char_indices().all(|(at, c)| dashes(at, c)) {
        let message = format!("The api-version '{version}' is invalid.");
        return Err(Refusal::new(400, "InvalidApiVersionParameter", message));
    }
    Ok((edition, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            subscription: "S".to_owned(),
            group: "rg".to_owned(),
            cluster: "ml".to_owned(),
            location: "eastus".to_owned(),
        }
    }

    #[test]
    fn addresses_are_taken_in_any_case() {
        let base = place().pool_id("gpu");
        let check = |path: String, expected: Result<Route, &str>| {
            let found = Route::of(&path, &place()).map_err(|refusal| refusal.code);
            assert_eq!(found, expected.map_err(str::to_owned), "{path}");
        };
        let gpu = || "gpu".to_owned();
        check(base.clone(), Ok(Route::Pool(gpu())));
        check(base.to_uppercase(), Ok(Route::Pool(gpu())));
        check(format!("{base}/"), Ok(Route::Pool(gpu())));
        check(format!("{base}/deleteMachines"), Ok(Route::DeleteMachines(gpu())));
        check(
            format!("{base}/machines/a-b"),
            Ok(Route::Machine(gpu(), "a-b".to_owned())),
        );
        check(format!("{base}/x"), Err("InvalidResourceType"));
        check(base.replace("/rg/", "/other/"), Err("ResourceGroupNotFound"));
        check(base.replace("/S/", "/T/"), Err("SubscriptionNotFound"));
        check(base.replace("/ml/", "/other/"), Err("ResourceNotFound"));
        let operations = "/subscriptions/s/providers/Microsoft.ContainerService/locations/eastus";
        check(
            format!("{operations}/operations/1"),
            Ok(Route::Monitor("1".to_owned())),
        );
        check(
            format!("{operations}/operationresults/1"),
            Ok(Route::OperationResult("1".to_owned())),
        );
    }

    #[test]
    fn a_version_is_required_and_looks_like_one() {
        let check = |query: &str, expected: Result<Edition, &str>| {
            let found = edition(&Call::new(Method::Get, &format!("/?{query}")));
            let found = found.map(|(edition, _)| edition).map_err(|refusal| refusal.code);
            assert_eq!(found, expected.map_err(str::to_owned), "{query}");
        };
        check("api-version=2026-08-01", Ok(Edition::Stable));
        check("api-version=2026-08-02-preview", Ok(Edition::Preview));
        check("", Err("MissingApiVersionParameter"));
        check("api-version=", Err("MissingApiVersionParameter"));
        check("api-version=latest", Err("InvalidApiVersionParameter"));
    }
}
