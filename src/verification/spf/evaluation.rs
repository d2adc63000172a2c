//! Evaluates an SPF record's cost and authorised terms by walking the tree of its includes as answers arrive.
//!
//! Invariant: pure and bounded: at most [`MAX_LOOKUPS`] terms are followed, no name is queried twice, and loops end. RFC 7208
//! §4.6.4: `include`, `a`, `mx`, `ptr`, `exists` and `redirect` cost a look-up each, at most ten; at most two of them may be void;
//! and an `mx` must have at most ten hosts. The names of a `ptr` depend on the sender; those after the first ten are ignored.

use super::is_spf;
use super::record::{Mechanism, Qualifier, Record, SyntaxError};
use crate::verification::bounds::is_cut;
use crate::verification::observed::{Answer, RecordData, RecordType};
use std::collections::{BTreeMap, BTreeSet};

/// Lookups that a receiver makes.
pub const LOOKUP_LIMIT: usize = 10;
/// Void lookups that a receiver tolerates.
pub const VOID_LIMIT: usize = 2;
/// MX hosts that a receiver looks up for one `mx` term.
pub const MAIL_HOST_LIMIT: usize = 10;
/// Maximum terms that are followed: enough to show by how much the limit is exceeded.
const MAX_LOOKUPS: usize = 40;

/// A term and its cost, with everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// As written.
    pub term: String,
    pub lookups: usize,
}

/// Why receivers cannot use the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The record itself cannot be parsed.
    Syntax(SyntaxError),
    /// An included or redirected-to record cannot be used.
    Include {
        /// The terms from the record to it.
        path: Vec<String>,
        /// The domain whose record it is.
        domain: String,
        why: IncludeFault,
    },
}

/// What is wrong with an included record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IncludeFault {
    NoRecord,
    Several,
    Syntax(SyntaxError),
    /// It includes itself.
    Loop,
}

/// An `mx` with more hosts than a receiver looks up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crowded {
    /// The terms from the record to it, the last of them the `mx`.
    pub path: Vec<String>,
    /// The domain with these mail hosts.
    pub domain: String,
    pub hosts: usize,
}

/// The findings so far.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Report {
    /// Its look-ups. Counting stops at 40.
    pub lookups: usize,
    /// The terms of the record that need look-ups, the most expensive first.
    pub costs: Vec<Step>,
    /// The most expensive chain: a term of the record, then a term of the record that it includes, and so on.
    pub costliest_chain: Vec<Step>,
    /// The first `mx` with too many hosts.
    pub crowded: Option<Crowded>,
    /// The names of void look-ups.
    pub void_lookups: Vec<String>,
    /// The first fault.
    pub fault: Option<Fault>,
    /// Terms whose match passes, including those of included records: in lower case, without `+`.
    pub passes: BTreeSet<String>,
    /// The terms from the record to a `+all`; empty if it is in the record itself.
    pub everybody: Option<Vec<String>>,
    /// Passing terms with macros: they depend on the sender and may let anybody pass.
    pub unexpanded: Vec<String>,
    /// Names in passing terms without a definite answer: what they include is not counted, and may authorise anyone.
    pub unanswered: Vec<String>,
}

/// An evaluation in progress: it returns questions and receives their answers.
#[derive(Clone, Debug)]
pub struct Evaluation {
    domain: String,
    record: String,
    answers: BTreeMap<(String, RecordType), Answer>,
}

impl Evaluation {
    /// Of a domain's SPF record.
    pub fn new(domain: &str, record: &str) -> Self {
        Self { domain: canonical(domain), record: record.to_owned(), answers: BTreeMap::new() }
    }

    /// The queries needed to continue; empty when the report is complete.
    pub fn questions(&self) -> Vec<(String, RecordType)> {
        self.walk().questions.into_iter().collect()
    }

    /// Adds the answer to one of the questions. An indefinite answer is not queried again.
    pub fn feed(&mut self, name: &str, record_type: RecordType, answer: Answer) {
        self.answers.insert((canonical(name), record_type), answer);
    }

    /// The findings so far.
    pub fn report(&self) -> Report {
        self.walk().report
    }

    fn walk(&self) -> Walk<'_> {
        let mut walk = Walk { answers: &self.answers, questions: BTreeSet::new(), report: Report::default() };
        match Record::parse(&self.record) {
            Err(error) => walk.report.fault = Some(Fault::Syntax(error)),
            Ok(record) => {
                let mut costs = walk.record(&record, &At { domain: &self.domain, path: &[], above: &[], passes: true });
                walk.report.lookups = costs.iter().map(|node| node.step.lookups).sum();
                walk.report.costliest_chain = chain(&costs);
                costs.sort_by_key(|node| std::cmp::Reverse(node.step.lookups));
                walk.report.costs = costs.into_iter().map(|node| node.step).collect();
            }
        }
        walk
    }
}

/// A term that needs look-ups, and the terms below it.
struct Node {
    step: Step,
    below: Vec<Node>,
}

/// Follows the most expensive term down.
fn chain(nodes: &[Node]) -> Vec<Step> {
    let mut chain = Vec::new();
    let mut level = nodes;
    // The first of equally expensive ones.
    while let Some(node) = level.iter().rev().max_by_key(|node| node.step.lookups) {
        chain.push(node.step.clone());
        level = &node.below;
    }
    chain
}

/// The position of a record in the tree.
struct At<'a> {
    domain: &'a str,
    /// The terms from the top record to this one.
    path: &'a [String],
    /// The domains above it.
    above: &'a [String],
    /// A match here passes at the top, too.
    passes: bool,
}

