//! A metrics server that does everything wrong, over real HTTP on loopback: every fault has its name, ends in bounded time,
//! takes bounded memory, and tells no secret.

#![cfg(feature = "source")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test with real servers and real time"
)]

mod hostile;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use gpuscale::control::ports::{
    Answer, Clock, Completeness, MetricsSource, ReadRequest, Selector, SourceError, SourceErrorKind,
};
use gpuscale::policy::config::Millis;
use gpuscale::policy::observation::Now;
use gpuscale::source::http::{Allowed, Client, ClientError, Settings};
use gpuscale::source::prometheus::answer::Limits;
use gpuscale::source::prometheus::server::{Method, Server};

use hostile::{GOOD, Hostile, response};

const CANARY: &str = "canary-7d3c4a2b";

const TIMEOUT: Duration = Duration::from_secs(4);

const LIMITS: Limits = Limits {
    bytes: 8 << 20,
    series: 20_000,
    samples: 200_000,
};

/// The real clocks.
#[derive(Debug)]
struct Real(Instant);

impl Clock for Real {
    fn now(&self) -> Now {
        let millis = |duration: Duration| Millis::try_from(duration.as_millis()).unwrap();
        Now {
            wall_ms: millis(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap()),
            timer_ms: millis(self.0.elapsed()),
        }
    }

    async fn sleep_until(&self, _: Millis) {
        panic!("a source does not sleep");
    }
}

/// Asks a server once, from a client that knows a secret.
fn ask(hostile: &Hostile) -> Result<Answer, SourceError> {
    let server = server(&hostile.url(), Method::Post);
    run(async { server.read(&request(&selector())).await })
}

fn server(url: &str, method: Method) -> Server<Real> {
    let mut secret: reqwest::header::HeaderValue = format!("Bearer {CANARY}").parse().unwrap();
    secret.set_sensitive(true);
    let settings = Settings {
        headers: [(reqwest::header::AUTHORIZATION, secret)].into_iter().collect(),
        ..Settings::new(url, TIMEOUT)
    };
    let client = Client::new(settings).unwrap();
    let clock = Rc::new(Real(Instant::now()));
    let parameters = vec![("partial_response".to_owned(), "false".to_owned())];
    Server::new(client, clock, method, LIMITS, parameters)
}

fn selector() -> Selector {
    Selector::Metric {
        name: "DCGM_FI_DEV_GPU_UTIL",
        match_labels: vec![("pool".to_owned(), "a100".to_owned())],
    }
}

fn request(selector: &Selector) -> ReadRequest<'_> {
    ReadRequest {
        source: "default",
        selector,
        window_ms: 600_000,
        as_of_ms: None,
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

fn refused(answer: String) -> SourceError {
    let error = ask(&Hostile::saying(answer)).map(|answer| answer.series.len());
    without_secret(error.unwrap_err())
}

fn without_secret(error: SourceError) -> SourceError {
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(CANARY), "{shown}");
    error
}

/// Found by review: after this machine slept, the first answer was of before and stood for the present.
#[test]
fn an_answer_to_a_question_of_another_time_is_refused_and_the_next_one_is_of_now() {
    let hours = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let asked = Arc::clone(&hours);
    let hostile = Hostile::new(move |stream| {
        let hour = [14, 14, 22, 22, 14, 14][asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst)];
        let date = format!("Date: Sun, 22 Nov 2026 {hour}:00:00 GMT\r\n");
        stream.write_all(response("200 OK", &date, GOOD).as_bytes())
    });
    let server = server(&hostile.url(), Method::Post);
    let noon_ms = 1_795_348_800_000;
    for (way, hour) in [
        ("", 14),
        ("", 14),
        ("later", 22),
        ("", 22),
        ("earlier", 14),
        ("", 14),
    ] {
        match run(server.read(&request(&selector()))) {
            Ok(answer) => {
                let at_ms = noon_ms + (hour - 12) * 3_600_000;
                assert!(way.is_empty() && (answer.now_ms - at_ms).abs() <= 5_000, "{hour}");
            }
            Err(error) => {
                let error = without_secret(error).to_string();
                assert!(
                    !way.is_empty() && error.contains(&format!("s {way} than")),
                    "{error}"
                );
            }
        }
    }
    assert_eq!(hours.load(std::sync::atomic::Ordering::SeqCst), 6);
}

