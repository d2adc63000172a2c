//! One query to one server: over UDP, and over TCP if the answer is truncated. Invariant: only an answer that is
//! definite by the protocol becomes `Found` or `NoRecord`: NOERROR or NXDOMAIN, with the AA bit if the server is
//! authoritative. A referral is not an answer. RFC 1035 §4.1.1, §7.3; RFC 2308 §2 (NXDOMAIN, NODATA and referrals);
//! RFC 6891 §7 (servers without EDNS).

use super::query_limiter::{QueryLimiter, Role};
use crate::verification::bounds;
use crate::verification::observed::{Answer, Indefinite, RecordData, RecordType};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::tcp::TcpClientStream;
use hickory_resolver::net::udp::UdpClientStream;
use hickory_resolver::net::xfer::{DnsHandle as _, DnsRequestSender as _, FirstAnswer as _};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Query, ResponseCode};
use hickory_resolver::proto::rr::{self, Name, RData};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A referral; by default, none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Referral {
    /// The delegated zone: the one queried or an enclosing one.
    pub(super) zone: String,
    /// The servers it is delegated to; empty if it is not.
    pub(super) to: Vec<Delegate>,
    /// The server is authoritative for the name itself.
    pub(super) within: bool,
}

/// A name server in the parent's delegation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delegate {
    pub(super) host: String,
    /// Its addresses, from the additional section.
    pub(super) glue: Vec<IpAddr>,
}

/// Shared by the queries of one observation.
#[derive(Debug, Default)]
pub(super) struct QueryOptions {
    /// The expected values: if there are too many records, those closest to them are kept.
    wanted: Vec<String>,
    /// Servers found not to support EDNS.
    without_edns: Mutex<BTreeSet<SocketAddr>>,
}

impl QueryOptions {
    /// Options for queries that look for these values.
    pub(super) fn of(wanted: Vec<String>) -> Self {
        Self { wanted, ..Self::default() }
    }

