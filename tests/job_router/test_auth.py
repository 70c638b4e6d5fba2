"""Access keys and Microsoft Entra ID tokens, the latter through the real azure-identity."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest
import requests
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CredentialUnavailableError, ManagedIdentityCredential

from local.identity import COMMUNICATION_AUDIENCE, IdentityEndpoint
from local.job_router import Fault, JobRouter
from local.service_bus.clock import Clock
from shared.cancellation import CancellationRequest
from shared.job_router import AccessKeyAuth, EntraIdAuth, JobRouterClient, JobRouterError
from shared.job_router_auth import SCOPE
from shared.job_router_error import CREDENTIAL_UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REQUEST = CancellationRequest("job-1")


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[IdentityEndpoint]:
    with IdentityEndpoint() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def guarded(identity: IdentityEndpoint) -> Iterator[JobRouter]:
    """A Job Router that takes tokens of that identity endpoint, for its own audience only."""
    with JobRouter(token_verifier=partial(identity.verify, audience=COMMUNICATION_AUDIENCE)) as running:
        running.add_job("job-1")
        yield running


@pytest.fixture
def entra(guarded: JobRouter) -> Iterator[JobRouterClient]:
    client = JobRouterClient(guarded.endpoint, EntraIdAuth(ManagedIdentityCredential))
    yield client
    client.close()


class Tokens:
    """A credential of the test's own: hands out token-1, token-2, …; waits or fails when told to."""

    def __init__(self, lifetime: float = 3600.0) -> None:
        self.lifetime = lifetime
        self.now = 0.0
        self.fetched = 0
        self.built = 0
        self.scopes: list[str] = []
        self.error: Exception | None = None
        self.fetching = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def build(self) -> Tokens:
        self.built += 1
        return self

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        self.fetching.set()
        assert self.go_on.wait(10)
        if self.error:
            raise self.error
        self.fetched += 1
        self.scopes += scopes
        return AccessToken(f"token-{self.fetched}", int(self.now + self.lifetime))

    def auth(self) -> EntraIdAuth:
        return EntraIdAuth(self.build, clock=lambda: self.now, monotonic=lambda: self.now)


def signed(auth: Callable[[requests.PreparedRequest], requests.PreparedRequest]) -> requests.PreparedRequest:
    return auth(requests.Request("POST", "https://x/routing/jobs/a:cancel?api-version=1", data=b"{}").prepare())


def bearer(auth: EntraIdAuth) -> str:
    return str(signed(auth).headers["Authorization"])


def wait_for_the_renewal() -> None:
    for thread in threading.enumerate():
        if thread.name == "token":
            thread.join(10)


# Access keys


def test_a_key_that_is_not_base64_is_refused() -> None:
    with pytest.raises(ValueError, match=r"[Bb]ase64|padding"):
        AccessKeyAuth("not base64!")


def test_a_body_given_as_text_is_hashed_as_utf8() -> None:
    auth = AccessKeyAuth("a2V5", clock=lambda: 0.0)
    as_bytes = requests.Request("POST", "https://x/", data="é".encode()).prepare()
    as_text = requests.Request("POST", "https://x/", data="é").prepare()
    as_text.body = "é"
    assert auth(as_text).headers["Authorization"] == auth(as_bytes).headers["Authorization"]


def test_a_signature_is_made_anew_for_each_attempt() -> None:
    now = iter([0.0, 60.0])
    auth = AccessKeyAuth("a2V5", clock=lambda: next(now))
    request = signed(auth)
    first = dict(request.headers)
    auth(request)
    assert first["x-ms-date"] == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert request.headers["x-ms-date"] == "Thu, 01 Jan 1970 00:01:00 GMT"
    assert request.headers["Authorization"] != first["Authorization"]


def test_a_rejected_key_cannot_be_renewed() -> None:
    auth = AccessKeyAuth("a2V5")
    assert not auth.refresh(signed(auth))


def test_a_clock_that_is_wrong_is_denied_access() -> None:
    clock = Clock()
    clock.advance(3600)
    with JobRouter(clock=clock.now, dialect="specified") as router:
        client = JobRouterClient.from_connection_string(router.connection_string)
        with pytest.raises(JobRouterError) as caught:
            client.get_job_status("job-1")
        client.close()
    assert caught.value.inner_codes == ("InvalidDate",)


# Microsoft Entra ID, with azure-identity against a managed-identity endpoint


def test_a_managed_identitys_token_is_accepted(guarded: JobRouter, entra: JobRouterClient) -> None:
    entra.cancel_job(REQUEST)
    assert guarded.job("job-1").status == "cancelled"
    assert guarded.requests[0].headers["authorization"].startswith("Bearer ")


def test_a_token_is_fetched_once_for_many_calls(entra: JobRouterClient, identity: IdentityEndpoint) -> None:
    for _ in range(5):
        entra.get_job_status("job-1")
    assert identity.tokens_issued == 1


def test_one_thread_fetches_for_sixteen(entra: JobRouterClient, identity: IdentityEndpoint) -> None:
    together = threading.Barrier(16)

    def read(_: int) -> str:
        together.wait(10)
        return entra.get_job_status("job-1")

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(read, range(16))) == ["queued"] * 16
    assert identity.tokens_issued == 1


def test_a_rejected_token_is_renewed_once(
    guarded: JobRouter, entra: JobRouterClient, identity: IdentityEndpoint
) -> None:
    entra.get_job_status("job-1")
    identity.revoke_all()
    entra.cancel_job(REQUEST)
    assert [request.status for request in guarded.requests] == [200, 401, 200]
    assert identity.tokens_issued == 2
    assert guarded.requests[1].headers["authorization"] != guarded.requests[2].headers["authorization"]


