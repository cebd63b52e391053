//! Which identities a process may use, in order, and how each asks for a token.
//!
//! There is no default order in Azure's library on purpose; this is ours. A secret that the configuration names is what the
//! administrator means. A pod with a federated token uses that and nothing else: falling back to the node's identity would ask
//! with rights that nobody meant. The same goes for a secret in the environment. Without any of them it is the managed identity
//! of the machine. Outside a cluster somebody is trying things out, so the login of the Azure CLI is asked last.

use std::error::Error as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, TokenCredential};
use azure_core::error::ErrorKind;
use azure_core::http::{ClientMethodOptions, ClientOptions, RetryOptions, Transport as Sender};
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, ClientAssertion, ClientAssertionCredential,
    ClientAssertionCredentialOptions, Executor, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId,
};

use crate::config::Cloud;
use crate::source::http::shown;

use super::environment::Environment;
use super::error::{EntraError, Failure};
use super::secret::{ClientSecret, Kept};
use super::transport::{Giver, Transport};
use super::{Identity, Settings};

/// Longest federated token or client secret that is read; real ones have about 1 KiB.
const LONGEST_SECRET: u64 = 64 << 10;

/// How long the machine's identity may take where there is another way: on a desk, nobody answers.
const PROBE: Duration = Duration::from_secs(3);

/// What a transport gets beyond its own limit to say what went wrong, which it knows better than a clock does.
const GRACE: Duration = Duration::from_millis(500);

/// An identity that may be used.
pub(super) struct Candidate {
    /// Which one, in words.
    pub(super) words: String,
    credential: Arc<dyn TokenCredential>,
    limit: Duration,
    /// What became of a request, from the library's error.
    failure: fn(&azure_core::Error) -> Failure,
}

/// The identities that may be used, the first one first.
pub(super) fn candidates(
    settings: &Settings,
    environment: &Environment,
) -> Result<Vec<Candidate>, EntraError> {
    let identity = match settings.identity {
        Identity::Found if settings.client_secret_file.is_some() => Identity::Secret,
        Identity::Found if environment.token_file.is_some() => Identity::Workload,
        Identity::Found if environment.client_secret.is_some() => Identity::Secret,
        Identity::Found if environment.in_cluster => Identity::Managed,
        other => other,
    };
    Ok(match identity {
        Identity::Workload => vec![workload(settings, environment)?],
        Identity::Managed => vec![managed(settings, environment, settings.limit)?],
        Identity::AzureCli => vec![azure_cli(settings, environment, None)?],
        Identity::Secret => vec![secret(settings, environment)?],
        Identity::Found => vec![
            managed(settings, environment, settings.limit.min(PROBE))?,
            azure_cli(settings, environment, None)?,
        ],
    })
}

fn workload(settings: &Settings, environment: &Environment) -> Result<Candidate, EntraError> {
    fn needed<T>(value: Option<T>, variable: &'static str) -> Result<T, EntraError> {
        value.ok_or(EntraError::Missing { variable })
    }
    let path = needed(environment.token_file.clone(), "AZURE_FEDERATED_TOKEN_FILE")?;
    let tenant = needed(tenant_id(settings, environment), "AZURE_TENANT_ID")?;
    let client = client_id(settings, environment);
    let client = needed(client, "AZURE_CLIENT_ID")?;
    let (client_options, authority) = at_authority(settings, environment)?;
    let words = format!("workload identity `{client}` of tenant `{tenant}` at {authority}");
    let options = ClientAssertionCredentialOptions { client_options };
    let credential = ClientAssertionCredential::new(tenant, client, TokenFile(path), Some(options))
        .map_err(|error| setting("workload identity", &error))?;
    Ok(Candidate {
        words,
        credential,
        limit: settings.limit,
        failure: sent,
    })
}

