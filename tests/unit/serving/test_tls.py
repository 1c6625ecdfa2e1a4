from __future__ import annotations

import logging
import ssl
from pathlib import Path

import pytest

from serving.settings import GrpcSettings, SettingsError
from serving.tls import Followed, TlsFiles, tls_files
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


def test_what_is_wrong_with_files_names_them(pair: Issued, tmp_path: Path) -> None:
    other = issue(make_ca(tmp_path, "other"), ["127.0.0.1"], "other")

    with pytest.raises(FileNotFoundError, match=r"none\.key"):
        TlsFiles(str(pair.certificate), str(tmp_path / "none.key")).context()
    with pytest.raises(ssl.SSLError, match=f"{pair.certificate} and {other.key}: KEY_VALUES_MISMATCH"):
        TlsFiles(str(pair.certificate), str(other.key)).context()
    with pytest.raises(ssl.SSLError, match=str(pair.key)):
        TlsFiles(str(pair.certificate), str(pair.key), str(pair.key)).context()


@pytest.mark.parametrize("given", [{}, {"grpc_server_tls_cert": "server.crt"}])
def test_tls_without_a_file_is_refused_by_the_name_of_its_setting(given: dict[str, str]) -> None:
    name = "GRPC_SERVER_TLS_KEY" if given else "GRPC_SERVER_TLS_CERT"

    with pytest.raises(SettingsError, match=f"^{name}: no file is named"):
        tls_files(GrpcSettings(grpc_server_use_tls=True, **given))


def test_a_file_that_comes_back_is_a_change(tls: Tls, pair: Issued, caplog: pytest.LogCaptureFixture) -> None:
    key = pair.key.read_bytes()
    pair.key.unlink()
    gone = tls.changed()
    pair.key.write_bytes(key)

    assert gone is None
    assert isinstance(tls.changed(), ssl.SSLContext)
    assert len(caplog.records) == 1
