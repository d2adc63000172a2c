//! GETQUOTA, GETQUOTAROOT, SETQUOTA: RFC 9208.

use super::super::parser::{Parser, Read};

/// SETQUOTA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetQuota {
    pub root: Vec<u8>,
    /// Resources in capitals, and their limits.
    pub limits: Vec<(String, u64)>,
}

/// A space, then the name of a quota root.
pub fn root(parser: &mut Parser<'_>) -> Read<Vec<u8>> {
    parser.space()?;
    parser.astring("a quota root").map(|root| root.into_owned())
}

/// The arguments of SETQUOTA.
pub fn set_quota(parser: &mut Parser<'_>) -> Read<SetQuota> {
    let root = root(parser)?;
    parser.space()?;
    let limits = parser.list_or_empty(|parser| {
        let name = parser.name("a resource")?;
        parser.space()?;
        Ok((name, parser.number64("a limit")?))
    })?;
    Ok(SetQuota { root, limits })
}

#[cfg(test)]
mod tests {
    use super::super::super::parser::tests::read;
    use super::*;

    #[test]
    fn quotas_are_read() {
        let of = |text| read(text, false, set_quota).map_err(|error| error.to_string());
        assert_eq!(of(" \"\" (STORAGE 512 message 9)").unwrap().limits[1], ("MESSAGE".to_owned(), 9));
        assert!(of(" \"\" ()").unwrap().limits.is_empty());
        assert_eq!(of(" \"\" (STORAGE)"), Err("expected a space after STORAGE".to_owned()));
        assert_eq!(read(" \"a b\"", false, root).unwrap(), b"a b");
    }
}
