# The reference page's sample for Python.  Each line of standard input is a body,
# in hex, and a signature; each of standard output the signature that the body
# should have, and whether it is that.
import hashlib
import hmac
import os
import sys

secret = os.environb[b"SECRET"]

for line in sys.stdin:
    body, _, signature = line.rstrip("\n").partition(" ")
    payload = bytes.fromhex(body)
    expected = hmac.new(secret, payload, hashlib.sha256).hexdigest()
    print(expected, "yes" if hmac.compare_digest(expected, signature) else "no")
