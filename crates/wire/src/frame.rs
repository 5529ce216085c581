//! Messages of the MongoDB wire protocol.
//!
//! OP_MSG in both directions; OP_QUERY and OP_REPLY only for the handshake of drivers that
//! still open with it. Lengths are checked before anything is allocated.
//! Source: the wire protocol reference of the MongoDB manual and the OP_MSG specification.

use std::ops::Range;

use bson::RawDocument;

use crate::DocumentRun;

/// Bytes of a message header.
pub const HEADER_BYTES: usize = 16;
/// The largest message that either side may send, in bytes.
pub const LARGEST_MESSAGE_BYTES: usize = 48_000_000;
/// The largest document that a user may store, in bytes.
pub const LARGEST_DOCUMENT_BYTES: usize = 16 * 1024 * 1024;

const OP_REPLY: i32 = 1;
const OP_QUERY: i32 = 2004;
const OP_MSG: i32 = 2013;
/// OP_REPLY's flag that says the server supports await data; drivers expect it.
const REPLY_AWAIT_CAPABLE: i32 = 8;

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The header's length is impossible.
    #[error("a message of {0} bytes is outside of what the protocol allows")]
    Length(i64),
    /// An opcode that is not spoken here.
    #[error("opcode {0} is not supported; use OP_MSG without compression")]
    Opcode(i32),
    /// The message ends in the middle of something.
    #[error("the message ends before its {0}")]
    Truncated(&'static str),
    /// Something in the message is not as the protocol says.
    #[error("the message is malformed: {0}")]
    Malformed(&'static str),
    /// The checksum does not match.
    #[error("the message was damaged on its way: its checksum does not match")]
    Checksum,
}

/// The flags of an OP_MSG.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MessageFlags(u32);

impl MessageFlags {
    const CHECKSUM: u32 = 1;
    const MORE_TO_COME: u32 = 2;
    const REQUIRED: u32 = 0xffff;

    /// Whether the sender wants no answer.
    pub fn more_to_come(self) -> bool {
        self.0 & Self::MORE_TO_COME != 0
    }
}

/// A message header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes that follow the header.
    pub body_bytes: usize,
    /// The sender's number for this message.
    pub request_id: i32,
    /// The number of the message that this one answers.
    pub response_to: i32,
    /// What kind of message it is.
    pub opcode: i32,
}

/// Reads a header and checks its length.
pub fn parse_header(bytes: [u8; HEADER_BYTES]) -> Result<Header, FrameError> {
    let mut reader = Reader::new(&bytes);
    let length = reader.int("header")?;
    let body_bytes = usize::try_from(length)
        .ok()
        .filter(|length| (HEADER_BYTES..=LARGEST_MESSAGE_BYTES).contains(length))
        .ok_or(FrameError::Length(i64::from(length)))?
        - HEADER_BYTES;
    Ok(Header {
        body_bytes,
        request_id: reader.int("header")?,
        response_to: reader.int("header")?,
        opcode: reader.int("header")?,
    })
}

/// A request of a client.
#[derive(Debug)]
pub enum Request {
    /// OP_MSG.
    Msg(OpMsg),
    /// OP_QUERY, as the old handshake uses it: the command document.
    Query(OpMsg),
}

/// An OP_MSG: one command or reply, with documents beside it.
#[derive(Debug)]
pub struct OpMsg {
    buffer: Vec<u8>,
    flags: MessageFlags,
    body: Range<usize>,
    sequences: Vec<(String, Range<usize>)>,
}

impl OpMsg {
    /// The flags.
    pub fn flags(&self) -> MessageFlags {
        self.flags
    }

    /// The command or reply.
    pub fn body(&self) -> &RawDocument {
        // The range was checked when the message was parsed.
        let bytes = self.buffer.get(self.body.clone()).unwrap_or_default();
        RawDocument::from_bytes(bytes).unwrap_or_else(|_| empty_document())
    }

    /// The concatenated documents of the kind-1 section with this name.
    pub fn sequence(&self, name: &str) -> Option<&[u8]> {
        let (_, range) = self.sequences.iter().find(|(candidate, _)| candidate == name)?;
        self.buffer.get(range.clone())
    }

    /// The names of all kind-1 sections.
    pub fn sequence_names(&self) -> impl Iterator<Item = &str> {
        self.sequences.iter().map(|(name, _)| name.as_str())
    }
}

fn empty_document() -> &'static RawDocument {
    const EMPTY: &[u8] = &[5, 0, 0, 0, 0];
    #[expect(clippy::expect_used, reason = "five constant bytes that are a document")]
    RawDocument::from_bytes(EMPTY).expect("an empty document")
}

/// Reads the body of a request.
pub fn parse_request(header: Header, buffer: Vec<u8>) -> Result<Request, FrameError> {
    match header.opcode {
        OP_MSG => parse_msg(header, buffer).map(Request::Msg),
        OP_QUERY => parse_query(buffer).map(Request::Query),
        opcode => Err(FrameError::Opcode(opcode)),
    }
}

