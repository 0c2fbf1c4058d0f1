#!/usr/bin/env python3
"""A software YubiKey (test keys).  yubikey_otp.py otp KEY SESSION USE [TIMESTAMP]   prints one OTP
yubikey_otp.py env   prints the client and the public ids
KEY is alice, bob, carol, unknown (not on the server) or corrupt (right public id, wrong AES key).
SESSION (15 bit) counts power-ups, USE (8 bit) the presses since: an OTP is only accepted when (SESSION, USE) grows."""
import sys
CLIENT_ID = 87
API_KEY = "mG5be6ZJU1qBGz24yPh/ESM3UdU="
KEYS = {"alice": ("vvcccccccccb", "8792ebfe26cc", "ecde18dbe76fbd0c33330f1c354871db"),
        "bob": ("vvcccccccccd", "c6963f285d78", "108e504f37fef82a3b6bb3a45708405c"),
        "carol": ("vvccccccccce", "0123456789ab", "000102030405060708090a0b0c0d0e0f"),
        "unknown": ("vvcccccccccf", "aaaaaaaaaaaa", "0f0e0d0c0b0a09080706050403020100")}


def otp(name, session, use, ts=0x1234):
    from yubiotp.otp import OTP, encode_otp
    pub, priv, aes = KEYS["alice" if name == "corrupt" else name]
    if name == "corrupt":
        aes = "ff" * 16
    from yubiotp.modhex import unmodhex
    o = OTP(bytes.fromhex(priv), session, ts, use, 0x55AA)
    return encode_otp(o, bytes.fromhex(aes), pub.encode()).decode()


if __name__ == "__main__":
    if sys.argv[1] == "env":
        print(f"CLIENT_ID={CLIENT_ID}\nAPI_KEY={API_KEY}")
        for n, k in KEYS.items():
            print(f"ID_{n}={k[0]}")
    else:
        print(otp(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), *(int(x, 0) for x in sys.argv[5:6])))
