"""What Docker says, in a form for people and for comparisons."""

from __future__ import annotations

import re
from typing import Any

TELLING = re.compile(r"no space left|denied|resolve|not found|Cannot connect|\bE: |no such host")
TROUBLE = re.compile(r"error|cannot|failed|unable", re.IGNORECASE)
NOISE = re.compile(r"^(#\d+ |[\d.]+ |ERROR:? |-+$|>>>)+")


def image_problem(result: dict[str, Any]) -> str:
    """The line of a failed task's output that says why an image could not be had."""
    text = "\n".join(str(result.get(key) or "") for key in ("stdout", "stderr"))
    for pattern in (TELLING, TROUBLE):
        if found := [line for line in text.splitlines() if pattern.search(line)]:
            return NOISE.sub("", found[-1].strip())[:500]
    differs = (result.get("plan") or {}).get("drift")
    return "; ".join(differs) if differs else str(result.get("msg", "no reason was given"))


def other_images(listed: list[str], tags: list[str]) -> list[str]:
    """Ids of the images that have none of the tags; listed are lines of id and tag."""
    pairs = [line.split() for line in listed]
    kept = {identity for identity, tag in pairs if tag in tags}
    return sorted({identity for identity, _ in pairs} - kept)


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Any]:
        return {
            "image_problem": image_problem,
            "other_images": other_images,
        }
