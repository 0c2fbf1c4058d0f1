#!/usr/bin/env python3
"""Makes what an instance of privacyIDEA starts from: its keys, its database, its phones.  seed.py CFG DIR

In-process: tables, admins, realms, OTP tokens, policies. Then over HTTP, with a server of its own: the PUSH tokens, which
phone.py enrols as an app does. DIR gets a copy of CFG; an instance runs on a copy of DIR. All secrets are test secrets.
"""
import datetime, ipaddress, json, os, shutil, sys, threading, urllib.parse, urllib.request

CFG, DIR = sys.argv[1], os.path.abspath(sys.argv[2])
PUSH_VALIDITY = "60"                              # seconds
RFC4226 = "3132333435363738393031323334353637383930"      # "12345678901234567890", RFC 4226 / 6238 test secret
USERS = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "karl", "laura", "mallory",
         "nina", "oscar", "peggy", "quentin", "ruth", "sybil", "trent", "jürgen",
         "pushy", "presence", "codephone", "pushwait", "multi", "pushpin", "pushnopoll"]
API_USERS = ["apiuser"]
PUSH = {"PIPU_PUSHY": ("pushy", ""), "PIPU_PRES": ("presence", ""), "PIPU_CODE": ("codephone", ""),
        "PIPU_WAIT": ("pushwait", ""), "PIPU_MULTI": ("multi", ""), "PIPU_PIN": ("pushpin", "pushpin1")}
ADMIN, ADMIN_PW = "admin", "admin-test-pw"
SVC, SVC_PW = "svc-mfa", "svc-test-pw"          # may only trigger challenges
NORIGHT, NORIGHT_PW = "svc-none", "none-test-pw"  # admin without the right


def keys():
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    enc = os.path.join(DIR, "encKey")
    if not os.path.exists(enc):
        with open(enc, "wb") as f:
            f.write(os.urandom(96))
        os.chmod(enc, 0o400)
    priv = os.path.join(DIR, "private.pem")
    if not os.path.exists(priv):
        k = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        with open(priv, "wb") as f:
            f.write(k.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
                                    serialization.NoEncryption()))
        with open(os.path.join(DIR, "public.pem"), "wb") as f:
            f.write(k.public_key().public_bytes(serialization.Encoding.PEM,
                                                serialization.PublicFormat.SubjectPublicKeyInfo))


