"""The two operations this stand-in offers, from a request to a reply: cancel a job, read a job. No sockets."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes

from local.job_router.authentication import Authenticator
from local.job_router.errors import error, error_reply
from local.job_router.jobs import JobNotCancellableError, JobNotFoundError, JobStore
from local.job_router.wire import Reply, Request

API_VERSIONS = frozenset({"2023-11-01"})
_JOBS = "/routing/jobs/"
_CANCEL = ":cancel"


class InvalidBodyError(Exception):
    """The body is not one that Cancel Job takes; `target` names the field, `body` where it is the whole."""

    def __init__(self, target: str, message: str) -> None:
        super().__init__(message)
        self.target = target
        self.message = message


@dataclass(frozen=True, slots=True)
class Route:
    """What a path means: the method it takes and the decoded job id, None where that is not UTF-8."""

    method: str
    job_id: str | None


def parse_route(path: str) -> Route | None:
    """Read an undecoded path; None when nothing is there.

    The id is decoded only after the path was taken apart, so an id may hold slashes and `:cancel` itself.
    """
    segment = path.removeprefix(_JOBS)
    if segment == path:
        return None
    method = "GET"
    if segment.endswith(_CANCEL):
        method = "POST"
        segment = segment.removesuffix(_CANCEL)
    if not segment or "/" in segment:
        return None
    try:
        return Route(method, unquote_to_bytes(segment).decode())
    except UnicodeDecodeError:
        return Route(method, None)


class JobRouterApi:
    """Answers requests.

    refusal_status: for a cancel that the job's status does not allow. second_cancel: for one of a cancelled job.
    """

    def __init__(
        self,
        jobs: JobStore,
        authenticator: Authenticator,
        clock: Callable[[], datetime],
        refusal_status: int,
        second_cancel: int,
    ) -> None:
        self._jobs = jobs
        self._authenticator = authenticator
        self._clock = clock
        self._refusal_status = refusal_status
        self._second_cancel = second_cancel

    def answer(self, request: Request, route: Route | None) -> Reply:
        denied = self._authenticator.refusal(request, self._clock())
        if denied is not None:
            return denied
        if route is None:
            return error_reply(404, "NotFound", "There is no such resource.")
        if request.method != route.method:
            return error_reply(
                405,
                "MethodNotAllowed",
                f"{request.method} is not offered here; {route.method} is.",
                headers={"Allow": route.method},
            )
        refused = _version_refusal(request.query)
        if refused is not None:
            return refused
        if route.job_id is None:
            return error_reply(400, "InvalidJobId", "The job id is not percent-encoded UTF-8.", target="jobId")
        try:
            if route.method == "GET":
                job = self._jobs.get(route.job_id).as_json()
                return Reply(200, json.dumps(job).encode(), headers={"ETag": job["etag"]})
            return self._cancel(route.job_id, request.body)
        except JobNotFoundError:
            return error_reply(
                404,
                "JobNotFound",
                f"Job {route.job_id!r} was not found.",
                target="jobId",
                inner_codes=["NotFound"],
            )

    def _cancel(self, job_id: str, body: bytes) -> Reply:
        try:
            disposition_code, note = parse_cancel_options(body)
            self._jobs.cancel(job_id, self._clock(), disposition_code, note)
        except InvalidBodyError as problem:
            return error_reply(
                400,
                "InvalidRequestBody",
                problem.message,
                target=problem.target,
                details=[error("InvalidValue", problem.message, target=problem.target)],
            )
        except JobNotCancellableError as problem:
            message = f"Job {job_id!r} cannot be cancelled: its status is {problem.status}."
            # The service's own code is not documented; this one names the state, as a reader would want.
            inner_code = f"JobIs{problem.status.capitalize()}"
            return error_reply(
                self._second_cancel if problem.status == "cancelled" else self._refusal_status,
                "InvalidJobState",
                message,
                target="status",
                details=[error(inner_code, message, target="status")],
                inner_codes=[inner_code],
            )
        return Reply(200, b"{}")


def parse_cancel_options(body: bytes) -> tuple[str | None, str | None]:
    """The disposition code and the note; no body at all is valid. Raises InvalidBodyError."""
    if not body:
        return None, None
    try:
        options = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidBodyError("body", "The body is not JSON.") from None
    if not isinstance(options, dict):
        raise InvalidBodyError("body", "The body is not a JSON object.")
    return _optional_text(options, "dispositionCode"), _optional_text(options, "note")


def _optional_text(options: dict[str, Any], name: str) -> str | None:
    if name not in options:
        return None
    value = options[name]
    # An explicit null is refused too: a field is documented as a string that may be left out.
    if not isinstance(value, str):
        raise InvalidBodyError(name, f"{name} is not a string.")
    return value


@lru_cache(maxsize=64)
def _version_refusal(query: str) -> Reply | None:
    versions = parse_qs(query).get("api-version", [])
    if not versions:
        return error_reply(400, "MissingApiVersionParameter", "The query lacks api-version.", target="api-version")
    if len(versions) > 1 or versions[0] not in API_VERSIONS:
        return error_reply(
            400,
            "UnsupportedApiVersionValue",
            f"api-version {', '.join(versions)} is not supported; {', '.join(sorted(API_VERSIONS))} is.",
            target="api-version",
        )
    return None
