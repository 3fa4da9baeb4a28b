//! The running kernel's type information, read for the offsets of structure members and of per-CPU
//! variables, for enumerators, and for the numbers of type definitions and functions.
//!
//! The format is that of Documentation/bpf/btf.rst. The kernel of a distribution describes some
//! 150,000 types in 6 MiB, of which a dozen are wanted here. So the file is read in pieces, and
//! only the place of every 64th type is kept. aya reads the whole file, into ten times the memory.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path};

use bytemuck::{Pod, Zeroable};
use hashbrown::HashMap;

use super::Error;

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
    /// The number of the type that this one refers to, or the size of this one in bytes.
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

/// `struct btf_var_secinfo`: a variable of a section.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Placed {
    /// The number of the variable's type.
    number: u32,
    offset: u32,
    size: u32,
}

/// `struct btf_enum`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Enumerator {
    name: u32,
    value: u32,
}

/// A member of a structure, in bits: its offset, and its width where it is a bit field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Bits {
    /// From the start of the structure.
    pub(super) offset: u32,
    /// 0 where the member is no bit field.
    pub(super) width: u32,
}

const MAGIC: u16 = 0xeb9f;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const FUNCTION: u32 = 12;
const VARIABLE: u32 = 14;
const SECTION: u32 = 15;

/// The section of per-CPU variables.
pub(super) const PER_CPU: &str = ".data..percpu";

/// How deep anonymous structures may nest before the data is taken to be broken.
const DEPTH: u32 = 16;

/// The place of one type in this many is kept.
const STRIDE: u32 = 64;

/// One read of a file in /sys gives at most this many bytes.
const PAGE: usize = 4096;

const CUT: Error = Error::BadBtf("cut short");

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
            1 | VARIABLE | 17 => 4,
            3 => 12,
            STRUCT | UNION | SECTION | 19 => 12 * n,
            ENUM | 13 => 8 * n,
            2 | 7..=FUNCTION | 16 | 18 => 0,
            _ => return None,
        })
    }
}

/// A part of a file, and the piece of it that was read last.
struct Pieces {
    file: File,
    /// The part's end in the file.
    end: u64,
    /// The piece's start in the file.
    start: u64,
    piece: Vec<u8>,
}

impl Pieces {
    /// The `length` bytes at `place` in the file, and the bytes behind them in the piece.
    fn get(&mut self, place: u64, length: usize) -> Result<&[u8], Error> {
        let have = |pieces: &Self| {
            let from = usize::try_from(place.checked_sub(pieces.start)?).ok()?;
            (pieces.piece.len().checked_sub(from)? >= length).then_some(from)
        };
        let from = match have(self) {
            Some(from) => from,
            None => {
                self.fill(place, length)?;
                have(self).ok_or(CUT)?
            }
        };
        self.piece.get(from..).ok_or(CUT)
    }

    fn fill(&mut self, place: u64, length: usize) -> Result<(), Error> {
        let left = usize::try_from(self.end.saturating_sub(place)).unwrap_or(usize::MAX);
        self.start = place;
        self.piece.resize(length.max(PAGE).min(left), 0);
        let mut filled = 0;
        while filled < length.min(left) {
            let rest = self.piece.get_mut(filled..).unwrap_or_default();
            match self.file.read_at(rest, place + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::NoBtf(error)),
            }
        }
        self.piece.truncate(filled);
        Ok(())
    }

    fn at<T: Pod>(&mut self, place: u64) -> Result<T, Error> {
        let bytes = self.get(place, size_of::<T>())?.get(..size_of::<T>()).ok_or(CUT)?;
        Ok(bytemuck::pod_read_unaligned(bytes))
    }
}

