"""server.py CERTIFICATE KEY: mail servers on loopback, each with a way of its own. Writes NAME=PORT for each, then URL=,
then MAIL= with one line of JSON for each message that was taken."""

import asyncio
import email
import email.policy
import json
import socket
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

USER, PASSWORD = b"gateway", b"canary-password"


def say(key, value):
    print(f"{key}={value}", flush=True)


def authenticate(_server, _session, _envelope, mechanism, data):
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (USER, PASSWORD)
    return AuthResult(success=right, handled=False, auth_data=mechanism)


class Handler:
    def __init__(self, name):
        self.name = name

    async def handle_RCPT(self, _server, _session, envelope, address, _options):
        if self.name == "REFUSING":
            # As real ones do, with the address in the answer.
            return f"550 5.1.1 <{address}>: Recipient address rejected: unknown"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server, session, envelope):
        if self.name == "BUSY":
            return f"451 4.7.1 <{envelope.rcpt_tos[0]}>: try again later"
        if self.name == "SLOW":
            await asyncio.Event().wait()
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        say("MAIL", json.dumps({
            "server": self.name,
            "hello": session.host_name,
            "user": session.auth_data,
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": {name.lower(): str(value) for name, value in message.items()},
            "text": message.get_content(),
        }))
        return "250 OK"


async def serve(certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    login = {"authenticator": authenticate, "auth_required": True}
    servers = {
        "PLAIN": {},
        "STARTTLS": {"tls_context": context, "require_starttls": True, **login},
        "TLS": {"auth_require_tls": False, **login},
        "REFUSING": {},
        "BUSY": {},
        "SLOW": {},
    }
    loop = asyncio.get_running_loop()
    kept = []
    for name, options in servers.items():
        listening = socket.create_server(("127.0.0.1", 0))
        make = lambda name=name, options=options: SMTP(Handler(name), hostname="mail.test", loop=loop, **options)
        kept.append(await loop.create_server(make, sock=listening, ssl=context if name == "TLS" else None))
        say(name, listening.getsockname()[1])
    say("URL", "smtp://127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(serve(*sys.argv[1:]))
