//! `/api/v1/dkim_zone`: the zone that customers' DKIM records lead to, for operators who publish it themselves.

use super::HttpContext;
use super::caller::Caller;
use super::problem::Problem;
use crate::address::DomainName;
use crate::domain::zone_file::quoted;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::fmt::Write;

/// Keys never change under a token.
const TTL: u32 = 3600;

/// The zone.
#[derive(Serialize)]
pub(super) struct ZoneJson {
    zone: DomainName,
    zone_file: String,
}

/// `GET`
pub(super) async fn show(caller: Caller, State(context): State<HttpContext>) -> Result<Json<ZoneJson>, Problem> {
    caller.operator()?;
    let zone = context.config.dkim.zone.clone();
    let keys = context.store.dkim_zone().await?;
    let zone_file = zone_file(&zone, &keys);
    Ok(Json(ZoneJson { zone, zone_file }))
}

/// Its records as a zone file has them (RFC 1035 §5); SOA and NS are the operator's own.
fn zone_file(zone: &DomainName, keys: &[(String, String)]) -> String {
    let mut file = format!("$ORIGIN {zone}.\n$TTL {TTL}\n");
    for (token, text) in keys {
        // Writing to a string does not fail.
        let _ = writeln!(file, "{token} IN TXT {}", quoted(text));
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_stand_in_several_strings() {
        let zone = DomainName::parse("dkim.example.net").unwrap();
        let file = zone_file(&zone, &[("abc".into(), format!("v=DKIM1; p={}", "A".repeat(300)))]);
        let line = file.lines().last().unwrap();
        assert_eq!(file.lines().next(), Some("$ORIGIN dkim.example.net."));
        assert!(line.starts_with("abc IN TXT \"v=DKIM1; p=AAA") && line.ends_with("AAA\""));
        assert_eq!(line.matches('"').count(), 4);
    }
}