    fn without_edns(&self) -> MutexGuard<'_, BTreeSet<SocketAddr>> {
        self.without_edns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Queries `server` for the records of `record_type` at `name`, subject to the query limits.
pub(super) async fn ask(
    limiter: &QueryLimiter,
    server: SocketAddr,
    role: Role,
    name: &str,
    record_type: RecordType,
    timeout: Duration,
    query_options: &QueryOptions,
) -> Answer {
    // The final dot disables search lists.
    let Ok(name) = Name::from_ascii(format!("{}.", name.trim_end_matches('.'))) else {
        return Answer::indefinite(Indefinite::Broken(format!("{name:?} is not a valid DNS name")), None);
    };
    let _turn = limiter.acquire(server.ip(), role).await;
    match with_or_without_edns(server, role, &name, record_type, timeout, query_options).await {
        Ok(response) => keeping(read(&response, server, role, &name, record_type), query_options),
        Err(reason) => Answer::indefinite(reason, Some(server)),
    }
}

/// Queries a server of the parent zone for the delegation of `zone`.
pub(super) async fn refer(
    limiter: &QueryLimiter,
    server: SocketAddr,
    zone: &str,
    timeout: Duration,
    query_options: &QueryOptions,
) -> Referral {
    let Ok(name) = Name::from_ascii(format!("{}.", zone.trim_end_matches('.'))) else { return Referral::default() };
    let role = Role::Authoritative;
    let _turn = limiter.acquire(server.ip(), role).await;
    match with_or_without_edns(server, role, &name, RecordType::Ns, timeout, query_options).await {
        Ok(response) => referral(&response, &name),
        Err(_) => Referral::default(),
    }
}

/// The delegation of a name, or of an enclosing zone, in a response.
pub(super) fn referral(response: &DnsResponse, name: &Name) -> Referral {
    // A server with both zones answers with records of the lower one, without a referral.
    if response.authoritative {
        let within = matches!(response.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
        return Referral { within, ..Referral::default() };
    }
    // A server without the zone may refer upwards, to the root.
    let is_below = |owner: &Name| owner.zone_of(name) && !owner.is_root();
    let delegated: Vec<(&Name, &Name)> = response
        .authorities
        .iter()
        .filter(|r| is_below(&r.name))
        .filter_map(|r| match &r.data {
            RData::NS(host) => Some((&r.name, &host.0)),
            _ => None,
        })
        // For each host all additional records are searched.
        .take(2 * bounds::SERVERS)
        .collect();
    let glue = |host: &Name| {
        let of_host = response.additionals.iter().filter(|r| r.name == *host);
        of_host.filter_map(|r| data(&r.data).address()).collect()
    };
    let zone = delegated.first().map(|(owner, _)| text(owner)).unwrap_or_default();
    let to = delegated.iter().map(|(_, host)| Delegate { host: text(host), glue: glue(host) }).collect();
    Referral { zone, to, within: false }
}

async fn with_or_without_edns(
    server: SocketAddr,
    role: Role,
    name: &Name,
    record_type: RecordType,
    timeout: Duration,
    query_options: &QueryOptions,
) -> Result<DnsResponse, Indefinite> {
    let edns = !query_options.without_edns().contains(&server);
    match exchange(server, role, name, record_type, timeout, edns).await {
        // The response of an old server without EDNS.
        Ok(response) if edns && matches!(response.response_code, ResponseCode::FormErr | ResponseCode::NotImp) => {
            query_options.without_edns().insert(server);
            exchange(server, role, name, record_type, timeout, false).await
        }
        other => other,
    }
}

async fn exchange(
    server: SocketAddr,
    role: Role,
    name: &Name,
    record_type: RecordType,
    timeout: Duration,
    edns: bool,
) -> Result<DnsResponse, Indefinite> {
    let mut options = DnsRequestOptions::default();
    options.use_edns = edns;
    options.recursion_desired = role != Role::Authoritative;
    // A lost packet is sent again twice within the timeout.
    options.retry_interval = timeout / 3;
    let mut request = DnsRequest::from_query(Query::query(name.clone(), wire_type(record_type)), options);
    // Requests the AD bit (RFC 6840 §5.7).
    request.metadata.authentic_data = role == Role::Recursive;
    request.metadata.checking_disabled = role == Role::Unvalidated;
    let provider = TokioRuntimeProvider::new();
    // A new socket per query: a fresh port is half of what a forger has to guess.
    let mut udp = UdpClientStream::builder(server, provider.clone()).with_timeout(Some(timeout)).build();
    let response = udp.send_message(request.clone()).first_answer().await.map_err(|error| reason(&error))?;
    if !response.truncation {
        return Ok(response);
    }
    let over_tcp = async {
        let tcp = TcpClientStream::exchange(server, None, timeout, None, provider).await?;
        tcp.send(request).first_answer().await
    };
    let answer = tokio::time::timeout(timeout, over_tcp).await.unwrap_or(Err(NetError::Timeout));
    answer.map_err(|error| Indefinite::NoTcp(failure(&error)))
}

/// Interprets a response.
pub(super) fn read(
    response: &DnsResponse,
    server: SocketAddr,
    role: Role,
    name: &Name,
    record_type: RecordType,
) -> Answer {
    let indefinite = |reason| Answer::indefinite(reason, Some(server));
    match response.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        ResponseCode::ServFail => return indefinite(Indefinite::ServFail),
        ResponseCode::Refused => return indefinite(Indefinite::Refused),
        other => return indefinite(Indefinite::ResponseCode(other.to_str().to_owned())),
    }
    let Some(Followed { records, aliases, ttl }) = follow(&response.answers, name, record_type) else {
        return indefinite(Indefinite::Broken(format!("its alias chain has more than {} names", bounds::ALIASES)));
    };
    // Without the AA bit it is not an authoritative answer, though the data may be correct.
    let vouched = role != Role::Authoritative || response.authoritative;
    let given = |answer: Answer| match vouched {
        true => answer,
        false => indefinite(Indefinite::NotAuthoritative(Box::new(answer))),
    };
    if !records.is_empty() {
        let ttl = Duration::from_secs(ttl.into());
        return given(Answer::Found { records, aliases, ttl, server, authenticated: response.authentic_data });
    }
    let nxdomain = response.response_code == ResponseCode::NXDomain;
    let negative_ttl = response.negative_ttl().map(|seconds| Duration::from_secs(seconds.into()));
    // NOERROR without SOA but with NS records is a referral (RFC 2308 §2.2); and an authoritative server does not have
    // the end of a chain that leaves its zones.
    let referral = negative_ttl.is_none() && response.authorities.iter().any(|r| r.record_type() == rr::RecordType::NS);
    let left_the_zone = role == Role::Authoritative && !aliases.is_empty() && negative_ttl.is_none();
    // The same without either: a negative answer needs the SOA record.
    let denies = negative_ttl.is_some() || vouched;
    if !denies || (!nxdomain && (referral || left_the_zone)) {
        return indefinite(Indefinite::Lame);
    }
    given(Answer::NoRecord { nxdomain, aliases, negative_ttl, server })
}

/// The answer, limited to the number of records kept.
pub(super) fn keeping(mut answer: Answer, query_options: &QueryOptions) -> Answer {
    if let Answer::Found { records, .. } = &mut answer {
        *records = bounds::few(std::mem::take(records), &query_options.wanted);
    }
    answer
}

/// An alias chain, and the records at its end.
struct Followed {
    records: Vec<RecordData>,
    aliases: Vec<String>,
    /// The lowest of the chain, in seconds.
    ttl: u32,
}

/// Follows the alias chain from `name`. `None` if it is too long or a loop.
fn follow(answers: &[rr::Record], name: &Name, record_type: RecordType) -> Option<Followed> {
    let wanted = wire_type(record_type);
    let mut at = name;
    let mut aliases = Vec::new();
    let mut ttl = u32::MAX;
    // For each name all answer records are searched.
    while aliases.len() <= bounds::ALIASES {
        let here: Vec<_> = answers.iter().filter(|r| r.name == *at && r.record_type() == wanted).collect();
        if !here.is_empty() {
            ttl = here.iter().map(|r| r.ttl).fold(ttl, u32::min);
            return Some(Followed { records: here.into_iter().map(|r| data(&r.data)).collect(), aliases, ttl });
        }
        let next = answers.iter().find_map(|r| match &r.data {
            RData::CNAME(target) if r.name == *at => Some((&target.0, r.ttl)),
            _ => None,
        });
        let Some((target, of_alias)) = next else { return Some(Followed { records: Vec::new(), aliases, ttl }) };
        aliases.push(text(target));
        ttl = ttl.min(of_alias);
        at = target;
    }
    None
}

fn wire_type(record_type: RecordType) -> rr::RecordType {
    match record_type {
        RecordType::Cname => rr::RecordType::CNAME,
        RecordType::Mx => rr::RecordType::MX,
        RecordType::Txt => rr::RecordType::TXT,
        RecordType::A => rr::RecordType::A,
        RecordType::Aaaa => rr::RecordType::AAAA,
        RecordType::Ns => rr::RecordType::NS,
    }
}

fn data(data: &RData) -> RecordData {
    match data {
        RData::CNAME(target) => RecordData::Cname(text(&target.0)),
        RData::MX(mx) => RecordData::Mx { preference: mx.preference, exchange: text(&mx.exchange) },
        RData::TXT(txt) => {
            let octets: Vec<u8> = txt.txt_data.iter().flat_map(|part| part.iter().copied()).collect();
            bounds::read(RecordData::Txt(String::from_utf8_lossy(&octets).into_owned()))
        }
        RData::A(a) => RecordData::A(a.0),
        RData::AAAA(aaaa) => RecordData::Aaaa(aaaa.0),
        RData::NS(server) => RecordData::Ns(text(&server.0)),
        other => RecordData::Other { record_type: other.record_type().to_string(), text: other.to_string() },
    }
}

/// A name in the format of [`crate::verification::observed`].
fn text(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    match text.strip_suffix('.') {
        Some("") | None => text,
        Some(rest) => rest.to_owned(),
    }
}

/// Why a connection failed, in the operating system's words.
fn failure(error: &NetError) -> String {
    match error {
        NetError::Timeout => "timed out".to_owned(),
        NetError::Io(error) if error.kind() == ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        other => other.to_string(),
    }
}

fn reason(error: &NetError) -> Indefinite {
    match error {
        NetError::Timeout => Indefinite::Timeout,
        NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail)) => Indefinite::ServFail,
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => Indefinite::Refused,
        other => Indefinite::Broken(other.to_string()),
    }
}
