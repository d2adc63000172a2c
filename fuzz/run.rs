//! Runs a target on its seeds, then on mutations of them until its time is over: 5 seconds, 300 with `NIGHTLY`, or
//! `FUZZ_SECONDS`.
//!
//! The input at hand is always in `target/fuzz/TARGET`, so that one that ends the process, or never returns, is not lost.
//! Put it into `fuzz/seeds/TARGET` with the fix.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the threads of tokio have: a parser that recurses must do with it, in a debug build too.
const STACK: usize = 2 * 1024 * 1024;
/// Octets of a mutated input at most.
const LONGEST: usize = 64 * 1024;
/// An input of that length that takes longer hangs.
const HANG: Duration = Duration::from_secs(60);

pub(super) fn on_seeds_and_mutations(name: &'static str, target: fn(&[u8])) {
    let seeds = seeds(name);
    let done = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&done);
    let runner = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK);
    let runner = runner.spawn(move || run(name, target, &seeds, &counter)).unwrap();
    let (mut seen, mut since) = (0, Instant::now());
    while !runner.is_finished() {
        std::thread::sleep(Duration::from_millis(20));
        let now = done.load(Ordering::Relaxed);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        assert!(since.elapsed() < HANG, "{name} hangs on {}", at_hand(name).display());
    }
    assert!(runner.join().is_ok(), "{name} fails on {}", at_hand(name).display());
    println!("{name}: {} inputs", done.load(Ordering::Relaxed));
    fs::remove_file(at_hand(name)).unwrap();
}

fn run(name: &str, target: fn(&[u8]), seeds: &[Vec<u8>], done: &AtomicU64) {
    let at_hand = fs::File::create(at_hand(name)).unwrap();
    let check = |input: &[u8]| {
        at_hand.write_all_at(input, 0).unwrap();
        at_hand.set_len(input.len() as u64).unwrap();
        target(input);
        done.fetch_add(1, Ordering::Relaxed);
    };
    check(b"");
    seeds.iter().for_each(|seed| check(seed));
    let mut mutations = Mutations::of(seeds);
    let end = Instant::now() + time();
    while Instant::now() < end {
        check(&mutations.next());
    }
}

fn time() -> Duration {
    let seconds = std::env::var("FUZZ_SECONDS").ok().map(|text| text.parse().expect("a number of seconds"));
    let usual = if std::env::var_os("NIGHTLY").is_some() { 300 } else { 5 };
    Duration::from_secs(seconds.unwrap_or(usual))
}

fn at_hand(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz");
    fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has no seeds", folder.display());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Octets that mean something to some parser.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\t",
    b" ",
    b"\r\n ",
    b"\r\n.\r\n",
    b"\r\n\r\n",
    b"\"",
    b"\\",
    b"(",
    b")",
    b"<",
    b">",
    b"@",
    b",",
    b";",
    b":",
    b"=",
    b"=?utf-8?Q?",
    b"?=",
    b"--",
    b"{0}\r\n",
    b"{3+}\r\n",
    b"&",
    b"%",
    b"*",
    b"\xff",
    b"\xc3\xa4",
    b"\xe2\x80\xa8",
    b"0",
    b"1",
    b"4294967295",
    b"18446744073709551616",
    b"-1",
];

/// An endless source of inputs made from the seeds.
struct Mutations<'a> {
    seeds: &'a [Vec<u8>],
    /// Pieces of the seeds, between octets that are no letters or digits.
    words: Vec<&'a [u8]>,
    state: u64,
}

impl<'a> Mutations<'a> {
    fn of(seeds: &'a [Vec<u8>]) -> Self {
        let words = seeds.iter().flat_map(|seed| seed.split(|octet| !octet.is_ascii_alphanumeric()));
        let words = words.filter(|word| (2..40).contains(&word.len())).collect();
        Self { seeds, words, state: RandomState::new().hash_one(0) }
    }

    /// SplitMix64.
    fn below(&mut self, limit: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }

    fn seed(&mut self) -> &'a [u8] {
        let at = self.below(self.seeds.len());
        &self.seeds[at]
    }

    fn next(&mut self) -> Vec<u8> {
        let mut input = self.seed().to_vec();
        for _ in 0..=self.below(8) {
            self.mutate(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let longest = 1 << self.below(12);
        let end = at + self.below((input.len() - at).min(longest) + 1);
        match self.below(10) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.below(256) as u8,
            2 => drop(input.drain(at..end)),
            3 => input.truncate(at),
            // A piece again and again: nesting, long lists, long lines.
            4 => {
                let again = input[at..end].repeat(1 << self.below(10));
                insert(input, at, &again[..again.len().min(LONGEST)]);
            }
            5 => {
                let piece = input[at..end].to_vec();
                let to = self.below(input.len() + 1);
                insert(input, to, &piece);
            }
            6 => {
                let other = self.seed();
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            7 if !self.words.is_empty() => {
                let word = self.below(self.words.len());
                insert(input, at, self.words[word]);
            }
            _ => insert(input, at, TOKENS[self.below(TOKENS.len())]),
        }
    }
}

fn insert(input: &mut Vec<u8>, at: usize, octets: &[u8]) {
    input.splice(at..at, octets.iter().copied());
}
