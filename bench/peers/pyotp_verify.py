"""One code from standard input, verified by pyotp against the secret of RFC 6238."""

import sys

import pyotp

print(pyotp.TOTP("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ").verify(sys.stdin.readline().strip(), valid_window=1))