def test_both_attempts_of_a_call_carry_the_same_client_request_id(
    guarded: JobRouter, entra: JobRouterClient, identity: IdentityEndpoint
) -> None:
    entra.get_job_status("job-1")
    identity.revoke_all()
    entra.get_job_status("job-1")
    ids = [request.headers["x-ms-client-request-id"] for request in guarded.requests]
    assert ids[1] == ids[2] != ids[0]


def test_a_second_rejection_is_raised_not_tried_again(
    guarded: JobRouter, entra: JobRouterClient, identity: IdentityEndpoint
) -> None:
    guarded.faults.add(Fault("status", status=401, times=None))
    with pytest.raises(JobRouterError) as caught:
        entra.cancel_job(REQUEST)
    assert caught.value.status == 401
    assert len(guarded.requests) == 2
    assert identity.tokens_issued == 2


def test_a_403_renews_nothing(guarded: JobRouter, entra: JobRouterClient, identity: IdentityEndpoint) -> None:
    guarded.faults.add(Fault("status", status=403))
    with pytest.raises(JobRouterError):
        entra.cancel_job(REQUEST)
    assert len(guarded.requests) == 1
    assert identity.tokens_issued == 1


def test_an_identity_endpoint_that_refuses_is_no_credential(
    guarded: JobRouter, entra: JobRouterClient, identity: IdentityEndpoint
) -> None:
    identity.fail_next(100, status=400)
    with pytest.raises(JobRouterError) as caught:
        entra.cancel_job(REQUEST)
    assert (caught.value.status, caught.value.code) == (None, CREDENTIAL_UNAVAILABLE)
    assert guarded.requests == []


def test_the_default_credential_finds_the_managed_identity(guarded: JobRouter) -> None:
    client = JobRouterClient(guarded.endpoint, EntraIdAuth())
    assert client.get_job_status("job-1") == "queued"
    client.close()


# The rules of renewing, with a credential and a clock of the test's own


def test_the_scope_is_that_of_communication_services() -> None:
    tokens = Tokens()
    bearer(tokens.auth())
    assert tokens.scopes == [SCOPE] == ["https://communication.azure.com//.default"]


def test_a_token_is_renewed_five_minutes_before_it_expires() -> None:
    tokens = Tokens(lifetime=1000)
    auth = tokens.auth()
    assert bearer(auth) == "Bearer token-1"
    tokens.now = 699
    assert bearer(auth) == "Bearer token-1"
    wait_for_the_renewal()
    assert tokens.fetched == 1
    tokens.now = 700
    bearer(auth)
    wait_for_the_renewal()
    assert bearer(auth) == "Bearer token-2"
    assert tokens.built == 1


def test_nobody_waits_while_a_valid_token_is_renewed() -> None:
    tokens = Tokens(lifetime=1000)
    auth = tokens.auth()
    bearer(auth)
    tokens.now = 800
    tokens.fetching.clear()
    tokens.go_on.clear()
    assert bearer(auth) == "Bearer token-1"
    assert tokens.fetching.wait(10)
    assert bearer(auth) == "Bearer token-1"
    tokens.go_on.set()
    wait_for_the_renewal()
    assert bearer(auth) == "Bearer token-2"


def test_others_wait_for_the_new_token_when_the_old_one_has_expired() -> None:
    tokens = Tokens(lifetime=1000)
    auth = tokens.auth()
    bearer(auth)
    tokens.now = 1000
    tokens.fetching.clear()
    tokens.go_on.clear()
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(bearer, auth) for _ in range(4)]
        assert tokens.fetching.wait(10)
        tokens.go_on.set()
        assert {future.result(10) for future in waiting} == {"Bearer token-2"}
    assert tokens.fetched == 2


def test_a_refresh_builds_a_new_credential_because_the_old_one_keeps_its_token() -> None:
    tokens = Tokens()
    auth = tokens.auth()
    assert auth.refresh(signed(auth))
    assert bearer(auth) == "Bearer token-2"
    assert tokens.built == 2


def test_a_token_renewed_by_another_thread_meanwhile_is_kept() -> None:
    tokens = Tokens()
    auth = tokens.auth()
    rejected = signed(auth)
    assert auth.refresh(rejected)
    bearer(auth)
    assert auth.refresh(rejected)
    assert bearer(auth) == "Bearer token-2"
    assert tokens.fetched == 2


@pytest.mark.parametrize(
    "error",
    [
        CredentialUnavailableError("secret pages of text"),
        ClientAuthenticationError("secret pages of text"),
        ValueError("secret pages of text"),
    ],
)
def test_a_failure_to_get_a_token_names_its_kind_only(error: Exception) -> None:
    tokens = Tokens()
    tokens.error = error
    with pytest.raises(JobRouterError) as caught:
        bearer(tokens.auth())
    assert caught.value.code == CREDENTIAL_UNAVAILABLE
    assert type(error).__name__ in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_failure_is_shared_for_five_seconds() -> None:
    tokens = Tokens()
    tokens.error = CredentialUnavailableError("not yet")
    auth = tokens.auth()
    for now in (0, 4.9):
        tokens.now = now
        with pytest.raises(JobRouterError):
            bearer(auth)
    tokens.error = None
    tokens.now = 5
    assert bearer(auth) == "Bearer token-1"
