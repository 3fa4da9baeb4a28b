//! Packing an answer with gzip.

use super::Body;
use flate2::{Compress, CompressError, Compression, FlushCompress, Status};

/// Text is packed by reference to the last 2^14 bytes before it: lines resemble those not far
/// before them, and a larger window takes more memory than it saves bytes.
const WINDOW: u8 = 14;

/// Packs text as it comes, so that memory never holds the whole text.
pub struct Packer {
    compress: Compress,
    /// Small pieces, put together.
    piece: Vec<u8>,
    packed: Vec<u8>,
    /// The compressor's error, after which there is no answer.
    failure: Option<CompressError>,
}

impl Default for Packer {
    fn default() -> Self {
        let compress = Compress::new_gzip(Compression::fast(), WINDOW);
        Self { compress, piece: Vec::new(), packed: Vec::new(), failure: None }
    }
}

impl Packer {
    /// The number of bytes that are packed at once.
    const PIECE: usize = 16 << 10;

    fn pack(&mut self, mut text: &[u8], flush: FlushCompress) {
        loop {
            self.packed.reserve(text.len() / 4 + 1024);
            let before = self.compress.total_in();
            let status = self.compress.compress_vec(text, &mut self.packed, flush);
            let taken = usize::try_from(self.compress.total_in() - before).unwrap_or(usize::MAX);
            text = text.get(taken..).unwrap_or_default();
            match (status, flush) {
                (Err(error), _) => return self.failure = Some(error),
                (Ok(Status::StreamEnd), _) => return,
                (Ok(_), FlushCompress::Finish) => {}
                (Ok(_), _) if text.is_empty() => return,
                (Ok(_), _) => {}
            }
        }
    }

    /// Packs the piece, where it has no room for so many bytes more.
    fn make_room(&mut self, len: usize) {
        if self.piece.len() + len > Self::PIECE {
            let piece = std::mem::take(&mut self.piece);
            self.pack(&piece, FlushCompress::None);
            self.piece = piece;
            self.piece.clear();
        }
    }

    /// Ends the answer and returns it; the packer is then ready for another answer.
    ///
    /// # Errors
    /// The compressor failed.
    pub fn finish(&mut self) -> Result<Vec<u8>, CompressError> {
        let piece = std::mem::take(&mut self.piece);
        self.pack(&piece, FlushCompress::Finish);
        self.piece = piece;
        self.piece.clear();
        self.compress.reset();
        let packed = std::mem::take(&mut self.packed);
        self.packed.reserve(packed.len());
        self.failure.take().map_or(Ok(packed), Err)
    }
}

impl Body for Packer {
    fn append(&mut self, pieces: &[&str]) {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        self.make_room(len);
        for piece in pieces {
            if len > Self::PIECE {
                self.pack(piece.as_bytes(), FlushCompress::None);
            } else {
                self.piece.extend_from_slice(piece.as_bytes());
            }
        }
    }

    fn append_bytes(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        if bytes.len() > Self::PIECE {
            self.pack(bytes, FlushCompress::None);
        } else {
            self.piece.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn text_packed_in_pieces_unpacks_unchanged() {
        let text: String =
            (0..300_000_u32).map(|i| char::from(32 + (i.wrapping_mul(i) % 90) as u8)).collect();
        let mut packer = Packer::default();
        for (text, piece) in [
            (text.as_str(), 7),
            (&text, 100_000),
            (&text, Packer::PIECE),
            ("", 1),
            (text.split_at(1000).0, 999),
        ] {
            for (i, piece) in text.as_bytes().chunks(piece).enumerate() {
                match i % 2 {
                    0 => packer.append(&[std::str::from_utf8(piece).unwrap()]),
                    _ => packer.append_bytes(piece),
                }
            }
            let mut unpacked = String::new();
            let packed = packer.finish().unwrap();
            flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut unpacked).unwrap();
            assert!(unpacked == text, "{piece}");
        }
    }
}