struct Walk<'a> {
    answers: &'a BTreeMap<(String, RecordType), Answer>,
    questions: BTreeSet<(String, RecordType)>,
    report: Report,
}

impl<'a> Walk<'a> {
    fn record(&mut self, record: &Record, at: &At<'_>) -> Vec<Node> {
        let mut nodes = Vec::new();
        for (term, qualifier, mechanism) in record.directives() {
            let passes = at.passes && qualifier == Qualifier::Pass;
            // A term without a domain has a different meaning in another record.
            if passes && (at.path.is_empty() || term.text.contains(':')) {
                self.report.passes.insert(term.normal());
            }
            if passes && term.text.contains("%{") {
                self.report.unexpanded.push(term.text.clone());
            }
            let named = |domain: &Option<String>| domain.clone().unwrap_or_else(|| at.domain.to_owned());
            let below = match mechanism {
                Mechanism::All | Mechanism::Ip4 | Mechanism::Ip6 => continue,
                _ if !self.count() => break,
                Mechanism::Include(domain) => self.other(domain, &term.text, at, passes),
                Mechanism::A(domain) => self.address(&named(domain)),
                Mechanism::Mx(domain) => self.exchangers(&named(domain), &term.text, at),
                // Their names depend on the sender.
                Mechanism::Ptr(_) | Mechanism::Exists(_) => Vec::new(),
            };
            nodes.push(node(&term.text, below));
        }
        if at.passes && record.all() == Some(Qualifier::Pass) {
            self.report.everybody.get_or_insert_with(|| at.path.to_vec());
        }
        if let Some((term, domain)) = record.redirect()
            && self.count()
        {
            if at.passes && domain.contains("%{") {
                self.report.unexpanded.push(term.text.clone());
            }
            let below = self.other(domain, &term.text, at, at.passes);
            nodes.push(node(&term.text, below));
        }
        nodes
    }

    /// Counts a lookup; false when so many have been made that continuing is pointless.
    fn count(&mut self) -> bool {
        let go_on = self.report.lookups < MAX_LOOKUPS;
        self.report.lookups += usize::from(go_on);
        go_on
    }

    /// The record of another domain.
    fn other(&mut self, domain: &str, term: &str, at: &At<'_>, passes: bool) -> Vec<Node> {
        // A macro depends on the sender.
        if domain.contains('%') {
            return Vec::new();
        }
        let domain = canonical(domain);
        let path: Vec<String> = at.path.iter().cloned().chain([term.to_owned()]).collect();
        let above: Vec<String> = at.above.iter().cloned().chain([at.domain.to_owned()]).collect();
        if above.contains(&domain) {
            self.broken(path, domain, IncludeFault::Loop);
            return Vec::new();
        }
        let Some(answer) = self.look(&domain, RecordType::Txt) else {
            if passes && self.answers.contains_key(&(domain.clone(), RecordType::Txt)) {
                self.report.unanswered.push(domain);
            }
            return Vec::new();
        };
        if matches!(answer, Answer::NoRecord { .. }) {
            self.report.void_lookups.push(domain.clone());
        }
        let texts = answer.records().iter().filter_map(|record| match record {
            RecordData::Txt(text) if is_spf(text) => Some(text.as_str()),
            _ => None,
        });
        match texts.collect::<Vec<_>>().as_slice() {
            [] => self.broken(path, domain, IncludeFault::NoRecord),
            // The rest of it is unknown.
            [text] if is_cut(text) => self.report.unanswered.push(domain),
            [text] => match Record::parse(text) {
                Ok(record) => {
                    return self.record(&record, &At { domain: &domain, path: &path, above: &above, passes });
                }
                Err(error) => self.broken(path, domain, IncludeFault::Syntax(error)),
            },
            _ => self.broken(path, domain, IncludeFault::Several),
        }
        Vec::new()
    }

    fn address(&mut self, domain: &str) -> Vec<Node> {
        let none = |answer: Option<&Answer>| matches!(answer, Some(Answer::NoRecord { .. }));
        let domain = canonical(domain);
        if !domain.contains('%')
            && none(self.look(&domain, RecordType::A))
            && none(self.look(&domain, RecordType::Aaaa))
        {
            self.report.void_lookups.push(domain);
        }
        Vec::new()
    }

    fn exchangers(&mut self, domain: &str, term: &str, at: &At<'_>) -> Vec<Node> {
        let domain = canonical(domain);
        if domain.contains('%') {
            return Vec::new();
        }
        match self.look(&domain, RecordType::Mx) {
            Some(Answer::NoRecord { .. }) => self.report.void_lookups.push(domain),
            Some(answer) if answer.records().len() > MAIL_HOST_LIMIT => {
                let path = at.path.iter().cloned().chain([term.to_owned()]).collect();
                let crowded = Crowded { path, domain, hosts: answer.records().len() };
                self.report.crowded.get_or_insert(crowded);
            }
            _ => {}
        }
        Vec::new()
    }

    /// The answer, if it is there and definite; otherwise the question is noted.
    fn look(&mut self, domain: &str, record_type: RecordType) -> Option<&'a Answer> {
        let question = (domain.to_owned(), record_type);
        match self.answers.get(&question) {
            None => {
                self.questions.insert(question);
                None
            }
            Some(Answer::Indefinite { .. }) => None,
            answer => answer,
        }
    }

    fn broken(&mut self, path: Vec<String>, domain: String, why: IncludeFault) {
        self.report.fault.get_or_insert(Fault::Include { path, domain, why });
    }
}

fn node(term: &str, below: Vec<Node>) -> Node {
    let lookups = 1 + below.iter().map(|node| node.step.lookups).sum::<usize>();
    Node { step: Step { term: term.to_owned(), lookups }, below }
}

fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
