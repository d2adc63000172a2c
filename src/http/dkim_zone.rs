//! `/api/v1/dkim_zone`: the zone that customers' DKIM CNAME records point to, for operators who publish it themselves.

use super::Context;
use super::caller::Caller;
use super::dkim_keys::keys_are_here;
use super::problem::Problem;
use crate::address::DomainName;
use crate::config::Dkim;
use crate::store::keys::ZoneOfKeys;
use crate::verification::rotation::KEY_TTL;
use crate::verification::zone_file::quoted;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::fmt::Write;
use std::net::IpAddr;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = DkimZone)]
pub(super) struct ZoneJson {
    zone: DomainName,
    zone_file: String,
}

/// The zone of the DKIM keys as a zone file
///
/// For operators who publish it themselves.
#[utoipa::path(
    get, path = "/api/v1/dkim_zone", tag = "Queue and operation",
    responses((status = 200, body = ZoneJson), (status = 409))
)]
pub(super) async fn show(caller: Caller, State(context): Context) -> Result<Json<ZoneJson>, Problem> {
    caller.operator()?;
    keys_are_here(&context.config)?;
    let zone_file = zone_file(&context.config.dkim, &context.store.dkim_zone().await?);
    Ok(Json(ZoneJson { zone: context.config.dkim.zone.clone(), zone_file }))
}

/// The zone in master file format (RFC 1035 §5).
fn zone_file(dkim: &Dkim, found: &ZoneOfKeys) -> String {
    let (zone, server, ttl) = (&dkim.zone, &dkim.name_server, KEY_TTL.as_secs());
    let serial = found.serial;
    let mut file = format!(
        "$ORIGIN {zone}.\n$TTL {ttl}\n@ IN SOA {server}. hostmaster.{zone}. {serial} 7200 900 1209600 60\n@ IN NS {server}.\n"
    );
    // Writing to a string cannot fail.
    for address in dkim.name_server_addresses.iter().filter(|_| server.is_within(zone)) {
        let kind = if matches!(address, IpAddr::V4(_)) { "A" } else { "AAAA" };
        let _ = writeln!(file, "{server}. IN {kind} {address}");
    }
    for (token, text) in &found.keys {
        let _ = writeln!(file, "{token} IN TXT {}", quoted(text));
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_file_is_complete_and_splits_long_texts() {
        let name = |text| DomainName::parse(text).unwrap();
        let mut dkim = Dkim { zone: name("dkim.example.net"), name_server: name("ns.example.net"), ..Dkim::default() };
        dkim.name_server_addresses = vec!["192.0.2.53".parse().unwrap(), "2001:db8::53".parse().unwrap()];
        let keys = vec![("abc".into(), format!("v=DKIM1; p={}", "A".repeat(300)))];
        let found = ZoneOfKeys { serial: 7000, keys };
        let file = zone_file(&dkim, &found);
        let lines: Vec<&str> = file.lines().collect();
        assert_eq!(lines[0], "$ORIGIN dkim.example.net.");
        assert_eq!(lines[2], "@ IN SOA ns.example.net. hostmaster.dkim.example.net. 7000 7200 900 1209600 60");
        assert_eq!(lines[3], "@ IN NS ns.example.net.");
        let line = lines[4];
        assert!(line.starts_with("abc IN TXT \"v=DKIM1; p=AAA") && line.ends_with("AAA\""));
        assert_eq!(line.matches('"').count(), 4);
        dkim.name_server = name("ns.dkim.example.net");
        let file = zone_file(&dkim, &found);
        assert!(file.contains("\nns.dkim.example.net. IN A 192.0.2.53\nns.dkim.example.net. IN AAAA 2001:db8::53\n"));
    }
}