def authorities():
    """tls/: ca.pem and a certificate of 127.0.0.1 and localhost that it issued; stranger.pem, a CA that issued nothing."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    os.mkdir(os.path.join(DIR, "tls"))

    def issue(file, name, issuer=None):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        authority, authority_key = issuer or (subject, key)
        day = datetime.datetime.now(datetime.timezone.utc)
        cert = (x509.CertificateBuilder().subject_name(subject).issuer_name(authority).public_key(key.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(day - datetime.timedelta(days=2)).not_valid_after(day + datetime.timedelta(days=3650))
                .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
                .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False))
        if issuer:
            names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            cert = cert.add_extension(x509.SubjectAlternativeName(names), critical=False)
            with open(os.path.join(DIR, "tls", file + ".key"), "wb") as f:
                f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                          serialization.NoEncryption()))
        with open(os.path.join(DIR, "tls", file + ".pem"), "wb") as f:
            f.write(cert.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return subject, key
    ca = issue("ca", "test CA")
    issue("server", "localhost", ca)
    issue("stranger", "another test CA")


def local(app):
    from passlib.hash import sha512_crypt
    from privacyidea.models import db
    with app.app_context():
        db.create_all()
        try:
            from flask_migrate import stamp
            stamp()
        except Exception as e:                                # only needed for a later `pi-manage db upgrade`
            print("stamp:", e, file=sys.stderr)
        from privacyidea.lib.auth import create_db_admin
        for n, p in ((ADMIN, ADMIN_PW), (SVC, SVC_PW), (NORIGHT, NORIGHT_PW)):
            create_db_admin(n, password=p)
        from privacyidea.lib.resolver import save_resolver
        from privacyidea.lib.realm import set_realm, set_default_realm
        from privacyidea.lib.config import set_privacyidea_config
        from privacyidea.lib.policy import set_policy
        from privacyidea.lib.token import init_token, get_tokens, enable_token, set_max_failcount
        from privacyidea.lib.user import User
        pw = sha512_crypt.hash("user-test-pw")
        for name, users, base in (("users", USERS, 5000), ("apiusers", API_USERS, 6000)):
            path = os.path.join(DIR, name + ".passwd")
            with open(path, "w", encoding="utf-8") as f:
                for i, u in enumerate(users):
                    f.write(f"{u}:{pw}:{base + i}:{base + i}:{u.capitalize()} Test,,,,{u}@example.test:/home/{u}:/bin/sh\n")
            save_resolver({"resolver": name, "type": "passwdresolver", "fileName": path})
        set_realm("corp", [{"name": "users"}])
        set_realm("apirealm", [{"name": "apiusers"}])
        set_default_realm("corp")
        # a resolver whose directory is down: every look-up in this realm fails
        save_resolver({"resolver": "deadldap", "type": "ldapresolver", "LDAPURI": "ldap://127.0.0.1:1", "LDAPBASE": "dc=x",
                       "BINDDN": "cn=x", "BINDPW": "x", "LOGINNAMEATTRIBUTE": "uid", "LDAPSEARCHFILTER": "(uid=*)",
                       "USERINFO": "{\"username\":\"uid\"}", "UIDTYPE": "DN", "TIMEOUT": "2", "CACHE_TIMEOUT": "0"})
        set_realm("deadrealm", [{"name": "deadldap"}])
        set_privacyidea_config("PushChallengeValidityTime", PUSH_VALIDITY)
        set_privacyidea_config("DefaultChallengeValidityTime", "120")
        set_privacyidea_config("splitAtSign", "True")

        def tok(serial, user, realm="corp", **kw):
            p = {"serial": serial, "otpkey": RFC4226, "type": "hotp", "hashlib": "sha1", "otplen": 6}
            p.update(kw)
            t = init_token(p, User(user, realm))
            if kw.get("pin"):
                t.set_pin(kw["pin"]); t.save()
            return t
        tok("HOTP_ALICE", "alice")                                            # HOTP, no PIN
        tok("TOTP_BOB", "bob", type="totp", timeStep=30)                      # TOTP, no PIN
        tok("HOTP_CAROL", "carol", pin="carolpin")                            # HOTP behind a PIN (PIN+OTP)
        t = tok("HOTP_DAVE", "dave"); t.token.failcount = 10; t.save()                                            # fail counter exceeded
        tok("HOTP_ERIN", "erin"); enable_token("HOTP_ERIN", enable=False)     # disabled token
        #   frank: a user without any token
        t = tok("HOTP_GRACE", "grace"); t.set_validity_period_end("2020-01-01T00:00+0000"); t.save()   # expired
        tok("HOTP_HEIDI", "heidi", pin="heidipin")                            # challenge-response HOTP (PIN triggers)
        tok("TOTP_IVAN", "ivan", type="totp", timeStep=30)                    # challenge-response TOTP (empty pass triggers)
        tok("HOTP_JUDY", "judy"); set_max_failcount("HOTP_JUDY", 3)           # to be locked by the test itself
        tok("HOTP_KARL", "karl")                                              # authorisation denied by policy
        #   laura: no token, passOnNoToken policy
        tok("HOTP_MALLORY", "mallory")                                        # auth_max_fail=2/1m
        tok("HOTP_NINA", "nina", otplen=8)                                    # 8 digits
        tok("TOTP_OSCAR", "oscar", type="totp", timeStep=30, hashlib="sha256",
            otpkey="3132333435363738393031323334353637383930313233343536373839303132")
        tok("HOTP_PEGGY", "peggy"); from privacyidea.lib.token import revoke_token; revoke_token("HOTP_PEGGY")
        tok("EMAIL_QUENTIN", "quentin", type="email", email="quentin@example.test", pin="mailpin")   # no SMTP server
        tok("SMS_RUTH", "ruth", type="sms", phone="+491700000000", pin="smspin")                     # no SMS gateway
        tok("HOTP_SYBIL", "sybil"); tok("TOTP_SYBIL", "sybil", type="totp", timeStep=30)            # two tokens
        tok("SPASS_TRENT", "trent", type="spass", pin="trentpin")
        tok("HOTP_JUERGEN", "jürgen")
        tok("HOTP_MULTI", "multi")                                            # HOTP + PUSH
        tok("HOTP_APIUSER", "apiuser", realm="apirealm")                      # api_key_required realm

        set_policy("admin-super", scope="admin", action="*", adminuser=ADMIN)
        set_policy("admin-svc", scope="admin", action="triggerchallenge", adminuser=SVC)
        set_policy("admin-none", scope="admin", action="auditlog", adminuser=NORIGHT)
        set_policy("enroll-push", scope="enrollment",
                   action=f"push_firebase_configuration=poll only, push_registration_url=https://mfa.example.test/ttype/push, "
                          "push_ttl=10, push_ssl_verify=0")
        set_policy("cr-otp", scope="authentication", action="challenge_response=hotp totp", user="heidi, ivan, multi, sybil")
        set_policy("push-text", scope="authentication",
                   action="push_text_on_mobile=Log in to gateway?, push_title_on_mobile=Session gateway")
        set_policy("push-presence", scope="authentication", user="presence",
                   action="push_require_presence, push_presence_options=NUMERIC, push_presence_num_options=3")
        set_policy("push-code", scope="authentication", user="codephone", action="push_code_to_phone")
        set_policy("push-wait", scope="authentication", user="pushwait", action="push_wait=8")
        set_policy("api-key", scope="authorization", realm="apirealm", action="api_key_required")
        set_policy("deny", scope="authorization", user="karl", action="authorized=deny_access")
        set_policy("max-fail", scope="authorization", user="mallory", action="auth_max_fail=2/1m")
        set_policy("no-token-ok", scope="authentication", user="laura", action="passOnNoToken")
        import jwt
        key = jwt.encode({"username": "gateway", "realm": "API", "nonce": "00" * 8, "role": "validate", "authtype": "API",
                          "exp": datetime.datetime(2036, 1, 1, tzinfo=datetime.timezone.utc), "rights": "TODO"},
                         app.config["SECRET_KEY"])
        db.session.commit()
    env = {"REALM": "corp", "API_REALM": "apirealm", "DEAD_REALM": "deadrealm", "VALIDATE_KEY": key,
           "ADMIN": f"{ADMIN}:{ADMIN_PW}", "SERVICE": f"{SVC}:{SVC_PW}", "NO_RIGHT": f"{NORIGHT}:{NORIGHT_PW}"}
    with open(os.path.join(DIR, "env"), "w") as f:
        f.writelines(f"{k}={v}\n" for k, v in env.items())


def http(url):
    from phone import Phone, open_url

    def post(path, params, token=None):
        req = urllib.request.Request(url + path, data=urllib.parse.urlencode(params).encode(), method="POST")
        if token:
            req.add_header("Authorization", token)
        with open_url(req, timeout=60) as r:
            return json.load(r)
    tok = post("/auth", {"username": ADMIN, "password": ADMIN_PW})["result"]["value"]["token"]
    post("/token/init", {"type": "push", "genkey": 1, "user": "pushnopoll", "realm": "corp", "serial": "PIPU_NOTDONE"}, tok)
    for serial, (user, pin) in PUSH.items():
        r = post("/token/init", {"type": "push", "genkey": 1, "user": user, "realm": "corp", "serial": serial, "pin": pin}, tok)
        status, body = Phone(DIR, url, serial).enroll(r["detail"]["enrollment_credential"])
        assert status == 200 and body["result"]["value"] is True, body
        print("enrolled", serial, "for", user, file=sys.stderr)


if __name__ == "__main__":
    shutil.copy(CFG, os.path.join(DIR, "pi.cfg"))
    keys()
    authorities()
    os.environ["PRIVACYIDEA_CONFIGFILE"] = os.path.join(DIR, "pi.cfg")
    from privacyidea.app import create_app
    application = create_app(config_name="production", config_file=os.path.join(DIR, "pi.cfg"), silent=True)
    local(application)
    from werkzeug.serving import make_server
    server = make_server("127.0.0.1", 0, application, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    http(f"http://127.0.0.1:{server.port}")
    server.shutdown()
