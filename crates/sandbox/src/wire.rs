//! What the caller and the zygote say to each other.
//!
//! One message is one datagram on a `SOCK_SEQPACKET` pair, with the file descriptors it speaks of.
//! A message too large for the socket travels in an anonymous file instead. Text in the paths,
//! arguments and variables is bytes, not UTF-8.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// The largest message sent on the socket itself.
const INLINE: usize = 60_000;
/// Standard input, output, error, the socket of an observer, and the file of a large message.
const MAX_FDS: usize = 5;

/// What the caller asks of the zygote.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Build these walls; the first message, as JSON.
    Open(Vec<u8>),
    Spawn(Spawn),
    /// Signal a process: its group, or all that descend from it.
    Signal {
        id: u64,
        signal: i32,
        tree: bool,
    },
    /// Fold a recorded layer into the workspace; its upper directory comes with the message.
    Replay {
        id: u64,
        upper: Vec<u8>,
    },
    /// Fold the layer that is open into the workspace.
    Fold {
        id: u64,
    },
    /// Kill everything and end.
    Close,
}

/// A process to start. The descriptors that `stdio` names come with the message, in its order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spawn {
    pub id: u64,
    pub layer: bool,
    /// Whether the layer waits for [`Request::Fold`].
    pub hold: bool,
    /// Whether the socket of an observer comes with the message, as its last descriptor.
    pub observe: bool,
    /// Whether standard input, output and error are given; `/dev/null` takes the place of others.
    pub stdio: [bool; 3],
    pub cwd: Vec<u8>,
    pub argv: Vec<Vec<u8>>,
    pub env: Vec<Vec<u8>>,
}

/// What the zygote tells the caller.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The walls stand; the report as JSON.
    Open(Vec<u8>),
    Refused(String),
    /// A process runs; its pidfd comes with the message.
    Spawned {
        id: u64,
    },
    Failed {
        id: u64,
        stage: Stage,
        errno: i32,
    },
    Exited(Ended),
    Replayed {
        id: u64,
        errno: i32,
    },
}

/// Which part of starting a process failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Message,
    Layer,
    Fork,
    Walls,
    Cwd,
    Exec,
}

/// How a process ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub id: u64,
    /// The wait status as the kernel gives it.
    pub status: i32,
    pub user_micros: u64,
    pub system_micros: u64,
    pub max_rss: u64,
    pub oom: bool,
    /// Whether nothing else ran in the box meanwhile, and nothing was left.
    pub alone: bool,
    /// The layer, which list of it, and whether other processes ran meanwhile.
    pub layer: Option<(u64, u32, bool)>,
    /// Why the layer could not be recorded; 0 when all went well.
    pub layer_errno: i32,
}

impl Request {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        match self {
            Self::Open(spec) => {
                out.push(b'O');
                put(&mut out, spec);
            }
            Self::Spawn(spawn) => {
                out.push(b'S');
                out.extend(spawn.id.to_le_bytes());
                out.extend([spawn.layer, spawn.hold, spawn.observe].map(u8::from));
                out.extend(spawn.stdio.map(u8::from));
                put(&mut out, &spawn.cwd);
                put_list(&mut out, &spawn.argv);
                put_list(&mut out, &spawn.env);
            }
            Self::Signal { id, signal, tree } => {
                out.push(b'K');
                out.extend(id.to_le_bytes());
                out.extend(signal.to_le_bytes());
                out.push(u8::from(*tree));
            }
            Self::Replay { id, upper } => {
                out.push(b'R');
                out.extend(id.to_le_bytes());
                put(&mut out, upper);
            }
            Self::Fold { id } => {
                out.push(b'F');
                out.extend(id.to_le_bytes());
            }
            Self::Close => out.push(b'C'),
        }
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = Rest(bytes);
        let request = match rest.byte()? {
            b'O' => Self::Open(rest.bytes()?),
            b'S' => Self::Spawn(Spawn {
                id: rest.u64()?,
                layer: rest.bool()?,
                hold: rest.bool()?,
                observe: rest.bool()?,
                stdio: [rest.bool()?, rest.bool()?, rest.bool()?],
                cwd: rest.bytes()?,
                argv: rest.list()?,
                env: rest.list()?,
            }),
            b'K' => Self::Signal { id: rest.u64()?, signal: rest.i32()?, tree: rest.bool()? },
            b'R' => Self::Replay { id: rest.u64()?, upper: rest.bytes()? },
            b'F' => Self::Fold { id: rest.u64()? },
            b'C' => Self::Close,
            _ => return None,
        };
        rest.0.is_empty().then_some(request)
    }
}

