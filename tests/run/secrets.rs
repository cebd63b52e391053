//! A token goes to Azure Resource Manager, over TLS, and nowhere else: not into logs, metrics, state or journals, whatever
//! the other side says of it.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::hostile::{Heard, Hostile, receive, response};

const CANARY: &str = "canary-3e9b51d7";

/// Azure Resource Manager in front of an emulator: TLS, and nobody comes in without a token. Every third write is refused,
/// with the token in the words.
struct Door {
    at: SocketAddr,
    authority: String,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Door {
    fn to(emulator: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.pem().as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
            )
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let (all, behind) = (
            Arc::clone(&heard),
            emulator.trim_start_matches("http://").to_owned(),
        );
        thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(connection, stream.unwrap());
                let Ok(request) = receive(&mut stream) else {
                    continue;
                };
                let number = {
                    let mut all = all.lock().unwrap();
                    all.push(request.clone());
                    all.iter().filter(|heard| heard.head.starts_with("PUT ")).count()
                };
                let is_refused = request.head.starts_with("PUT ") && number % 3 == 1;
                let answer = if is_refused {
                    // Some gateways repeat what they were sent.
                    let said = format!("the request said authorization: Bearer {CANARY}");
                    let body =
                        serde_json::json!({ "error": { "code": "AuthorizationFailed", "message": said } });
                    response("403 Forbidden", "", &body.to_string())
                } else {
                    forward(&behind, &request, at)
                };
                let _ = stream.write_all(answer.as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        Self {
            at,
            authority: authority.pem(),
            heard,
        }
    }
}

/// Asks the emulator, which speaks plain HTTP and says so in its addresses.
fn forward(behind: &str, request: &Heard, at: SocketAddr) -> String {
    let mut stream = TcpStream::connect(behind).unwrap();
    let (line, headers) = request.head.split_once("\r\n").unwrap();
    let asked = format!("{line}\r\nconnection: close\r\n{headers}\r\n{}", request.body);
    stream.write_all(asked.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let head = head.replace(&format!("http://{at}"), &format!("https://{at}"));
    format!("{head}\r\n\r\n{body}")
}

/// Every file below a folder.
fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn a_token_goes_to_azure_resource_manager_and_nowhere_else() {
    let cluster = Cluster::new();
    let door = Door::to(&cluster.arm);
    let token = serde_json::json!({
        "access_token": CANARY, "expires_on": "4102444800", "resource": "https://management.azure.com", "token_type": "Bearer",
    });
    let identity = Hostile::saying(response("200 OK", "", &token.to_string()));
    let files = Files::new(&cluster);
    let config = fs::read_to_string(files.config()).unwrap();
    let config = config.replace(
        &format!("endpoint: '{}'", cluster.arm),
        &format!("endpoint: 'https://{}'", door.at),
    );
    fs::write(files.config(), config).unwrap();
    let authority = files.folder.path().join("ca.pem");
    fs::write(&authority, &door.authority).unwrap();
    cluster.demand(2.0);
    let mut command = files.command();
    command
        .args(["--state", files.state().to_str().unwrap()])
        .env("SSL_CERT_FILE", &authority)
        .env("IDENTITY_ENDPOINT", format!("http://{}/msi/token", identity.at))
        .env("IDENTITY_HEADER", "x")
        .env("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    for variable in [
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_CLIENT_SECRET",
        "AZURE_CLIENT_ID",
    ] {
        command.env_remove(variable);
    }
    let process = Process::start(&mut command);
    let started = process.message("started");
    let refused = process.line(|line| line["message"] == "resize" && line["what"] == "auth");
    assert!(
        refused.to_string().contains("[hidden]"),
        "it is told what was said: {refused}"
    );
    process.line(|line| line["message"] == "resize" && line["what"] == "succeeded");
    let address = started["metrics"].as_str().unwrap();
    let page = ureq::get(format!("http://{address}/metrics")).call();
    let page = page.unwrap().body_mut().read_to_string().unwrap();
    let log = format!("{:?}", process.stop());

    let heard = door.heard.lock().unwrap();
    let bearer = format!("authorization: bearer {CANARY}");
    let without: Vec<&str> = heard
        .iter()
        .map(|heard| heard.head.as_str())
        .filter(|head| !head.to_ascii_lowercase().contains(&bearer))
        .collect();
    assert_eq!(without, [""; 0]);
    let polls = heard.iter().filter(|heard| heard.head.contains("/operations/"));
    assert!(polls.count() > 0, "the operation was followed");
    assert_eq!(
        identity.heard.lock().unwrap().len(),
        1,
        "one token serves them all"
    );
    for (place, text) in [("log", &log), ("metrics", &page)] {
        assert!(!text.contains(CANARY), "{place}: {text}");
    }
    no_canary_is_kept(&files.state());
}

/// Neither state nor journals have it, packed or not.
fn no_canary_is_kept(folder: &Path) {
    let mut kept = Vec::new();
    files_below(folder, &mut kept);
    assert!(kept.iter().any(|path| path.ends_with("state.json")), "{kept:?}");
    for path in &kept {
        let mut bytes = fs::read(path).unwrap();
        let mut blocks = &*bytes.clone();
        // What is packed is looked at as it was before.
        while let Ok(Some((records, _))) = gpuscale::journal::open(&mut blocks) {
            bytes.extend(records);
        }
        let found = bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes());
        assert!(!found, "{}", path.display());
    }
}