/// Reads the body of an OP_MSG.
pub fn parse_msg(header: Header, buffer: Vec<u8>) -> Result<OpMsg, FrameError> {
    if header.opcode != OP_MSG {
        return Err(FrameError::Opcode(header.opcode));
    }
    let mut reader = Reader::new(&buffer);
    let flags = MessageFlags(reader.int("flags")?.cast_unsigned());
    let known = MessageFlags::CHECKSUM | MessageFlags::MORE_TO_COME;
    if flags.0 & MessageFlags::REQUIRED & !known != 0 {
        return Err(FrameError::Malformed("it sets a required flag that is not known"));
    }
    if flags.0 & MessageFlags::CHECKSUM != 0 {
        check_checksum(header, &buffer)?;
        reader.shorten(4)?;
    }
    let mut body = None;
    let mut sequences = Vec::new();
    while !reader.is_at_end() {
        match reader.byte("section kind")? {
            0 if body.is_none() => body = Some(reader.document()?),
            0 => return Err(FrameError::Malformed("it has two bodies")),
            1 => sequences.push(reader.sequence()?),
            _ => return Err(FrameError::Malformed("it has a section of an unknown kind")),
        }
    }
    let body = body.ok_or(FrameError::Malformed("it has no body"))?;
    Ok(OpMsg { buffer, flags, body, sequences })
}

fn parse_query(buffer: Vec<u8>) -> Result<OpMsg, FrameError> {
    let mut reader = Reader::new(&buffer);
    reader.int("flags")?;
    let collection = reader.text("collection name")?;
    if !collection.ends_with(".$cmd") {
        return Err(FrameError::Malformed("OP_QUERY is supported for commands only"));
    }
    reader.int("skip")?;
    reader.int("limit")?;
    let body = reader.document()?;
    Ok(OpMsg { flags: MessageFlags::default(), body, sequences: Vec::new(), buffer })
}

fn check_checksum(header: Header, buffer: &[u8]) -> Result<(), FrameError> {
    let (body, trailer) =
        buffer.split_last_chunk::<4>().ok_or(FrameError::Truncated("checksum"))?;
    let mut head = Vec::with_capacity(HEADER_BYTES);
    push_header(&mut head, header.request_id, header.response_to, header.opcode);
    set_length(&mut head, HEADER_BYTES + buffer.len());
    let computed = crc32c::crc32c_append(crc32c::crc32c(&head), body);
    if computed == u32::from_le_bytes(*trailer) { Ok(()) } else { Err(FrameError::Checksum) }
}

/// Writes an OP_MSG: a body and, if given, one named run of documents.
pub fn encode_msg(
    request_id: i32,
    response_to: i32,
    body: &[u8],
    sequence: Option<(&str, &[u8])>,
) -> Vec<u8> {
    let extra = sequence.map_or(0, |(name, documents)| name.len() + documents.len() + 6);
    let mut message = Vec::with_capacity(HEADER_BYTES + 5 + body.len() + extra);
    push_header(&mut message, request_id, response_to, OP_MSG);
    message.extend_from_slice(&0u32.to_le_bytes());
    message.push(0);
    message.extend_from_slice(body);
    if let Some((name, documents)) = sequence {
        message.push(1);
        let length = u32::try_from(4 + name.len() + 1 + documents.len()).unwrap_or(u32::MAX);
        message.extend_from_slice(&length.to_le_bytes());
        message.extend_from_slice(name.as_bytes());
        message.push(0);
        message.extend_from_slice(documents);
    }
    let length = message.len();
    set_length(&mut message, length);
    message
}

/// Bytes before the body of an OP_MSG: the header, its flags, the kind of the first section.
pub const MSG_HEAD_BYTES: usize = HEADER_BYTES + 5;

/// Completes an OP_MSG of one body, which was written behind `MSG_HEAD_BYTES` free bytes: an answer
/// of many megabytes is not copied to get its head.
pub fn complete_msg(mut message: Vec<u8>, request_id: i32, response_to: i32) -> Vec<u8> {
    let mut head = Vec::with_capacity(MSG_HEAD_BYTES);
    push_header(&mut head, request_id, response_to, OP_MSG);
    head.resize(MSG_HEAD_BYTES, 0);
    set_length(&mut head, message.len());
    if let Some(place) = message.get_mut(..MSG_HEAD_BYTES) {
        place.copy_from_slice(&head);
    }
    message
}

/// Writes an OP_REPLY with one document, the answer to an OP_QUERY.
pub fn encode_reply(request_id: i32, response_to: i32, document: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_BYTES + 20 + document.len());
    push_header(&mut message, request_id, response_to, OP_REPLY);
    message.extend_from_slice(&REPLY_AWAIT_CAPABLE.to_le_bytes());
    message.extend_from_slice(&0i64.to_le_bytes());
    message.extend_from_slice(&0i32.to_le_bytes());
    message.extend_from_slice(&1i32.to_le_bytes());
    message.extend_from_slice(document);
    let length = message.len();
    set_length(&mut message, length);
    message
}

