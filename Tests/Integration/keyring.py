# The keyring of a store, opened by an independent reading of TokenFormat.md: what the tests look for in
# a server's memory.

import base64
import hashlib
import hmac
import sqlite3
import subprocess


def _hkdf(secret, info):
    """32 bytes of HKDF-SHA-256 (RFC 5869) with an empty salt."""
    key = hmac.digest(bytes(32), secret, hashlib.sha256)
    return hmac.digest(key, info.encode() + b"\x01", hashlib.sha256)


def _aes(mode, key, data, *options):
    return subprocess.run(
        ["openssl", "enc", f"-aes-256-{mode}", "-nopad", "-K", key.hex(), *options], input=data,
        capture_output=True, check=True).stdout


def _xaes_decrypted(key, sealed):
    """XAES-256-GCM (C2SP) without a look at the tag: the server that sealed it is the one tested."""
    nonce = sealed[:24]
    doubled = int.from_bytes(_aes("ecb", key, bytes(16))) << 1
    subkey = (doubled & ((1 << 128) - 1)) ^ (0x87 if doubled >> 128 else 0)
    blocks = b"".join(
        (int.from_bytes(bytes([0, half, 0x58, 0]) + nonce[:12]) ^ subkey).to_bytes(16)
        for half in (1, 2))
    counter = nonce[12:] + (2).to_bytes(4)
    return _aes("ctr", _aes("ecb", key, blocks), sealed[24:-16], "-iv", counter.hex())


def root_key(data):
    text = (data / "root.key").read_text().strip().removeprefix("gatehouse-root-key-1:")
    return base64.urlsafe_b64decode(text + "=")


PURPOSES = ["session", "remember", "device", "referral", "form"]


def secrets(data):
    """Every secret of the ring and what is made of it: {token key id: {name: bytes}}; under None what
    belongs to no token key.
    """
    root = root_key(data)
    wrapping = _hkdf(root, "gatehouse/v1/ring-key")
    with sqlite3.connect(f"file:{data}/gatehouse.sqlite?mode=ro", uri=True) as store:
        [(sealed,)] = store.execute("SELECT sealed FROM keyring")
        [(wrap,)] = store.execute("SELECT sealed FROM keyring_wraps")
    store.close()
    ring_key = _xaes_decrypted(wrapping, wrap)
    ring = _xaes_decrypted(ring_key, sealed)
    assert ring[0] == 2, "another layout than TokenFormat.md has"
    found = {None: {"root key": root, "wrapping key": wrapping, "ring key": ring_key}}
    for at in range(3, 3 + 61 * ring[1], 61):
        secret = ring[at + 29:at + 61]
        if any(secret):
            found[ring[at:at + 4].hex()] = {"secret": secret} | {
                purpose: _hkdf(secret, f"gatehouse/v1/token/{purpose}") for purpose in PURPOSES}
    for at in range(3 + 61 * ring[1], len(ring), 53):
        found[None][f"data key {ring[at + 4]}"] = ring[at + 21:at + 53]
    return found
