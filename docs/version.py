"""The version in what people write: pages that are typed as they stand, the chart and its manifests."""

from __future__ import annotations

import re
from pathlib import Path

from speedtest_logger import __version__

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    *(f"docs/how-to/{name}.md" for name in ("install-as-a-collection", "install-without-ansible", "kubernetes")),
    *(f"kubernetes/chart/{name}.yaml" for name in ("Chart", "values", "templates/nodes", "templates/archive-host")),
    *(f"kubernetes/{name}.yaml" for name in ("example-values", "example-archive-values")),
    *(f"kubernetes/manifests/{name}.yaml" for name in ("nodes", "with-archive/all")),
)
# an artefact's name, an image's tag, Kubernetes' label, the chart's own, Argo's
WRITTEN = re.compile(
    r"(?m)(speedtest[-_](?:logger|telemetry|dashboard)[-_:]"
    r'|app\.kubernetes\.io/version: "|^(?:v|appV)ersion: |targetRevision: )'
    r"\d+\.\d+\.\d+"
)


def raised(text: str, version: str) -> str:
    """A text with this version in each place that names one."""
    return WRITTEN.sub(rf"\g<1>{version}", text)


def pages() -> dict[Path, str]:
    """These files, and their content with the version of the source."""
    return {ROOT / name: raised((ROOT / name).read_text(encoding="utf-8"), __version__) for name in FILES}
