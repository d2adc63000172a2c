//! Answers one query from the zones.

use super::finding::Finding;
use super::play::Fault;
use super::{UDP_PAYLOAD, Zones};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};

/// CNAMEs followed before a chain counts as a loop.
const CHAIN: usize = 8;

/// An empty response: the question, unless there are several (RFC 9619), and EDNS if the query had it (RFC 6891
/// §6.1.1).
pub(super) fn begin(request: &Message) -> Message {
    let mut response = Message::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
    response.metadata = hickory_proto::op::Metadata::response_from_request(&request.metadata);
    if let [one] = request.queries.as_slice() {
        response.queries.push(one.clone());
    }
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD).set_version(0);
        response.set_edns(edns);
    }
    response
}

/// The response; `None` for a query that is to time out.
pub(super) async fn answer(zones: &Zones, request: &Message) -> Option<Message> {
    let mut response = begin(request);
    response.metadata.response_code = match question(request) {
        Ok((name, kind)) => {
            let recursive = zones.inner.play.is_some() && request.metadata.recursion_desired;
            response.metadata.recursion_available = recursive;
            response.metadata.authoritative = !recursive;
            fill(zones, &mut response, name, kind, recursive).await?
        }
        Err(code) => code,
    };
    if matches!(response.metadata.response_code, ResponseCode::Refused | ResponseCode::ServFail) {
        response.metadata.authoritative = false;
    }
    Some(response)
}

fn question(request: &Message) -> Result<(&Name, RecordType), ResponseCode> {
    if request.version() > 0 {
        return Err(ResponseCode::BADVERS);
    }
    if request.metadata.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    let [query] = request.queries.as_slice() else { return Err(ResponseCode::FormErr) };
    match (query.query_class(), query.query_type()) {
        // Zone transfers are refused.
        (_, RecordType::AXFR | RecordType::IXFR) => Err(ResponseCode::Refused),
        (DNSClass::IN | DNSClass::ANY, kind) => Ok((query.name(), kind)),
        _ => Err(ResponseCode::Refused),
    }
}

/// Fills the sections; `None` for a query that is to time out. A CNAME is followed within its zone, and across zones
/// if recursion is desired (RFC 1034 §4.3.2; RFC 2308 §2.1 and §2.2 for the end of a chain).
async fn fill(
    zones: &Zones,
    response: &mut Message,
    name: &Name,
    kind: RecordType,
    recursive: bool,
) -> Option<ResponseCode> {
    let mut name = name.clone();
    for _ in 0..CHAIN {
        // A fault of one server is not one of the resolver that it is, too.
        match zones.fault_at(&name, (!recursive).then_some(zones.server)) {
            None => {}
            // The zone itself is there.
            Some(Fault::Missing) if matches!(kind, RecordType::NS | RecordType::SOA) => {}
            Some(Fault::Missing) => {
                response.authorities.extend(zones.soa_of(&name));
                return Some(ResponseCode::NoError);
            }
            Some(Fault::Timeout) => return None,
            Some(Fault::Servfail) => return Some(failed(response, ResponseCode::ServFail)),
            Some(Fault::Refused) => return Some(failed(response, ResponseCode::Refused)),
        }
        match find(zones, &name, kind).await {
            Ok(Finding::Records(records)) => {
                response.answers.extend(records);
                return Some(ResponseCode::NoError);
            }
            Ok(Finding::Alias(record, target)) => {
                response.answers.push(record);
                if !recursive && !zones.same_zone(&name, &target) {
                    return Some(ResponseCode::NoError);
                }
                name = target;
            }
            Ok(Finding::NoData(soa)) => {
                response.authorities.push(soa);
                return Some(ResponseCode::NoError);
            }
            Ok(Finding::NoName(soa)) => {
                response.authorities.push(soa);
                return Some(ResponseCode::NXDomain);
            }
            Ok(Finding::NotOurs) if response.answers.is_empty() => return Some(ResponseCode::Refused),
            Ok(Finding::NotOurs) => return Some(ResponseCode::NoError),
            Err(error) => {
                tracing::error!(%error, "cannot answer a DNS query from the store");
                return Some(failed(response, ResponseCode::ServFail));
            }
        }
    }
    Some(failed(response, ResponseCode::ServFail))
}

fn failed(response: &mut Message, code: ResponseCode) -> ResponseCode {
    response.answers.clear();
    code
}

async fn find(zones: &Zones, name: &Name, kind: RecordType) -> Result<Finding, crate::store::StoreError> {
    match (zones.inner.keys.get(), &zones.inner.play) {
        (Some(keys), _) if keys.holds(name) => keys.find(name, kind).await,
        (_, Some(play)) => Ok(play.find(name, kind)),
        (_, None) => Ok(Finding::NotOurs),
    }
}

impl Zones {
    fn fault_at(&self, name: &Name, server: Option<u8>) -> Option<Fault> {
        self.inner.play.as_ref().and_then(|play| play.fault_at(name, server))
    }

    fn soa_of(&self, name: &Name) -> Option<hickory_proto::rr::Record> {
        self.inner.play.as_ref().map(|play| play.soa_of(&play.apex_of(name)))
    }

    fn same_zone(&self, name: &Name, target: &Name) -> bool {
        let in_keys = |name| self.inner.keys.get().is_some_and(|keys| keys.holds(name));
        match &self.inner.play {
            Some(play) => in_keys(name) == in_keys(target) && play.apex_of(name) == play.apex_of(target),
            None => in_keys(target),
        }
    }
}
