//! Fields of the descriptor that an event works on, beside those that [`super::file`] has: `fd.` in
//! sysdig's names.

/// The argument with which [`CIP`], [`SIP`], [`CPORT`] and [`SPORT`] tell the ends of a socket that
/// is neither a client's nor a server's yet: `fd.ip` and its kin look at both ends, whatever they are.
pub const WHATEVER_ROLE: &[u8] = b"any";

super::stream_fields! { Descriptor;
TYPE = "fd.type" Type::Text, Plain, None, (), "What the descriptor is: file, directory, ipv4, ipv6, unix, pipe, event, signalfd, eventpoll, inotify…";
TYPECHAR = "fd.typechar" Type::Text, Plain, None, (), "The same in one letter: f file, d directory, 4 and 6 sockets, u unix, p pipe, e event, l epoll, o other…";
NAME = "fd.name" Type::Text, Plain, None, (), "Path of a file, or `client->server` of a connection.";
NAMERAW = "fd.nameraw" Type::Text, Plain, None, (), "The path as the program gave it.";
DIRECTORY = "fd.directory" Type::Text, Plain, None, (), "Directory part of a file's path.";
FILENAME = "fd.filename" Type::Text, Plain, None, (), "Last part of a file's path.";
IP = "fd.ip" Type::Ip, Plain, None, (FILTER_ONLY NO_RHS NO_TRANSFORMER), "Address of either end of a connection.";
CIP = "fd.cip" Type::Ip, Plain, None, (), "Client's address.";
SIP = "fd.sip" Type::Ip, Plain, None, (), "Server's address.";
PORT = "fd.port" Type::Uint, Plain, None, (FILTER_ONLY NO_RHS NO_TRANSFORMER), "Port of either end of a connection.";
CPORT = "fd.cport" Type::Uint, Plain, None, (), "Client's port.";
SPORT = "fd.sport" Type::Uint, Plain, None, (), "Server's port.";
L4PROTO = "fd.l4proto" Type::Text, Plain, None, (), "Transport protocol: tcp, udp, icmp, raw.";
SOCKFAMILY = "fd.sockfamily" Type::Text, Plain, None, (), "Socket family: ip, unix.";
IS_SERVER = "fd.is_server" Type::Bool, Plain, None, (), "Whether the process that owns it is the server.";
UID = "fd.uid" Type::Text, Plain, None, (), "Unique id of the descriptor: thread id and number.";
CONTAINERNAME = "fd.containername" Type::Text, Plain, None, (), "Container id and name, `id:name`.";
CONTAINERDIRECTORY = "fd.containerdirectory" Type::Text, Plain, None, (), "Container id and directory, `id:directory`.";
PROTO = "fd.proto" Type::Uint, Plain, None, (FILTER_ONLY NO_RHS NO_TRANSFORMER), "Port of either end as a service's name.";
CPROTO = "fd.cproto" Type::Text, Plain, None, (), "Client's port as a service's name.";
SPROTO = "fd.sproto" Type::Text, Plain, None, (), "Server's port as a service's name.";
LPROTO = "fd.lproto" Type::Text, Plain, None, (), "Local port as a service's name.";
RPROTO = "fd.rproto" Type::Text, Plain, None, (), "Remote port as a service's name.";
NET = "fd.net" Type::Ip, Plain, None, (FILTER_ONLY NO_RHS NO_TRANSFORMER), "Address of either end, to be compared with networks.";
CNET = "fd.cnet" Type::Ip, Plain, None, (FILTER_ONLY NO_RHS NO_TRANSFORMER), "Client's address, to be compared with networks.";
SNET = "fd.snet" Type::Ip, Plain, None, (FILTER_ONLY NO_RHS NO_TRANSFORMER), "Server's address, to be compared with networks.";
LNET = "fd.lnet" Type::Ip, Plain, None, (FILTER_ONLY NO_RHS NO_TRANSFORMER), "Local address, to be compared with networks.";
RNET = "fd.rnet" Type::Ip, Plain, None, (FILTER_ONLY NO_RHS NO_TRANSFORMER), "Remote address, to be compared with networks.";
CONNECTED = "fd.connected" Type::Bool, Plain, None, (), "Whether the socket is connected.";
NAME_CHANGED = "fd.name_changed" Type::Bool, Plain, None, (), "Whether the event changed the descriptor's name.";
CIP_NAME = "fd.cip.name" Type::Text, Plain, None, (NO_RHS NO_TRANSFORMER), "Name of the client's address.";
SIP_NAME = "fd.sip.name" Type::Text, Plain, None, (NO_RHS NO_TRANSFORMER), "Name of the server's address.";
LIP_NAME = "fd.lip.name" Type::Text, Plain, None, (NO_RHS NO_TRANSFORMER), "Name of the local address.";
RIP_NAME = "fd.rip.name" Type::Text, Plain, None, (NO_RHS NO_TRANSFORMER), "Name of the remote address.";
DEV = "fd.dev" Type::Int, Plain, None, (), "Device number of the file.";
DEV_MAJOR = "fd.dev.major" Type::Int, Plain, None, (), "Major device number.";
DEV_MINOR = "fd.dev.minor" Type::Int, Plain, None, (), "Minor device number.";
TYPES = "fd.types" Type::List(Element::Text), Plain, Allowed, (LIST NO_RHS), "Types of all descriptors that the event makes, or of the one in brackets.";
IS_UPPER_LAYER = "fd.is_upper_layer" Type::Bool, Plain, None, (), "Whether the file lies in the writable layer of an overlay.";
IS_LOWER_LAYER = "fd.is_lower_layer" Type::Bool, Plain, None, (), "Whether the file lies in a read-only layer of an overlay.";
}