#[test]
fn a_good_answer_is_read_and_the_question_is_what_was_meant() {
    let date = "Date: Sun, 22 Nov 2026 22:00:00 GMT\r\n";
    let hostile = Hostile::saying(response("200 OK", date, GOOD));
    for method in [Method::Post, Method::Get] {
        let server = server(&hostile.url(), method);
        let (first, second, skew_ms) = run(async {
            let first = server.read(&request(&selector())).await.unwrap();
            let second = server.read(&request(&selector())).await.unwrap();
            (first, second, server.skew_ms())
        });
        assert_eq!((first.series.len(), first.series.samples()), (1, 1));
        assert!(
            Arc::ptr_eq(first.series.labels(), second.series.labels()),
            "the series are known"
        );
        let about = 1_795_384_800_000;
        for answer in [&first, &second] {
            assert!((answer.now_ms - about).abs() <= 2_000, "{}", answer.now_ms);
        }
        assert!(skew_ms.is_some());
        let heard = std::mem::take(&mut *hostile.heard.lock().unwrap());
        let query = "query=DCGM_FI_DEV_GPU_UTIL%7Bpool%3D%22a100%22%7D%5B600000ms%5D";
        for (number, heard) in heard.iter().enumerate() {
            let (line, asked) = match method {
                Method::Post => ("POST /prometheus/api/v1/query HTTP/1.1", &heard.body),
                Method::Get => ("GET /prometheus/api/v1/query?", &heard.head),
            };
            assert!(heard.head.starts_with(line), "{}", heard.head);
            assert!(
                asked.contains(query) && asked.contains("&partial_response=false"),
                "{asked}"
            );
            assert_eq!(asked.contains("&time=17953848"), number > 0, "{asked}");
            assert!(heard.head.contains(CANARY));
        }
        assert_eq!(heard.len(), 2);
    }
}

#[test]
fn what_a_server_says_with_status_200_is_not_always_an_answer() {
    let said = |body: &str| ask(&Hostile::saying(response("200 OK", "", body)));
    let empty = said(r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#).unwrap();
    assert_eq!((empty.series.len(), empty.completeness), (0, Completeness::Whole));
    let partial =
        said(&GOOD.replace("{\"status\"", "{\"warnings\":[\"store b is down\"],\"status\"")).unwrap();
    assert_eq!(
        partial.completeness,
        Completeness::Partial("store b is down".to_owned())
    );
    for (body, kind) in [
        (
            r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#,
            SourceErrorKind::Query,
        ),
        ("<html>Sign in</html>", SourceErrorKind::Malformed),
        ("", SourceErrorKind::Malformed),
        ("{}", SourceErrorKind::Malformed),
    ] {
        let error = without_secret(said(body).map(|answer| answer.series.len()).unwrap_err());
        assert_eq!(error.kind, kind, "{body}: {error}");
    }
}

#[test]
fn statuses_that_are_no_success_have_their_names() {
    let cases = [
        (response("500 Oops", "", ""), SourceErrorKind::Status(500), "500"),
        (
            response(
                "502 Bad Gateway",
                "Content-Type: text/html\r\n",
                "<html><h1>502</h1></html>",
            ),
            SourceErrorKind::Status(502),
            "<h1>502</h1>",
        ),
        (
            response("401 Unauthorized", "", ""),
            SourceErrorKind::Status(401),
            "401",
        ),
        (
            response(
                "422 No",
                "",
                r#"{"status":"error","errorType":"execution","error":"many-to-many"}"#,
            ),
            SourceErrorKind::Query,
            "many-to-many",
        ),
        (
            response("429 Slow Down", "Retry-After: 7\r\n", ""),
            SourceErrorKind::Throttled(Some(7_000)),
            "429",
        ),
        (
            response("429 Slow Down", "", ""),
            SourceErrorKind::Throttled(None),
            "429",
        ),
        (
            response("503 Busy", "Retry-After: 3\r\n", ""),
            SourceErrorKind::Throttled(Some(3_000)),
            "503",
        ),
    ];
    for (answer, kind, words) in cases {
        let error = refused(answer);
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(words), "{error}");
    }
}

