#!/usr/bin/env python3
"""Emulates the smartphone side of a privacyIDEA PUSH token (poll_only, no Firebase).

phone.py --dir DIR --url URL [--ttype push|edupush] enroll  SERIAL ENROLLMENT_CREDENTIAL
phone.py ... poll    SERIAL                      open challenges as JSON
phone.py ... accept  SERIAL [--presence X] [--wait S] [--delay S]
phone.py ... decline SERIAL [--reason unknown_trigger|cancelled] [--wait S] [--delay S]
Keys lie in DIR/phones/SERIAL.{pem,server.pem}. `--wait` polls for a challenge for S seconds,
`--delay` waits S seconds before the answer. With `--tied` it ends when its standard input does. Prints the server's JSON answer of the last request.
Exit status: 0 the server took the answer, 1 it refused it, 3 no open challenge.
"""
import argparse, base64, datetime, json, os, ssl, sys, threading, time, urllib.error, urllib.parse, urllib.request
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

CTX = ssl.create_default_context(); CTX.check_hostname = False; CTX.verify_mode = ssl.CERT_NONE
# Loopback is reached without a proxy, whatever the environment says.
open_url = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=CTX)).open


def call(method, url, params):
    data = urllib.parse.urlencode(params)
    req = urllib.request.Request(url if method == "POST" else f"{url}?{data}", method=method,
                                 data=data.encode() if method == "POST" else None,
                                 headers={"User-Agent": "privacyIDEA-App/4.6.1 (emulated)"})
    try:
        with open_url(req, timeout=20) as r:
            return r.status, json.load(r)
    except urllib.error.HTTPError as e:
        return e.code, json.loads(e.read() or b"{}")


class Phone:
    def __init__(self, directory, url, serial, ttype="push"):
        self.dir, self.url, self.serial = os.path.join(directory, "phones"), url.rstrip("/") + "/ttype/" + ttype, serial
        os.makedirs(self.dir, exist_ok=True)
        self.path = os.path.join(self.dir, serial + ".pem")

    def key(self):
        with open(self.path, "rb") as f:
            return serialization.load_pem_private_key(f.read(), None)

    def sign(self, text):
        return base64.b32encode(self.key().sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()

    def enroll(self, credential):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        with open(self.path, "wb") as f:
            f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                      serialization.NoEncryption()))
        pub = key.public_key().public_bytes(serialization.Encoding.PEM,
                                            serialization.PublicFormat.SubjectPublicKeyInfo).decode()
        b64 = "".join(pub.strip().splitlines()[1:-1]).replace("+", "-").replace("/", "_")
        status, body = call("POST", self.url, {"enrollment_credential": credential, "serial": self.serial,
                                               "fbtoken": "", "pubkey": b64})
        if body.get("result", {}).get("value") is True:
            with open(os.path.join(self.dir, self.serial + ".server.pem"), "w") as f:
                f.write("-----BEGIN RSA PUBLIC KEY-----\n" + body["detail"]["public_key"] + "\n-----END RSA PUBLIC KEY-----\n")
        return status, body

    def poll(self):
        ts = datetime.datetime.now(datetime.timezone.utc).isoformat()
        return call("GET", self.url, {"serial": self.serial, "timestamp": ts,
                                      "signature": self.sign(f"{self.serial}|{ts}")})

    def verify(self, ch):
        """The phone checks that the challenge comes from its server."""
        with open(os.path.join(self.dir, self.serial + ".server.pem"), "rb") as f:
            pub = serialization.load_pem_public_key(f.read())
        text = "{nonce}|{url}|{serial}|{question}|{title}|{sslverify}".format(**ch)
        if "require_presence" in ch:
            text += "|" + ch["require_presence"]
        pub.verify(base64.b32decode(ch["signature"]), text.encode(), padding.PKCS1v15(), hashes.SHA256())

    def answer(self, nonce, decline=False, reason=None, presence=None):
        text, params = f"{nonce}|{self.serial}", {"serial": self.serial, "nonce": nonce}
        if decline:
            text += "|decline"; params["decline"] = "1"
            if reason:
                text += "|" + reason; params["decline_reason"] = reason
        if presence is not None:
            text += "|" + presence; params["presence_answer"] = presence
        params["signature"] = self.sign(text)
        return call("POST", self.url, params)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--dir", required=True); p.add_argument("--url", required=True)
    p.add_argument("command", choices=["enroll", "poll", "accept", "decline"]); p.add_argument("serial")
    p.add_argument("credential", nargs="?"); p.add_argument("--presence"); p.add_argument("--reason"); p.add_argument("--ttype", default="push")
    p.add_argument("--wait", type=float, default=0); p.add_argument("--delay", type=float, default=0)
    p.add_argument("--tied", action="store_true")
    a = p.parse_args()
    if a.tied:
        # Unbuffered: a buffer would be locked when the interpreter ends.
        threading.Thread(target=lambda: (os.read(0, 1), os._exit(4)), daemon=True).start()
    ph = Phone(a.dir, a.url, a.serial, a.ttype)
    if a.command == "enroll":
        status, body = ph.enroll(a.credential)
        print(json.dumps({"status": status, "body": body})); return 0 if body.get("result", {}).get("value") is True else 1
    deadline = time.monotonic() + a.wait
    while True:
        status, body = ph.poll()
        chs = body.get("result", {}).get("value") if status == 200 else None
        if a.command == "poll" or chs or time.monotonic() >= deadline:
            break
        time.sleep(0.1)
    if a.command == "poll" or not chs:
        print(json.dumps({"status": status, "body": body})); return 0 if a.command == "poll" else 3
    ch = chs[-1]
    ph.verify(ch)
    time.sleep(a.delay)
    status, body = ph.answer(ch["nonce"], a.command == "decline", a.reason, a.presence)
    print(json.dumps({"status": status, "body": body}))
    return 0 if body.get("result", {}).get("value") is True else 1


if __name__ == "__main__":
    sys.exit(main())