impl Answer {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Self::Open(report) => {
                out.push(b'O');
                put(&mut out, report);
            }
            Self::Refused(reason) => {
                out.push(b'N');
                put(&mut out, reason.as_bytes());
            }
            Self::Spawned { id } => {
                out.push(b'S');
                out.extend(id.to_le_bytes());
            }
            Self::Failed { id, stage, errno } => {
                out.push(b'F');
                out.extend(id.to_le_bytes());
                out.push(*stage as u8);
                out.extend(errno.to_le_bytes());
            }
            Self::Exited(ended) => {
                out.push(b'E');
                out.extend(ended.id.to_le_bytes());
                out.extend(ended.status.to_le_bytes());
                out.extend(ended.user_micros.to_le_bytes());
                out.extend(ended.system_micros.to_le_bytes());
                out.extend(ended.max_rss.to_le_bytes());
                out.extend([ended.oom, ended.alone].map(u8::from));
                let (number, part, shared) = ended.layer.unwrap_or_default();
                out.extend(number.to_le_bytes());
                out.extend(part.to_le_bytes());
                out.push(u8::from(shared));
                out.extend(ended.layer_errno.to_le_bytes());
            }
            Self::Replayed { id, errno } => {
                out.push(b'R');
                out.extend(id.to_le_bytes());
                out.extend(errno.to_le_bytes());
            }
        }
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = Rest(bytes);
        let answer = match rest.byte()? {
            b'O' => Self::Open(rest.bytes()?),
            b'N' => Self::Refused(String::from_utf8(rest.bytes()?).ok()?),
            b'S' => Self::Spawned { id: rest.u64()? },
            b'F' => Self::Failed {
                id: rest.u64()?,
                stage: Stage::from_byte(rest.byte()?)?,
                errno: rest.i32()?,
            },
            b'E' => Self::Exited(Ended {
                id: rest.u64()?,
                status: rest.i32()?,
                user_micros: rest.u64()?,
                system_micros: rest.u64()?,
                max_rss: rest.u64()?,
                oom: rest.bool()?,
                alone: rest.bool()?,
                // Layers are counted from 1, so number 0 says that there is none.
                layer: Some((rest.u64()?, rest.u32()?, rest.bool()?)).filter(|layer| layer.0 > 0),
                layer_errno: rest.i32()?,
            }),
            b'R' => Self::Replayed { id: rest.u64()?, errno: rest.i32()? },
            _ => return None,
        };
        rest.0.is_empty().then_some(answer)
    }
}

impl Stage {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Message, Self::Layer, Self::Fork, Self::Walls, Self::Cwd, Self::Exec]
            .into_iter()
            .find(|stage| *stage as u8 == byte)
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_list(out: &mut Vec<u8>, list: &[Vec<u8>]) {
    out.extend(u32::try_from(list.len()).unwrap_or(u32::MAX).to_le_bytes());
    for bytes in list {
        put(out, bytes);
    }
}

/// What of a message is still to be read.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn bool(&mut self) -> Option<bool> {
        self.byte().map(|byte| byte != 0)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let count = self.u32()? as usize;
        self.take(count).map(<[u8]>::to_vec)
    }

    fn list(&mut self) -> Option<Vec<Vec<u8>>> {
        let count = self.u32()?;
        (0..count).map(|_| self.bytes()).collect()
    }
}

