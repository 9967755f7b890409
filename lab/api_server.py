"""A real API server of Kubernetes, built once of Debian's own source.

No registry and no release page can be reached from everywhere; Debian's mirrors can. Its last source of the whole tree
is 1.20.2, in bookworm; etcd is trixie's. Both lie in the lab's directory once they are built.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lab.images import HOME
from lab.shell import LabError, run, step, succeeds
from lab.suites import apt_from

PLACE = HOME / "kubernetes-api"
VERSION = "v1.20.2"
SUITES = ("bookworm", "trixie")
PACKAGES = ("golang-1.19-go/bookworm", "golang-1.19-src/bookworm", "etcd-server/trixie")
TAG = "+k8s:openapi-gen="
GENERATED = "pkg/generated/openapi"  # what git ignores upstream, so that no source package has it
BUILD_SECONDS = 3_600
READY_SECONDS = 120
URL = "https://127.0.0.1:6443"
ETCD = "http://127.0.0.1:2379"
TOKEN = "lab"  # noqa: S105  # of who may do everything, in a network of its own


def build() -> Path:
    """The folder with etcd and kube-apiserver, built where they are missing: some 15 to 25 minutes of two cores."""
    programs = PLACE / "bin"
    if programs.is_dir():
        return programs
    shutil.rmtree(PLACE, ignore_errors=True)  # nothing there the first time
    partial = PLACE / "bin.partial"
    partial.mkdir(parents=True)
    with step(f"build kube-apiserver {VERSION} (once, 15 to 25 minutes)"):
        tree, compiler = unpacked(PLACE)
        go = environment(compiler, tree)
        made(tree, go, "vendor/k8s.io/kube-openapi/cmd/openapi-gen", partial)
        generate(tree, go, partial / "openapi-gen")
        made(tree, go, "cmd/kube-apiserver", partial)
    shutil.copy(PLACE / "unpacked/usr/bin/etcd", partial)
    for left in ("path", "unpacked", "cache", "packages"):
        shutil.rmtree(PLACE / left)
    partial.rename(programs)
    return programs


def unpacked(place: Path) -> tuple[Path, Path]:
    """Kubernetes' source where Go looks for it, and a compiler of its time; apt has checked both."""
    packages, found = place / "packages", place / "unpacked"
    tree = place / "path/src/k8s.io/kubernetes"
    packages.mkdir()
    tree.parent.mkdir(parents=True)
    with apt_from(*SUITES, source=SUITES[0]) as apt:
        run("apt-get", *apt, "-qq", "source", "--download-only", "kubernetes", cwd=packages)
        run("apt-get", *apt, "-qq", "download", *PACKAGES, cwd=packages)
    for package in packages.glob("*.deb"):
        run("dpkg-deb", "--extract", str(package), str(found))
    [described] = packages.glob("*.dsc")
    run("dpkg-source", "--no-check", "--extract", str(described), str(tree))
    return tree, found / "usr/lib/go-1.19"


def environment(compiler: Path, tree: Path) -> dict[str, str]:
    """For Go: nothing but this source, and nothing from the network."""
    own = {"GOROOT": compiler, "GOPATH": tree.parents[2], "GOCACHE": PLACE / "cache", "GO111MODULE": "off"}
    return {**os.environ, **{name: str(value) for name, value in own.items()}, "CGO_ENABLED": "0", "GOFLAGS": ""}


def made(tree: Path, go: Mapping[str, str], package: str, folder: Path) -> None:
    """Build a program of the tree."""
    where = ("k8s.io/kubernetes/vendor/k8s.io/component-base/version", "k8s.io/component-base/version")
    flags = " ".join(f"-X {place}.gitVersion={VERSION}" for place in where)
    argv = [f"{go['GOROOT']}/bin/go", "build", "-ldflags", f"-s -w {flags}", "-o", f"{folder}/", f"./{package}"]
    run("nice", "-n", "19", *argv, cwd=tree, env=go, timeout=BUILD_SECONDS)


def generate(tree: Path, go: Mapping[str, str], generator: Path) -> None:
    """What the server says of its own objects, from their types; what Makefile.generated_files does."""
    found = run("grep", "--recursive", "--dereference-recursive", "--files-with-matches", "--include=*.go", TAG,
                "pkg", "vendor/k8s.io", cwd=tree).split()  # fmt: skip
    packages = sorted({f"k8s.io/kubernetes/{Path(file).parent}" for file in found if "/testdata/" not in file})
    argv = [
        str(generator),
        "--logtostderr",
        "--go-header-file=vendor/k8s.io/code-generator/hack/boilerplate.go.txt",
        "--output-file-base=zz_generated.openapi",
        f"--output-package=k8s.io/kubernetes/{GENERATED}",
        f"--report-filename={PLACE}/violations",
        f"--output-base={tree.parents[1]}",
        f"--input-dirs={','.join(packages)}",
    ]
    run("nice", "-n", "19", *argv, cwd=tree, env=go, timeout=BUILD_SECONDS)


@contextmanager
def running(folder: Path, kubectl: Path) -> Iterator[list[str]]:
    """The API server and its etcd, on this network's loopback; yields kubectl's command line. Raises LabError."""
    programs = build()
    run("openssl", "genrsa", "-out", f"{folder}/accounts.key", "2048")
    (folder / "tokens").write_text(f"{TOKEN},lab,lab,system:masters\n", encoding="utf-8")
    etcd = [f"{programs}/etcd", f"--data-dir={folder}/etcd", f"--listen-client-urls={ETCD}"]
    server = [
        f"{programs}/kube-apiserver",
        f"--etcd-servers={ETCD}",
        f"--cert-dir={folder}/certificates",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--service-cluster-ip-range=10.43.0.0/24",
        "--authorization-mode=RBAC",
        f"--token-auth-file={folder}/tokens",
        "--service-account-issuer=https://lab",
        *(f"--service-account-{name}key-file={folder}/accounts.key" for name in ("", "signing-")),
    ]
    argv = [str(kubectl), f"--server={URL}", f"--token={TOKEN}", "--insecure-skip-tls-verify"]
    with ExitStack() as stack:
        for words in ([*etcd, f"--advertise-client-urls={ETCD}"], server):
            log = stack.enter_context((folder / f"{Path(words[0]).name}.log").open("wb"))
            process = subprocess.Popen(words, stdout=log, stderr=log)
            stack.callback(ended, process)
        deadline = time.monotonic() + READY_SECONDS
        while not succeeds([*argv, "get", "--raw", "/readyz"]):
            if process.poll() is not None or time.monotonic() > deadline:
                said = (folder / "kube-apiserver.log").read_text(errors="replace")[-2_000:]
                raise LabError(f"the API server is not ready: {said}")
            time.sleep(0.5)
        yield argv


def ended(process: subprocess.Popen[bytes]) -> None:
    """End a program that was started here."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
