"""By what a receiver without a front proves itself: the newest certificate that can be used."""

from __future__ import annotations

import socket
import ssl
import threading

import pytest
from certificates import mount, self_signed

from speedtest_logger.archive.arrive.certificate import Certificate
from speedtest_logger.errors import ConfigError


def shown(certificate, *, name="archive.example.org"):
    """What somebody is shown who connects."""
    here, there = socket.socketpair()
    with here, there:
        serving = threading.Thread(target=lambda: certificate.context.wrap_socket(there, server_side=True).close())
        serving.start()
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        with trusting.wrap_socket(here, server_hostname=name) as stream:
            seen = stream.getpeercert(binary_form=True)
        serving.join(10)
    return ssl.DER_cert_to_PEM_cert(seen)


def in_file(version):
    return (version / "tls.crt").read_text()


@pytest.fixture
def mounted(tmp_path):
    return tmp_path, self_signed(tmp_path, "archive.example.org")


@pytest.mark.parametrize("name", ["archive.example.org", "another.example.org", None])
def test_a_renewed_one_is_shown_from_the_next_connection_on(mounted, name):
    folder, first = mounted
    certificate = Certificate(folder / "tls.crt", folder / "tls.key")
    assert shown(certificate, name=name) == in_file(first)
    second = self_signed(folder, "archive.example.org")
    assert shown(certificate, name=name) == in_file(second) != in_file(first)


def test_half_of_a_renewal_leaves_the_one_that_was_good(mounted, capsys):
    folder, first = mounted
    certificate = Certificate(folder / "tls.crt", folder / "tls.key")
    half = folder / "..half"
    half.mkdir()
    (half / "tls.key").write_bytes((first / "tls.key").read_bytes())
    (half / "tls.crt").write_text("-----BEGIN CERTIFICATE-----\n")
    mount(folder, half)
    assert shown(certificate) == in_file(first)
    assert shown(certificate) == in_file(first)
    assert capsys.readouterr().err.count("are no certificate and its key") == 1
    third = self_signed(folder, "archive.example.org")
    assert shown(certificate) == in_file(third)


def test_another_one_s_key_is_refused_at_once(mounted, tmp_path):
    folder, _ = mounted
    other = tmp_path / "other"
    other.mkdir()
    self_signed(other, "archive.example.org")
    with pytest.raises(ConfigError, match=r"no certificate and its key \(KEY_VALUES_MISMATCH\)"):
        Certificate(folder / "tls.crt", other / "tls.key")
    with pytest.raises(ConfigError, match=r"No such file or directory"):
        Certificate(folder / "tls.crt", folder / "nothing")
