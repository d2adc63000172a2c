//! Bodies in a folder, and in a bucket of moto behind a fault-injecting proxy.

use super::*;
use crate::config::HumanDuration;
use crate::store::bodies::format::encode;
use crate::store::bodies::testing::{Fault, FaultProxy, Moto};

impl Objects {
    async fn put_new(&self, body: &Encoded) -> Result<ObjectName, ObjectError> {
        let name = ObjectName::new(&body.info.hash);
        self.put(&name, body).await.map(|()| name)
    }
}

fn noise(size: usize) -> Bytes {
    let mut state = 7_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..size).map(next).collect()
}

fn config(store: &str, endpoint: Option<String>) -> Config {
    Config { store: store.parse().unwrap(), endpoint, timeout: HumanDuration::seconds(2), ..Config::default() }
}

fn folder(path: &std::path::Path) -> Objects {
    Objects::open(&config(&format!("file://{}", path.display()), None)).unwrap().unwrap()
}

/// An incompressible body of three frames, one of text, a short one and an empty one.
async fn round_trip(objects: &Objects) {
    for body in [
        noise(2 * FRAME + 77),
        Bytes::from("the same text\r\n".repeat(20_000)),
        Bytes::from_static(b"short"),
        Bytes::new(),
    ] {
        let encoded = encode(&body);
        let info = encoded.info;
        let (one, two) = (objects.put_new(&encoded).await.unwrap(), objects.put_new(&encoded).await.unwrap());
        assert_ne!(one, two, "each put has a new name");
        for name in [&one, &two] {
            assert_eq!(objects.read(name, &info, 0..info.size).await.unwrap(), body);
        }
        let piece = objects.read(&one, &info, FRAME - 5..FRAME + 5).await.unwrap();
        assert_eq!(piece, body[(FRAME - 5).min(body.len())..(FRAME + 5).min(body.len())]);
        objects.delete(&one).await.unwrap();
        objects.delete(&one).await.unwrap();
        assert_eq!(listed(objects).await, std::slice::from_ref(&two));
        objects.delete(&two).await.unwrap();
    }
}

async fn listed(objects: &Objects) -> Vec<ObjectName> {
    let mut found = Vec::new();
    let later = SystemTime::now() + Duration::from_secs(3600);
    objects
        .older_than(later, 2, |page| {
            assert!(page.len() <= 2);
            found.extend(page);
            async { Ok::<_, ObjectError>(()) }
        })
        .await
        .unwrap();
    found
}

#[tokio::test]
async fn a_folder_stores_lists_and_deletes_bodies() {
    let dir = tempfile::tempdir().unwrap();
    let objects = folder(&dir.path().join("bodies"));
    round_trip(&objects).await;

    // New objects and foreign files are not listed.
    let name = objects.put_new(&encode(&noise(10))).await.unwrap();
    std::fs::write(dir.path().join("bodies/notes.txt"), "mine").unwrap();
    let mut found = Vec::new();
    let before = SystemTime::now() - Duration::from_secs(3600);
    let none = |page| {
        found.extend(page);
        async { Ok::<_, ObjectError>(()) }
    };
    objects.older_than(before, 10, none).await.unwrap();
    assert_eq!(found, []);
    assert_eq!(listed(&objects).await, std::slice::from_ref(&name));

    // An interrupted put leaves a file that is not an object.
    let left = dir.path().join("bodies").join(format!("{name}#1"));
    std::fs::write(&left, "half").unwrap();
    assert_eq!(listed(&objects).await, [name]);
    assert_eq!(objects.remove_unfinished(before).unwrap(), 0);
    assert_eq!(objects.remove_unfinished(SystemTime::now() + Duration::from_secs(1)).unwrap(), 1);
    assert!(!left.exists());
}

#[tokio::test]
async fn a_damaged_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for size in [500, 3 * FRAME] {
        let encoded = encode(&noise(size));
        let name = folder(dir.path()).put_new(&encoded).await.unwrap();
        let path = dir.path().join(name.as_str());
        let good = std::fs::read(&path).unwrap();
        for at in [0, size / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            let refused = folder(dir.path()).read(&name, &encoded.info, 0..size).await.unwrap_err();
            assert!(refused.to_string().contains(&encoded.info.hash.to_string()), "{refused}");
        }
        std::fs::write(&path, &good[..good.len() / 2]).unwrap();
        assert!(folder(dir.path()).read(&name, &encoded.info, 0..size).await.is_err());
        std::fs::remove_file(&path).unwrap();
        let refused = folder(dir.path()).read(&name, &encoded.info, 0..size).await.unwrap_err();
        assert!(matches!(&refused, ObjectError::Missing(missing) if *missing == name), "{refused}");
    }
}