fn secret(settings: &Settings, environment: &Environment) -> Result<Candidate, EntraError> {
    let lacking = |message: &str| EntraError::Setting {
        setting: "the client secret",
        message: message.to_owned(),
    };
    let tenant = tenant_id(settings, environment)
        .ok_or_else(|| lacking("its tenant is not known; set `entra.tenantId`, or `AZURE_TENANT_ID`"))?;
    let client = client_id(settings, environment)
        .ok_or_else(|| lacking("its application is not known; set `entra.clientId`, or `AZURE_CLIENT_ID`"))?;
    let file = settings.client_secret_file.clone().map(Kept::File);
    let kept = file.or_else(|| environment.client_secret.clone().map(Kept::Here));
    let kept =
        kept.ok_or_else(|| lacking("there is none; set `entra.clientSecretFile`, or `AZURE_CLIENT_SECRET`"))?;
    let (options, authority) = at_authority(settings, environment)?;
    let words = format!("the secret of `{client}` of tenant `{tenant}` at {authority}");
    let credential = ClientSecret {
        tenant,
        client,
        kept,
        options,
    };
    Ok(Candidate {
        words,
        credential: Arc::new(credential),
        limit: settings.limit,
        failure: sent,
    })
}

fn managed(settings: &Settings, environment: &Environment, limit: Duration) -> Result<Candidate, EntraError> {
    let client = client_id(settings, environment);
    let words = client.as_ref().map_or_else(
        || "the system-assigned managed identity".to_owned(),
        |client| format!("the managed identity `{client}`"),
    );
    let options = ManagedIdentityCredentialOptions {
        user_assigned_id: client.map(UserAssignedId::ClientId),
        client_options: options(Giver::Machine, settings, limit)?,
    };
    let credential =
        ManagedIdentityCredential::new(Some(options)).map_err(|error| setting("managed identity", &error))?;
    Ok(Candidate {
        words,
        credential,
        limit,
        failure: sent,
    })
}

fn azure_cli(
    settings: &Settings,
    environment: &Environment,
    executor: Option<Arc<dyn Executor>>,
) -> Result<Candidate, EntraError> {
    let options = AzureCliCredentialOptions {
        tenant_id: environment.tenant_id.clone(),
        executor,
        ..AzureCliCredentialOptions::default()
    };
    let credential =
        AzureCliCredential::new(Some(options)).map_err(|error| setting("the Azure CLI", &error))?;
    Ok(Candidate {
        words: "the login of the Azure CLI".to_owned(),
        credential,
        limit: settings.limit,
        failure: printed,
    })
}

/// The administrator's tenant before that of the pod.
fn tenant_id(settings: &Settings, environment: &Environment) -> Option<String> {
    let configured = settings.tenant_id.clone();
    configured.or_else(|| environment.tenant_id.clone())
}

/// The administrator's identity before that of the pod.
fn client_id(settings: &Settings, environment: &Environment) -> Option<String> {
    let configured = settings.client_id.clone();
    configured.or_else(|| environment.client_id.clone())
}

/// Where tokens are given out: the platform knows its own cloud.
fn authority(cloud: Cloud, environment: &Environment) -> String {
    let named = environment.authority_host.as_deref().unwrap_or(match cloud {
        Cloud::Public => "https://login.microsoftonline.com",
        Cloud::UsGovernment => "https://login.microsoftonline.us",
        Cloud::China => "https://login.chinacloudapi.cn",
    });
    named.trim().trim_end_matches('/').to_owned()
}

/// How the authority is asked, and where it is.
fn at_authority(
    settings: &Settings,
    environment: &Environment,
) -> Result<(ClientOptions, String), EntraError> {
    let authority = authority(settings.cloud, environment);
    let shown = authority.trim_start_matches("https://").to_owned();
    let mut custom = CustomConfiguration::default();
    custom.authority_host = authority;
    let mut options = options(Giver::Authority, settings, settings.limit)?;
    options.cloud = Some(Arc::new(CloudConfiguration::Custom(custom)));
    Ok((options, shown))
}

fn options(giver: Giver, settings: &Settings, limit: Duration) -> Result<ClientOptions, EntraError> {
    let transport = Transport::new(giver, limit, settings.stand_in)?;
    Ok(ClientOptions {
        transport: Some(Sender::new(Arc::new(transport))),
        retry: RetryOptions::none(),
        ..ClientOptions::default()
    })
}

/// What a constructor says is about names and addresses, never about secrets.
fn setting(setting: &'static str, error: &azure_core::Error) -> EntraError {
    EntraError::Setting {
        setting,
        message: shown(&error.to_string()),
    }
}

