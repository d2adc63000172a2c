//! Commands for tests: each that the codec knows, with random arguments, and damaged.

use super::differential::compare;
use super::frame::Frame;
use super::parser::Mode;
use proptest::prelude::*;

fn astring() -> BoxedStrategy<String> {
    prop_oneof![
        "[a-zA-Z0-9.+\\]]{1,6}",
        Just("INBOX".to_owned()),
        Just("nil".to_owned()),
        "\"([ -!#-\\[\\]-~]|\\\\\"|\\\\\\\\){0,6}\"",
        "[ -~\r\n]{0,6}".prop_map(|text| format!("{{{}}}\r\n{text}", text.len())),
        "[a-z(){}]{0,6}".prop_map(|text| format!("{{{}+}}\r\n{text}", text.len())),
    ]
    .boxed()
}

fn pattern() -> BoxedStrategy<String> {
    prop_oneof!["[a-z%*/\\]]{1,6}", astring()].boxed()
}

fn set() -> BoxedStrategy<String> {
    let number = prop_oneof!["[1-9][0-9]{0,3}", Just("*".to_owned()), Just("4294967295".to_owned())];
    let range = (number.clone(), number.clone()).prop_map(|(first, last)| format!("{first}:{last}"));
    proptest::collection::vec(prop_oneof![number, range], 1..4).prop_map(|ranges| ranges.join(",")).boxed()
}

fn numbers() -> BoxedStrategy<String> {
    "[1-9][0-9]?(:[1-9][0-9]?)?(,[1-9])?".boxed()
}

fn flag() -> BoxedStrategy<String> {
    prop_oneof![
        prop::sample::select(vec!["\\Seen", "\\ANSWERED", "\\draft", "\\Recent", "\\Foo"]).prop_map(str::to_owned),
        "[a-zA-Z0-9_]{1,6}"
    ]
    .boxed()
}

fn list(item: BoxedStrategy<String>, least: usize) -> BoxedStrategy<String> {
    proptest::collection::vec(item, least..4).prop_map(|items| format!("({})", items.join(" "))).boxed()
}

fn date() -> BoxedStrategy<String> {
    let date = "(0?[1-9]|[12][0-9])-(Jan|feb|MAR|Jun|Dec)-(19|20)[0-9]{2}";
    prop_oneof![date, date.prop_map(|date| format!("\"{date}\""))].boxed()
}

fn date_time() -> BoxedStrategy<String> {
    "\"( [1-9]|[12][0-9])-(Jan|feb|Dec)-20[0-9]{2} (0[0-9]|1[0-9]):[0-5][0-9]:[0-5][0-9] [+-]0[0-9][0-5][0-9]\"".boxed()
}

fn section() -> BoxedStrategy<String> {
    let fields = (prop::sample::select(vec!["", ".NOT", ".not"]), list(astring(), 1))
        .prop_map(|(not, names)| format!("HEADER.FIELDS{not} {names}"));
    let name = prop_oneof![Just("HEADER".to_owned()), Just("text".to_owned()), fields];
    prop_oneof![
        Just(String::new()),
        name.clone(),
        "[1-9](\\.[1-9])?",
        "[1-9](\\.[1-9])?\\.MIME",
        ("[1-9](\\.[1-9])?", name).prop_map(|(path, name)| format!("{path}.{name}")),
    ]
    .boxed()
}

fn fetch_item() -> BoxedStrategy<String> {
    let partial = prop_oneof![Just(String::new()), "<[0-9]{1,3}\\.[1-9]>"];
    prop_oneof![
        prop::sample::select(vec![
            "FLAGS",
            "uid",
            "INTERNALDATE",
            "RFC822",
            "RFC822.SIZE",
            "RFC822.HEADER",
            "RFC822.TEXT",
            "BODY",
            "BODYSTRUCTURE",
            "ENVELOPE",
            "MODSEQ",
        ])
        .prop_map(str::to_owned),
        (prop::sample::select(vec!["BODY", "body.peek"]), section(), partial.clone())
            .prop_map(|(name, section, partial)| format!("{name}[{section}]{partial}")),
        (prop::sample::select(vec!["BINARY", "binary.peek"]), "([1-9](\\.[1-9])?)?", partial)
            .prop_map(|(name, path, partial)| format!("{name}[{path}]{partial}")),
        "BINARY\\.SIZE\\[[1-9](\\.[1-9])?\\]",
    ]
    .boxed()
}

