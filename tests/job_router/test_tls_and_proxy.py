"""Whom the client trusts, and what it takes from the environment."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from local.job_router import DEVELOPMENT_ACCESS_KEY, JobRouter
from shared.job_router import AccessKeyAuth, JobRouterClient, JobRouterError
from shared.job_router_error import CONNECTION_FAILED, NOT_JOB_ROUTER, TLS_VERIFICATION_FAILED
from shared.policy import rule_for

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_bundle(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def serving(authority: trustme.CA, name: str) -> JobRouter:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return JobRouter(tls=context)


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[JobRouter]:
    with serving(authority, "127.0.0.1") as running:
        running.add_job("job-1")
        yield running


def status_or_error(endpoint: str) -> str | JobRouterError:
    client = JobRouterClient(endpoint, AccessKeyAuth(DEVELOPMENT_ACCESS_KEY), connect_timeout=2.0, read_timeout=5.0)
    try:
        return client.get_job_status("job-1")
    except JobRouterError as error:
        return error
    finally:
        client.close()


def failure(endpoint: str) -> JobRouterError:
    found = status_or_error(endpoint)
    assert isinstance(found, JobRouterError)
    return found


def test_a_certificate_of_an_unknown_authority_does_not_verify(secure: JobRouter) -> None:
    error = failure(secure.endpoint)
    assert (error.status, error.code) == (None, TLS_VERIFICATION_FAILED)
    assert error.message == "The certificate did not verify."
    assert secure.requests == []


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_ca_bundle_of_the_environment_is_trusted(
    secure: JobRouter, ca_bundle: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, ca_bundle)
    assert status_or_error(secure.endpoint) == "queued"


def test_a_certificate_for_another_host_does_not_verify(
    authority: trustme.CA, ca_bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_bundle)
    with serving(authority, "other.example.com") as router:
        assert failure(router.endpoint).code == TLS_VERIFICATION_FAILED
        assert router.requests == []


def test_a_ca_bundle_that_is_not_there_is_named_as_the_trouble(
    secure: JobRouter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    error = failure(secure.endpoint)
    assert (error.status, error.code) == (None, TLS_VERIFICATION_FAILED)
    assert error.message == "The CA bundle cannot be read."
    assert error.request_id


class Proxy:
    """Takes one connection, notes the first line of the request and answers it with a status."""

    def __init__(self, tls: ssl.SSLContext | None = None, status: int = 407) -> None:
        self.first_line = b""
        self._status = status
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(10)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with self._tls.wrap_socket(connection, server_side=True) if self._tls else connection as connection:
            connection.settimeout(10)
            received = b""
            while b"\r\n\r\n" not in received:
                received += connection.recv(4096)
            self.first_line = received.partition(b"\r\n")[0]
            connection.sendall(
                b"HTTP/1.1 %d Of the proxy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % self._status
            )

    def close(self) -> None:
        self._thread.join(10)
        self._listener.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    running = Proxy()
    yield running
    running.close()


def test_the_http_proxy_of_the_environment_is_used(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    assert failure("http://127.0.0.1:9").status == 407
    assert proxy.first_line == b"GET http://127.0.0.1:9/routing/jobs/job-1?api-version=2023-11-01 HTTP/1.1"


def test_the_https_proxy_of_the_environment_is_asked_for_a_tunnel(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    error = failure("https://contoso.communication.azure.com")
    assert (error.status, error.code, error.message) == (407, NOT_JOB_ROUTER, "The proxy refused the connection (407).")
    assert rule_for(error).reason == "JobRouterNotReached"
    assert proxy.first_line.startswith(b"CONNECT contoso.communication.azure.com:443 HTTP/1.")


def test_a_proxy_that_speaks_tls_is_trusted_by_the_same_ca_bundle(
    authority: trustme.CA, ca_bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    proxy = Proxy(context)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_bundle)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    assert failure("https://contoso.communication.azure.com").code == NOT_JOB_ROUTER
    proxy.close()
    assert proxy.first_line.startswith(b"CONNECT contoso.communication.azure.com:443 HTTP/1.")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
def test_a_proxy_that_opens_no_tunnel_is_what_stands_in_between(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(status=status)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    error = failure("https://contoso.communication.azure.com")
    proxy.close()
    assert (error.status, rule_for(error).reason) == (status, "JobRouterNotReached")


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_proxy_that_cannot_reach_the_service_is_a_failed_connection(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy(status=status)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    error = failure("https://contoso.communication.azure.com")
    proxy.close()
    assert (error.status, error.code) == (None, CONNECTION_FAILED)


def test_a_proxy_that_is_down_is_a_failed_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert failure("https://contoso.communication.azure.com").code == CONNECTION_FAILED


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://127.0.0.1:9", "http://", "http://127.0.0.1:port", "socks5://127.0.0.1:9", "gopher:x", "http://[::1"),
        "http://user:%E2%82%AC@127.0.0.1:9",
    ],
)
def test_a_proxy_setting_that_cannot_be_used_is_named_as_the_trouble(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    error = failure("https://contoso.communication.azure.com")
    assert (error.status, error.code) == (None, NOT_JOB_ROUTER)
    assert "the proxy setting cannot be used" in error.message
    assert rule_for(error).reason == "JobRouterNotReached"
    assert "HTTPS_PROXY" in rule_for(error).advice


def test_an_endpoint_that_no_name_server_can_be_asked_for_is_named_as_the_trouble_behind_a_proxy_too(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    assert failure("https://a..b.example").code == NOT_JOB_ROUTER
    monkeypatch.setenv("http_proxy", proxy.url)
    failure("http://127.0.0.1:9")  # lets the proxy end


def test_all_connections_share_what_was_read_of_the_ca_bundle(
    secure: JobRouter, ca_bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_bundle)
    client = JobRouterClient(secure.endpoint, AccessKeyAuth(DEVELOPMENT_ACCESS_KEY))
    assert client.get_job_status("job-1") == "queued"
    Path(ca_bundle).unlink()
    secure.stop()
    secure.start()
    assert client.get_job_status("job-1") == "queued"
    client.close()


def test_no_proxy_is_honoured(router: JobRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    router.add_job("job-1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert status_or_error(router.endpoint) == "queued"
