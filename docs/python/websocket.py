"""A small WebSocket client (RFC 6455) for the examples, without packages."""
import base64
import os
import socket
import ssl
import struct
from urllib.parse import urlsplit


class WebSocket:
    def __init__(self, url, headers=None, subprotocols=()):
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "wss" else 80)
        self.socket = socket.create_connection((parts.hostname, port), timeout=30)
        if parts.scheme == "wss":
            self.socket = ssl.create_default_context().wrap_socket(self.socket, server_hostname=parts.hostname)
        lines = [
            f"GET {parts.path or '/'} HTTP/1.1",
            f"Host: {parts.hostname}:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            *([f"Sec-WebSocket-Protocol: {', '.join(subprotocols)}"] if subprotocols else []),
            *[f"{name}: {value}" for name, value in (headers or {}).items()],
        ]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            self._fill()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise ConnectionError(head.decode() + self.buffer.decode())

    def _fill(self):
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server has closed the connection")
        self.buffer += data

    def _read(self, count):
        while len(self.buffer) < count:
            self._fill()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def send(self, message):
        """Sends a str as a text frame, and bytes as a binary frame."""
        self._send(1 if isinstance(message, str) else 2, message.encode() if isinstance(message, str) else message)

    def _send(self, opcode, data):
        length = len(data)
        size = bytes([length | 128]) if length < 126 else (struct.pack("!BH", 254, length) if length < 65536 else struct.pack("!BQ", 255, length))
        mask = os.urandom(4)
        self.socket.sendall(bytes([128 | opcode]) + size + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(data)))

    def receive(self):
        """Returns the next message: str or bytes. Answers pings. Raises ConnectionError when the server closes."""
        while True:
            first, second = self._read(2)
            length = second & 127
            if length == 126:
                length = struct.unpack("!H", self._read(2))[0]
            elif length == 127:
                length = struct.unpack("!Q", self._read(8))[0]
            data = self._read(length)
            opcode = first & 15
            if opcode == 9:
                self._send(10, data)
            elif opcode == 8:
                raise ConnectionError(f"closed with {struct.unpack('!H', data[:2])[0]} {data[2:].decode()}" if data else "closed")
            elif opcode in (1, 2):
                return data.decode() if opcode == 1 else data

    def close(self):
        self._send(8, struct.pack("!H", 1000))
        self.socket.close()
