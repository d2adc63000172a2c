//! Charsets under all names used in mail. RFC 2978 (registered names), RFC 1468, RFC 1557, RFC 1843, RFC 1922, RFC
//! 2152. Invariant: decoding is linear and never fails; invalid octets become U+FFFD. Octets in an unknown charset are
//! UTF-8, or Windows-1252 if they contain no UTF-8 character.

use super::decode::base64_digit;
use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GB18030, GBK, ISO_2022_JP, KOI8_R, KOI8_U, MACINTOSH, SHIFT_JIS, UTF_16BE,
    UTF_16LE, WINDOWS_874, WINDOWS_1252, X_MAC_CYRILLIC,
};
use oem_cp::code_table::DECODING_TABLE_CP_MAP;

/// Longer than any charset name.
const LONGEST_NAME: usize = 64;

/// How to decode a charset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charset {
    /// UTF-8, ASCII, or unknown.
    Utf8,
    Utf7,
    Utf32,
    /// HZ: Chinese in ASCII between `~{` and `~}`.
    Hz,
    /// Shift out and shift in to the characters of this charset with their high bits set.
    Shifted(&'static Encoding),
    /// An MS-DOS code page that is not in the Encoding Standard.
    Dos(u16),
    Standard(&'static Encoding),
}

/// Decodes octets in the named charset.
pub(crate) fn decoded(name: &[u8], octets: &[u8]) -> String {
    let charset = Charset::named(name);
    if charset.has_ascii() && octets.is_ascii() {
        return String::from_utf8_lossy(octets).into_owned();
    }
    match charset {
        Charset::Utf8 => utf8(octets),
        Charset::Utf7 => utf7(octets),
        Charset::Utf32 => utf32(octets),
        Charset::Hz => GBK.decode_without_bom_handling(&without_hz_escapes(octets)).0.into_owned(),
        Charset::Shifted(to) => to.decode_without_bom_handling(&without_shifts(octets)).0.into_owned(),
        Charset::Dos(page) => match DECODING_TABLE_CP_MAP.get(&page) {
            Some(table) => table.decode_string_lossy(octets),
            None => utf8(octets),
        },
        Charset::Standard(encoding) if encoding == ISO_2022_JP => {
            encoding.decode(&without_empty_escapes(octets)).0.into_owned()
        }
        Charset::Standard(encoding) => encoding.decode(octets).0.into_owned(),
    }
}

/// True for a known charset name.
pub(crate) fn is_known(name: &[u8]) -> bool {
    Charset::find(name).is_some()
}

impl Charset {
    fn named(name: &[u8]) -> Self {
        Self::find(name).unwrap_or(Self::Utf8)
    }

    fn find(name: &[u8]) -> Option<Self> {
        let given = String::from_utf8_lossy(name.get(..LONGEST_NAME).unwrap_or(name)).to_ascii_lowercase();
        // `ISO_8859-1:1987` has a year; `x-` and `cs` mark unregistered and registered names.
        let name = given.split(':').next().unwrap_or_default().trim();
        let name = name.strip_prefix("x-").or_else(|| name.strip_prefix("cs")).unwrap_or(name);
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        Self::alias(&plain)
            .or_else(|| Encoding::for_label_no_replacement(given.trim().as_bytes()).map(Self::Standard))
            .or_else(|| Encoding::for_label_no_replacement(name.as_bytes()).map(Self::Standard))
            .or_else(|| Self::code_page(&plain))
    }

    /// Aliases without punctuation, not listing those of the Encoding Standard with the same meaning.
    fn alias(name: &str) -> Option<Self> {
        Some(match name {
            "" | "ascii" | "usascii" | "us" | "ansix34" | "ansix341968" | "ansix341986" | "iso646us" | "utf8"
            | "utf8mb4" | "unicode11utf8" | "unicode20utf8" => Self::Utf8,
            "utf7" | "unicode11utf7" | "unicode20utf7" => Self::Utf7,
            "utf32" | "utf32be" | "utf32le" | "ucs4" | "iso10646ucs4" => Self::Utf32,
            "utf16be" | "unicodefffe" => Self::Standard(UTF_16BE),
            "utf16" | "utf16le" | "ucs2" | "unicode" | "iso10646ucs2" => Self::Standard(UTF_16LE),
            "hz" | "hzgb2312" => Self::Hz,
            "iso2022kr" => Self::Shifted(EUC_KR),
            "iso2022cn" | "iso2022cnext" => Self::Shifted(GBK),
            "latin0" | "latin7" | "latin8" | "latin9" | "latin10" => {
                let number = match name {
                    "latin7" => "iso-8859-13",
                    "latin8" => "iso-8859-14",
                    "latin10" => "iso-8859-16",
                    _ => "iso-8859-15",
                };
                Self::Standard(Encoding::for_label(number.as_bytes())?)
            }
            "ansi" | "latin" => Self::Standard(WINDOWS_1252),
            "sjis" | "shiftjis" | "mskanji" | "shiftjisx0213" | "shiftjis2004" | "windows31j" => {
                Self::Standard(SHIFT_JIS)
            }
            "eucjp" | "eucjpms" | "ujis" | "eucjisx0213" | "eucjis2004" => Self::Standard(EUC_JP),
            "jis" => Self::Standard(ISO_2022_JP),
            "euckr" | "uhc" | "ksx1001" => Self::Standard(EUC_KR),
            "gb18030" | "gb180302000" | "gb180302005" => Self::Standard(GB18030),
            "euccn" | "gb2312" | "gb231280" | "gbk" | "gb" => Self::Standard(GBK),
            "big5" | "big5hkscs" | "big5eten" | "big5tw" => Self::Standard(BIG5),
            "tis620" | "tis6200" | "tis62025331" | "iso885911" => Self::Standard(WINDOWS_874),
            "koi8" | "koi8r" => Self::Standard(KOI8_R),
            "koi8u" | "koi8ru" => Self::Standard(KOI8_U),
            "mac" | "macroman" | "macosroman" | "macintosh" => Self::Standard(MACINTOSH),
            "maccyrillic" | "macukrainian" => Self::Standard(X_MAC_CYRILLIC),
            _ if name.starts_with("iso2022jp") => Self::Standard(ISO_2022_JP),
            _ if name.starts_with("ksc5601") => Self::Standard(EUC_KR),
            _ => return None,
        })
    }

    /// `cp949`, `windows-949`, `ibm437`, `ms950`, `850`, `pc850multilingual`
    fn code_page(name: &str) -> Option<Self> {
        let prefixes = ["codepage", "windows", "win", "pc8codepage", "ibm", "dos", "oem", "cp", "ms", "pc"];
        let number = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        let digits = number.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        let number: u16 = digits.trim_start_matches('0').parse().ok()?;
        let standard = |label: &str| Encoding::for_label(label.as_bytes()).map(Self::Standard);
        match number {
            367 | 20127 | 65001 => Some(Self::Utf8),
            65000 => Some(Self::Utf7),
            1200 => Some(Self::Standard(UTF_16LE)),
            1201 => Some(Self::Standard(UTF_16BE)),
            12000 | 12001 => Some(Self::Utf32),
            874 => Some(Self::Standard(WINDOWS_874)),
            819 => Some(Self::Standard(WINDOWS_1252)),
            813 => standard("iso-8859-7"),
            912..=916 => standard(&format!("iso-8859-{}", number - 910)),
            920 => standard("iso-8859-9"),
            923 => standard("iso-8859-15"),
            932 | 942 | 943 => Some(Self::Standard(SHIFT_JIS)),
            936 | 1386 | 51936 => Some(Self::Standard(GBK)),
            949 | 970 | 1363 | 51949 => Some(Self::Standard(EUC_KR)),
            950 | 951 => Some(Self::Standard(BIG5)),
            1250..=1258 => standard(&format!("windows-{number}")),
            10000 => Some(Self::Standard(MACINTOSH)),
            10007 => Some(Self::Standard(X_MAC_CYRILLIC)),
            20866 => Some(Self::Standard(KOI8_R)),
            21866 => Some(Self::Standard(KOI8_U)),
            28591..=28606 => standard(&format!("iso-8859-{}", number - 28590)),
            50220..=50222 => Some(Self::Standard(ISO_2022_JP)),
            50225 => Some(Self::Shifted(EUC_KR)),
            50227 => Some(Self::Shifted(GBK)),
            51932 => Some(Self::Standard(EUC_JP)),
            52936 => Some(Self::Hz),
            54936 => Some(Self::Standard(GB18030)),
            _ => DECODING_TABLE_CP_MAP.contains_key(&number).then_some(Self::Dos(number)),
        }
    }

    /// True if octets below 128 are always ASCII.
    fn has_ascii(self) -> bool {
        match self {
            Self::Utf8 | Self::Dos(_) => true,
            Self::Utf7 | Self::Utf32 | Self::Hz | Self::Shifted(_) => false,
            Self::Standard(encoding) => encoding.is_ascii_compatible(),
        }
    }
}

/// UTF-8, or the charset that Western mail programs used before they declared it.
fn utf8(octets: &[u8]) -> String {
    let octets = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets);
    match std::str::from_utf8(octets) {
        Ok(text) => text.to_owned(),
        Err(_) if octets.utf8_chunks().all(|chunk| chunk.valid().is_ascii()) => {
            WINDOWS_1252.decode_without_bom_handling(octets).0.into_owned()
        }
        Err(_) => String::from_utf8_lossy(octets).into_owned(),
    }
}

