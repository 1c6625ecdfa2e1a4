"""TLS from files that may be replaced while we serve.

    handshake ── have the files changed? ── no ──▶ as before
                                          └ yes ─▶ do they fit? ── yes ─▶ the new ones, from this handshake on
                                                                └─ no ──▶ the old ones, one error line

Looking costs one `stat` per file and handshake, so a replacement counts from the next handshake.
Certificate and key cannot be replaced in one step: a pair that does not fit yet is looked at again
as soon as one of its files changes.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import grpc

from serving.settings import GrpcSettings, SettingsError

_LOG = logging.getLogger(__name__)

_Signature = tuple[tuple[int, int, int], ...]
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files."""

    certificate: str
    key: str
    client_ca: str = ""
    """The CA that client certificates must come from, and only it; empty: clients need none."""

    def context(self) -> ssl.SSLContext:
        """Read the files as OpenSSL does, which says what is wrong with them.

        Raises:
            OSError: a file cannot be read; the message names it.
            ssl.SSLError: certificate, key or CA is not valid, or the key is another certificate's.
        """
        for path in filter(None, (self.certificate, self.key, self.client_ca)):
            with Path(path).open("rb"):  # says which, as OpenSSL does not
                pass
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        with _naming(self.certificate, self.key):
            # An encrypted key fails on the empty password; without one, OpenSSL would ask on the terminal.
            context.load_cert_chain(self.certificate, self.key, password="")
        if self.client_ca:
            with _naming(self.client_ca):
                context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def signature(self) -> _Signature:
        """Return what changes when a file is replaced."""
        paths = (self.certificate, self.key, self.client_ca)
        return tuple(_identity(Path(path)) for path in paths if path)


def tls_files(settings: GrpcSettings) -> TlsFiles | None:
    """Return the files of a listener, or nothing where it is plain; what would surprise is logged.

    Raises:
        SettingsError: TLS is asked for, and a file is not named.
    """
    client_ca = settings.grpc_client_tls_cacert or settings.grpc_server_tls_ca_cert
    if not settings.grpc_server_use_tls:
        if client_ca or settings.grpc_client_tls_san:
            _LOG.warning("clients are not verified: GRPC_SERVER_USE_TLS is off")
        return None
    for name in ("grpc_server_tls_cert", "grpc_server_tls_key"):
        if not getattr(settings, name):
            raise SettingsError(f"{name.upper()}: no file is named, and GRPC_SERVER_USE_TLS is on")
    if settings.grpc_client_tls_san and not client_ca:
        _LOG.error("every call is refused: GRPC_CLIENT_TLS_SAN is set, and no CA that could prove the name")
    return TlsFiles(settings.grpc_server_tls_cert, settings.grpc_server_tls_key, client_ca)


class Followed(Generic[Made]):
    """What is made of TLS files, and made again when they are replaced."""

    def __init__(self, files: TlsFiles, make: Callable[[TlsFiles], Made]) -> None:
        self._files = files
        self._make = make
        self._seen: _Signature = ()

    def first(self) -> Made:
        """Read the files.

        Raises:
            OSError: a file cannot be read.
            ssl.SSLError: the files do not fit together.
        """
        self._seen = self._files.signature()
        return self._make(self._files)

    def changed(self) -> Made | None:
        """Return what new handshakes use from now on, or nothing where that is what they use already."""
        try:
            signature = self._files.signature()
            if signature == self._seen:
                return None
            self._seen = signature
            made = self._make(self._files)
        except (OSError, ssl.SSLError) as error:
            _LOG.error("the TLS files were replaced by unusable ones, the old ones stay in use: %s", error)
            return None
        _LOG.info("the TLS files were replaced")
        return made


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Read the files and return credentials that read them again when they are replaced.

    Raises:
        OSError: a file cannot be read.
        ssl.SSLError: the files do not fit together.
    """
    followed = Followed(files, _configuration)
    return grpc.dynamic_ssl_server_credentials(
        followed.first(),
        followed.changed,  # type: ignore[arg-type]  # None is "no change", which the stubs do not know
        require_client_authentication=bool(files.client_ca),
    )


def _configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    # The library takes whatever it is given and fails each handshake; OpenSSL says beforehand what is wrong.
    files.context()
    pair = (Path(files.key).read_bytes(), Path(files.certificate).read_bytes())
    ca = Path(files.client_ca).read_bytes() if files.client_ca else None
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=ca)


@contextmanager
def _naming(*paths: str) -> Iterator[None]:
    """Have what OpenSSL says of files name them."""
    try:
        yield
    except ssl.SSLError as error:
        raise ssl.SSLError(f"{' and '.join(paths)}: {error.reason or error}") from None


def _identity(path: Path) -> tuple[int, int, int]:
    try:
        stat = path.stat()
    except OSError:
        return (0, 0, 0)
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size)


def channel_credentials(ca: str = "", certificate: str = "", key: str = "") -> grpc.ChannelCredentials:
    """Read a client's files once; an empty CA means the system's, an empty certificate means none is shown.

    Raises:
        OSError: a file cannot be read.
    """
    return grpc.ssl_channel_credentials(
        root_certificates=Path(ca).read_bytes() if ca else None,
        private_key=Path(key).read_bytes() if key else None,
        certificate_chain=Path(certificate).read_bytes() if certificate else None,
    )
