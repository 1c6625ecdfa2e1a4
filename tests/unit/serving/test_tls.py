from __future__ import annotations

import logging
import ssl
from pathlib import Path

import pytest

from serving.tls import Followed, TlsFiles
from tests.fakes.certificates import Issued, issue, make_ca

# What is asked before each handshake; tests/wire shows that it is.


Tls = Followed[ssl.SSLContext]


@pytest.fixture
def pair(tmp_path: Path) -> Issued:
    return issue(make_ca(tmp_path), ["127.0.0.1"], "server")


@pytest.fixture
def tls(pair: Issued) -> Tls:
    tls = Followed(TlsFiles(str(pair.certificate), str(pair.key)), TlsFiles.context)
    tls.first()
    return tls


def test_files_that_stay_are_no_change(tls: Tls) -> None:
    assert tls.changed() is None


def test_replaced_files_are_a_change_once(tls: Tls, tmp_path: Path) -> None:
    issue(make_ca(tmp_path, "other"), ["127.0.0.1"], "server")

    assert isinstance(tls.changed(), ssl.SSLContext)
    assert tls.changed() is None


def test_unusable_files_are_no_change_and_logged_once(tls: Tls, pair: Issued, caplog: pytest.LogCaptureFixture) -> None:
    pair.key.write_text("broken")

    assert [tls.changed(), tls.changed()] == [None, None]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_file_that_comes_back_is_a_change(tls: Tls, pair: Issued, caplog: pytest.LogCaptureFixture) -> None:
    key = pair.key.read_bytes()
    pair.key.unlink()
    gone = tls.changed()
    pair.key.write_bytes(key)

    assert gone is None
    assert isinstance(tls.changed(), ssl.SSLContext)
    assert len(caplog.records) == 1
