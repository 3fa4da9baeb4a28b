//! The running kernel's type information, read for the offsets of structure members.
//!
//! The format is that of Documentation/bpf/btf.rst. aya parses it too, for what it loads;
//! members are not part of its interface.

use std::collections::HashMap;

use bytemuck::{Pod, Zeroable};

/// `struct btf_header` of `include/uapi/linux/btf.h`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Header {
    magic: u16,
    version: u8,
    flags: u8,
    length: u32,
    type_offset: u32,
    type_length: u32,
    string_offset: u32,
    string_length: u32,
}

/// `struct btf_type`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Type {
    name: u32,
    info: u32,
    /// The type it refers to, or its size.
    target: u32,
}

/// `struct btf_member`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Member {
    name: u32,
    kind: u32,
    offset: u32,
}

const MAGIC: u16 = 0xeb9f;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const FORWARD: u32 = 7;
const TYPEDEF: u32 = 8;

/// How deep anonymous structures may nest before the data is taken to be broken.
const DEPTH: u32 = 16;

impl Type {
    const fn kind(self) -> u32 {
        self.info >> 24 & 0x1f
    }

    /// Whether member offsets share their word with the width of a bit field.
    const fn has_bit_fields(self) -> bool {
        self.info >> 31 != 0
    }

    /// Bytes that follow, by kind.
    const fn trailer(self) -> Option<usize> {
        let n = (self.info & 0xffff) as usize;
        Some(match self.kind() {
            // Integers, variables, tags; arrays; structures, sections; enumerations, prototypes.
            1 | 14 | 17 => 4,
            3 => 12,
            STRUCT | UNION | 15 | 19 => 12 * n,
            6 | 13 => 8 * n,
            2 | FORWARD..=12 | 16 | 18 => 0,
            _ => return None,
        })
    }
}

/// Structures of the kernel.
pub(super) struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type begins; the first has number 1.
    places: Vec<u32>,
    /// The structures asked for, by name.
    structures: HashMap<&'static str, u32>,
}

