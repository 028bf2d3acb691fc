//! What the engines say over their sockets.