/// Sends one message with its descriptors, or fails with `WouldBlock`.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    message: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let file = if message.len() > INLINE { Some(into_file(message)?) } else { None };
    if let Some(file) = &file {
        raw.push(file.as_raw_fd());
    }
    let form = [u8::from(file.is_some())];
    let body = if file.is_some() { &[][..] } else { message };
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights[..] };
    let parts = [IoSlice::new(&form), IoSlice::new(body)];
    sendmsg::<()>(socket.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives one message with its descriptors; `None` when the other side is gone.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    buffer.resize(INLINE + 1, 0);
    let mut control = nix::cmsg_space!([RawFd; MAX_FDS]);
    let (count, mut fds) = {
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
        let mut fds = Vec::new();
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = part {
                fds.extend(raw.into_iter().map(own));
            }
        }
        (message.bytes, fds)
    };
    match buffer.get(..count) {
        None | Some([]) => Ok(None),
        Some([0, body @ ..]) => Ok(Some((body.to_vec(), fds))),
        Some(_) => {
            let file = fds.pop().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
            let mut body = Vec::new();
            let mut file = File::from(file);
            file.rewind()?;
            file.read_to_end(&mut body)?;
            Ok(Some((body, fds)))
        }
    }
}

fn into_file(message: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"message", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(message)?;
    Ok(file)
}

#[allow(unsafe_code)]
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    fn spawn(argument: usize) -> Request {
        Request::Spawn(Spawn {
            id: 7,
            layer: true,
            hold: true,
            observe: false,
            stdio: [false, true, true],
            cwd: b"/w\xff".to_vec(),
            argv: vec![b"a".to_vec(), vec![b'x'; argument], Vec::new()],
            env: vec![b"K=v\xfe".to_vec()],
        })
    }

    #[test]
    fn every_request_survives_the_way() {
        let requests = [
            Request::Open(b"{}".to_vec()),
            spawn(3),
            Request::Signal { id: 1, signal: 15, tree: true },
            Request::Replay { id: 2, upper: b"/l/1".to_vec() },
            Request::Fold { id: 3 },
            Request::Close,
        ];
        for request in requests {
            assert_eq!(Request::from_bytes(&request.to_bytes()), Some(request));
        }
    }

    #[test]
    fn every_answer_survives_the_way() {
        let ended = |layer| Ended {
            id: 1,
            status: 256,
            user_micros: 2,
            system_micros: 3,
            max_rss: 4,
            oom: true,
            alone: false,
            layer,
            layer_errno: 5,
        };
        let answers = [
            Answer::Open(b"{}".to_vec()),
            Answer::Refused("why".into()),
            Answer::Spawned { id: 1 },
            Answer::Failed { id: 1, stage: Stage::Exec, errno: 2 },
            Answer::Exited(ended(None)),
            Answer::Exited(ended(Some((3, 1, true)))),
            Answer::Replayed { id: 9, errno: 0 },
        ];
        for answer in answers {
            assert_eq!(Answer::from_bytes(&answer.to_bytes()), Some(answer));
        }
    }

    #[test]
    fn a_message_cut_anywhere_is_no_message() {
        let whole = spawn(3).to_bytes();
        for end in 0..whole.len() {
            assert_eq!(Request::from_bytes(&whole[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn a_large_message_arrives_whole_with_its_descriptors() {
        let (here, there) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .expect("a pair");
        let request = spawn(900_000);
        send(here.as_fd(), &request.to_bytes(), &[here.as_fd()]).expect("sent");
        let (bytes, fds) =
            receive(there.as_fd(), &mut Vec::new()).expect("received").expect("a message");
        assert_eq!(Request::from_bytes(&bytes), Some(request));
        assert_eq!(fds.len(), 1);
    }
}
