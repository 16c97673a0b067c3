# What is in a running process's memory, and what of it a core dump would have.

import base64
import pathlib
import re

WINDOW = 16 << 20


def forms(secret):
    """The spellings of a secret that a leak could have: {form: bytes}."""
    found = {"plain": secret, "hex": secret.hex().encode(), "HEX": secret.hex().upper().encode()}
    for shift in range(3):
        # Wherever it stands in what was encoded: the characters that only its own bits decide.
        text = base64.b64encode(bytes(shift) + secret)[-(-8 * shift // 6):]
        text = text[:(8 * (shift + len(secret)) // 6) - (-(-8 * shift // 6))]
        found[f"base64+{shift}"] = text
        found[f"base64url+{shift}"] = text.translate(bytes.maketrans(b"+/", b"-_"))
    return found


class Mapping:
    """One line of /proc/PID/smaps with its flags (proc_pid_smaps(5))."""

    def __init__(self, line):
        self.line = line
        addresses, self.mode = line.split()[:2]
        self.start, self.end = (int(address, 16) for address in addresses.split("-"))
        self.flags = set()

    @property
    def is_readable(self):
        # The kernel's own pages hold nothing of ours, and not all can be read.
        return self.mode[0] == "r" and "[v" not in self.line

    @property
    def is_dumped(self):
        return "dd" not in self.flags

    @property
    def is_for_secrets(self):
        """Locked, in no dump, and not handed to children."""
        return {"lo", "dd", "dc"} <= self.flags

    def __repr__(self):
        return f"{self.line.strip()} {sorted(self.flags)}"


def mappings(pid):
    found = []
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            found.append(Mapping(line))
        elif line.startswith("VmFlags:"):
            found[-1].flags = set(line.split()[1:])
    return found


def copies(pid, secrets, where=lambda mapping: True):
    """[(name, mapping)] of every copy of `secrets`, {name: bytes}; takes root, as servers can't be traced
    by their own user.
    """
    found = []
    longest = max(map(len, secrets.values()))
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for mapping in filter(lambda one: one.is_readable and where(one), mappings(pid)):
            for start in range(mapping.start, mapping.end, WINDOW):
                try:
                    memory.seek(start)
                    window = memory.read(min(WINDOW + longest - 1, mapping.end - start))
                except OSError:
                    break  # It has gone since it was listed, or it is past the end of a file.
                for name, secret in secrets.items():
                    at = window.find(secret)
                    while at >= 0:
                        if at < WINDOW:
                            found.append((name, mapping))
                        at = window.find(secret, at + 1)
    return found
