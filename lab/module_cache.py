"""Keeps what Python compiled of an Ansible module, on nodes of labs that are to be fast.

Each call of a module brings its sources in a zip archive, for which Python keeps no bytecode: compiling them takes
three quarters of a small call's CPU time. Nor is garbage collected: a call is over before that could pay.
Only what comes on standard input, as modules do, is treated so.
"""

from __future__ import annotations

import _imp
import gc
import marshal
import os
import zipimport
from types import CodeType
from typing import Any

FOLDER = "/run/module-cache"
compile_source = vars(zipimport)["_compile_source"]


def kept(path: str, source: bytes, *rest: Any) -> CodeType:
    """The code of a source: from the folder, or compiled and put there."""
    file = f"{FOLDER}/{_imp.source_hash(0, source).hex()}"
    try:
        with open(file, "rb") as stream:
            # not load(): it calls read for each object
            code: CodeType = marshal.loads(stream.read())  # noqa: S302  # only root writes there
    except OSError:
        code = compile_source(path, source, *rest)
        temporary = f"{file}.{os.getpid()}"
        with open(temporary, "wb") as stream:
            stream.write(marshal.dumps(code))
        os.replace(temporary, file)
    _imp._fix_co_filename(code, path)  # type: ignore[attr-defined]  # as importlib does it
    return code


if os.geteuid() == 0:
    gc.disable()
    os.makedirs(FOLDER, mode=0o700, exist_ok=True)
    setattr(zipimport, "_compile_source", kept)  # noqa: B010  # mypy knows no private names