fn search_key() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        prop::sample::select(vec!["ALL", "ANSWERED", "seen", "UNSEEN", "NEW", "OLD", "RECENT", "undraft"])
            .prop_map(str::to_owned),
        (prop::sample::select(vec!["FROM", "bcc", "TO", "SUBJECT", "BODY", "text"]), astring())
            .prop_map(|(name, text)| format!("{name} {text}")),
        (astring(), astring()).prop_map(|(name, text)| format!("HEADER {name} {text}")),
        (prop::sample::select(vec!["SINCE", "before", "ON", "SENTSINCE", "sentbefore", "SENTON"]), date())
            .prop_map(|(name, date)| format!("{name} {date}")),
        "(LARGER|smaller) [0-9]{1,9}",
        "(KEYWORD|unkeyword) [a-zA-Z]{1,5}",
        "MODSEQ [0-9]{1,9}",
        "MODSEQ \"/flags/(\\\\\\\\Draft|abc)\" (all|priv|SHARED) [0-9]{1,9}",
        set(),
        set().prop_map(|set| format!("UID {set}")),
    ];
    leaf.prop_recursive(3, 12, 3, |key| {
        prop_oneof![
            (key.clone(), key.clone()).prop_map(|(left, right)| format!("OR {left} {right}")),
            key.clone().prop_map(|key| format!("not {key}")),
            list(key.boxed(), 1),
        ]
    })
    .boxed()
}

fn search_keys() -> BoxedStrategy<String> {
    proptest::collection::vec(search_key(), 1..4).prop_map(|keys| keys.join(" ")).boxed()
}

/// The commands that name mailboxes.
fn of_mailboxes() -> BoxedStrategy<String> {
    let parameters = prop_oneof![
        Just(String::new()),
        Just(" (CONDSTORE)".to_owned()),
        (numbers(), numbers(), numbers())
            .prop_map(|(known, sequence, uids)| { format!(" (QRESYNC (12345 67890 {known} ({sequence} {uids})))") }),
        Just(" (QRESYNC (1 2))".to_owned()),
    ];
    let status = list("(MESSAGES|recent|UIDNEXT|uidvalidity|UNSEEN|DELETED|HIGHESTMODSEQ)".boxed(), 1);
    let quotas = list("(STORAGE|message|X) [0-9]{1,5}".boxed(), 0);
    prop_oneof![
        ("(SELECT|examine)", astring(), parameters).prop_map(|(name, to, rest)| format!("{name} {to}{rest}")),
        ("(CREATE|delete|SUBSCRIBE|UNSUBSCRIBE|GETQUOTA|GETQUOTAROOT)", astring())
            .prop_map(|(name, mailbox)| format!("{name} {mailbox}")),
        (astring(), astring()).prop_map(|(from, to)| format!("RENAME {from} {to}")),
        ("(LIST|lsub)", astring(), pattern()).prop_map(|(name, from, pattern)| format!("{name} {from} {pattern}")),
        (astring(), status).prop_map(|(mailbox, items)| format!("STATUS {mailbox} {items}")),
        (astring(), quotas).prop_map(|(root, quotas)| format!("SETQUOTA {root} {quotas}")),
        (astring(), prop::option::of(list(flag(), 0)), prop::option::of(date_time()), "~?\\{5\\+?\\}").prop_map(
            |(mailbox, flags, date, literal)| {
                let flags = flags.map(|flags| format!("{flags} ")).unwrap_or_default();
                let date = date.map(|date| format!("{date} ")).unwrap_or_default();
                format!("APPEND {mailbox} {flags}{date}{literal}\r\na) {{b")
            }
        ),
    ]
    .boxed()
}

