//! Servers of buckets that we did not write, for tests.
//!
//! `TIDEMARK_TEST_S3` names programs that serve S3, separated by `:`, `TIDEMARK_TEST_AZURE` one that serves
//! what Azure does, as `scripts/install-clients` installs them; each is started for a test, with a folder of
//! its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::credentials::Environment;
use super::location::Location;
use super::remote::{Patience, RemoteStore};

const KEYS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "tidemark"), ("AWS_SECRET_ACCESS_KEY", "tidemark-secret")];

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    S3,
    Azure,
}

/// The account that everybody knows who tests against Azurite. Source: its README.
const AZURE_ACCOUNT: &str = "devstoreaccount1";
const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A server with an empty bucket.
pub(crate) struct Server {
    process: Child,
    speaks: Speaks,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    pub(crate) fn start(program: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (buckets, attributes) =
            (folder.path().join("buckets"), folder.path().join("attributes"));
        std::fs::create_dir_all(buckets.join("bucket")).unwrap();
        std::fs::create_dir(&attributes).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let [(_, id), (_, secret)] = KEYS;
        let port = address.port().to_string();
        let mut command = Command::new(program);
        let name = program.file_name().and_then(|name| name.to_str()).unwrap();
        let speaks = match name {
            "versitygw" => {
                command.args(["--access", id, "--secret", secret, "--port", &address.to_string()]);
                command.args(["posix", "--sidecar"]).arg(attributes).arg(buckets);
                Speaks::S3
            }
            "s3s-fs" => {
                command.args(["--host", "127.0.0.1", "--port", &port]);
                command.args(["--access-key", id, "--secret-key", secret]).arg(buckets);
                Speaks::S3
            }
            "azurite-blob" => {
                command.args(["--blobHost", "127.0.0.1", "--blobPort", &port, "--silent"]);
                command.args(["--skipApiVersionCheck", "--disableTelemetry", "--location"]);
                command.arg(buckets);
                Speaks::Azure
            }
            other => panic!("nobody knows how to start {other}"),
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { process: command.spawn().unwrap(), speaks, folder, address };
        let patience = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < patience, "{} does not listen", program.display());
            std::thread::sleep(Duration::from_millis(20));
        }
        if speaks == Speaks::Azure {
            server.make_container();
        }
        server
    }

    /// Makes the container, with a request that is signed with the account's key: authorization by shared
    /// key, <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>.
    fn make_container(&self) {
        let path = format!("/{AZURE_ACCOUNT}/bucket");
        let headers = "x-ms-date:Thu, 26 Nov 2026 00:00:00 GMT\nx-ms-version:2023-11-03\n";
        let signed = format!(
            "PUT\n\n\n\n\n\n\n\n\n\n\n\n{headers}/{AZURE_ACCOUNT}{path}\nrestype:container"
        );
        let key = BASE64_STANDARD.decode(AZURE_KEY).unwrap();
        let signature = ring::hmac::sign(
            &ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key),
            signed.as_bytes(),
        );
        let signature = BASE64_STANDARD.encode(signature);
        let request = format!(
            "PUT {path}?restype=container HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n{}Authorization: SharedKey {AZURE_ACCOUNT}:{signature}\r\n\r\n",
            self.address,
            headers.replace('\n', "\r\n").replace(':', ": ").replacen("00: 00: 00", "00:00:00", 1),
        );
        let mut connection = TcpStream::connect(self.address).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }

    pub(crate) fn location(&self) -> Location {
        let address = self.address;
        match self.speaks {
            Speaks::S3 => location_at(address),
            Speaks::Azure => {
                let endpoint = format!("http://{address}/{AZURE_ACCOUNT}");
                let place =
                    format!("az://bucket/a/prefix?account={AZURE_ACCOUNT}&endpoint={endpoint}");
                Location::parse(&place).unwrap()
            }
        }
    }

    pub(crate) fn store(&self) -> RemoteStore {
        if self.speaks == Speaks::S3 {
            return bucket_at(self.address, Patience::USUAL);
        }
        let key = ("AZURE_STORAGE_ACCOUNT_KEY".to_owned(), AZURE_KEY.to_owned());
        let Location::Bucket(bucket) = self.location() else { panic!() };
        RemoteStore::new(&bucket, &Environment::new([key]), Patience::USUAL).unwrap()
    }
}

fn location_at(address: SocketAddr) -> Location {
    Location::parse(&format!("s3://bucket/a/prefix?endpoint=http://{address}")).unwrap()
}

pub(super) fn bucket_at(address: SocketAddr, patience: Patience) -> RemoteStore {
    let Location::Bucket(bucket) = location_at(address) else { panic!() };
    let variables = KEYS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    RemoteStore::new(&bucket, &Environment::new(variables), patience).unwrap()
}

/// The programs that serve S3; without any the test says that it is skipped.
pub(crate) fn programs() -> Vec<PathBuf> {
    named("TIDEMARK_TEST_S3", 2)
}

/// Those, and one that serves what Azure does.
pub(crate) fn all_programs() -> Vec<PathBuf> {
    programs().into_iter().chain(named("TIDEMARK_TEST_AZURE", 1)).collect()
}

fn named(variable: &str, count: usize) -> Vec<PathBuf> {
    let named = std::env::var_os(variable).unwrap_or_default();
    let programs: Vec<_> = std::env::split_paths(&named).filter(|p| p.is_file()).collect();
    if programs.len() < count {
        assert!(std::env::var_os("CI").is_none(), "{variable} must name {count} servers");
        println!("skipped: {variable} names no server; `./test` installs them");
    }
    programs
}