impl<'a> Btf<'a> {
    /// Reads what `/sys/kernel/btf/vmlinux` holds, looking out for `structures`; says what is
    /// wrong otherwise.
    pub(super) fn parse(data: &'a [u8], structures: &[&'static str]) -> Result<Self, &'static str> {
        const CUT: &str = "type information is cut short";
        let header: Header = at(data, 0).ok_or(CUT)?;
        if header.magic != MAGIC {
            return Err("no type information");
        }
        let section = |offset: u32, length: u32| {
            let start = (header.length as usize).checked_add(offset as usize)?;
            data.get(start..start.checked_add(length as usize)?)
        };
        let types = section(header.type_offset, header.type_length).ok_or(CUT)?;
        let strings = section(header.string_offset, header.string_length).ok_or(CUT)?;

        let mut btf = Self { types, strings, places: Vec::new(), structures: HashMap::new() };
        let mut place = 0;
        while place < types.len() {
            let found: Type = at(types, place).ok_or(CUT)?;
            let number = u32::try_from(place).map_err(|_| CUT)?;
            btf.places.push(number);
            if found.kind() == STRUCT
                && let Some(&name) = structures.iter().find(|name| btf.is_named(found.name, name))
            {
                btf.structures.entry(name).or_insert(number);
            }
            let trailer = found.trailer().ok_or("type information of an unknown kind")?;
            place += size_of::<Type>() + trailer;
        }
        Ok(btf)
    }

    /// Bytes from the start of `structure` to a member, or to a member of that member …
    pub(super) fn offset(&self, structure: &'static str, path: &[&str]) -> Option<u32> {
        let mut place = *self.structures.get(structure)?;
        let mut bits = 0;
        for name in path {
            let (offset, kind) = self.member(place, name, DEPTH)?;
            bits += offset;
            place = self.resolve(kind).unwrap_or(u32::MAX);
        }
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// The same types under the same numbers, up to the last of the named `typedef`s; all others
    /// blank.
    ///
    /// To find the numbers of a few tracepoints, aya wants all types, and takes tens of
    /// megabytes to hold them: these it holds cheaply.
    pub(super) fn blanked(&self, typedefs: &[String]) -> Vec<u8> {
        let mut header = Header { magic: MAGIC, version: 1, ..Header::zeroed() };
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut types: Vec<u8> = Vec::with_capacity(self.places.len() * size_of::<Type>());
        let mut strings = vec![0];
        let mut left = typedefs.len();
        for &place in &self.places {
            let mut blank = Type { info: FORWARD << 24, ..Type::zeroed() };
            if let Some(found) = at::<Type>(self.types, place as usize)
                && found.kind() == TYPEDEF
                && let Some(name) = typedefs.iter().find(|name| self.is_named(found.name, name))
            {
                blank = Type { name: length(&strings), ..found };
                strings.extend(name.bytes().chain([0]));
                left = left.saturating_sub(1);
            }
            types.extend(bytemuck::bytes_of(&blank));
            if left == 0 {
                break;
            }
        }
        header.length = length(bytemuck::bytes_of(&header));
        header.type_length = length(&types);
        header.string_offset = header.type_length;
        header.string_length = length(&strings);
        [bytemuck::bytes_of(&header), &types, &strings].concat()
    }

    /// The bits before a member and its type; members of anonymous structures are found.
    fn member(&self, place: u32, name: &str, depth: u32) -> Option<(u32, u32)> {
        let place = place as usize;
        let outer: Type = at(self.types, place)?;
        if !matches!(outer.kind(), STRUCT | UNION) {
            return None;
        }
        (0..outer.info as usize & 0xffff).find_map(|n| {
            let member: Member =
                at(self.types, place + size_of::<Type>() + n * size_of::<Member>())?;
            let offset =
                if outer.has_bit_fields() { member.offset & 0xff_ffff } else { member.offset };
            if self.is_named(member.name, name) {
                Some((offset, member.kind))
            } else if member.name == 0 && depth > 0 {
                let (inner, kind) = self.member(self.resolve(member.kind)?, name, depth - 1)?;
                Some((offset + inner, kind))
            } else {
                None
            }
        })
    }

    /// Where a type begins, behind its names and qualifiers.
    fn resolve(&self, mut kind: u32) -> Option<u32> {
        for _ in 0..DEPTH {
            let place = *self.places.get(kind.checked_sub(1)? as usize)?;
            let found: Type = at(self.types, place as usize)?;
            match found.kind() {
                TYPEDEF..=11 | 18 => kind = found.target,
                _ => return Some(place),
            }
        }
        None
    }

    fn is_named(&self, offset: u32, name: &str) -> bool {
        self.strings
            .get(offset as usize..)
            .and_then(|text| text.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

/// The structure at `place`.
fn at<T: Pod>(data: &[u8], place: usize) -> Option<T> {
    let bytes = data.get(place..place.checked_add(size_of::<T>())?)?;
    Some(bytemuck::pod_read_unaligned(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRINGS: &[u8] = b"\0outer\0first\0second\0inner\0deep\0alias\0";
    const OUTER: u32 = 1;
    const FIRST: u32 = 7;
    const SECOND: u32 = 13;
    const INNER: u32 = 20;
    const DEEP: u32 = 26;
    const ALIAS: u32 = 31;

    /// `struct outer { int first; union { const struct inner second; }; }` and
    /// `struct inner { int first; int deep; }`.
    fn example() -> Vec<u8> {
        let mut types = Vec::new();
        let mut put = |words: &[u32]| types.extend(words.iter().flat_map(|w| w.to_ne_bytes()));
        put(&[0, 1 << 24, 4, 32]); // 1: int
        put(&[OUTER, STRUCT << 24 | 2, 12, FIRST, 1, 0, 0, 3, 32]); // 2
        put(&[0, UNION << 24 | 1, 8, SECOND, 4, 0]); // 3
        put(&[0, 10 << 24, 5]); // 4: const
        put(&[INNER, STRUCT << 24 | 2 | 1 << 31, 8, FIRST, 1, 32 << 24, DEEP, 1, 32 << 24 | 32]);
        put(&[ALIAS, TYPEDEF << 24, 1]); // 6
        let length = u32::try_from(types.len()).unwrap();
        let header = Header {
            magic: MAGIC,
            version: 1,
            flags: 0,
            length: 24,
            type_offset: 0,
            type_length: length,
            string_offset: length,
            string_length: u32::try_from(STRINGS.len()).unwrap(),
        };
        [bytemuck::bytes_of(&header), &types, STRINGS].concat()
    }

    #[test]
    fn members_are_found_through_anonymous_and_qualified_types() {
        let data = example();
        let btf = Btf::parse(&data, &["outer"]).unwrap();
        assert_eq!(btf.offset("outer", &["first"]), Some(0));
        assert_eq!(btf.offset("outer", &["second"]), Some(4));
        assert_eq!(btf.offset("outer", &["second", "deep"]), Some(8));
        assert_eq!(btf.offset("outer", &["third"]), None);
        assert_eq!(btf.offset("outer", &["first", "deep"]), None);
        assert_eq!(btf.offset("inner", &["deep"]), None, "not asked for");
    }

    #[test]
    fn blank_types_keep_their_numbers() {
        let data = example();
        let btf = Btf::parse(&data, &[]).unwrap();
        let blank = btf.blanked(&["alias".to_owned()]);
        let blank = aya::Btf::parse(&blank, aya::Endianness::default()).unwrap();
        let find = |name, kind| blank.id_by_type_name_kind(name, kind).ok();
        assert_eq!(find("alias", aya_obj::btf::BtfKind::Typedef), Some(6));
        assert_eq!(find("outer", aya_obj::btf::BtfKind::Struct), None);
    }

    #[test]
    fn broken_data_is_refused() {
        let data = example();
        for length in 0..data.len() {
            assert!(Btf::parse(&data[..length], &["outer"]).is_err(), "{length}");
        }
        for place in 0..data.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut data = data.clone();
                data[place] = byte;
                if let Ok(btf) = Btf::parse(&data, &["outer"]) {
                    let _ = btf.offset("outer", &["second", "deep"]);
                }
            }
        }
    }
}
