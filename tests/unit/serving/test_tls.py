from __future__ import annotations

import logging
from pathlib import Path

import grpc
import pytest

from serving.tls import ServerTls, TlsFiles
from tests.fakes.certificates import Issued, issue, make_ca

# What the library asks before each handshake, on a thread of its own; tests/wire shows that it does.


@pytest.fixture
def pair(tmp_path: Path) -> Issued:
    return issue(make_ca(tmp_path), ["127.0.0.1"], "server")


@pytest.fixture
def tls(pair: Issued) -> ServerTls:
    tls = ServerTls(TlsFiles(str(pair.certificate), str(pair.key)))
    tls.credentials()
    return tls


def test_files_that_stay_are_no_change(tls: ServerTls) -> None:
    assert tls._fetch() is None


def test_replaced_files_are_a_change_once(tls: ServerTls, tmp_path: Path) -> None:
    issue(make_ca(tmp_path, "other"), ["127.0.0.1"], "server")

    assert isinstance(tls._fetch(), grpc.ServerCertificateConfiguration)
    assert tls._fetch() is None


def test_unusable_files_are_no_change_and_logged_once(
    tls: ServerTls, pair: Issued, caplog: pytest.LogCaptureFixture
) -> None:
    pair.key.write_text("broken")

    assert [tls._fetch(), tls._fetch()] == [None, None]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_file_that_comes_back_is_a_change(tls: ServerTls, pair: Issued, caplog: pytest.LogCaptureFixture) -> None:
    key = pair.key.read_bytes()
    pair.key.unlink()
    gone = tls._fetch()
    pair.key.write_bytes(key)

    assert gone is None
    assert isinstance(tls._fetch(), grpc.ServerCertificateConfiguration)
    assert len(caplog.records) == 1
