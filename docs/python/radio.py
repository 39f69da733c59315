"""A push-to-talk radio.

python3 radio.py ws://127.0.0.1:3030/ptt TOKEN CHANNEL [--talk] [--text TEXT] [--frames COUNT]

--talk sends a talk of silence, --text sends a text, --frames ends the program after this many received frames.
"""
import argparse
import base64
import json
import struct
import time

from websocket import WebSocket

GROUP, PRIVATE = 0, 1
START, STOP, AUDIO, START_ACK, STOP_ACK, TEXT, CONNECTION_TEST, CONNECTION_ACK = 1, 2, 3, 6, 7, 17, 25, 26
SILENCE = bytes.fromhex("f8fffe")


def pack(value):
    """Encodes a part of a frame as MessagePack, like the package msgpack."""
    if value is None:
        return b"\xc0"
    if isinstance(value, int):
        return bytes([value]) if 0 <= value < 128 else struct.pack("!Bq", 0xD3, value)
    if isinstance(value, bytes):
        return struct.pack("!BH", 0xC5, len(value)) + value
    if isinstance(value, str):
        data = value.encode()
        return (bytes([0xA0 | len(data)]) if len(data) < 32 else struct.pack("!BH", 0xDA, len(data))) + data
    return bytes([0x90 | len(value)]) + b"".join(pack(item) for item in value)


def unpack(data, at=0):
    """Decodes a value. Returns the value and the position after it."""
    first = data[at]
    at += 1
    if first < 0x80:
        return first, at
    if first >= 0xE0:
        return first - 256, at
    if 0x90 <= first < 0xA0:
        items = []
        for _ in range(first & 15):
            item, at = unpack(data, at)
            items.append(item)
        return items, at
    if 0xA0 <= first < 0xC0:
        return data[at:at + (first & 31)].decode(), at + (first & 31)
    if first in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[first], at
    if first in (0xC4, 0xC5, 0xC6, 0xD9, 0xDA, 0xDB):
        size = {0xC4: 1, 0xD9: 1, 0xC5: 2, 0xDA: 2, 0xC6: 4, 0xDB: 4}[first]
        length = int.from_bytes(data[at:at + size], "big")
        content = data[at + size:at + size + length]
        return (content if first <= 0xC6 else content.decode()), at + size + length
    form = {0xCA: "!f", 0xCB: "!d", 0xCC: "!B", 0xCD: "!H", 0xCE: "!I", 0xCF: "!Q", 0xD0: "!b", 0xD1: "!h", 0xD2: "!i", 0xD3: "!q"}[first]
    size = struct.calcsize(form)
    return struct.unpack(form, data[at:at + size])[0], at + size


def user_of(token):
    """The user's id in a token. The server checks the token; a client only reads it."""
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims.get("userId", claims.get("uid", claims.get("id")))


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("url")
    arguments.add_argument("token")
    arguments.add_argument("channel")
    arguments.add_argument("--talk", action="store_true")
    arguments.add_argument("--text")
    arguments.add_argument("--frames", type=int)
    options = arguments.parse_args()
    channel = int(options.channel) if options.channel.isdigit() else options.channel
    user = user_of(options.token)
    radio = WebSocket(options.url, {"token": options.token, "deviceid": "python"})
    count = 0

    def send(kind, payload=None, channel_type=GROUP, to=channel):
        radio.send(pack([channel_type, kind, user, to, payload]))

    def receive():
        nonlocal count
        frame, _ = unpack(radio.receive())
        count += 1
        print(json.dumps(frame, default=lambda data: data.hex()), flush=True)
        return frame

    # The server's reply means that the radio has joined its channels.
    send(CONNECTION_TEST, "ready", PRIVATE, 0)
    while receive()[1] != CONNECTION_ACK:
        pass
    if options.text:
        send(TEXT, json.dumps({"text": options.text}))
    if options.talk:
        send(START)
        while receive()[1] != START_ACK:
            pass
        for _ in range(25):
            send(AUDIO, SILENCE)
            time.sleep(0.02)
        send(STOP)
        while receive()[1] != STOP_ACK:
            pass
        return radio.close()
    while options.frames is None or count < options.frames:
        receive()
    radio.close()


main()