#[test]
fn a_redirect_is_not_followed_and_no_secret_goes_with_it() {
    let victim = Hostile::saying(response("200 OK", "", GOOD));
    for target in [
        victim.url(),
        "http://169.254.169.254/metadata/identity/oauth2/token".to_owned(),
    ] {
        for status in [
            "301 Moved",
            "302 Found",
            "307 Temporary Redirect",
            "308 Permanent Redirect",
        ] {
            let error = refused(response(status, &format!("Location: {target}\r\n"), ""));
            assert!(
                matches!(error.kind, SourceErrorKind::Status(300..=399))
                    && error.message.contains("not followed"),
                "{error}"
            );
        }
    }
    assert_eq!(victim.requests.load(Ordering::SeqCst), 0);
}

#[test]
fn addresses_of_metadata_services_are_no_servers() {
    let client = |url: &str, allowed: &[&str]| {
        let allowed: Vec<_> = allowed.iter().map(|address| address.parse().unwrap()).collect();
        Client::new(Settings {
            allowed: Allowed::new(&allowed),
            ..Settings::new(url, TIMEOUT)
        })
        .map(|_| ())
    };
    for url in [
        "http://169.254.169.254/metadata",
        "http://[fe80::1]:9090",
        "http://[::ffff:169.254.169.254]",
        "http://168.63.129.16",
        "http://0.0.0.0:9090",
        "http://2852039166:9090",
        "http://0xa9fea9fe",
        "http://169.254.43518",
        "http://169.254.169.254./",
    ] {
        let error = client(url, &[]).unwrap_err();
        assert!(
            matches!(&error, ClientError::Address { message, .. } if message.contains("allowedAddresses")),
            "{error}"
        );
    }
    assert_eq!(client("http://169.254.169.254", &["169.254.169.254"]), Ok(()));
    let error = client(&format!("http://user:{CANARY}@prometheus"), &[]).unwrap_err();
    assert!(
        !error.to_string().contains(CANARY) && error.to_string().contains("basicAuth"),
        "{error}"
    );
}

#[test]
fn nobody_there_is_unreachable_and_names_no_secret() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = server(&format!("http://{closed}"), Method::Post);
    let error = run(async { server.read(&request(&selector())).await }).map(|answer| answer.series.len());
    assert_eq!(
        without_secret(error.unwrap_err()).kind,
        SourceErrorKind::Unreachable
    );
}

#[test]
fn a_body_that_breaks_off_is_no_answer() {
    let half = &GOOD[..GOOD.len() / 2];
    let cases = [
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{half}", GOOD.len()),
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{half}\r\n",
            half.len()
        ),
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{half}"),
        response("200 OK", "Content-Encoding: gzip\r\n", GOOD),
    ];
    for answer in cases {
        let error = refused(answer);
        assert_eq!(error.kind, SourceErrorKind::Malformed, "{error}");
    }
}

#[test]
fn a_server_that_hangs_or_drips_takes_no_longer_than_the_limit_and_stops_nobody_else() {
    let drip = |stream: &mut TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        // Spaces may follow an answer without an end, and it stays well-formed.
        for byte in GOOD.bytes().chain(std::iter::repeat(b' ')) {
            stream.write_all(&[byte])?;
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    };
    let hang = |stream: &mut TcpStream| stream.read_exact(&mut [0]);
    let good = Hostile::saying(response("200 OK", "", GOOD));
    for hostile in [Hostile::new(drip), Hostile::new(hang)] {
        let (bad, well) = (
            server(&hostile.url(), Method::Post),
            server(&good.url(), Method::Post),
        );
        let started = Instant::now();
        let (error, others) = run(async {
            let selector = selector();
            let wanted = request(&selector);
            let mut others = 0;
            let mut slow = std::pin::pin!(bad.read(&wanted));
            let error = loop {
                let quick = well.read(&wanted);
                match futures_util::future::select(slow.as_mut(), std::pin::pin!(quick)).await {
                    futures_util::future::Either::Left((ended, _)) => break ended,
                    futures_util::future::Either::Right((answer, _)) => {
                        answer.unwrap();
                        others += 1;
                    }
                }
            };
            (error.map(|answer| answer.series.len()), others)
        });
        assert_eq!(without_secret(error.unwrap_err()).kind, SourceErrorKind::Timeout);
        assert!(started.elapsed() < 10 * TIMEOUT, "{:?}", started.elapsed());
        assert!(others > 10, "{others} others were answered meanwhile");
    }
}