/// The commands that name messages.
fn of_messages() -> BoxedStrategy<String> {
    let uid = prop::sample::select(vec!["", "UID "]);
    let items = prop_oneof![list(fetch_item(), 1), fetch_item(), "(ALL|FAST|full)"];
    let fetch_modifiers = prop_oneof![Just(""), Just(" (CHANGEDSINCE 12)")];
    let store_modifiers = prop_oneof![Just(""), Just("(UNCHANGEDSINCE 12) ")];
    let flags = prop_oneof![list(flag(), 0), proptest::collection::vec(flag(), 1..3).prop_map(|all| all.join(" "))];
    let charset = prop::sample::select(vec!["", "CHARSET UTF-8 ", "charset \"US-ASCII\" "]);
    let sort_keys = list("(REVERSE )?(ARRIVAL|CC|date|FROM|SIZE|SUBJECT|TO|DISPLAYFROM|DISPLAYTO)".boxed(), 1);
    prop_oneof![
        (uid.clone(), set(), items, fetch_modifiers)
            .prop_map(|(uid, set, items, modifiers)| format!("{uid}FETCH {set} {items}{modifiers}")),
        (uid.clone(), set(), store_modifiers, "[+-]?FLAGS(\\.SILENT)?", flags)
            .prop_map(|(uid, set, modifiers, name, flags)| format!("{uid}STORE {set} {modifiers}{name} {flags}")),
        (uid.clone(), charset, search_keys()).prop_map(|(uid, charset, keys)| format!("{uid}SEARCH {charset}{keys}")),
        (uid.clone(), sort_keys, search_keys()).prop_map(|(uid, by, keys)| format!("{uid}SORT {by} UTF-8 {keys}")),
        (uid.clone(), "(REFERENCES|orderedsubject)", search_keys())
            .prop_map(|(uid, by, keys)| format!("{uid}THREAD {by} UTF-8 {keys}")),
        (uid, "(COPY|move)", set(), astring()).prop_map(|(uid, name, set, to)| format!("{uid}{name} {set} {to}")),
        set().prop_map(|set| format!("UID EXPUNGE {set}")),
    ]
    .boxed()
}

fn command() -> BoxedStrategy<Vec<u8>> {
    let plain =
        "(CAPABILITY|noop|LOGOUT|NAMESPACE|IDLE|CHECK|CLOSE|UNSELECT|EXPUNGE|ID NIL|ENABLE X Y|COMPRESS DEFLATE)";
    let body = prop_oneof![1 => plain, 6 => of_mailboxes(), 10 => of_messages()];
    ("[a-z0-9]{1,3}", body).prop_map(|(tag, body)| format!("{tag} {body}\r\n").into_bytes()).boxed()
}

/// A command with a few octets replaced, removed or added.
fn damaged() -> BoxedStrategy<Vec<u8>> {
    let octet = prop_oneof![prop::sample::select(b" ()[]{}<>\"\\*%$~.,:+-0aA\r\n\0\x7f\xc3".to_vec()), any::<u8>()];
    let damage = proptest::collection::vec((any::<prop::sample::Index>(), 0..3_u8, octet), 1..3);
    let damaged = (command(), damage).prop_map(|(mut command, damage)| {
        for (at, kind, octet) in damage {
            let at = at.index(command.len());
            match kind {
                0 => command[at] = octet,
                1 => command.insert(at, octet),
                _ if command.len() > 1 => drop(command.remove(at)),
                _ => {}
            }
        }
        command
    });
    damaged.boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_codec_reads_the_same(command in command()) {
        prop_assert_eq!(compare(&command), Ok(()));
    }

    #[test]
    fn the_codec_reads_the_same_of_damaged_commands(command in damaged()) {
        prop_assert_eq!(compare(&command), Ok(()));
    }

    #[test]
    fn no_octets_panic(octets in proptest::collection::vec(any::<u8>(), 0..300), utf8: bool) {
        if let Some(frame) = Frame::of(&[&octets, &b"\r\n"[..]].concat()) {
            let _read = super::command::read(&frame, Mode { is_authenticated: true, utf8 });
        }
    }
}