impl Candidate {
    /// Asks for a token.
    pub(super) async fn token(&self, scope: &str) -> Result<AccessToken, Failure> {
        let scopes = [scope];
        let asked = self.credential.get_token(&scopes, None);
        match tokio::time::timeout(self.limit + GRACE, asked).await {
            Ok(Ok(token)) => Ok(token),
            Ok(Err(error)) => Err((self.failure)(&error)),
            Err(_) => Err(Failure::Timeout {
                limit: self.limit,
                last: None,
            }),
        }
    }
}

/// What went wrong, if it was said below. Whatever else there may be is about an answer that could not be read, and quotes
/// it: that is told without its words, since they may be a token.
fn sent(error: &azure_core::Error) -> Failure {
    let mut cause = error.source();
    while let Some(next) = cause {
        if let Some(failure) = next.downcast_ref::<Failure>() {
            return failure.clone();
        }
        cause = next.source();
    }
    Failure::Malformed {
        host: "the giver of tokens".to_owned(),
        message: "`access_token` or the time at which it expires is missing".to_owned(),
    }
}

/// What a command said on its standard error. What it printed for a token and is none is not repeated either.
fn printed(error: &azure_core::Error) -> Failure {
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<azure_core::Error>());
    let said = cause.filter(|cause| *cause.kind() == ErrorKind::Credential);
    Failure::AzureCli {
        message: said.map_or_else(
            || "what it printed is no token".to_owned(),
            |cause| shown(cause.to_string().trim()),
        ),
    }
}

/// The token that the platform puts into the pod, and replaces from time to time.
///
/// It is read for each request, which is once in an hour: the library's own reader keeps it for ten minutes, and refuses to
/// begin without it.
struct TokenFile(PathBuf);

impl std::fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TokenFile").field(&self.0).finish()
    }
}

#[async_trait]
impl ClientAssertion for TokenFile {
    // The file is small and in memory: a thread of its own would take longer than reading it.
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        file_of_secret(&self.0).map_err(|message| {
            let path = self.0.clone();
            azure_core::Error::new(ErrorKind::Other, Failure::TokenFile { path, message })
        })
    }
}

