"""Microsoft Entra ID tokens for all threads of a worker: one thread fetches, and every wait for it has a bound.

Knows nothing of the services that the tokens are for. Why it is so: docs/decisions/0012-every-wait-ends.md.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.core.credentials import AccessToken, TokenCredential

FETCH_LIMIT = 20.0  # seconds that a caller waits for a fetch, counted from the start of the fetch
FAILURE_SHARED = 5.0  # seconds after a failed fetch in which callers get its failure instead of trying in turn
RENEW_BEFORE_EXPIRY = 300.0  # seconds; a token must outlive the call it goes out with, and clocks differ

# For azure-identity, which passes them on to azure-core. A request that is tried again starts within `timeout`, and
# its answer comes within `read_timeout`: 18 seconds in all, so that a fetch mostly ends by itself before FETCH_LIMIT.
# They bound one request and each read of its answer. An answer that comes byte by byte is bounded by FETCH_LIMIT only.
BOUNDS: dict[str, Any] = {
    "connection_timeout": 3,  # seconds, not 300; the endpoint is on this host, or a data centre of Microsoft's
    "read_timeout": 8,  # seconds, not 300; the endpoint mostly answers in less than one
    "timeout": 10,  # seconds, not seven days, in which a request is tried; it shortens no read of an answer
    "retry_total": 1,  # not 10: one retry, for a connection that broke or an answer that was lost
    "retry_status": 0,  # not 3: 429 and 5xx fail at once, or azure-core sleeps as long as Retry-After says
    "process_timeout": 8,  # seconds, not 10, for each command line tool of a developer's machine: two fit in
}


class TokenUnavailableError(Exception):
    """No token could be had. `kind` is the type of the failure: azure-identity's text names the environment."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"No Microsoft Entra ID token could be had ({kind}).")
        self.kind = kind


@dataclass(eq=False)
class _Fetch:
    """One fetch and its outcome: a token, or the kind of failure, which is a timeout as long as it is running."""

    deadline: float
    ended: threading.Event = field(default_factory=threading.Event)
    token: AccessToken | None = None
    failure: str = "TimeoutError"


class TokenSource:
    """The token for some scopes, fetched by one thread of its own and shared by all that ask.

    make_credential: builds the azure-identity credential: a factory, because that import is slow, and because a fresh
    credential is how a cached token is got rid of. clock: seconds since 1970, as in `expires_on`. monotonic: seconds.
    fetch_limit: seconds that callers without a valid token wait for a fetch.
    """

    def __init__(
        self,
        make_credential: Callable[[], TokenCredential],
        *scopes: str,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        fetch_limit: float = FETCH_LIMIT,
    ) -> None:
        self._make_credential = make_credential
        self._scopes = scopes
        self._clock = clock
        self._monotonic = monotonic
        self._fetch_limit = fetch_limit
        self._lock = threading.Lock()  # held for a few assignments, never during a fetch
        self._credential: TokenCredential | None = None
        self._token: AccessToken | None = None
        self._fetch: _Fetch | None = None  # the one that is running, or a failed one until `_failure_shared_until`
        self._failure_shared_until = 0.0
        self._times_forgotten = 0

    def get(self) -> AccessToken:
        """The token. One that is still valid is returned without a wait, and renewed in the background when due.

        Raises:
            TokenUnavailableError: the fetch failed, now or in the last FAILURE_SHARED seconds, or takes too long.
        """
        with self._lock:
            token, seconds_left = self._token, self._seconds_left(self._token)
            if token and seconds_left > RENEW_BEFORE_EXPIRY:
                return token
            fetch = self._shared_fetch()
            if token and seconds_left > 0:
                return token
        # Nobody waits for a fetch that is past its deadline: it ends by its own timeouts, and no other joins it.
        fetch.ended.wait(max(0.0, fetch.deadline - self._monotonic()))
        if fetch.token is None:
            raise TokenUnavailableError(fetch.failure)
        return fetch.token

    def forget(self, token: str) -> None:
        """Drop a token that was rejected, and its credential; one that was renewed in the meantime is kept."""
        with self._lock:
            if self._token and self._token.token == token:
                self._token = self._credential = None
                self._times_forgotten += 1
                if self._fetch and self._fetch.ended.is_set():
                    self._fetch = None  # how an earlier renewal failed says nothing about a fresh credential

    def _seconds_left(self, token: AccessToken | None) -> float:
        return token.expires_on - self._clock() if token else 0.0

    def _shared_fetch(self) -> _Fetch:
        """The fetch that is running, else the one that failed a moment ago, else a new one. Needs the lock."""
        fetch = self._fetch
        if fetch and (not fetch.ended.is_set() or self._monotonic() < self._failure_shared_until):
            return fetch
        self._fetch = fetch = _Fetch(self._monotonic() + self._fetch_limit)
        try:
            threading.Thread(target=self._run, args=(fetch,), name="token", daemon=True).start()
        except RuntimeError as error:  # no thread can be had
            self._end(fetch, type(error).__name__)
        return fetch

    def _run(self, fetch: _Fetch) -> None:
        while not fetch.ended.is_set():
            with self._lock:
                credential, times_forgotten = self._credential, self._times_forgotten
            outcome: AccessToken | str
            try:
                credential = credential or self._make_credential()
                outcome = credential.get_token(*self._scopes)
            except BaseException as error:  # noqa: BLE001  # whatever ends this thread, others wait for its outcome
                outcome = type(error).__name__
            with self._lock:
                # Else a token was rejected meanwhile, and this credential may have answered with that very token.
                if times_forgotten == self._times_forgotten:
                    self._credential = credential
                    self._end(fetch, outcome)

    def _end(self, fetch: _Fetch, outcome: AccessToken | str) -> None:
        """Needs the lock."""
        if isinstance(outcome, str):
            fetch.failure = outcome
        else:
            fetch.token = self._token = outcome
        # A token that is due for renewal as it comes is as little use to try again at once as a failure.
        again_due = self._seconds_left(fetch.token) <= RENEW_BEFORE_EXPIRY
        self._fetch = fetch if again_due else None
        self._failure_shared_until = self._monotonic() + FAILURE_SHARED
        fetch.ended.set()


class SharedCredential:
    """An azure-core TokenCredential over one TokenSource for each set of scopes, for the clients of one worker.

    azure-servicebus calls get_token(scope) and nothing else; what else the protocol knows has no effect here.
    """

    def __init__(self, make_credential: Callable[[], TokenCredential], fetch_limit: float = FETCH_LIMIT) -> None:
        self._make_credential = make_credential
        self._fetch_limit = fetch_limit
        self._lock = threading.Lock()
        self._sources: dict[tuple[str, ...], TokenSource] = {}

    def get_token(
        self,
        *scopes: str,
        claims: str | None = None,  # noqa: ARG002  # the protocol's
        tenant_id: str | None = None,  # noqa: ARG002
        enable_cae: bool = False,  # noqa: ARG002
        **options: Any,  # noqa: ARG002
    ) -> AccessToken:
        """Raises azure.core.exceptions.ClientAuthenticationError where no token can be had."""
        with self._lock:
            source = self._sources.get(scopes)
            if source is None:
                source = TokenSource(self._make_credential, *scopes, fetch_limit=self._fetch_limit)
                self._sources[scopes] = source
        try:
            return source.get()
        except TokenUnavailableError as error:
            from azure.core.exceptions import ClientAuthenticationError

            raise ClientAuthenticationError(str(error)) from None


def default_credential() -> TokenCredential:
    """Whatever DefaultAzureCredential finds; its requests are bounded."""
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential(**BOUNDS)