/// Begins an answer of series that never ends.
fn endless(
    stream: &mut TcpStream,
    mut more: impl FnMut(&mut dyn Write, u64) -> std::io::Result<()>,
) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
    stream.write_all(br#"{"status":"success","data":{"resultType":"matrix","result":["#)?;
    for number in 0.. {
        more(stream, number)?;
    }
    Ok(())
}

/// Most memory that this process ever had, in bytes.
fn most_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kibibytes: u64 = line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes * 1024
}

/// Asks each of them; none of them may have taken much memory.
fn take_little(cases: impl IntoIterator<Item = (&'static str, Hostile, SourceErrorKind)>) {
    for (what, hostile, kind) in cases {
        let before = most_memory();
        let started = Instant::now();
        let error = without_secret(ask(&hostile).map(|answer| answer.series.len()).unwrap_err());
        let grown = most_memory() - before;
        println!(
            "{what}: {} MiB more, {:?}: {error}",
            grown >> 20,
            started.elapsed()
        );
        assert_eq!(error.kind, kind, "{what}: {error}");
        // The largest series, the samples and the labels that were read until then, and room for growing.
        assert!(grown < 48 << 20, "{what} took {grown} bytes");
    }
}

#[test]
fn answers_of_too_many_bytes_series_or_samples_are_not_kept() {
    let blank = |stream: &mut TcpStream| endless(stream, |to, _| to.write_all(&[b' '; 16 << 10]));
    let series = |stream: &mut TcpStream| {
        endless(stream, |to, number| {
            let comma = if number == 0 { "" } else { "," };
            write!(
                to,
                r#"{comma}{{"metric":{{"gpu":"{number}"}},"values":[[1700000000,"1"]]}}"#
            )
        })
    };
    let samples = |stream: &mut TcpStream| {
        endless(stream, |to, number| {
            let comma = if number == 0 { "" } else { "," };
            write!(to, r#"{comma}{{"metric":{{"gpu":"{number}"}},"values":["#)?;
            for at in 0..1_000 {
                write!(
                    to,
                    r#"{}[{},"1"]"#,
                    if at == 0 { "" } else { "," },
                    1_700_000_000 + at
                )?;
            }
            to.write_all(b"]}")
        })
    };
    take_little([
        ("blanks", Hostile::new(blank), SourceErrorKind::TooLarge),
        ("series", Hostile::new(series), SourceErrorKind::TooLarge),
        ("samples", Hostile::new(samples), SourceErrorKind::TooLarge),
    ]);
}

#[test]
fn what_is_large_where_nothing_should_be_is_not_kept_either() {
    let one = |stream: &mut TcpStream| {
        endless(stream, |to, number| {
            to.write_all(if number == 0 {
                br#"{"metric":{"gpu":""#
            } else {
                &[b'x'; 16 << 10]
            })
        })
    };
    let around = |stream: &mut TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"error\":\"")?;
        loop {
            stream.write_all(&[b'x'; 16 << 10])?;
        }
    };
    let bomb = |stream: &mut TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n")?;
        let mut packed = GzEncoder::new(stream, Compression::best());
        packed.write_all(br#"{"status":"success","data":{"resultType":"matrix","result":["#)?;
        loop {
            packed.write_all(&[b' '; 16 << 10])?;
        }
    };
    let refusal = |stream: &mut TcpStream| {
        stream.write_all(b"HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\n")?;
        loop {
            stream.write_all(&[b'x'; 16 << 10])?;
        }
    };
    take_little([
        ("one series", Hostile::new(one), SourceErrorKind::TooLarge),
        (
            "around the series",
            Hostile::new(around),
            SourceErrorKind::TooLarge,
        ),
        ("gzip bomb", Hostile::new(bomb), SourceErrorKind::TooLarge),
        ("error page", Hostile::new(refusal), SourceErrorKind::Status(500)),
    ]);
}
