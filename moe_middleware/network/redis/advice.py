"""Describes failures of Redis, with advice and without any data."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from ...logs.log_lines import one_line

_FULL = "its memory is full: raise its maxmemory, or free some"
_REPLICA = "it only reads: name the primary, or its sentinels by redis+sentinel://"
_LOGIN = "check the user and the password in the address"

_BY_CLASS = {
    "OutOfMemoryError": _FULL,
    "ReadOnlyError": _REPLICA,
    "AuthenticationError": _LOGIN,
    "NoPermissionError": "its user has too few rights: 'moe-middleware check' names "
    "those that are missing",
    "MovedError": "it is one of a cluster: write redis+cluster://",
    "ClusterCrossSlotError": "it is one of a cluster: write redis+cluster://",
    "BusyLoadingError": "it is starting, and reads its data",
    "MasterDownError": "it is a replica without its primary",
    "ClusterDownError": "slots of the cluster have no server: see CLUSTER INFO",
    "TryAgainError": "the keys are being moved to another server of the cluster",
}

_BY_CODE = {
    "OOM": _FULL,
    "READONLY": _REPLICA,
    "MISCONF": "it cannot write to its disk: see its log",
    "NOREPLICAS": "too few replicas follow it: see its min-replicas-to-write",
    "BUSY": "another client's script keeps it busy",
}

_BY_TEXT = {
    "cluster support disabled": "it is no cluster: write redis://",
    "unknown command 'SENTINEL'": "it is no sentinel: name those, at port 26379",
    "unknown command 'EVAL'": "it is a sentinel: write redis+sentinel://",
    "unknown command 'EVALSHA'": "it is a sentinel: write redis+sentinel://",
    "unknown command 'MGET'": "it is a sentinel: write redis+sentinel://",
    "WRONG_VERSION_NUMBER": "it speaks no TLS: write redis without the second s",
    "CERTIFICATE_REQUIRED": "it wants a client's certificate: add ssl_certfile and "
    "ssl_keyfile",
    "UNKNOWN_CA": "it does not trust the certificate in ssl_certfile",
    "Timeout connecting": "is it there? with rediss, does it speak TLS?",
}

_OTHER_NAME = (62, 64)
"""OpenSSL's codes for a certificate of another host, and of another address."""


def advice(error: BaseException) -> str | None:
    """Return what to do about an error, where we know it."""
    text, name = str(error), type(error).__name__
    code = text.partition(" ")[0]
    found = _BY_CLASS.get(name) or _BY_CODE.get(code)
    if found is None:
        known = (one for part, one in _BY_TEXT.items() if part.lower() in text.lower())
        found = next(known, None)
    return found or _certificate_advice(error)


def described(error: BaseException) -> str:
    """Return an error and advice, without the quoted parts of a command."""
    name = type(error).__name__
    if type(error) in (ConnectionError, TimeoutError):
        name = f"{name}: {one_line(str(error).rstrip('.'))}"
    elif type(error) is ResponseError:
        name = f"{name} {str(error).partition(' ')[0]}"
    found = advice(error)
    return f"{name}: {found}" if found else name


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    seen = []
    found: BaseException | None = error
    # An error that several callers get may have become its own context.
    while found is not None and found not in seen:
        seen.append(found)
        yield found
        found = found.__cause__ or found.__context__


def _certificate_advice(error: BaseException) -> str | None:
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            if cause.verify_code in _OTHER_NAME:
                return (
                    "the certificate has another name than the server: in a cluster, "
                    "see cluster-preferred-endpoint-type; ssl_check_hostname=false "
                    "takes any name"
                )
            return "name the file of the certificate's authority in ssl_ca_certs"
    return None
