//! Downloads that break, are killed, or go on from something that is not theirs.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mlx_models::hub::{self, HubConfig};

use crate::server::{Reply, Request};
use crate::{Files, REPO, World, config, sha256};

/// A model whose weights are so many bytes of noise.
fn world(size: usize) -> (World, Vec<u8>) {
    let weights: Vec<u8> = (0..size).map(|n| (n * n / 7 % 251) as u8).collect();
    let mut files = Files::new();
    files.insert("config.json".to_owned(), b"{}".to_vec());
    files.insert("model.safetensors".to_owned(), weights.clone());
    (World::with(files), weights)
}

fn ranges(world: &World) -> Vec<Option<String>> {
    world.cdn.asked().iter().map(|request| request.header("range").map(str::to_owned)).collect()
}

fn assert_whole(world: &World, weights: &[u8]) {
    assert_eq!(fs::read(world.snapshot().join("model.safetensors")).unwrap(), weights);
    assert!(world.blobs().iter().all(|name| !name.contains("incomplete")), "{:?}", world.blobs());
}

/// Nothing under a final name, and no revision that points at what is not whole.
fn assert_unfinished(world: &World, weights: &[u8]) {
    assert!(!world.blobs().contains(&sha256(weights)), "{:?}", world.blobs());
    assert!(fs::symlink_metadata(world.snapshot().join("model.safetensors")).is_err());
    assert!(!world.repo().join("refs/main").exists());
    assert_eq!(hub::cached(&REPO.parse().unwrap(), &world.config()), None);
}

/// The file as asked for, of which so many bytes arrive before the connection breaks.
fn cut_after(weights: &[u8], bytes: usize) -> impl Fn(&Request) -> Option<Reply> + use<> {
    let weights = weights.to_vec();
    move |request| Some(Reply { cut: Some(bytes), ..Reply::file(request, &weights) })
}

#[test]
fn a_broken_connection_is_taken_up_in_the_same_run() {
    let (world, weights) = world(10_000);
    let mut cuts = [4000, 0, 3000].into_iter();
    let whole = weights.clone();
    world.cdn_says(move |request| cuts.next().and_then(|bytes| cut_after(&whole, bytes)(request)));
    let config = HubConfig { retries: 2, ..world.config() };
    world.fetch_as(REPO, &config).expect("a good fetch");
    assert_whole(&world, &weights);
    let range = |start: usize| Some(format!("bytes={start}-"));
    assert_eq!(ranges(&world), [None, range(4000), range(4000), range(7000)]);
}

#[test]
fn what_arrived_is_kept_for_the_next_run() {
    let (world, weights) = world(10_000);
    world.cdn_says(cut_after(&weights, 6000));
    let error = world.fetch().expect_err("a broken connection");
    assert!(error.contains("what has arrived is kept") && !error.contains('\n'), "{error}");
    assert_unfinished(&world, &weights);
    let part = world.repo().join("blobs").join(format!("{}.incomplete", sha256(&weights)));
    assert_eq!(fs::read(&part).unwrap(), weights[..6000]);

    world.be_good();
    world.fetch().expect("a good fetch");
    assert_whole(&world, &weights);
    assert_eq!(ranges(&world), [None, Some("bytes=6000-".to_owned())]);
}

#[test]
fn a_server_without_ranges_sends_the_whole_again() {
    let (world, weights) = world(10_000);
    world.cdn_says(cut_after(&weights, 6000));
    world.fetch().expect_err("a broken connection");
    let whole = weights.clone();
    world.cdn_says(move |_| Some(Reply::text(whole.clone())));
    world.fetch().expect("a good fetch");
    assert_whole(&world, &weights);

    // The same, from one that calls the range wrong.
    fs::remove_dir_all(world.repo()).unwrap();
    world.cdn_says(cut_after(&weights, 6000));
    world.fetch().expect_err("a broken connection");
    world.cdn_says(|request| request.header("range").map(|_| Reply::status(416)));
    let config = HubConfig { retries: 1, ..world.config() };
    world.fetch_as(REPO, &config).expect("a good fetch");
    assert_whole(&world, &weights);
}

#[test]
fn a_rest_from_another_place_is_refused() {
    let (world, weights) = world(10_000);
    world.cdn_says(cut_after(&weights, 6000));
    world.fetch().expect_err("a broken connection");
    let whole = weights.clone();
    world.cdn_says(move |_| {
        let reply = Reply { body: whole[5000..].to_vec(), ..Reply::status(206) };
        Some(reply.with("Content-Range", "bytes 5000-9999/10000"))
    });
    let error = world.fetch().expect_err("another range");
    assert!(error.contains("model.safetensors comes from another place"), "{error}");
    assert_unfinished(&world, &weights);
}

