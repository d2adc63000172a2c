//! The DNS of the fleet: every domain `d<number>.test` has the expected records. Answers are computed from the name, so that their cost
//! does not depend on the number of domains.

use anyhow::{Context, Result};
use hickory_proto::op::{Edns, Message, MessageType, Metadata, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, MX, NS, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use inboxlayer::config::Config;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::UdpSocket;

const NAME_SERVER: &str = "ns.fleet.test.";

/// The configured values.
struct Values {
    dkim_zone: String,
    mx: (u16, Name),
    spf: String,
    dmarc: String,
}

/// Serves until the process ends. Returns its address and the count of its questions.
pub async fn serve(config: &Config) -> Result<(SocketAddr, Arc<AtomicUsize>)> {
    let values = Values {
        dkim_zone: format!("{}.", config.dkim.zone),
        mx: (config.records.mx_priority, Name::from_ascii(format!("{}.", config.records.mx_host))?),
        spf: config.records.spf.clone(),
        dmarc: config.records.dmarc.clone(),
    };
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let (address, questions) = (socket.local_addr()?, Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&questions);
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            count.fetch_add(1, Ordering::Relaxed);
            if let Ok(answer) = reply(&values, &buffer[..length]) {
                // Lost like any datagram.
                let _ = socket.send_to(&answer, peer).await;
            }
        }
    });
    Ok((address, questions))
}

fn reply(values: &Values, question: &[u8]) -> Result<Vec<u8>> {
    let request = Message::from_vec(question)?;
    let query = request.queries.first().context("a question")?;
    let mut response = Message::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
    response.metadata = Metadata::response_from_request(&request.metadata);
    response.metadata.recursion_available = request.metadata.recursion_desired;
    response.metadata.authoritative = !request.metadata.recursion_desired;
    response.queries.clone_from(&request.queries);
    response.set_edns(Edns::new());
    match data(values, query.name(), query.query_type())? {
        Some(data) => response.answers.push(Record::from_rdata(query.name().clone(), 60, data)),
        None => {
            response.metadata.response_code = ResponseCode::NoError;
            let (zone, server) = (Name::from_ascii("test.")?, Name::from_ascii(NAME_SERVER)?);
            let soa = SOA::new(server.clone(), server, 1, 7200, 900, 1_209_600, 60);
            response.authorities.push(Record::from_rdata(zone, 60, RData::SOA(soa)));
        }
    }
    Ok(response.to_vec()?)
}

fn data(values: &Values, name: &Name, kind: RecordType) -> Result<Option<RData>> {
    let text = name.to_ascii().to_ascii_lowercase();
    let txt = |text: &str| Ok(Some(RData::TXT(TXT::new(vec![text.to_owned()]))));
    if let Some((token, domain)) = text.split_once("._domainkey.") {
        let target = format!("{token}.{}", values.dkim_zone);
        // Names below the records and in other domains do not exist.
        let there = !token.contains('.') && domain.ends_with(".test.") && domain.matches('.').count() == 2;
        return Ok(if there { Some(RData::CNAME(CNAME(Name::from_ascii(target)?))) } else { None });
    }
    let domain = text.starts_with('d') && text.ends_with(".test.") && text.matches('.').count() == 2;
    match kind {
        RecordType::NS if domain => Ok(Some(RData::NS(NS(Name::from_ascii(NAME_SERVER)?)))),
        RecordType::A if text == NAME_SERVER => Ok(Some(RData::A(A(Ipv4Addr::LOCALHOST)))),
        RecordType::MX if domain => Ok(Some(RData::MX(MX::new(values.mx.0, values.mx.1.clone())))),
        RecordType::TXT if domain => txt(&values.spf),
        RecordType::TXT if text.starts_with("_dmarc.") => txt(&values.dmarc),
        RecordType::TXT if text.ends_with(&values.dkim_zone) => txt("v=DKIM1; k=rsa; p=AAAA"),
        RecordType::TXT if !text.ends_with(".test.") => txt("v=spf1 ip4:192.0.2.0/24 -all"),
        _ => Ok(None),
    }
}