/// What a small file holds, without the line's end that editors leave.
pub(super) fn file_of_secret(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(LONGEST_SECRET + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    let token = text.trim();
    if token.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.len() as u64 > LONGEST_SECRET {
        return Err(format!("it is longer than {} KiB", LONGEST_SECRET >> 10));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::io;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{ExitStatus, Output};

    use super::*;

    const CANARY: &str = "canary-7d3c4a2b";

    /// A command that ends like this.
    #[derive(Debug)]
    struct Ends {
        code: i32,
        stdout: String,
        stderr: &'static str,
    }

    #[async_trait]
    impl Executor for Ends {
        async fn run(&self, _: &OsStr, arguments: &[&OsStr]) -> io::Result<Output> {
            let command = arguments[1].to_str().unwrap();
            assert!(
                command.contains("--scope https://a/.default --tenant tenant"),
                "{command}"
            );
            Ok(Output {
                status: ExitStatus::from_raw(self.code << 8),
                stdout: self.stdout.clone().into_bytes(),
                stderr: self.stderr.as_bytes().to_vec(),
            })
        }
    }

    fn asked(code: i32, stdout: &str, stderr: &'static str) -> Result<AccessToken, Failure> {
        let settings = Settings::new("https://a", Cloud::Public);
        let environment = Environment {
            tenant_id: Some("tenant".to_owned()),
            ..Environment::default()
        };
        let stdout = stdout.to_owned();
        let executor = Arc::new(Ends { code, stdout, stderr });
        let candidate = azure_cli(&settings, &environment, Some(executor)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(candidate.token(&settings.scope))
    }

    #[test]
    fn the_azure_cli_is_asked_and_quoted_without_what_it_printed() {
        let token =
            format!("{{\"accessToken\":\"{CANARY}\",\"expires_on\":4102444800,\"tokenType\":\"Bearer\"}}");
        assert_eq!(asked(0, &token, "").unwrap().token.secret(), CANARY);
        let failure = asked(1, "", "ERROR: Please run 'az login' to setup account.\n").unwrap_err();
        assert_eq!(
            failure.to_string(),
            "`az account get-access-token` failed: ERROR: Please run 'az login' to setup account."
        );
        let missing = asked(127, "", "").unwrap_err().to_string();
        assert!(missing.ends_with("az not found on PATH"), "{missing}");
        for printed in [
            token.replace("4102444800", &format!("\"{CANARY}\"")),
            token.replace(&format!("\"{CANARY}\""), &format!("[\"{CANARY}\"]")),
            CANARY.to_owned(),
        ] {
            let failure = asked(0, &printed, "").unwrap_err();
            assert!(failure.to_string().ends_with("is no token"), "{failure}");
            assert!(!format!("{failure:?}").contains(CANARY), "{failure:?}");
        }
    }

    fn pod() -> Environment {
        Environment {
            tenant_id: Some("tenant".to_owned()),
            client_id: Some("pod".to_owned()),
            token_file: Some("/var/run/token".into()),
            client_secret: None,
            authority_host: Some("https://login.microsoftonline.us/".to_owned()),
            in_cluster: true,
        }
    }

    fn words(
        identity: Identity,
        client: Option<&str>,
        environment: &Environment,
    ) -> Result<Vec<String>, EntraError> {
        let settings = Settings {
            identity,
            client_id: client.map(str::to_owned),
            ..Settings::new("https://a", Cloud::China)
        };
        let candidates = candidates(&settings, environment)?;
        Ok(candidates.into_iter().map(|one| one.words).collect())
    }

    #[test]
    fn the_order_of_identities_is_by_what_the_platform_gave() {
        let (desk, node) = (
            Environment::default(),
            Environment {
                in_cluster: true,
                ..Environment::default()
            },
        );
        let unnamed = Environment {
            authority_host: None,
            ..pod()
        };
        let with_secret = |environment: &Environment| Environment {
            client_secret: Some("s".into()),
            ..environment.clone()
        };
        let renewed = with_secret(&pod());
        let application = Environment {
            token_file: None,
            ..renewed.clone()
        };
        let secret = "the secret of `pod` of tenant `tenant` at login.microsoftonline.us";
        let of_pod = "workload identity `pod` of tenant `tenant` at login.microsoftonline.us";
        let own = "workload identity `own` of tenant `tenant` at login.chinacloudapi.cn";
        let (machine, cli) = ("the managed identity `own`", "the login of the Azure CLI");
        for (identity, client, environment, expected) in [
            (Identity::Found, None, &pod(), &[of_pod][..]),
            (Identity::Found, Some("own"), &unnamed, &[own]),
            (Identity::Managed, Some("own"), &pod(), &[machine]),
            (
                Identity::Found,
                None,
                &node,
                &["the system-assigned managed identity"],
            ),
            (Identity::Found, Some("own"), &desk, &[machine, cli]),
            (Identity::AzureCli, None, &pod(), &[cli]),
            (Identity::Found, None, &renewed, &[of_pod]),
            (Identity::Found, None, &application, &[secret]),
            (Identity::Secret, None, &renewed, &[secret]),
        ] {
            assert_eq!(words(identity, client, environment).unwrap(), expected);
        }
    }

    #[test]
    fn a_client_secret_names_the_part_that_it_lacks() {
        let whole = Environment {
            client_secret: Some("s".into()),
            ..pod()
        };
        for (lacking, named) in [
            (
                Environment {
                    tenant_id: None,
                    ..whole.clone()
                },
                "entra.tenantId",
            ),
            (
                Environment {
                    client_id: None,
                    ..whole.clone()
                },
                "entra.clientId",
            ),
            (
                Environment {
                    client_secret: None,
                    ..whole.clone()
                },
                "entra.clientSecretFile",
            ),
        ] {
            let error = words(Identity::Secret, None, &lacking).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        assert!(words(Identity::Secret, None, &whole).is_ok());
    }

    #[test]
    fn workload_identity_names_the_part_that_it_lacks() {
        for variable in ["AZURE_FEDERATED_TOKEN_FILE", "AZURE_TENANT_ID", "AZURE_CLIENT_ID"] {
            let mut lacking = pod();
            match variable {
                "AZURE_TENANT_ID" => lacking.tenant_id = None,
                "AZURE_CLIENT_ID" => lacking.client_id = None,
                _ => lacking.token_file = None,
            }
            let error = words(Identity::Workload, None, &lacking).unwrap_err();
            assert_eq!(error, EntraError::Missing { variable });
        }
    }
}
