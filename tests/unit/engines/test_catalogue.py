"""A row of the catalogue is all that the rest of the project has to know of an engine."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
from builders import ROOT

from lab import images
from speedtest_logger import engines
from speedtest_logger.domains import BOOLEAN
from speedtest_logger.engines.catalogue import ENGINES, Package
from speedtest_logger.node import config

PACKAGES = [program.package for program in ENGINES.values() if program.package]
DOCKERFILE = (ROOT / "docker/Dockerfile.logger").read_text(encoding="utf-8")
RELEASES = {
    "bookworm": ("debian", "12"),
    "trixie": ("debian", "13"),
    "noble": ("ubuntu", "24.04"),
    "jammy": ("ubuntu", "22.04"),
}


def test_each_row_has_its_module_and_each_module_its_row():
    folder = ROOT / "src/speedtest_logger/engines"
    modules = {file.stem for file in folder.glob("*.py") if re.search("^ENGINE = ", file.read_text("utf-8"), re.M)}
    assert modules == set(ENGINES)
    assert [name for name in ENGINES if not callable(engines.get(name).parse)] == []
    assert len({program.name for program in ENGINES.values()}) == len(ENGINES)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_is_in_the_image_and_in_the_lab(package):
    assert f'"{package.name}=${{' in DOCKERFILE
    assert package.name in images.CONTAINER_CACHED.split()
    assert set(RELEASES) == set(images.CACHED)
    having = [suite for suite, release in RELEASES.items() if package.is_in(*release)]
    assert [suite for suite in images.CACHED if package.name in images.CACHED[suite].split()] == having


def test_which_release_has_a_package():
    package = Package("x", debian=13, ubuntu=26)
    asked = [
        ("debian", "12"),
        ("debian", "13"),
        ("ubuntu", "24.04"),
        ("ubuntu", "26.04"),
        ("other", "12"),
        ("debian", ""),
    ]
    assert [package.is_in(*release) for release in asked] == [False, True, False, True, False, False]
    assert Package("x").is_in("ubuntu", "")


def test_a_licence_is_accepted_by_a_setting_that_is_off_by_itself():
    licences = [program.licence for program in ENGINES.values() if program.licence]
    settings = {option.name: option for option in fields(config.Settings)}
    assert licences
    assert [settings[licence.setting].default for licence in licences] == [False] * len(licences)
    assert {settings[licence.setting].metadata["domain"] for licence in licences} == {BOOLEAN}