fn push_header(message: &mut Vec<u8>, request_id: i32, response_to: i32, opcode: i32) {
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&request_id.to_le_bytes());
    message.extend_from_slice(&response_to.to_le_bytes());
    message.extend_from_slice(&opcode.to_le_bytes());
}

fn set_length(message: &mut [u8], length: usize) {
    let length = i32::try_from(length).unwrap_or(i32::MAX);
    if let Some(place) = message.first_chunk_mut::<4>() {
        *place = length.to_le_bytes();
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    fn is_at_end(&self) -> bool {
        self.offset >= self.bytes.len()
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.offset..).unwrap_or_default()
    }

    fn shorten(&mut self, by: usize) -> Result<(), FrameError> {
        let end = self.bytes.len().checked_sub(by).filter(|end| *end >= self.offset);
        let end = end.ok_or(FrameError::Truncated("checksum"))?;
        self.bytes = self.bytes.get(..end).unwrap_or_default();
        Ok(())
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, FrameError> {
        let byte = *self.rest().first().ok_or(FrameError::Truncated(what))?;
        self.offset += 1;
        Ok(byte)
    }

    fn int(&mut self, what: &'static str) -> Result<i32, FrameError> {
        let bytes = self.rest().first_chunk::<4>().ok_or(FrameError::Truncated(what))?;
        self.offset += 4;
        Ok(i32::from_le_bytes(*bytes))
    }

    fn text(&mut self, what: &'static str) -> Result<&'a str, FrameError> {
        let rest = self.rest();
        let end = rest.iter().position(|byte| *byte == 0).ok_or(FrameError::Truncated(what))?;
        self.offset += end + 1;
        let bytes = rest.get(..end).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| FrameError::Malformed("a name is not UTF-8"))
    }

    fn document(&mut self) -> Result<Range<usize>, FrameError> {
        let document = DocumentRun::new(self.rest())
            .next()
            .ok_or(FrameError::Truncated("document"))?
            .map_err(|_| FrameError::Malformed("a document has a wrong length"))?;
        let start = self.offset;
        self.offset += document.as_bytes().len();
        Ok(start..self.offset)
    }

    fn sequence(&mut self) -> Result<(String, Range<usize>), FrameError> {
        let start = self.offset;
        let length = self.int("section length")?;
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| start.checked_add(length))
            .filter(|end| *end <= self.bytes.len())
            .ok_or(FrameError::Truncated("section"))?;
        let name = self.text("section name")?.to_owned();
        let documents = self.bytes.get(self.offset..end).ok_or(FrameError::Truncated("section"))?;
        if DocumentRun::new(documents).any(|document| document.is_err()) {
            return Err(FrameError::Malformed("a document in a section has a wrong length"));
        }
        let range = self.offset..end;
        self.offset = end;
        Ok((name, range))
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;
    use proptest::prelude::*;

    use super::*;
    use crate::encode_document;

    fn parse(message: &[u8]) -> Result<Request, FrameError> {
        let header = parse_header(*message.first_chunk().ok_or(FrameError::Truncated("header"))?)?;
        parse_request(header, message[HEADER_BYTES..].to_vec())
    }

    #[test]
    fn a_message_survives_its_bytes() {
        let body = encode_document(&doc! { "insert": "c" });
        let run = [encode_document(&doc! { "a": 1 }), encode_document(&doc! { "a": 2 })].concat();
        let message = encode_msg(7, 3, &body, Some(("documents", &run)));
        let Ok(Request::Msg(parsed)) = parse(&message) else { panic!("not a message") };
        assert_eq!(parsed.body().as_bytes(), body);
        assert_eq!(parsed.sequence("documents"), Some(run.as_slice()));
        assert_eq!(parsed.sequence("updates"), None);
    }

    #[test]
    fn a_wrong_checksum_is_noticed() {
        let body = encode_document(&doc! { "ping": 1 });
        let mut message = encode_msg(1, 0, &body, None);
        message[16] = 1;
        message.extend_from_slice(&[0; 4]);
        let length = message.len();
        set_length(&mut message, length);
        assert_eq!(parse(&message).unwrap_err(), FrameError::Checksum);
        let end = message.len() - 4;
        let checksum = crc32c::crc32c(&message[..end]).to_le_bytes();
        message[end..].copy_from_slice(&checksum);
        assert!(parse(&message).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for opcode in [OP_MSG, OP_QUERY] {
                let header = Header { body_bytes: bytes.len(), request_id: 1, response_to: 0, opcode };
                let _ = parse_request(header, bytes.clone());
            }
        }
    }
}
