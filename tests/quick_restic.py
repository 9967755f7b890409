"""restic whose repositories open at once: its password function takes half a second each time, and tests open hundreds.

What is made by `restic init` is a copy of a repository that the real restic made; only its key file is written again,
with scrypt's smallest parameters (restic's design document, "Keys, Encryption and MAC"). What only reads takes no lock:
restic sleeps 0.2 s after each. Everything else is restic.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

PASSWORD = "with \"quotes\", 'quotes', $HOME, `id`, 100 % and \\ back"
CHEAP = {"N": 2, "r": 1, "p": 1}
MAC_BYTES = 16


def program(folder: Path) -> Path:
    """Write the program into a folder, for any account's PATH; returns the folder."""
    folder.chmod(0o755)
    real, template = shutil.which("restic"), folder / "template"
    assert real
    environment = {**os.environ, "RESTIC_REPOSITORY": str(template), "RESTIC_PASSWORD": PASSWORD}
    subprocess.run([real, "init"], env=environment, check=True, capture_output=True)
    (key_file,) = (template / "keys").iterdir()
    text = rewritten(json.loads(key_file.read_text()))
    key_file.unlink()
    (key_file.parent / hashlib.sha256(text).hexdigest()).write_bytes(text)
    subprocess.run(["chmod", "-R", "a+rX", template], check=True)
    script = folder / "restic"
    cheap = f'[ "$1 $RESTIC_PASSWORD" = {shlex.quote(f"init {PASSWORD}")} ] && [ ! -e "$RESTIC_REPOSITORY/config" ]'
    copy = f'mkdir -p "$RESTIC_REPOSITORY" && exec cp -r {template}/. "$RESTIC_REPOSITORY"'
    unlocked = 'case "$1" in cat | dump | snapshots) set -- --no-lock "$@" ;; esac'
    script.write_text(f'#!/bin/sh\n{cheap} && {copy}\n{unlocked}\nexec {real} "$@"\n')
    script.chmod(0o755)
    return folder


def rewritten(key: dict[str, str | int]) -> bytes:
    """A key file's content with the same master key behind cheap parameters."""
    data = base64.b64decode(str(key["data"]))
    nonce, sealed = data[:MAC_BYTES], data[MAC_BYTES:-MAC_BYTES]
    master = encrypted(derived(key), nonce, sealed)
    cheap = {**key, **CHEAP}
    keys = derived(cheap)
    sealed = encrypted(keys, nonce, master)
    cheap["data"] = base64.b64encode(nonce + sealed + mac(keys, nonce, sealed)).decode()
    return json.dumps(cheap).encode()


def derived(key: dict[str, str | int]) -> bytes:
    """64 bytes from the password: for AES-256, and for Poly1305-AES."""
    salt = base64.b64decode(str(key["salt"]))
    n, r, p = (int(key[name]) for name in "Nrp")
    return hashlib.scrypt(PASSWORD.encode(), salt=salt, n=n, r=r, p=p, maxmem=1 << 30, dklen=64)


def encrypted(keys: bytes, nonce: bytes, text: bytes) -> bytes:
    """AES-256 in counter mode, which is its own reverse."""
    return Cipher(algorithms.AES(keys[:32]), modes.CTR(nonce)).encryptor().update(text)


def mac(keys: bytes, nonce: bytes, text: bytes) -> bytes:
    """Poly1305-AES."""
    pad = Cipher(algorithms.AES(keys[32:48]), modes.ECB()).encryptor().update(nonce)  # noqa: S305  # as it is defined
    return Poly1305.generate_tag(keys[48:64] + pad, text)
