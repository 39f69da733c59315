"""A native client without audio: joins a room and prints its events.

python3 native.py ws://127.0.0.1:3030/ws TOKEN ROOM [--events COUNT]
"""
import argparse
import json

from websocket import WebSocket


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("url")
    arguments.add_argument("token")
    arguments.add_argument("room")
    arguments.add_argument("--events", type=int)
    options = arguments.parse_args()
    client = WebSocket(options.url, {"Authorization": f"Bearer {options.token}"}, ["msab.v1"])
    count = 0
    last_id = 0

    def receive():
        """Prints an event, or returns a reply."""
        nonlocal count
        message = json.loads(client.receive())
        if "ok" in message:
            return message
        count += 1
        print(json.dumps(message), flush=True)

    def request(kind, data):
        nonlocal last_id
        last_id += 1
        client.send(json.dumps({"id": last_id, "type": kind, "data": data}))
        while True:
            reply = receive()
            if reply and reply["id"] == last_id:
                if not reply["ok"]:
                    raise SystemExit(f"{kind}: {reply['error']['code']} {reply['error']['message']}")
                return reply["data"]

    receive()  # session:ready
    joined = request("room:join", {"roomId": options.room})
    print(json.dumps({"joined": joined["roomId"], "participants": [user["userId"] for user in joined["participants"]]}), flush=True)
    while options.events is None or count < options.events:
        receive()
    client.close()


main()
