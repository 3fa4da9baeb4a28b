//! The frames of HTTP/2 as they come, in so far as limits depend on them: hyper tells of whole
//! requests alone.

/// The bytes before the first frame, in the client's direction.
const PREFACE: usize = 24;
const HEAD: usize = 9;
/// Types of frames.
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
/// The flag of the last frame of a head.
const END_HEADERS: u8 = 4;

/// The place in a client's bytes.
#[derive(Debug)]
pub(super) struct Frames {
    head: [u8; HEAD],
    /// Bytes of `head` that have come.
    come: usize,
    /// Bytes of the frame behind `head` that have not come.
    left: usize,
    /// Whether the head of a request goes on in a next frame.
    is_head_open: bool,
}

/// The news in a piece of a client's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// Whether the piece ends within a frame, or within the frames of a head.
    pub is_halfway: bool,
    /// The number of streams that the client has reset.
    pub resets: u32,
}

impl Frames {
    pub(super) const fn new() -> Self {
        Self { head: [0; HEAD], come: 0, left: PREFACE, is_head_open: false }
    }

    /// Follows the next piece.
    pub(super) fn hear(&mut self, mut piece: &[u8]) -> Heard {
        let mut resets = 0;
        while !piece.is_empty() {
            let behind = piece.len().min(self.left);
            piece = piece.split_at(behind).1;
            self.left -= behind;
            let free = self.head.get_mut(self.come..).unwrap_or_default();
            let (more, rest) = piece.split_at(piece.len().min(free.len()));
            free.iter_mut().zip(more).for_each(|(to, from)| *to = *from);
            self.come += more.len();
            piece = rest;
            if self.come == HEAD {
                self.come = 0;
                let [a, b, c, kind, flags, ..] = self.head;
                self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                match kind {
                    HEADERS | CONTINUATION => self.is_head_open = flags & END_HEADERS == 0,
                    RST_STREAM => resets += 1,
                    _ => {}
                }
            }
        }
        Heard { is_halfway: self.left > 0 || self.come > 0 || self.is_head_open, resets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn frames_are_followed_however_they_are_cut() {
        let parts = [
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), false, 0),
            (frame(4, 0, &[]), false, 0),
            (frame(HEADERS, END_HEADERS, &[0; 300]), false, 0),
            (frame(HEADERS, 1, b"abc"), true, 0),
            (frame(CONTINUATION, 0, &vec![7; 70_000]), true, 0),
            (frame(CONTINUATION, END_HEADERS, b""), false, 0),
            (frame(RST_STREAM, 0, &[0; 4]), false, 1),
            (frame(0, END_HEADERS, &[RST_STREAM; 20]), false, 0),
        ];
        let all: Vec<u8> = parts.iter().flat_map(|(bytes, ..)| bytes.clone()).collect();
        let mut end = 0;
        let ends: Vec<(usize, bool)> = (parts.iter())
            .map(|(bytes, is_halfway, _)| {
                end += bytes.len();
                (end, *is_halfway)
            })
            .collect();
        for size in [1, 2, 3, 8, 9, 10, 24, 33, 1_000, all.len()] {
            let (mut frames, mut at, mut resets) = (Frames::new(), 0, 0);
            for piece in all.chunks(size) {
                at += piece.len();
                let heard = frames.hear(piece);
                let wanted = ends.iter().find(|(end, _)| *end == at).is_none_or(|(_, open)| *open);
                assert_eq!(heard.is_halfway, wanted, "{size}: {at}");
                resets += heard.resets;
            }
            assert_eq!(resets, 1, "{size}");
        }
    }
}
