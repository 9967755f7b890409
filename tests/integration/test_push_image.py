"""An image of three platforms and what attests them, pushed to a real registry under several tags, and pulled again."""

from __future__ import annotations

import hashlib
import io
import json
import os
import ssl
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from builders import ROOT
from ports import free_port

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
PLATFORMS = [("amd64", ""), ("arm64", ""), ("arm", "v7")]
USER, PASSWORD = "publisher", "of-the-test"
HASHED = "$2b$05$buTcCIcPnPj2ll3hPV0Y1uJpKwKDHkYf0O45udzcqqSfVT7p11spC"
PATIENCE = 120  # s
TAGS = ["1.2.3", "1.2", "1", "latest-production", "main-5f5f5f5f5f5f"]


class Image:
    """An image as buildx writes it to a file: an index of platforms, each with an attestation beside it."""

    def __init__(self, platforms: list[tuple[str, str]] = PLATFORMS) -> None:
        self.blobs: dict[str, bytes] = {}
        rows = [row for number, platform in enumerate(platforms) for row in self._platform(number, platform)]
        self.index = self._add(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": rows}).encode(), INDEX)

    def _add(self, content: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    def _manifest(self, config: dict[str, object], layers: list[dict[str, object]]) -> dict[str, object]:
        described = self._add(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
        content = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": layers}
        return self._add(json.dumps(content).encode(), MANIFEST)

    def _platform(self, number: int, platform: tuple[str, str]) -> list[dict[str, object]]:
        architecture, variant = platform
        layer = _tar({"engine": f"for {architecture}{variant}".encode()})
        named = {"architecture": architecture, "os": "linux"} | ({"variant": variant} if variant else {})
        diff = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}
        image = self._manifest(
            {**named, "rootfs": diff, "config": {}}, [self._add(layer, "application/vnd.oci.image.layer.v1.tar")]
        )
        statement = json.dumps({"_type": "https://in-toto.io/Statement/v0.1", "number": number}).encode()
        diff = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(statement).hexdigest()}"]}
        attestation = self._manifest(
            {"architecture": "unknown", "os": "unknown", "rootfs": diff, "config": {}},
            [self._add(statement, "application/vnd.in-toto+json")],
        )
        notes = {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": image["digest"],
        }
        unknown = {"architecture": "unknown", "os": "unknown"}
        return [{**image, "platform": named}, {**attestation, "platform": unknown, "annotations": notes}]

    def write(self, file: Path) -> None:
        top = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [self.index]}
        blobs = {f"blobs/sha256/{digest}": content for digest, content in self.blobs.items()}
        file.write_bytes(
            _tar({"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(top).encode(), **blobs})
        )


def _tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A registry on loopback, by TLS, that asks for a password; gives its address and its certificate."""
    folder = tmp_path_factory.mktemp("registry")
    address, certificate = f"127.0.0.1:{free_port()}", folder / "tls.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "tls.key",
         "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "users").write_text(f"{USER}:{HASHED}\n")
    config = {
        "version": 0.1,
        "log": {"accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": address, "tls": {"certificate": str(certificate), "key": str(folder / "tls.key")}},
        "auth": {"htpasswd": {"realm": "test", "path": str(folder / "users")}},
    }
    (folder / "config.yml").write_text(json.dumps(config))
    command = ["docker-registry", "serve", folder / "config.yml"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + PATIENCE
            while not asks_for_a_password(address, certificate):
                assert time.monotonic() < deadline, (folder / "log").read_text()[-3000:]
                time.sleep(0.1)
            yield address, certificate
        finally:
            process.kill()


def asks_for_a_password(address: str, certificate: Path) -> bool:
    trusted = ssl.create_default_context(cafile=certificate)
    try:
        urllib.request.urlopen(f"https://{address}/v2/", timeout=5, context=trusted)
    except urllib.error.HTTPError as refused:
        return refused.code == 401
    except OSError:
        pass
    return False


@pytest.fixture
def environment(tmp_path, registry):
    """What the workflow tells the script."""
    image = Image()
    image.write(tmp_path / "speedtest-logger-1.2.3.oci.tar")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "SSL_CERT_FILE": str(registry[1]),
        "IMAGE_ARCHIVE": f"{tmp_path}/*.oci.tar",
        "IMAGE_REPOSITORY": f"{registry[0]}/Me/speedtest-logger",
        "IMAGE_TAGS": " ".join(TAGS),
        "REGISTRY_USER": USER,
        "REGISTRY_PASSWORD": PASSWORD,
    }


def push(environment, **other):
    return subprocess.run(
        [ROOT / ".github/scripts/push-image"], env=environment | other, capture_output=True, text=True, check=False
    )


def skopeo(environment, *command):
    done = subprocess.run(["skopeo", *command], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def index_of(environment, image):
    """What a tag means."""
    return skopeo(environment, "inspect", "--raw", "--creds", f"{USER}:{PASSWORD}", f"docker://{image}")


def test_every_tag_is_the_same_image_with_all_its_platforms_and_attestations(environment, registry, tmp_path):
    done = push(environment)
    assert done.returncode == 0, done.stderr
    image = Image()
    name = f"{registry[0]}/me/speedtest-logger"
    assert done.stdout.splitlines() == [f"{name}:{tag}@{image.index['digest']}" for tag in TAGS]
    for tag in TAGS:
        pulled = index_of(environment, f"{name}:{tag}")
        assert f"sha256:{hashlib.sha256(pulled).hexdigest()}" == image.index["digest"]
    rows = json.loads(pulled)["manifests"]
    assert [row["platform"]["architecture"] for row in rows if "annotations" not in row] == ["amd64", "arm64", "arm"]
    attested = [row["annotations"]["vnd.docker.reference.digest"] for row in rows if "annotations" in row]
    assert attested == [row["digest"] for row in rows if "annotations" not in row]
    for architecture, variant in PLATFORMS:
        folder = tmp_path / f"pulled-{architecture}"
        wanted = [f"--override-arch={architecture}", f"--override-variant={variant}"]
        image_there = f"docker://{name}:1.2"
        skopeo(environment, *wanted, "copy", "--src-creds", f"{USER}:{PASSWORD}", image_there, f"dir:{folder}")
        layers = [file.read_bytes() for file in folder.iterdir()]
        assert any(f"for {architecture}{variant}".encode() in layer for layer in layers)
    assert not list(tmp_path.rglob("auth.json"))


def test_a_tag_that_was_another_image_means_the_new_one(environment, registry, tmp_path):
    assert push(environment).returncode == 0
    newer = Image([("riscv64", "")])
    newer.write(next(tmp_path.glob("*.oci.tar")))
    done = push(environment, IMAGE_TAGS="1.2.4 latest-production")
    assert done.returncode == 0, done.stderr
    assert all(line.endswith(str(newer.index["digest"])) for line in done.stdout.splitlines())


def test_a_wrong_password_pushes_nothing_and_is_not_shown(environment, registry):
    guessed = "guessed-one"
    done = push(environment, REGISTRY_PASSWORD=guessed, IMAGE_REPOSITORY=f"{registry[0]}/other/logger")
    assert done.returncode != 0
    assert guessed not in done.stdout + done.stderr
    with pytest.raises(AssertionError, match="manifest unknown"):
        index_of(environment, f"{registry[0]}/other/logger:1.2.3")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("IMAGE_REPOSITORY", "", "it must be REGISTRY/PATH"),
        ("IMAGE_REPOSITORY", "logger", "it must be REGISTRY/PATH"),
        ("IMAGE_REPOSITORY", "--help/x y", "it must be REGISTRY/PATH"),
        ("IMAGE_ARCHIVE", "/nowhere/*.oci.tar", "0 files are named so"),
        ("IMAGE_TAGS", "", "name one tag at least"),
        ("IMAGE_TAGS", "1.2.3 --all", "'--all', which is no tag"),
        ("IMAGE_TAGS", "1.2.3 $(id)", "'$(id)', which is no tag"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_pushed(environment, name, value, said):
    done = push(environment, **{name: value})
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
