//! The MX records: does mail for the domain come here? RFC 5321 §5.1 (preference), RFC 7505 (null MX).

use super::{Code, Judgement, RecordError, missing, publish};
use crate::domain::observed::RecordData;
use crate::domain::records::Expected;

pub(super) fn judge(expected: &Expected, records: &[RecordData]) -> Judgement {
    let hosts: Vec<(u16, &str)> = records.iter().filter_map(exchanger).collect();
    let Some(best) = hosts.iter().map(|(preference, _)| *preference).min() else {
        return Judgement::Missing(missing(expected));
    };
    let is_ours = |host: &str| host.eq_ignore_ascii_case(&expected.value);
    let name = &expected.name;
    let others: Vec<&str> = hosts.iter().map(|(_, host)| *host).filter(|host| !is_ours(host)).collect();
    let listed = others.join(", ");
    let ours = hosts.iter().filter(|(_, host)| is_ours(host)).map(|(preference, _)| *preference).min();
    match ours {
        Some(preference) if preference == best && others.is_empty() => Judgement::Valid,
        Some(preference) if preference == best => Judgement::Warning(RecordError::new(
            Code::MxOtherHosts,
            format!("other hosts take mail for {name} too: {listed}; what they take does not come here"),
            format!("Delete the MX records of {name} that lead to {listed}, unless they hand the mail on to us."),
        )),
        Some(preference) => Judgement::Mismatch(RecordError::new(
            Code::MxOutranked,
            format!("mail for {name} goes to {listed}, tried before {} at priority {preference}", expected.value),
            format!(
                "Give {} the lowest priority number, below {best}, or delete the other MX records.",
                expected.value
            ),
        )),
        None if hosts.iter().all(|(_, host)| *host == ".") => Judgement::Mismatch(RecordError::new(
            Code::NullMx,
            format!("{name} says that it takes no mail at all (a null MX record)"),
            format!("Delete the MX record with the value \".\". {}", publish(expected)),
        )),
        None => Judgement::Mismatch(RecordError::new(
            Code::MxOtherHosts,
            format!("mail for {name} goes to {listed}, not here"),
            format!("To receive here, delete the MX records to {listed}. {}", publish(expected)),
        )),
    }
}

fn exchanger(record: &RecordData) -> Option<(u16, &str)> {
    match record {
        RecordData::Mx { preference, exchange } => Some((*preference, exchange)),
        _ => None,
    }
}
