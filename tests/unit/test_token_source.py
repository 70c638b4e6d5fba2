"""Tokens are fetched by one thread for all, and every wait for one has a bound."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

from shared.token_source import (
    BOUNDS,
    FAILURE_SHARED,
    FETCH_LIMIT,
    SharedCredential,
    TokenSource,
    TokenUnavailableError,
    default_credential,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_mock import MockerFixture

SCOPE = "https://service.example/.default"
LIFETIME = 3600
ROOT = Path(__file__).resolve().parents[2]
QUICK = 0.2  # seconds; the bound of a wait that a test lets run out


class Authority:
    """Makes credentials that hand out token-1, token-2, …; its fetches wait or fail as a test says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.fetches = 0
        self.built = 0
        self.scopes: list[tuple[str, ...]] = []
        self.error: BaseException | None = None
        self.fetching = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def build(self) -> Authority:
        self.built += 1
        return self

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        self.fetches += 1
        self.scopes.append(scopes)
        number = self.fetches
        self.fetching.set()
        assert self.go_on.wait(30)
        if self.error:
            raise self.error
        return AccessToken(f"token-{number}", int(self.now + LIFETIME))

    def falls_silent(self) -> None:
        self.fetching.clear()
        self.go_on.clear()

    def source(self, fetch_limit: float = 10.0) -> TokenSource:
        now: Callable[[], float] = lambda: self.now  # noqa: E731
        return TokenSource(self.build, SCOPE, clock=now, monotonic=now, fetch_limit=fetch_limit)


@pytest.fixture
def authority() -> Authority:
    return Authority()


def fetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "token"]


def wait_for_the_fetch() -> None:
    for thread in fetch_threads():
        thread.join(30)
        assert not thread.is_alive()


def kind_of_failure(source: TokenSource) -> str:
    with pytest.raises(TokenUnavailableError) as caught:
        source.get()
    return caught.value.kind


def sixteen(action: Callable[[], str]) -> list[str]:
    """What sixteen threads get that begin together."""
    together = threading.Barrier(16)

    def act(_: int) -> str:
        together.wait(10)
        return action()

    with ThreadPoolExecutor(16) as threads:
        return list(threads.map(act, range(16)))


# One fetch for all


def test_sixteen_threads_share_one_fetch(authority: Authority) -> None:
    source = authority.source()
    assert sixteen(lambda: source.get().token) == ["token-1"] * 16
    assert authority.fetches == 1
    assert authority.scopes == [(SCOPE,)]


def test_sixteen_threads_share_one_failure(authority: Authority) -> None:
    authority.error = ConnectionError("a text that names the environment")
    source = authority.source()
    assert sixteen(lambda: kind_of_failure(source)) == ["ConnectionError"] * 16
    assert authority.fetches == 1


def test_sixteen_threads_wait_for_a_silent_endpoint_no_longer_than_the_limit(authority: Authority) -> None:
    authority.falls_silent()
    source = authority.source(QUICK)
    began = time.monotonic()
    assert sixteen(lambda: kind_of_failure(source)) == ["TimeoutError"] * 16
    assert time.monotonic() - began < 16 * QUICK
    assert len(fetch_threads()) == 1
    authority.go_on.set()
    wait_for_the_fetch()
    assert authority.fetches == 1


def test_a_fetch_past_its_limit_is_neither_waited_for_nor_joined_by_another(authority: Authority) -> None:
    authority.falls_silent()
    source = authority.source(30.0)
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(source.get)
        assert authority.fetching.wait(10)
        authority.now = 30.0
        assert kind_of_failure(source) == "TimeoutError"
        assert len(fetch_threads()) == 1
        authority.go_on.set()
        assert first.result(10).token == "token-1"
    assert source.get().token == "token-1"
    assert authority.fetches == 1


# Failures


def test_a_failure_is_shared_for_five_seconds_and_then_a_new_fetch_is_made(authority: Authority) -> None:
    source = authority.source()
    authority.error = ConnectionError()
    kind_of_failure(source)
    authority.now = FAILURE_SHARED - 0.1
    assert kind_of_failure(source) == "ConnectionError"
    assert authority.fetches == 1
    authority.error = None
    authority.now = FAILURE_SHARED
    assert source.get().token == "token-2"


def test_a_failure_names_its_kind_and_nothing_else(authority: Authority) -> None:
    authority.error = ConnectionError("secret")
    with pytest.raises(TokenUnavailableError) as caught:
        authority.source().get()
    assert str(caught.value) == "No Microsoft Entra ID token could be had (ConnectionError)."
    assert caught.value.__context__ is None


def test_a_credential_that_cannot_be_made_is_a_failure(authority: Authority) -> None:
    def build() -> Authority:
        raise KeyError("AZURE_TENANT_ID")

    assert kind_of_failure(TokenSource(build, SCOPE)) == "KeyError"


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
def test_whatever_ends_the_fetch_ends_the_wait(authority: Authority, error: BaseException) -> None:
    authority.error = error
    assert kind_of_failure(authority.source()) == type(error).__name__
    wait_for_the_fetch()


def test_no_thread_for_the_fetch_is_a_failure(authority: Authority, mocker: MockerFixture) -> None:
    mocker.patch.object(threading.Thread, "start", side_effect=RuntimeError("can't start new thread"))
    assert kind_of_failure(authority.source()) == "RuntimeError"


# Renewal


def test_a_valid_token_is_renewed_in_the_background(authority: Authority) -> None:
    source = authority.source()
    source.get()
    authority.now = LIFETIME - 300
    authority.falls_silent()
    assert source.get().token == "token-1"
    assert authority.fetching.wait(10)
    assert source.get().token == "token-1"
    authority.go_on.set()
    wait_for_the_fetch()
    assert source.get().token == "token-2"
    assert (authority.fetches, authority.built) == (2, 1)


