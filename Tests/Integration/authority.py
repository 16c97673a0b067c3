# Certificates as production has them, made with openssl.

import os
import ssl
import subprocess

from harness import scratch


class Authority:
    """A certificate authority without the mark of those for development, made with openssl."""

    def __init__(self, owner):
        self.directory = scratch(owner)
        (self.directory / "empty").write_text("[req]\ndistinguished_name = name\n[name]\n")
        self.certificate, self.key = self._make(
            "ca", "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign")

    def issue(self, name):
        """The paths of a new certificate for this machine and its key."""
        return self._make(name, "subjectAltName=DNS:localhost,IP:127.0.0.1",
                          "extendedKeyUsage=serverAuth,clientAuth",
                          "-CA", self.certificate, "-CAkey", self.key)

    def expired(self, key):
        """A certificate for this key that ended before it began."""
        request, path = key.with_suffix(".csr"), key.with_suffix(".expired")
        subprocess.run(["openssl", "req", "-new", "-config", self.directory / "empty", "-key", key,
                        "-subj", "/CN=late", "-out", request], check=True, capture_output=True)
        subprocess.run(["openssl", "x509", "-req", "-in", request, "-days", "-1", "-set_serial", "1",
                        "-CA", self.certificate, "-CAkey", self.key, "-out", path],
                       check=True, capture_output=True)
        return path

    def _make(self, name, *extensions):
        paths = [self.directory / f"{name}.pem", self.directory / f"{name}.key"]
        options = [part for one in extensions for part in
                   (["-addext", one] if "=" in str(one) else [one])]
        subprocess.run(
            ["openssl", "req", "-x509", "-config", self.directory / "empty", "-noenc", "-newkey",
             "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", f"/CN={name}", "-days", "2",
             "-out", paths[0], "-keyout", paths[1], *options], check=True, capture_output=True)
        return paths

    def client(self, pair=None):
        """A client that trusts this authority and shows a certificate, if there is one."""
        context = ssl.create_default_context(cafile=self.certificate)
        if pair:
            context.load_cert_chain(*pair)
        return context


def settings(pair, **more):
    certificate, key = pair
    return {"check.tls": True, "check.certificate": str(certificate), "check.key": str(key), **more}


def replace(new, old):
    """Puts a file in another's place at once, as certificate tools do."""
    copy = old.with_suffix(".new")
    copy.write_bytes(new if isinstance(new, bytes) else new.read_bytes())
    copy.chmod(0o600)
    os.replace(copy, old)