/// RFC 2152. A `+` that starts no character is kept.
fn utf7(octets: &[u8]) -> String {
    let mut out = String::with_capacity(octets.len());
    let mut rest = octets;
    while let Some(plus) = memchr::memchr(b'+', rest) {
        let (before, after) = rest.split_at_checked(plus).unwrap_or_default();
        out.push_str(&String::from_utf8_lossy(before));
        let after = after.get(1..).unwrap_or_default();
        let length = after.iter().take_while(|octet| base64_digit(**octet).is_some()).count();
        let (encoded, after) = after.split_at_checked(length).unwrap_or_default();
        rest = after.strip_prefix(b"-").unwrap_or(after);
        let (mut bits, mut count, mut units) = (0_u32, 0, Vec::with_capacity(encoded.len() / 2));
        for digit in encoded.iter().filter_map(|octet| base64_digit(*octet)) {
            bits = (bits << 6) | u32::from(digit);
            count += 6;
            if count >= 16 {
                count -= 16;
                units.push(u16::try_from((bits >> count) & 0xffff).unwrap_or_default());
            }
        }
        if units.is_empty() {
            out.push('+');
            out.push_str(&String::from_utf8_lossy(encoded));
        }
        out.push_str(&String::from_utf16_lossy(&units));
    }
    out.push_str(&String::from_utf8_lossy(rest));
    out
}

