"""Inputs of the role managed_host."""

from __future__ import annotations

from dataclasses import replace

from speedtest_logger.domains import WORD, File, ListOf, Whole
from speedtest_logger.inventory import kinds
from speedtest_logger.inventory.inputs import EntryPoint, Input, Role

PLAN = Input(
    "managed_host_plan",
    {},
    "The plan that the action host_state returned; every list in it holds only what differs.",
    kinds.Mapped("a mapping"),
)

INPUTS = (
    PLAN,
    Input(
        "managed_host_secrets",
        [],
        "The files of the desired state that hold secrets, with their content; the plan names them and holds none.",
        kinds.Listed("a list"),
        secret=True,
    ),
    Input(
        "managed_host_os",
        {},
        "What host_state saw of the operating system.",
        kinds.Mapped("a mapping"),
    ),
    Input(
        "managed_host_apt_cache_valid_seconds",
        86400,
        "apt's package lists are refreshed before an installation when they are older than this (seconds).",
        Whole(0, 10_000_000_000),
    ),
)

ENTRY_POINTS = (
    EntryPoint(
        "prune",
        "Of the directories in a directory only some stay",
        (
            Input("managed_host_prune_dir", ..., "The directory to look into.", File()),
            Input("managed_host_prune_keep", ..., "The paths of those that stay.", ListOf(File())),
        ),
    ),
    EntryPoint(
        "prune_images",
        "Of the images in a repository only some stay",
        (
            Input("managed_host_prune_repository", ..., "The repository, such as speedtest-logger.", WORD),
            Input("managed_host_prune_tags", ..., "The tags of those that stay.", ListOf(kinds.VERSION)),
        ),
    ),
    EntryPoint("install", "Only install what a plan misses: accounts and the like", (replace(PLAN, default=...),)),
    EntryPoint("refuse", "Fail with what stands where something else belongs", (replace(PLAN, default=...),)),
)

ROLE = Role("managed_host", "Carry out what host_state found to differ, with standard modules", INPUTS, ENTRY_POINTS)
