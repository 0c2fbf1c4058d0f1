"""vendor.py PORT IKEY SKEY GENERATION: every call of the Auth API that a login makes, by the vendor's own library, to a
server on loopback. Writes what came of each, one line of JSON a call."""

import json
import sys

import duo_client

port, ikey, skey, generation = sys.argv[1:]
duo = duo_client.Auth(ikey, skey, "127.0.0.1", ca_certs="HTTP", port=int(port), sig_version=int(generation))
calls = [
    ("ping", lambda: duo.ping()),
    ("check", lambda: duo.check()),
    ("preauth", lambda: duo.preauth(username="jürgen", ipaddr="192.0.2.7", client_supports_verified_push="1")),
    ("push", lambda: duo.auth(factor="push", username="jürgen", async_txn=True, device="auto", ipaddr="192.0.2.7",
                              type="ssh login", display_username="Jürgen", pushinfo="from=192.0.2.7&to=db%201")),
    ("auth_status", lambda: duo.auth_status("jürgen")),
    ("phone", lambda: duo.auth(factor="phone", username="jürgen", async_txn=True, device="DPWORK")),
    ("sms", lambda: duo.auth(factor="sms", username="jürgen", device="auto")),
    ("passcode", lambda: duo.auth(factor="passcode", username="jürgen", passcode="135790")),
    ("passcode with a device", lambda: duo.auth(factor="passcode", username="jürgen", passcode="1", device="auto")),
    ("no factor known", lambda: duo.auth(factor="smoke", username="jürgen", device="auto")),
]
for name, call in calls:
    try:
        print(json.dumps([name, call()]))
    except RuntimeError as error:
        print(json.dumps([name, str(error)]))
