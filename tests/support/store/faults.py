"""What goes wrong between a node and its store: how each fault shows, and what its owner does about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote

from tests.support.store.fault_proxy import DAY, LOGIN_PAGE, Fault, Reply, Request, refusal

EXPIRED = refusal(400, "ExpiredToken", "The provided token has expired.")
SKEWED = refusal(403, "RequestTimeTooSkewed", "The difference between the request time and the server's is too large.")
AHEAD, BEHIND = SKEWED._replace(ahead=-DAY), refusal(403, "AccessDenied")._replace(ahead=DAY)  # as rclone answers
NO_CLASS = refusal(400, "InvalidStorageClass", "The storage class you specified is not valid")
NO_TLS = refusal(400, "InvalidRequest", "Requests specifying Server Side Encryption need a secure connection")
ELSEWHERE = Reply(302, "", "text/plain")


class StoreFault(NamedTuple):
    """`settings` of `[s3]` are wrong, or else the store is, until somebody acts; `answer` is what it then answers.

    `words` stand in the reason. `changes` fix the settings.
    """

    name: str
    answer: Callable[[Request], Reply | None]
    words: str
    settings: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


def always(reply: Reply, head: int | None = None) -> Callable[[Request], Reply]:
    """`head`: the status to HEAD, whose answer has no body."""
    return lambda request: Reply(head, ahead=reply.ahead) if head and request.method == "HEAD" else reply


def with_header(name: str, reply: Reply) -> Callable[[Request], Reply | None]:
    return lambda request: reply if name in request.headers else None


FAULTS = (
    StoreFault("expired token", always(EXPIRED, head=400), "ExpiredToken; the session token has expired"),
    StoreFault("clock a day ahead", always(AHEAD, head=403), "s ahead of the store's; set the clock"),
    StoreFault("clock a day ahead, bare 400 to HEAD", always(AHEAD, head=400), "s ahead of the store's; set the clock"),
    StoreFault("clock a day behind", always(BEHIND), "AccessDenied; our clock is 86"),
    StoreFault("login page", always(LOGIN_PAGE), "the login page of a guest network; sign in there"),
    StoreFault("sent to a login page", always(ELSEWHERE), "the login page of a guest network; sign in there"),
    StoreFault(
        "storage class",
        with_header("x-amz-storage-class", NO_CLASS),
        "no storage class 'GARDEN'; set [s3] storage_class",
        ("s3.storage_class=GARDEN",),
        ("s3.storage_class=",),
    ),
    StoreFault(
        "encryption over http",
        with_header("x-amz-server-side-encryption", NO_TLS),
        "cannot encrypt with [s3] encryption = AES256, or only over https",
        ("s3.encryption=AES256",),
        ("s3.encryption=",),
    ),
)


def wants_virtual_hosts(request: Request) -> Reply | None:
    """A bucket `imhearing` at Alibaba's, say."""
    if request.headers.get("host", "").startswith("imhearing."):
        return None
    return refusal(403, "SecondLevelDomainForbidden", "Please use virtual hosted style to access.")


class RegionKeeper:
    """Answers as a store whose bucket is in `region`, and names it in `where`: a field, the message or nowhere."""

    def __init__(self, region: str, where: str = "field") -> None:
        self.region, self.where = region, where

    def __call__(self, request: Request) -> Reply | None:
        if f"/{self.region}/s3/" in request.headers.get("authorization", "") + request.query.replace("%2F", "/"):
            return None
        if request.method == "HEAD":
            return Reply(400)
        field = f"<Region>{self.region}</Region>" if self.where == "field" else ""
        message = f"the region is wrong; expecting '{self.region}'" if self.where == "message" else "wrong region"
        return refusal(400, "AuthorizationHeaderMalformed", message, field)


class CorruptsOneInTen:
    """Stores every tenth object with other bytes, while sizes and ETags are right: as Ceph's dbstore did.

    `storing` is the request that stores an object; the `first` of them is damaged, counting from 0.
    """

    def __init__(self, storing: str, first: int) -> None:
        self._storing, self._first = storing, first
        self._stored = 0
        self.damaged: set[str] = set()

    def __call__(self, request: Request) -> Fault | None:
        path = unquote(request.path)
        if request.name == self._storing:
            if self._stored % 10 == self._first:
                self.damaged.add(path)
            self._stored += 1
        elif request.name == "DELETE":
            self.damaged.discard(path)
        return "corrupted" if request.name == "GET" and path in self.damaged else None


NOT_IMPLEMENTED = refusal(501, "NotImplemented", "A header you provided implies functionality that is not implemented")


def _has_header(name: str) -> Callable[[Request], bool]:
    return lambda request: any(header.startswith(name) for header in request.headers)


def _asks_for(method: str, parameter: str) -> Callable[[Request], bool]:
    return lambda request: request.method == method and parameter in request.query.split("=")[0].split("&")


OPTIONAL_OPERATIONS: dict[str, Callable[[Request], bool]] = {
    "If-None-Match": _has_header("if-none-match"),
    "x-amz-tagging": _has_header("x-amz-tagging"),
    "x-amz-checksum": _has_header("x-amz-checksum"),
    "ListMultipartUploads": _asks_for("GET", "uploads"),
    "ListParts": lambda request: request.method == "GET" and "uploadId=" in request.query,
    "AbortMultipartUpload": lambda request: request.method == "DELETE" and "uploadId=" in request.query,
    "GetObjectTagging": _asks_for("GET", "tagging"),
    "GetBucketLifecycleConfiguration": _asks_for("GET", "lifecycle"),
    "HeadObject": lambda request: request.method == "HEAD",
    "DeleteObject": lambda request: request.name == "DELETE",
    "CORS": lambda request: request.method == "OPTIONS",
    "Range": _has_header("range"),
}


def without(*operations: str) -> Callable[[Request], Fault | Reply | None]:
    """A store that offers none of these `OPTIONAL_OPERATIONS`."""

    def answer(request: Request) -> Fault | Reply | None:
        missing = [operation for operation in operations if OPTIONAL_OPERATIONS[operation](request)]
        if missing == ["Range"]:
            return "without_range"
        return NOT_IMPLEMENTED if missing else None

    return answer