def test_a_renewal_that_fails_leaves_the_old_token_until_it_expires(authority: Authority) -> None:
    source = authority.source()
    source.get()
    authority.error = ConnectionError()
    authority.now = LIFETIME - 300
    for _ in range(3):
        assert source.get().token == "token-1"
        wait_for_the_fetch()
    assert authority.fetches == 2
    authority.now = LIFETIME - 1
    assert source.get().token == "token-1"
    wait_for_the_fetch()
    assert authority.fetches == 3
    authority.now = LIFETIME
    assert kind_of_failure(source) == "ConnectionError"
    assert authority.fetches == 3


def test_a_token_that_is_due_as_it_comes_is_renewed_every_five_seconds_at_most(authority: Authority) -> None:
    source = authority.source()
    authority.now = -LIFETIME + 200  # what is fetched now has 200 seconds left at 0
    source.get()
    authority.get_token = lambda *_, **__: AccessToken("short", 200)  # type: ignore[method-assign]
    authority.now = 0.0
    source.get()
    wait_for_the_fetch()
    assert source.get().token == "short"
    assert fetch_threads() == []
    authority.now = FAILURE_SHARED
    assert source.get().token == "short"
    wait_for_the_fetch()


# Rejected tokens


def test_a_forgotten_token_is_fetched_anew_with_a_fresh_credential(authority: Authority) -> None:
    source = authority.source()
    source.forget(source.get().token)
    assert source.get().token == "token-2"
    assert authority.built == 2


def test_only_the_rejected_token_is_forgotten(authority: Authority) -> None:
    source = authority.source()
    source.forget(source.get().token)
    source.get()
    source.forget("token-1")
    assert source.get().token == "token-2"


def test_a_renewal_that_failed_does_not_delay_the_fetch_after_a_rejection(authority: Authority) -> None:
    source = authority.source()
    source.get()
    authority.now = LIFETIME - 300
    authority.error = ConnectionError()
    source.get()
    wait_for_the_fetch()
    authority.error = None
    source.forget("token-1")
    assert source.get().token == "token-3"


def test_a_renewal_during_which_the_token_is_rejected_begins_again_with_a_fresh_credential(
    authority: Authority,
) -> None:
    source = authority.source()
    source.get()
    authority.now = LIFETIME - 300
    authority.falls_silent()
    source.get()
    assert authority.fetching.wait(10)
    source.forget("token-1")
    authority.go_on.set()
    assert source.get().token == "token-3"
    assert authority.built == 2
    wait_for_the_fetch()


# The credential for Azure clients


def test_a_shared_credential_fetches_once_for_each_set_of_scopes(authority: Authority) -> None:
    authority.now = time.time()
    credential = SharedCredential(authority.build)
    assert [credential.get_token("a").token for _ in range(2)] == ["token-1"] * 2
    assert credential.get_token("b", claims=None, enable_cae=True).token == "token-2"
    assert authority.scopes == [("a",), ("b",)]


def test_a_shared_credential_fails_as_azure_clients_expect(authority: Authority) -> None:
    authority.error = ConnectionError("secret")
    with pytest.raises(ClientAuthenticationError) as caught:
        SharedCredential(authority.build).get_token(SCOPE)
    assert str(caught.value) == "No Microsoft Entra ID token could be had (ConnectionError)."


def test_a_client_id_chooses_its_managed_identity() -> None:
    assert isinstance(default_credential(), DefaultAzureCredential)


def test_importing_loads_nothing_of_azure() -> None:
    script = "import sys, shared.token_source; sys.exit(any(name.startswith('azure') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=60).returncode == 0  # noqa: S603


# Real sockets, the real azure-identity, the real bounds


class Endpoint:
    """An identity endpoint that accepts, and then says nothing, or one byte of its answer now and then."""

    def __init__(self, *, drips: bool) -> None:
        self._drips = drips
        self._open: list[socket.socket] = []
        self.accepted = threading.Event()
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/msi/token"

    def __enter__(self) -> Endpoint:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._listener.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                self._open.append(connection)
                self.accepted.set()
                if self._drips:
                    threading.Thread(target=self._drip, args=(connection,), daemon=True).start()

    def _drip(self, connection: socket.socket) -> None:
        with suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n")
            while not self._closing.wait(0.5):
                connection.sendall(b" ")


@pytest.mark.slow
def test_an_endpoint_that_is_silent_or_answers_byte_by_byte_is_waited_for_twenty_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "x")

    def failure_and_seconds() -> tuple[str, float]:
        began = time.monotonic()
        kind = kind_of_failure(TokenSource(lambda: ManagedIdentityCredential(**BOUNDS), SCOPE))
        return kind, time.monotonic() - began

    with ThreadPoolExecutor(2) as threads, Endpoint(drips=False) as silent, Endpoint(drips=True) as dripping:
        results = []
        for endpoint in (silent, dripping):  # at the same time; the address is read as the fetch begins
            monkeypatch.setenv("IDENTITY_ENDPOINT", endpoint.url)
            results.append(threads.submit(failure_and_seconds))
            assert endpoint.accepted.wait(10)
        (silent_kind, silent_seconds), (dripping_kind, dripping_seconds) = (result.result(30) for result in results)
    assert silent_kind == "ServiceResponseTimeoutError"  # azure-core's own bounds end the fetch
    assert silent_seconds < BOUNDS["timeout"] + BOUNDS["read_timeout"] < FETCH_LIMIT
    assert dripping_kind == "TimeoutError"  # nothing of azure-core's bounds a whole answer
    assert dripping_seconds < FETCH_LIMIT + 1
    wait_for_the_fetch()
