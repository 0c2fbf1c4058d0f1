"""countersign behind FreeRADIUS, by rlm_python3 (docs/gateways/freeradius.md).

Each round of a login starts `countersign serve` for one request. The verdict is what it writes: its exit status may be lost in
a server with threads, and is not looked at. Nothing is kept here; the State says what a later round needs.
"""

import base64
import ipaddress
import json
import os
import re
import subprocess

import radiusd

OPTIONS = radiusd.config
STATE = re.compile(r"([A-Za-z0-9_-]{20})\.([A-Za-z0-9_-]+)(?:\.([A-Za-z0-9_-]{1,32}))?")
NO_ANSWERS = ("gu", "username", "password")
FAULTS = ("communication_error", "service_unreachable", "internal_error")


def instantiate(_):
    wrong = [name for name in ("program", "plugin_ini") if not os.path.isabs(OPTIONS.get(name, ""))]
    wrong += [] if OPTIONS.get("ask") in ("yes", "no") else ["ask"]
    for name in wrong:
        radiusd.radlog(radiusd.L_ERR, f"countersign: config.{name} is missing or wrong")
    return -1 if wrong else 0


def authenticate(lists):
    try:
        return verdict(*question(lists["request"], lists["config"] or ()))
    except Exception as error:  # Whatever it is: nobody is let in by it.
        radiusd.radlog(radiusd.L_ERR, f"countersign: no verdict: {type(error).__name__}: {error}")
        return radiusd.RLM_MODULE_FAIL


def only(name, pairs):
    """The value of an attribute that may be there once."""
    found = [value for key, value in pairs if key == name]
    if len(found) > 1:
        raise ValueError(f"{name} is there twice")
    return found[0] if found else None


def question(pairs, control):
    """What is asked, and of which login it is."""
    site, first = only("Tmp-String-8", control), only("Tmp-String-9", control)
    if not site or first not in ("checked", "code"):
        raise ValueError("the site has to set Tmp-String-8 and Tmp-String-9")
    user, password, state = (only(name, pairs) for name in ("User-Name", "User-Password", "State"))
    if user is None or password is None:
        raise ValueError("no User-Name and User-Password: a code can be read by PAP only")
    password = password if password.strip() else ""  # Many clients send no empty answer: a blank one is as good.
    login, request, answers = base64.urlsafe_b64encode(os.urandom(15)).decode(), {}, {}
    if state is not None:
        came = STATE.fullmatch(bytes.fromhex(state.removeprefix("0x")).decode())
        if came is None or came[3] in NO_ANSWERS:
            raise ValueError("the State is none that was handed out here")
        login, answers[came[3] or "otp"] = came[1], password
        # Where a password came first, this cookie is the proof of it: without a good one there is no accept.
        request = {"cookie": came[2], "begun": first == "checked"}
    elif first == "code":
        answers["otp"] = password
    if OPTIONS["ask"] == "no":
        request["protocol"] = "radius"  # None of [auth] interactive_protocols: a push is meant.
    try:
        request["client_ip"] = str(ipaddress.ip_address(only("Calling-Station-Id", pairs) or ""))
    except ValueError:
        pass  # A telephone number or a hardware address.
    request |= {
        "type": "authenticate",
        "id": login,
        # Of this login alone, of this server, and of this way in: to all of that the cookie is bound.
        "session_id": f"radius {first} {login} {site}",
        "connection_name": only("NAS-Identifier", pairs) or only("NAS-IP-Address", pairs) or "",
        "gateway_user": user,
        "key_value_pairs": answers,
        "deadline_ms": int(float(OPTIONS.get("timeout", 25)) * 1000),
    }
    return login, request


def verdict(login, request):
    """What countersign says, as rlm_python3 takes it."""
    # Names and codes go through a pipe: arguments and environment are for others to see.
    run = subprocess.run(
        [OPTIONS["program"], "serve", "--config", OPTIONS["plugin_ini"]],
        input=json.dumps(request).encode() + b"\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=request["deadline_ms"] / 1000 + 1,
        cwd="/",
        env={},
        check=False,
    )
    said = json.loads(run.stdout)
    if said["v"] != 1 or said["id"] != login:
        raise ValueError("the answer belongs to another request")
    if said["verdict"] == "accept":
        return radiusd.RLM_MODULE_OK, {"reply": messages(said.get("message", ""))}
    if said["verdict"] == "need_info":
        asked, word = said["question"], f"{login}.{said['cookie']}"
        word += "" if asked["key"] == "otp" else f".{asked['key']}"
        if STATE.fullmatch(word) is None or asked["key"] in NO_ANSWERS:
            raise ValueError("the question has a key that no State can carry")
        challenge = (("Response-Packet-Type", ":=", "Access-Challenge"),)
        state = (("State", ":=", "0x" + word.encode().hex()), ("Prompt", ":=", ("Echo", "No-Echo")[asked["disable_echo"]]))
        return radiusd.RLM_MODULE_HANDLED, {"reply": state + messages(asked["prompt"]), "config": challenge}
    fault = said["error"]["class"] in FAULTS
    return radiusd.RLM_MODULE_FAIL if fault else radiusd.RLM_MODULE_REJECT, {"reply": messages(said["message"])}


def messages(text):
    """The text in as many Reply-Message as it takes: 253 bytes each, cut behind a line or a character."""
    pairs, length = [], 0
    while text:
        piece = text.encode()[:253].decode(errors="ignore")
        if piece != text and "\n" in piece:
            piece = piece[: piece.rindex("\n") + 1]
        text, length = text[len(piece) :], length + len(piece.encode()) + 2
        if length > 3500:  # A packet has 4096 bytes.
            break
        pairs.append(("Reply-Message", "+=", piece.replace("\\", "\\\\")))
    return tuple(pairs)
