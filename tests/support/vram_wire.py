# SPDX-License-Identifier: GPL-2.0-only
"""The protocol of common/proto.h, as far as tests need it, without any of our C code."""

import json
import os
import socket
import struct

HELLO, ADMIN, REVOKE, GOODBYE = 1, 16, 64, 65
REPLY = 0x80000000
HELLO_ADMIN = 2
VERSION = 1


class Client:
    """A connection: send(), receive(); hello() and admin() for what everybody needs."""

    def __init__(self, path, timeout=20):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.seq = 0

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.sock.close()

    def send(self, kind, body=b"", fds=(), seq=None):
        if seq is None:
            self.seq += 1
            seq = self.seq
        packet = struct.pack("=IIIi", kind, 16 + len(body), seq, 0) + body
        socket.send_fds(self.sock, [packet], list(fds))

    def receive(self):
        """(type, seq, error, body, fds), or None at the end of the connection."""
        packet, fds, _, _ = socket.recv_fds(self.sock, 65536, 4)
        if not packet:
            return None
        kind, size, seq, error = struct.unpack_from("=IIIi", packet)
        assert size == len(packet), (size, len(packet))
        return kind, seq, error, packet[16:], fds

    def hello(self, name=b"test", flags=0, version=VERSION):
        """The reply to HELLO as receive() gives it; the table's descriptor is closed."""
        self.send(HELLO, struct.pack("=IIQ64s", version, flags, 0, name))
        reply = self.receive()
        for fd in reply[4] if reply else ():
            os.close(fd)
        return reply

    def admin(self, request):
        """The answer to an ADMIN request: a dict for JSON, bytes are sent as they are."""
        self.send(ADMIN, request if isinstance(request, bytes) else json.dumps(request).encode())
        kind, seq, error, body, fds = self.receive()
        assert (kind, seq) == (ADMIN | REPLY, self.seq), (kind, seq)
        assert error == 0, (error, text(body))
        assert body == b"" and len(fds) == 1, (body, fds)
        with os.fdopen(fds[0], "rb") as f:
            f.seek(0)
            return json.load(f)


def text(body):
    """The sentence of an error or a GOODBYE."""
    return body.split(b"\0")[0].decode("utf-8", "replace")


def admin_client(path):
    client = Client(path)
    reply = client.hello(name=b"admin", flags=HELLO_ADMIN)
    assert reply and reply[2] == 0, reply
    return client