/// Types of the kernel.
pub(super) struct Btf<'a> {
    types: Pieces,
    /// The wanted names, by their offsets among the strings.
    names: HashMap<u32, &'a str>,
    /// The place in the file of every [`STRIDE`]th type; the first type has number 1.
    places: Vec<u64>,
    /// Where the types with wanted names begin, by kind: structures, enumerations, sections.
    found: HashMap<(u32, &'a str), u64>,
    /// The numbers of those with wanted names, by kind: type definitions, functions, variables.
    numbers: HashMap<(u32, &'a str), u32>,
}

impl<'a> Btf<'a> {
    /// Looks through a file like `/sys/kernel/btf/vmlinux` for types and members of these names; an
    /// error names the file's fault.
    pub(super) fn read(path: &Path, wanted: &[&'a str]) -> Result<Self, Error> {
        #[expect(clippy::disallowed_methods, reason = "the path is given")]
        let file = File::open(path).map_err(Error::NoBtf)?;
        let mut pieces = Pieces { file, end: u64::MAX, start: 0, piece: Vec::new() };
        let header: Header = pieces.at(0)?;
        if header.magic != MAGIC {
            return Err(Error::BadBtf("not in its format"));
        }
        let start = |offset: u32| u64::from(header.length) + u64::from(offset);
        let strings = start(header.string_offset);
        pieces.end = strings + u64::from(header.string_length);
        let names = names(&mut pieces, strings, wanted)?;
        let first = start(header.type_offset);
        let end = first + u64::from(header.type_length);
        // The piece is dropped: it may hold strings, which lie behind the end of the types.
        let types = Pieces { end, start: 0, piece: Vec::new(), ..pieces };
        let (places, found, numbers) = (Vec::new(), HashMap::new(), HashMap::new());
        let mut btf = Self { types, names, places, found, numbers };
        btf.look_through(first, end)?;
        Ok(btf)
    }

    fn look_through(&mut self, mut place: u64, end: u64) -> Result<(), Error> {
        const HEAD: usize = size_of::<Type>();
        let mut number = 1;
        while place < end {
            let piece = self.types.get(place, HEAD)?;
            let mut passed = 0_usize;
            while let Some(head) = piece.get(passed..passed.saturating_add(HEAD)) {
                let (here, found) =
                    (place + passed as u64, bytemuck::pod_read_unaligned::<Type>(head));
                if number % STRIDE == 1 {
                    self.places.push(here);
                }
                let kind = found.kind();
                if matches!(kind, STRUCT | ENUM | SECTION | TYPEDEF | FUNCTION | VARIABLE)
                    && let Some(&name) = self.names.get(&found.name)
                {
                    if matches!(kind, STRUCT | ENUM | SECTION) {
                        self.found.entry((kind, name)).or_insert(here);
                    } else {
                        self.numbers.entry((kind, name)).or_insert(number);
                    }
                }
                let Some(trailer) = found.trailer() else {
                    return Err(Error::BadBtf("types of an unknown kind"));
                };
                passed += HEAD + trailer;
                number += 1;
            }
            place += passed as u64;
        }
        Ok(())
    }

    /// The number of a type definition.
    pub(super) fn definition(&self, name: &str) -> Option<u32> {
        self.numbers.get(&(TYPEDEF, name)).copied()
    }

    /// The number of a function.
    pub(super) fn function(&self, name: &str) -> Option<u32> {
        self.numbers.get(&(FUNCTION, name)).copied()
    }

    /// The value of an enumerator.
    pub(super) fn enumerator(&mut self, of: &str, name: &str) -> Option<u32> {
        let place = *self.found.get(&(ENUM, of))?;
        self.entries::<Enumerator>(place)?.into_iter().find_map(|enumerator| {
            (self.names.get(&enumerator.name) == Some(&name)).then_some(enumerator.value)
        })
    }

    /// Offset and size in bytes of a per-CPU variable in its section, whose base is not known.
    pub(super) fn per_cpu(&mut self, variable: &str) -> Option<(u32, u32)> {
        let number = *self.numbers.get(&(VARIABLE, variable))?;
        let place = *self.found.get(&(SECTION, PER_CPU))?;
        let placed = self.entries::<Placed>(place)?.into_iter().find(|it| it.number == number)?;
        Some((placed.offset, placed.size))
    }

    /// The entries that follow a type.
    fn entries<T: Pod>(&mut self, place: u64) -> Option<Vec<T>> {
        let head: Type = self.types.at(place).ok()?;
        let start = place + size_of::<Type>() as u64;
        let at = |n| start + n * size_of::<T>() as u64;
        (0..u64::from(head.info & 0xffff)).map(|n| self.types.at(at(n)).ok()).collect()
    }

    /// The offset in bytes of a member of `structure`, to which `path` leads through nested
    /// members.
    pub(super) fn offset(&mut self, structure: &str, path: &[&str]) -> Option<u32> {
        let Bits { offset, .. } = self.bits(structure, path)?;
        offset.is_multiple_of(8).then_some(offset / 8)
    }

    /// The place of a member, or of a member of that member …, in bits.
    pub(super) fn bits(&mut self, structure: &str, path: &[&str]) -> Option<Bits> {
        let mut place = *self.found.get(&(STRUCT, structure))?;
        let mut bits = Bits { offset: 0, width: 0 };
        for name in path {
            let (member, kind) = self.member(place, name, DEPTH)?;
            bits = Bits { offset: bits.offset.checked_add(member.offset)?, ..member };
            place = self.resolve(kind).unwrap_or(u64::MAX);
        }
        Some(bits)
    }

    /// A member and the number of its type; members of anonymous structures are found.
    fn member(&mut self, place: u64, name: &str, depth: u32) -> Option<(Bits, u32)> {
        let outer: Type = self.types.at(place).ok()?;
        if !matches!(outer.kind(), STRUCT | UNION) {
            return None;
        }
        (0..u64::from(outer.info & 0xffff)).find_map(|n| {
            let place = place + (size_of::<Type>() as u64) + n * size_of::<Member>() as u64;
            let member: Member = self.types.at(place).ok()?;
            let bits = if outer.has_bit_fields() {
                Bits { offset: member.offset & 0xff_ffff, width: member.offset >> 24 }
            } else {
                Bits { offset: member.offset, width: 0 }
            };
            if self.names.get(&member.name) == Some(&name) {
                Some((bits, member.kind))
            } else if member.name == 0 && depth > 0 {
                let inner = self.resolve(member.kind)?;
                let (inner, kind) = self.member(inner, name, depth - 1)?;
                Some((Bits { offset: bits.offset.checked_add(inner.offset)?, ..inner }, kind))
            } else {
                None
            }
        })
    }

    /// The place of a type, once its type definitions and qualifiers are followed.
    fn resolve(&mut self, mut number: u32) -> Option<u64> {
        for _ in 0..DEPTH {
            let (stride, rest) = (number.checked_sub(1)? / STRIDE, (number - 1) % STRIDE);
            let mut place = *self.places.get(stride as usize)?;
            for _ in 0..rest {
                let passed: Type = self.types.at(place).ok()?;
                place += (size_of::<Type>() + passed.trailer()?) as u64;
            }
            let found: Type = self.types.at(place).ok()?;
            match found.kind() {
                TYPEDEF..=11 | 18 => number = found.target,
                _ => return Some(place),
            }
        }
        None
    }
}

/// The offsets of the wanted names among the strings.
fn names<'a>(
    pieces: &mut Pieces,
    start: u64,
    wanted: &[&'a str],
) -> Result<HashMap<u32, &'a str>, Error> {
    /// No name is this long: a C identifier has at most some hundred characters.
    const LONGEST: usize = 1024;
    let mut found = HashMap::new();
    // The lengths are compared first: comparing each of 100,000 strings with every wanted name
    // would take most of the time of [`Btf::read`].
    let mut lengths = [0_u64; 256];
    for name in wanted {
        let [first, ..] = name.as_bytes() else { continue };
        if let Some(lengths) = lengths.get_mut(usize::from(*first)) {
            *lengths |= 1 << (name.len() % 64);
        }
    }
    let mut place = start;
    while place < pieces.end {
        let left = usize::try_from(pieces.end - place).unwrap_or(usize::MAX);
        let mut text = pieces.get(place, left.min(LONGEST))?;
        let mut passed = 0;
        while let Some(length) = memchr::memchr(0, text) {
            let (string, rest) = text.split_at(length);
            let [first, ..] = string else {
                text = rest.get(1..).unwrap_or_default();
                passed += 1;
                continue;
            };
            if lengths.get(usize::from(*first)).is_some_and(|l| l >> (length % 64) & 1 != 0)
                && let Some(name) = wanted.iter().find(|name| name.as_bytes() == string)
                && let Ok(place) = u32::try_from(place + passed - start)
            {
                found.insert(place, *name);
            }
            passed += length as u64 + 1;
            text = rest.get(1..).unwrap_or_default();
        }
        if passed == 0 {
            return Err(Error::BadBtf("a name without end"));
        }
        place += passed;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const STRINGS: &[u8] = b"\0outer\0first\0second\0inner\0deep\0alias\0.data..percpu\0";
    const OUTER: u32 = 1;
    const FIRST: u32 = 7;
    const SECOND: u32 = 13;
    const INNER: u32 = 20;
    const DEEP: u32 = 26;
    const ALIAS: u32 = 31;
    const PERCPU: u32 = 37;

    const NAMES: [&str; 6] = ["outer", "first", "second", "deep", "alias", PER_CPU];

    /// `struct outer { int first; union { const struct inner second; }; }`,
    /// `struct inner { int first; int deep: 5; }`, `typedef int alias`, `enum alias { second = 7 }`,
    /// `int first(void)` and the per-CPU variables `deep` and `first`, all but the first two behind
    /// so many others.
    fn example(others: u32) -> Vec<u8> {
        let mut types = Vec::new();
        let mut put = |words: &[u32]| types.extend(words.iter().flat_map(|w| w.to_ne_bytes()));
        put(&[0, 1 << 24, 4, 32]); // 1: int
        put(&[OUTER, STRUCT << 24 | 2, 12, FIRST, 1, 0, 0, 3, 32]); // 2
        put(&[0, UNION << 24 | 1, 8, SECOND, 4 + others, 0]); // 3
        for _ in 0..others {
            put(&[0, 1 << 24, 4, 32]);
        }
        put(&[0, 10 << 24, 5 + others]); // const
        put(&[INNER, STRUCT << 24 | 2 | 1 << 31, 8, FIRST, 1, 0, DEEP, 1, 5 << 24 | 32]);
        put(&[ALIAS, TYPEDEF << 24, 1]);
        put(&[ALIAS, ENUM << 24 | 2, 4, FIRST, 3, SECOND, 7]);
        put(&[0, 13 << 24, 1, FIRST, FUNCTION << 24, 8 + others]);
        put(&[DEEP, VARIABLE << 24, 1, 1, FIRST, VARIABLE << 24, 1, 1]);
        put(&[PERCPU, SECTION << 24 | 2, 0, 10 + others, 16, 4, 11 + others, 24, 8]);
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

    fn read(data: &[u8]) -> Result<Btf<'static>, Error> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(data).unwrap();
        Btf::read(file.path(), &NAMES)
    }

    #[test]
    fn members_are_found_through_anonymous_and_qualified_types() {
        for others in [0, 1, 59, 60, 61, 1000, 5000] {
            let mut btf = read(&example(others)).unwrap();
            assert_eq!(btf.offset("outer", &["first"]), Some(0));
            assert_eq!(btf.offset("outer", &["second"]), Some(4), "{others}");
            assert_eq!(btf.offset("outer", &["second", "deep"]), Some(8), "{others}");
            assert_eq!(btf.offset("outer", &["third"]), None);
            assert_eq!(btf.offset("outer", &["first", "deep"]), None);
            assert_eq!(btf.offset("inner", &["deep"]), None, "not asked for");
            assert_eq!(btf.definition("alias"), Some(6 + others));
            assert_eq!(btf.definition("outer"), None);
            let bits = btf.bits("outer", &["second", "deep"]);
            assert_eq!(bits, Some(Bits { offset: 64, width: 5 }), "{others}");
            assert_eq!(btf.enumerator("alias", "second"), Some(7));
            assert_eq!(btf.enumerator("alias", "deep"), None);
            assert_eq!(btf.function("first"), Some(9 + others));
            assert_eq!((btf.per_cpu("deep"), btf.per_cpu("first")), (Some((16, 4)), Some((24, 8))));
            assert_eq!(btf.per_cpu("second"), None);
        }
    }

    #[test]
    fn broken_data_is_refused() {
        let data = example(0);
        for length in 0..data.len() {
            assert!(read(&data[..length]).is_err(), "{length}");
        }
        for place in 0..data.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut data = data.clone();
                data[place] = byte;
                if let Ok(mut btf) = read(&data) {
                    let _ = btf.offset("outer", &["second", "deep"]);
                    let _ = (btf.enumerator("alias", "second"), btf.per_cpu("first"));
                }
            }
        }
    }

    #[test]
    fn the_running_kernel_has_the_members_that_linux_always_had() {
        let path = Path::new("/sys/kernel/btf/vmlinux");
        if path.exists() {
            let wanted = ["list_head", "next", "prev", "u32", "schedule", "cpu_usage_stat"];
            let mut btf = Btf::read(path, &[&wanted[..], &["CPUTIME_NICE"]].concat()).unwrap();
            assert_eq!(btf.offset("list_head", &["prev"]), Some(8));
            assert!(btf.definition("u32").is_some());
            assert!(btf.function("schedule").is_some() && btf.function("u32").is_none());
            assert_eq!(btf.enumerator("cpu_usage_stat", "CPUTIME_NICE"), Some(1));
        }
    }
}