/// Big-endian unless there is a byte order mark.
fn utf32(octets: &[u8]) -> String {
    let is_little = octets.starts_with(&[0xff, 0xfe, 0, 0]);
    let number = |unit: &[u8; 4]| if is_little { u32::from_le_bytes(*unit) } else { u32::from_be_bytes(*unit) };
    let chars = octets.as_chunks().0.iter().map(|unit| char::from_u32(number(unit)).unwrap_or('\u{fffd}'));
    chars.filter(|c| *c != '\u{feff}').collect()
}

/// RFC 1843, converted to GBK: with the high bits set.
fn without_hz_escapes(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    let mut is_chinese = false;
    let mut rest = octets;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'~', [b'{', tail @ ..]) => (is_chinese, rest) = (true, tail),
            (b'~', [b'}', tail @ ..]) => (is_chinese, rest) = (false, tail),
            (b'~', [b'\n', tail @ ..] | [b'\r', b'\n', tail @ ..]) => rest = tail,
            (b'~', [b'~', tail @ ..]) if !is_chinese => {
                out.push(b'~');
                rest = tail;
            }
            (b'\n', _) => {
                is_chinese = false;
                out.push(b'\n');
            }
            (0x21..=0x7e, _) if is_chinese => out.push(first | 0x80),
            _ => out.push(*first),
        }
    }
    out
}

/// RFC 1557 and RFC 1922, with the high bits set between shift out and shift in. Designations (`ESC $ ) C`) are
/// removed.
fn without_shifts(octets: &[u8]) -> Vec<u8> {
    const SHIFT_OUT: u8 = 0x0e;
    const SHIFT_IN: u8 = 0x0f;
    let mut out = Vec::with_capacity(octets.len());
    let mut is_shifted = false;
    let mut rest = octets;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (0x1b, [b'$', b')' | b'*' | b'+', _, tail @ ..]) => rest = tail,
            (&SHIFT_OUT, _) => is_shifted = true,
            (&SHIFT_IN, _) => is_shifted = false,
            (b'\n', _) => {
                is_shifted = false;
                out.push(b'\n');
            }
            (0x21..=0x7e, _) if is_shifted => out.push(first | 0x80),
            _ => out.push(*first),
        }
    }
    out
}

