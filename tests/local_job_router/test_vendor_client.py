"""The vendor's own client package, unchanged, works against the stand-in."""

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from azure.communication.jobrouter import JobRouterClient
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError

from local.job_router import DEVELOPMENT_ACCESS_KEY, Fault, JobRouter


@pytest.fixture
def vendor(router: JobRouter) -> Iterator[Any]:
    # The package takes http when the endpoint says so; only its connection strings always mean https.
    with closing(JobRouterClient(router.endpoint, AzureKeyCredential(DEVELOPMENT_ACCESS_KEY))) as client:
        yield client


def test_it_cancels_a_job(router: JobRouter, vendor: Any) -> None:
    vendor.cancel_job("job-1", {"dispositionCode": "Abandoned", "note": "hung up"})
    job = router.job("job-1")
    assert (job.status, job.disposition_code, [note.message for note in job.notes]) == (
        "cancelled",
        "Abandoned",
        ["hung up"],
    )


def test_it_cancels_a_job_without_options(router: JobRouter, vendor: Any) -> None:
    vendor.cancel_job("job-1")
    assert router.job("job-1").status == "cancelled"


def test_it_reads_a_job_with_notes_and_dates(router: JobRouter, vendor: Any) -> None:
    vendor.cancel_job("job-1", {"note": "hung up"})
    job = vendor.get_job("job-1")
    assert (job.id, job.status, job.disposition_code) == ("job-1", "cancelled", "Cancelled")
    assert [(note.message, note.added_at) for note in job.notes] == [("hung up", router.job("job-1").notes[0].added_at)]


@pytest.mark.parametrize("job_id", ["a/b c", "日本 😀", "100%?#&+=;:@", "x:cancel"])
def test_it_can_name_any_job(router: JobRouter, vendor: Any, job_id: str) -> None:
    router.add_job(job_id)
    vendor.cancel_job(job_id)
    assert vendor.get_job(job_id).status == "cancelled"


def test_it_understands_a_refused_cancel(router: JobRouter, vendor: Any) -> None:
    router.add_job("job-1", "closed")
    with pytest.raises(HttpResponseError) as caught:
        vendor.cancel_job("job-1")
    assert caught.value.status_code == 409
    assert caught.value.error is not None
    assert caught.value.error.code == "InvalidJobState"
    assert caught.value.error.innererror == {"code": "JobIsClosed"}


def test_it_understands_an_unknown_job(vendor: Any) -> None:
    with pytest.raises(ResourceNotFoundError):
        vendor.cancel_job("job-2")


def test_it_is_denied_with_another_key(router: JobRouter) -> None:
    with (
        closing(JobRouterClient(router.endpoint, AzureKeyCredential("b3RoZXI="))) as vendor,
        pytest.raises(ClientAuthenticationError, match="The signature is not that of"),
    ):
        vendor.cancel_job("job-1")


def test_its_own_retries_get_over_an_unavailable_service(router: JobRouter, vendor: Any) -> None:
    router.faults.add(Fault("status", status=503))
    vendor.cancel_job("job-1")
    assert [request.status for request in router.requests] == [503, 200]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def test_its_connection_string_works_over_tls(authority: trustme.CA, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusted = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    with JobRouter(tls=context) as router:
        router.add_job("job-1")
        with closing(
            JobRouterClient.from_connection_string(router.connection_string, connection_verify=str(trusted))
        ) as vendor:
            vendor.cancel_job("job-1")
        assert router.endpoint.startswith("https://")
        assert router.job("job-1").status == "cancelled"


def test_a_client_that_distrusts_the_certificate_disturbs_nobody(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with JobRouter(tls=context) as router:
        for client in (ssl.create_default_context(), trusting):
            connection = http.client.HTTPSConnection("127.0.0.1", router.port, timeout=5, context=client)
            with closing(connection):
                if client is trusting:
                    connection.request("GET", "/")
                    assert connection.getresponse().status == 401
                else:
                    with pytest.raises(ssl.SSLCertVerificationError):
                        connection.request("GET", "/")


def test_a_connection_that_never_starts_its_handshake_holds_nothing_up(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    router = JobRouter(tls=context)
    router.start()
    with socket.create_connection(("127.0.0.1", router.port), timeout=5) as connection:
        router.stop()
        connection.settimeout(5)
        # Ended or reset is the kernel's choice; what counts is that nothing waits.
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
