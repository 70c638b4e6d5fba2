"""The real azure-identity gets its tokens from the stand-in, and the Job Router can judge them."""

import http.client
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import parse_qs

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CredentialUnavailableError, DefaultAzureCredential, ManagedIdentityCredential

from local.identity import COMMUNICATION_AUDIENCE, IdentityEndpoint
from local.job_router import JobRouter
from tests.local_job_router.calls import cancel

SCOPE = "https://communication.azure.com//.default"


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[IdentityEndpoint]:
    with IdentityEndpoint() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


def token_for(scope: str = SCOPE, client_id: str | None = None) -> str:
    with ManagedIdentityCredential(client_id=client_id) as credential:
        return str(credential.get_token(scope).token)


def ask(identity: IdentityEndpoint, target: str, header: str | None, method: str = "GET") -> tuple[int, str]:
    endpoint = identity.environment["IDENTITY_ENDPOINT"]
    connection = http.client.HTTPConnection(endpoint.split("/")[2], timeout=5)
    connection.request(method, target, headers={} if header is None else {"X-IDENTITY-HEADER": header})
    response = connection.getresponse()
    message = json.loads(response.read()).get("message", "")
    connection.close()
    return response.status, message


def test_a_managed_identity_credential_gets_a_token_for_the_audience_with_its_slash(
    identity: IdentityEndpoint,
) -> None:
    token = token_for()
    assert identity.verify(token)
    assert identity.verify(token, COMMUNICATION_AUDIENCE)
    [request] = identity.requests
    assert parse_qs(request.query) == {"api-version": ["2019-08-01"], "resource": [COMMUNICATION_AUDIENCE]}


def test_a_default_credential_finds_the_endpoint(identity: IdentityEndpoint) -> None:
    with DefaultAzureCredential() as credential:
        assert identity.verify(credential.get_token(SCOPE).token, COMMUNICATION_AUDIENCE)


def test_a_user_assigned_identity_names_its_client_id(identity: IdentityEndpoint) -> None:
    assert identity.verify(token_for(client_id="the-client-id"))
    assert parse_qs(identity.requests[0].query)["client_id"] == ["the-client-id"]


def test_a_credential_reuses_a_token_that_lasts(identity: IdentityEndpoint) -> None:
    with ManagedIdentityCredential() as credential:
        assert credential.get_token(SCOPE).token == credential.get_token(SCOPE).token
    assert identity.tokens_issued == 1


def test_a_credential_asks_anew_when_little_of_a_tokens_life_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with IdentityEndpoint(lifetime_seconds=200) as identity:
        for name, value in identity.environment.items():
            monkeypatch.setenv(name, value)
        with ManagedIdentityCredential() as credential:
            assert credential.get_token(SCOPE).token != credential.get_token(SCOPE).token
        assert identity.tokens_issued == 2


@pytest.mark.parametrize("scope", ["https://communication.azure.com/.default", "https://servicebus.azure.net/.default"])
def test_a_token_for_another_audience_does_not_verify(identity: IdentityEndpoint, scope: str) -> None:
    assert not identity.verify(token_for(scope), COMMUNICATION_AUDIENCE)


def test_an_unknown_token_does_not_verify(identity: IdentityEndpoint) -> None:
    assert not identity.verify("made up")


def test_a_revoked_token_does_not_verify(identity: IdentityEndpoint) -> None:
    token = token_for()
    identity.revoke_all()
    assert not identity.verify(token)


def test_an_expired_token_does_not_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [datetime.now(UTC)]
    with IdentityEndpoint(clock=lambda: times[-1]) as identity:
        for name, value in identity.environment.items():
            monkeypatch.setenv(name, value)
        token = token_for()
        times.append(times[0] + timedelta(seconds=3599))
        assert identity.verify(token)
        times.append(times[0] + timedelta(seconds=3600))
        assert not identity.verify(token)


def test_the_job_router_accepts_its_tokens_until_they_are_revoked(identity: IdentityEndpoint) -> None:
    with JobRouter(token_verifier=partial(identity.verify, audience=COMMUNICATION_AUDIENCE)) as router:
        router.add_job("job-1")
        headers = {"Authorization": f"Bearer {token_for()}"}
        assert cancel(router, headers=headers).status == 200
        identity.revoke_all()
        assert cancel(router, headers=headers).status == 401


def test_a_wrong_identity_header_is_answered_401(identity: IdentityEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    with pytest.raises(CredentialUnavailableError):
        token_for()
    assert [request.status for request in identity.requests] == [401]


def test_the_credential_gets_over_one_failure(identity: IdentityEndpoint) -> None:
    identity.fail_next(1, 500)
    assert identity.verify(token_for())
    assert [request.status for request in identity.requests] == [500, 200]


def test_a_refusal_is_not_retried(identity: IdentityEndpoint) -> None:
    identity.fail_next(1, 400)
    with pytest.raises(ClientAuthenticationError):
        token_for()
    assert identity.tokens_issued == 0


@pytest.mark.parametrize(
    "target, method, status, message",
    [
        ("/msi/token?api-version=2019-08-01", "GET", 400, "resource is missing"),
        ("/msi/token?api-version=2017-09-01&resource=r", "GET", 400, "api-version must be"),
        ("/metadata/identity", "GET", 404, "Only /msi/token"),
        ("/msi/token?api-version=2019-08-01&resource=r", "POST", 405, "Use GET"),
        ("/msi/token?api-version=2019-08-01&resource=r", "GET", 200, ""),
    ],
)
def test_a_request_that_is_not_for_a_token_is_told_what_is_wrong(
    identity: IdentityEndpoint, target: str, method: str, status: int, message: str
) -> None:
    answered, said = ask(identity, target, identity.environment["IDENTITY_HEADER"], method)
    assert answered == status
    assert said.startswith(message)


def test_a_request_that_cannot_be_read_is_answered_400(identity: IdentityEndpoint) -> None:
    port = int(identity.environment["IDENTITY_ENDPOINT"].split("/")[2].partition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_a_client_that_wants_the_connection_closed_gets_it_closed(identity: IdentityEndpoint) -> None:
    port = int(identity.environment["IDENTITY_ENDPOINT"].split("/")[2].partition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert received.startswith(b"HTTP/1.1 404 ")


def test_starting_and_stopping_twice_is_the_same_as_once() -> None:
    identity = IdentityEndpoint()
    with pytest.raises(RuntimeError, match=r"Call start\(\) first"):
        _ = identity.environment
    identity.start()
    identity.start()
    identity.stop()
    identity.stop()
