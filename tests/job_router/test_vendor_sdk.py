"""The vendor's own package sends the same requests and computes the same signatures: two independent oracles."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import requests
from azure.communication.jobrouter import JobRouterClient as VendorClient
from azure.communication.jobrouter._shared.policy import HMACCredentialsPolicy
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest
from hypothesis import given
from hypothesis import strategies as st

from local.job_router import DEVELOPMENT_ACCESS_KEY, JobRouter, RecordedRequest
from shared.cancellation import CancellationRequest
from shared.job_router import AccessKeyAuth, JobRouterClient, JobRouterError

CANCELLATIONS = [
    CancellationRequest("job-1"),
    CancellationRequest("job-1", note="caller hung up"),
    CancellationRequest("job-1", disposition_code="Abandoned"),
    CancellationRequest("job-1", '日本 😀 "quoted" \\ \n\t', "Déposé"),
    CancellationRequest("job-1", note=""),
    CancellationRequest("a/b c", "n"),
    CancellationRequest("日本 😀"),
    CancellationRequest("100%?#&+=;:@"),
    CancellationRequest("a.b-c_d~e!$'()*,"),
]


def vendor_client(router: JobRouter) -> VendorClient:
    # Not from the connection string: the package would make an https endpoint of it.
    return VendorClient(router.endpoint, AzureKeyCredential(DEVELOPMENT_ACCESS_KEY), retry_total=0)


def options(request: CancellationRequest) -> dict[str, str]:
    fields = {"note": request.note, "dispositionCode": request.disposition_code}
    return {name: value for name, value in fields.items() if value is not None}


def comparable(request: RecordedRequest) -> dict[str, object]:
    """What the service acts on. Dates and signatures differ by the second; each is verified by the router."""
    import json

    return {
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "body": json.loads(request.body) if request.body else None,
        "accept": request.headers["accept"],
        "content-type": request.headers.get("content-type"),
        "host": request.headers["host"],
        "signed": request.headers["authorization"].partition("&Signature=")[0],
        "status": request.status,
    }


@pytest.mark.parametrize("request_", CANCELLATIONS, ids=lambda request: ascii(request.job_id))
def test_a_cancel_is_the_request_that_the_vendors_client_sends(
    router: JobRouter, client: JobRouterClient, request_: CancellationRequest
) -> None:
    router.add_job(request_.job_id)
    client.cancel_job(request_)
    router.add_job(request_.job_id)
    with vendor_client(router) as vendor:
        vendor.cancel_job(request_.job_id, options(request_))
    ours, theirs = router.requests
    assert ours.status == 200
    assert comparable(ours) == comparable(theirs)


@pytest.mark.parametrize("job_id", ["job-1", "a/b c", "日本 😀", "100%?#"])
def test_a_read_is_the_request_that_the_vendors_client_sends(
    router: JobRouter, client: JobRouterClient, job_id: str
) -> None:
    router.add_job(job_id)
    status = client.get_job_status(job_id)
    with vendor_client(router) as vendor:
        assert vendor.get_job(job_id).status == status
    ours, theirs = map(comparable, router.requests)
    assert ours == theirs


@pytest.mark.parametrize("router", ["specified"], indirect=True)
@pytest.mark.parametrize("job_id", ["nobody", "job-1"])
def test_a_refusal_is_read_as_the_vendors_client_reads_it(
    router: JobRouter, client: JobRouterClient, job_id: str
) -> None:
    client.cancel_job(CancellationRequest("job-1"))
    with pytest.raises(JobRouterError) as ours:
        client.cancel_job(CancellationRequest(job_id))
    with (
        vendor_client(router) as vendor,
        pytest.raises(HttpResponseError) as theirs,
    ):
        vendor.cancel_job(job_id, {})
    assert ours.value.status == theirs.value.status_code
    assert theirs.value.error is not None
    assert (ours.value.code, ours.value.message) == (theirs.value.error.code, theirs.value.error.message)


@pytest.mark.parametrize("router", ["recorded"], indirect=True)
@pytest.mark.parametrize("job_id", ["nobody", "job-1"])
def test_of_a_recorded_refusal_more_is_read_than_the_vendors_client_reads(
    router: JobRouter, client: JobRouterClient, job_id: str
) -> None:
    client.cancel_job(CancellationRequest("job-1"))
    with pytest.raises(JobRouterError) as ours:
        client.cancel_job(CancellationRequest(job_id))
    with vendor_client(router) as vendor, pytest.raises(HttpResponseError) as theirs:
        vendor.cancel_job(job_id, {})
    assert ours.value.status == theirs.value.status_code
    assert theirs.value.error is None  # azure-core looks for `error` only
    assert ours.value.code in ("NotFound", "Conflict")
    assert ours.value.message


def vendor_headers(method: str, url: str, body: str, date: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr("azure.communication.jobrouter._shared.policy.get_current_utc_time", lambda: date)
    request: Any = HttpRequest(method, url)
    request.body = body  # as the pipeline's own request class carries it
    host = "/".join(url.split("/", 3)[:3])
    HMACCredentialsPolicy(host, DEVELOPMENT_ACCESS_KEY).on_request(
        SimpleNamespace(http_request=request, context=SimpleNamespace(transport=None))
    )
    return dict(request.headers)


segments = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(
    st.sampled_from(["GET", "POST"]),
    segments.filter(lambda segment: segment not in {".", ".."}),
    st.text(st.characters(codec="utf-8"), max_size=50),
    st.integers(0, 4_000_000_000),
)
def test_a_signature_is_the_one_that_the_vendors_policy_computes(method: str, job: str, body: str, now: int) -> None:
    from urllib.parse import quote

    url = f"https://contoso.communication.azure.com/routing/jobs/{quote(job, safe='')}:cancel?api-version=2023-11-01"
    prepared = requests.Request(method, url, data=body.encode()).prepare()
    prepared.url = url
    ours = AccessKeyAuth(DEVELOPMENT_ACCESS_KEY, clock=lambda: now)(prepared).headers
    with pytest.MonkeyPatch.context() as monkeypatch:
        theirs = vendor_headers(method, url, body, ours["x-ms-date"], monkeypatch)
    for name in ("x-ms-date", "x-ms-content-sha256", "Authorization"):
        assert ours[name] == theirs[name]
