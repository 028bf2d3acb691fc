//! Fields of open descriptors and of sockets, `file.` and `socket.` alike.

use crate::need::Needs as N;

const FD_: N = N::TASK.and(N::FD);
const PATH_: N = FD_.and(N::FD_PATH);
const DETAIL_: N = FD_.and(N::FD_DETAIL);
const SOCK: N = FD_.and(N::ORPHAN_SOCKETS);

super::fields! { File;
FD = "file.fd" ["fd.num"] Type::Int, "FD", Plain, FD_, true, "Descriptor number; unset for a socket that no descriptor refers to.";
FD_TYPE = "file.fdType" [] Type::Symbol(&symbol::FD_TYPE), "FDTYPE", Plain, FD_, true, "What it refers to: file, socket, pipe, directory, device, memfd, epoll…; `file_type` is whatever is no socket, as in psc.";
PATH = "file.path" [] Type::Text, "PATH", Plain, PATH_, true, "Path, `pipe:[…]`, `anon_inode:[…]`, `socket:[…]`; ` (deleted)` when it was removed.";
FAMILY = "file.family" [] Type::Symbol(&symbol::SOCKET_FAMILY), "FAMILY", Plain, SOCK, true, "Address family: unix, inet, inet6, netlink, packet…";
TYPE = "file.type" [] Type::Symbol(&symbol::SOCKET_TYPE), "TYPE", Plain, SOCK, true, "Socket type. In expressions `tcp` is a stream and `udp` a datagram of any family, as in psc; printed with family and protocol: tcp, udp, stream, dgram, seqpacket, raw…";
STATE = "file.state" [] Type::Symbol(&symbol::SOCKET_STATE), "STATE", Plain, SOCK, true, "Socket state: `listen` or `\"LISTEN\"`.";
PROTOCOL = "file.protocol" [] Type::Symbol(&symbol::PROTOCOL), "PROTO", Plain, SOCK, true, "Protocol: tcp, udp, icmp, mptcp…; for netlink and packet sockets the family's own number.";
SRC_PORT = "file.srcPort" ["fd.lport"] Type::Int, "SRCPORT", Plain, SOCK, true, "Local port; unset for unix sockets.";
DST_PORT = "file.dstPort" ["fd.rport"] Type::Int, "DSTPORT", Plain, SOCK, true, "Remote port; 0 when not connected.";
SRC_ADDR = "file.srcAddr" ["fd.lip"] Type::Ip, "SRCADDR", Plain, SOCK, true, "Local address: `socket.srcAddr == \"127.0.0.1\"`, `cidr(\"10.0.0.0/8\").contains(socket.srcAddr)`.";
DST_ADDR = "file.dstAddr" ["fd.rip"] Type::Ip, "DSTADDR", Plain, SOCK, true, "Remote address.";
UNIX_PATH = "file.unixPath" [] Type::Text, "UNIXPATH", Plain, SOCK, true, "Name of the unix socket, or else its peer's; `@` stands for the NUL of an abstract name.";
PID = "file.pid" [] Type::Int, "PID", Plain, FD_, false, "Process id of the owner.";
TID = "file.tid" [] Type::Int, "TID", Plain, FD_, false, "Thread id of the owner.";
PPID = "file.ppid" [] Type::Int, "PPID", Plain, FD_, false, "Process id of the owner's parent.";
KIND = "file.kind" [] Type::Text, "KIND", Plain, FD_, true, "As lsof's TYPE: REG DIR CHR BLK FIFO LINK, unix IPv4 IPv6 netlink pack sock, a_inode.";
INODE = "file.inode" ["fd.ino"] Type::Uint, "INODE", Plain, FD_, true, "Inode number.";
DEV = "file.dev" [] Type::Text, "DEV", Plain, FD_, true, "Device of the file system, as `major:minor`.";
SIZE = "file.size" [] Type::Uint, "SIZE", Size, FD_, true, "Size of the file.";
OFFSET = "file.offset" [] Type::Uint, "OFFSET", Plain, DETAIL_, true, "Position of the descriptor.";
FLAGS = "file.flags" [] Type::Uint, "FLAGS", Octal, DETAIL_, true, "Open flags, as in /proc/PID/fdinfo.";
ACCESS = "file.access" [] Type::Text, "ACCESS", Plain, DETAIL_, true, "How it is open: r, w, u (both).";
MODE = "file.mode" [] Type::Uint, "MODE", Octal, FD_, true, "Type and permission bits of the inode.";
NLINK = "file.nlink" [] Type::Uint, "NLINK", Plain, FD_, true, "Number of hard links.";
DELETED = "file.deleted" [] Type::Bool, "DELETED", Plain, FD_, true, "Whether a regular file is open that no directory names any more: space that is not freed.";
MOUNT_ID = "file.mountId" [] Type::Int, "MNTID", Plain, DETAIL_, true, "Id of the mount, as in /proc/PID/mountinfo.";
NETNS = "file.netns" [] Type::Uint, "NETNS", Plain, SOCK, true, "Inode of the network namespace of the socket.";
RX_QUEUE = "file.rxQueue" [] Type::Uint, "RECV-Q", Plain, SOCK, true, "Bytes received and not read; for a listener the connections that wait.";
TX_QUEUE = "file.txQueue" [] Type::Uint, "SEND-Q", Plain, SOCK, true, "Bytes sent and not acknowledged; for a listener the backlog limit.";
UID = "file.uid" [] Type::Int, "UID", Plain, SOCK, true, "User id that the socket belongs to.";
PEER_INODE = "file.peerInode" [] Type::Uint, "PEERINO", Plain, SOCK, true, "Inode of the other end of a unix socket.";
ORPHAN = "file.orphan" [] Type::Bool, "ORPHAN", Plain, SOCK, true, "Whether no descriptor refers to the socket: TIME-WAIT, orphaned, or the kernel's own.";
}