#[test]
fn leftovers_that_are_damaged_cost_one_more_download() {
    let (world, weights) = world(10_000);
    let part = world.repo().join("blobs").join(format!("{}.incomplete", sha256(&weights)));
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    for leftovers in [vec![0; 6000], vec![0; 10_000], vec![0; 10_001]] {
        fs::write(&part, &leftovers).unwrap();
        world.fetch().unwrap_or_else(|error| panic!("{} bytes: {error}", leftovers.len()));
        assert_whole(&world, &weights);
        fs::remove_file(world.repo().join("blobs").join(sha256(&weights))).unwrap();
    }
}

#[test]
fn a_wrong_length_is_refused() {
    let (world, weights) = world(10_000);
    let cases: [(Vec<u8>, &str); 2] = [
        (weights[..9999].to_vec(), "model.safetensors has 9999 bytes, and the Hub says 10000"),
        ([&weights[..], b"!"].concat(), "model.safetensors has 10001 bytes, and the Hub says 10000"),
    ];
    for (sent, part) in cases {
        world.cdn_says(move |_| Some(Reply::text(sent.clone())));
        let error = world.fetch().expect_err("a wrong length");
        assert!(error.starts_with("fetching org/tiny: ") && error.contains(part), "{error}");
        assert_unfinished(&world, &weights);
    }
    // Without a length, as much as one byte too many is noticed.
    let long = [format!("{:x}\r\n", weights.len() + 1).as_bytes(), &weights, b"!\r\n0\r\n\r\n"].concat();
    world.cdn_says(move |_| Some(Reply::text(&long[..]).with("Transfer-Encoding", "chunked")));
    let error = world.fetch().expect_err("a wrong length");
    assert!(error.contains("model.safetensors has more bytes, and the Hub says 10000"), "{error}");
    assert_unfinished(&world, &weights);

    world.be_good();
    world.fetch().expect("a good fetch");
    assert_whole(&world, &weights);
}

#[test]
fn a_wrong_hash_is_refused_and_nothing_is_kept() {
    let (world, weights) = world(10_000);
    let mut wrong = weights.clone();
    wrong[5000] ^= 1;
    let found = sha256(&wrong);
    world.cdn_says(move |request| Some(Reply::file(request, &wrong)));
    let error = world.fetch().expect_err("a wrong hash");
    let said = format!("model.safetensors has sha256 {found}, not {}", sha256(&weights));
    assert!(error.contains(&said) && !error.contains('\n'), "{error}");
    assert_unfinished(&world, &weights);
    assert_eq!(world.blobs().len(), 1, "config.json alone: {:?}", world.blobs());

    world.be_good();
    world.fetch().expect("a good fetch");
    assert_whole(&world, &weights);
}

#[test]
fn a_silent_server_is_left() {
    let (world, weights) = world(10_000);
    let silent = cut_after(&weights, 3000);
    world.cdn_says(move |request| Some(Reply { is_silent: true, ..silent(request)? }));
    let config = HubConfig { read_timeout: Duration::from_millis(300), ..world.config() };
    let start = Instant::now();
    let error = world.fetch_as(REPO, &config).expect_err("a silent server");
    assert!(error.contains("was silent for 0.3 s"), "{error}");
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "it would be silent for 20 s, and nobody waited for it"
    );
    assert_unfinished(&world, &weights);
}

/// Names the world to the process that [`a_killed_fetch_goes_on`] starts and kills.
const WORLD: [&str; 2] = ["HUB_TEST_ENDPOINT", "HUB_TEST_CACHE"];

#[test]
fn a_killed_fetch_goes_on() {
    let (world, weights) = world(1_000_000);
    let silent = cut_after(&weights, 600_000);
    world.cdn_says(move |request| Some(Reply { is_silent: true, ..silent(request)? }));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "interruptions::fetches_in_a_process_of_its_own"])
        .env(WORLD[0], &world.hub.url)
        .env(WORLD[1], world.cache.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let part = world.repo().join("blobs").join(format!("{}.incomplete", sha256(&weights)));
    let start = Instant::now();
    while fs::metadata(&part).map_or(0, |metadata| metadata.len()) < 600_000 {
        assert!(start.elapsed() < Duration::from_secs(60), "the second process gets 600,000 bytes");
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_unfinished(&world, &weights);

    world.be_good();
    world.fetch().expect("a good fetch, with no lock left behind");
    assert_whole(&world, &weights);
    assert_eq!(ranges(&world), [None, Some("bytes=600000-".to_owned())]);
}

#[test]
#[ignore = "started by a_killed_fetch_goes_on"]
fn fetches_in_a_process_of_its_own() {
    let [Some(endpoint), Some(cache)] = WORLD.map(std::env::var_os) else { return };
    let config = config(endpoint.to_str().unwrap(), Path::new(&cache));
    hub::fetch(&REPO.parse().unwrap(), &config, &mut |_| ()).expect("never reached: the process is killed");
}
