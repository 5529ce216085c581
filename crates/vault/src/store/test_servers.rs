//! S3 servers that we did not write, for tests.
//!
//! `TIDEMARK_TEST_S3` names programs that serve S3, separated by `:`, as `scripts/install-clients
//! s3-servers` installs them; each is started for a test, with a folder of its own.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::credentials::Environment;
use super::location::Location;
use super::remote::{Patience, RemoteStore};

const KEYS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "tidemark"), ("AWS_SECRET_ACCESS_KEY", "tidemark-secret")];

/// A server that speaks S3, with an empty bucket.
pub(crate) struct Server {
    process: Child,
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
        let mut command = Command::new(program);
        if program.ends_with("versitygw") {
            command.args(["--access", id, "--secret", secret, "--port", &address.to_string()]);
            command.args(["posix", "--sidecar"]).arg(attributes).arg(buckets);
        } else {
            command.args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
            command.args(["--access-key", id, "--secret-key", secret]).arg(buckets);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { process: command.spawn().unwrap(), folder, address };
        let patience = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < patience, "{} does not listen", program.display());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    pub(crate) fn location(&self) -> Location {
        location_at(self.address)
    }

    pub(crate) fn store(&self) -> RemoteStore {
        bucket_at(self.address, Patience::USUAL)
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

/// The programs to try; without any the test says that it is skipped.
pub(crate) fn programs() -> Vec<PathBuf> {
    let named = std::env::var_os("TIDEMARK_TEST_S3").unwrap_or_default();
    let programs: Vec<_> = std::env::split_paths(&named).filter(|p| p.is_file()).collect();
    if programs.len() < 2 {
        assert!(std::env::var_os("CI").is_none(), "TIDEMARK_TEST_S3 must name two S3 servers");
        println!("skipped: TIDEMARK_TEST_S3 names no S3 servers; `./test` installs them");
    }
    programs
}