/// ISO-2022-JP without escapes directly followed by another: the Encoding Standard rejects them as an attack, and
/// joined encoded words contain them.
fn without_empty_escapes(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    let mut rest = octets;
    while let Some((first, after)) = rest.split_first() {
        match rest {
            [0x1b, b'(' | b'$', _, 0x1b, b'(' | b'$', ..] => rest = rest.get(3..).unwrap_or_default(),
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alias_of_a_charset_is_known() {
        for (names, octets, text) in [
            (
                &[
                    "cp949",
                    "ks_c_5601-1987",
                    "EUC-KR",
                    "windows-949",
                    "x-windows-949",
                    "csKSC56011987",
                    "uhc",
                    "KSC5601",
                ][..],
                &b"\xbe\xc8\xb3\xe7"[..],
                "안녕",
            ),
            (
                &["cp932", "Shift_JIS", "sjis", "MS932", "windows-31J", "csShiftJIS", "MS_Kanji", "ibm943"],
                b"\x93\xfa\x96\x7b",
                "日本",
            ),
            (
                &["cp936", "gb2312", "GB_2312-80", "gbk", "EUC-CN", "x-gbk", "gb18030", "ms936"],
                b"\xc4\xe3\xba\xc3",
                "你好",
            ),
            (&["cp950", "big5", "Big5-HKSCS", "cn-big5", "windows-950"], b"\xa7\x41\xa6\x6e", "你好"),
            (&["cp437", "IBM437", "437", "csPC8CodePage437"], b"\x81\xe1", "üß"),
            (&["cp850", "ibm850", "850", "csPC850Multilingual", "cp-850"], b"\x81\xd0", "üð"),
            (&["cp852", "ibm852"], b"\x88", "ł"),
            (
                &[
                    "iso-8859-1",
                    "latin1",
                    "l1",
                    "ISO_8859-1:1987",
                    "iso8859-1",
                    "cp819",
                    "windows-1252",
                    "cp1252",
                    "ansi",
                    "csISOLatin1",
                ],
                b"\xfc",
                "ü",
            ),
            (&["iso-8859-15", "latin9", "latin-9", "ISO_8859-15", "cp923"], b"\xa4", "€"),
            (&["iso-8859-2", "latin2", "ibm912", "cp28592"], b"\xb3", "ł"),
            (&["koi8-r", "koi8", "cp20866", "csKOI8R"], b"\xc4\xc1", "да"),
            (&["windows-1251", "cp1251", "win-1251", "x-cp1251"], b"\xe4\xe0", "да"),
            (&["cp866", "ibm866", "866"], b"\xa4\xa0", "да"),
            (&["tis-620", "windows-874", "cp874", "iso-8859-11"], b"\xa1", "ก"),
            (&["macintosh", "x-mac-roman", "cp10000"], b"\x9f", "ü"),
            (&["iso-2022-jp", "ISO-2022-JP-2", "iso-2022-jp-ms", "csISO2022JP", "cp50221"], b"\x1b$B$\"\x1b(B!", "あ!"),
            (&["iso-2022-kr", "csISO2022KR", "cp50225"], b"\x1b$)C\x0e>H3g\x0f!", "안녕!"),
            (&["iso-2022-cn"], b"\x1b$)A\x0eDc:C\x0f", "你好"),
            (&["hz-gb-2312", "HZ"], b"~{Dc:C~}~~", "你好~"),
            (
                &["utf-7", "unicode-1-1-utf-7", "x-unicode-2-0-utf-7", "csUnicode11UTF7"],
                b"Gr+APwA3w-e +- 1+2",
                "Grüße + 1+2",
            ),
            (&["utf-16be"], b"\0a\x30\x42", "aあ"),
            (&["utf-16", "utf-16le", "ucs-2"], b"a\0\x42\x30", "aあ"),
            (&["utf-16"], b"\xfe\xff\0a", "a"),
            (&["utf-32", "UTF-32BE"], b"\0\0\0a", "a"),
            (
                &["utf-8", "UTF8", "unicode-1-1-utf-8", "us-ascii", "ANSI_X3.4-1968", "", "x-unknown", "8bit"],
                "aü".as_bytes(),
                "aü",
            ),
            (&["utf-8", "us-ascii", "", "unknown-8bit"], b"Jos\xe9", "José"),
            (&["utf-8", ""], "ü\u{fffd}".as_bytes(), "ü\u{fffd}"),
            (&["utf-8", ""], b"\xc3\xbc\xe9", "ü\u{fffd}"),
        ] {
            for name in names {
                assert_eq!(decoded(name.as_bytes(), octets), text, "{name}");
            }
        }
    }

    #[test]
    fn every_charset_decodes_any_octets() {
        let names = ["utf-7", "utf-16", "utf-32", "hz", "iso-2022-kr", "iso-2022-jp", "cp437", "cp857", "big5", ""];
        for name in names {
            for length in 0..6 {
                let octets: Vec<u8> = (0..=255).cycle().take(256 * length + length).collect();
                assert!(decoded(name.as_bytes(), &octets).len() <= octets.len() * 4);
            }
            assert!(decoded(name.as_bytes(), &b"+~{\x1b".repeat(1_000_000)).len() < 17_000_000);
        }
        assert_eq!(decoded(&b"x".repeat(1_000_000), b"a"), "a");
    }
}