#[tokio::test]
async fn the_cache_keeps_verified_frames_within_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().display());
    let objects = Objects::open(&Config { cache: 3 * FRAME, ..config(&url, None) }).unwrap().unwrap();
    let body = noise(5 * FRAME);
    let encoded = encode(&body);
    let name = objects.put_new(&encoded).await.unwrap();
    for _ in 0..2 {
        assert_eq!(objects.read(&name, &encoded.info, 0..body.len()).await.unwrap(), body);
        assert!(objects.cache.octets() <= 3 * FRAME, "{}", objects.cache.octets());
    }
    // The frame that was read last is cached: it can be read after the object was removed.
    let last = 4 * FRAME + 10..5 * FRAME;
    objects.read(&name, &encoded.info, last.clone()).await.unwrap();
    std::fs::remove_file(dir.path().join(name.as_str())).unwrap();
    assert_eq!(objects.read(&name, &encoded.info, last.clone()).await.unwrap(), body[last]);
    assert!(objects.read(&name, &encoded.info, 0..10).await.is_err());
}

/// A new bucket behind the proxy.
async fn bucket(proxy: &FaultProxy, moto: &Moto, name: &str) -> Objects {
    moto.make_bucket(name).await;
    bucket_behind(proxy, name)
}

#[tokio::test]
async fn requests_to_a_bucket_are_retried_after_temporary_faults() {
    let moto = Moto::start().await;
    let proxy = FaultProxy::start(moto.address()).await;
    let objects = bucket(&proxy, &moto, "bodies").await;
    round_trip(&objects).await;

    let body = noise(2 * FRAME + 5);
    let encoded = encode(&body);
    let faults = [
        Fault::Status(500),
        Fault::Status(503),
        Fault::CutUpload,
        Fault::FailAfterSuccess,
        Fault::CutAnswer,
        Fault::Stall,
    ];
    for fault in faults {
        // A stalled request takes the whole timeout, which leaves time for one retry.
        proxy.next(std::iter::repeat_n(fault, if fault == Fault::Stall { 1 } else { 2 }));
        let name = objects.put_new(&encoded).await.unwrap_or_else(|error| panic!("put after {fault:?}: {error}"));
        assert_eq!(proxy.left(), 0, "{fault:?} was applied");
        let fresh = bucket(&proxy, &moto, "bodies").await;
        proxy.next([fault]);
        let read = fresh.read(&name, &encoded.info, 10..body.len()).await;
        assert_eq!(read.unwrap_or_else(|error| panic!("read after {fault:?}: {error}")), body[10..]);
        proxy.clear();
        // A DELETE that timed out is not retried here: the sweep retries it.
        proxy.next((fault != Fault::Stall).then_some(fault));
        objects.delete(&name).await.unwrap_or_else(|error| panic!("delete after {fault:?}: {error}"));
        proxy.clear();
    }
}

#[tokio::test]
async fn a_permanent_fault_of_a_bucket_is_a_temporary_error_in_bounded_time() {
    let moto = Moto::start().await;
    let proxy = FaultProxy::start(moto.address()).await;
    let objects = bucket(&proxy, &moto, "broken").await;
    let encoded = encode(&noise(1000));
    let name = objects.put_new(&encoded).await.unwrap();
    for fault in [Fault::Status(503), Fault::CutUpload, Fault::FailAfterSuccess, Fault::Stall] {
        proxy.always(fault);
        let requests = proxy.requests();
        let refused = objects.put_new(&encoded).await.unwrap_err();
        assert!(matches!(refused, ObjectError::Failed { .. }), "{refused}");
        let tried = proxy.requests() - requests;
        assert!((2..=1 + RETRIES).contains(&tried), "{tried} requests with {fault:?}");
        let fresh = bucket_behind(&proxy, "broken");
        let refused = fresh.read(&name, &encoded.info, 0..10).await.unwrap_err();
        assert!(matches!(refused, ObjectError::Failed { .. }), "{refused}");
        proxy.clear();
    }
    // The bucket works again.
    assert_eq!(objects.read(&name, &encoded.info, 0..1000).await.unwrap(), noise(1000));
}

fn bucket_behind(proxy: &FaultProxy, name: &str) -> Objects {
    let config =
        Config { region: Some("us-east-1".into()), ..config(&format!("s3://{name}/a/prefix"), Some(proxy.url())) };
    Objects::open_with(&config, Some(Keys::of_tests())).unwrap().unwrap()
}

#[tokio::test]
async fn octets_changed_in_transit_are_an_error() {
    let moto = Moto::start().await;
    let proxy = FaultProxy::start(moto.address()).await;
    let objects = bucket(&proxy, &moto, "changed").await;
    let body = noise(3 * FRAME);
    let encoded = encode(&body);
    let name = objects.put_new(&encoded).await.unwrap();
    for requests_before in [0, 1] {
        let fresh = bucket_behind(&proxy, "changed");
        proxy.next(std::iter::repeat_n(Fault::None, requests_before).chain([Fault::FlipAnswer]));
        let refused = fresh.read(&name, &encoded.info, 0..body.len()).await.unwrap_err();
        assert!(matches!(refused, ObjectError::Damaged { .. }), "{refused}");
        assert_eq!(fresh.read(&name, &encoded.info, 0..body.len()).await.unwrap(), body);
    }
}
