"""An embedded stand-in for the Job Router of Azure Communication Services. Development only, never deployed.

It offers Cancel Job and reading a job, answers as the service was recorded to (or as it is specified), checks
credentials for real and fails on request. What nobody has seen of the service is an option. It makes no claim beyond
that; everything else is answered 404 or 405.
"""

from local.job_router.errors import DIALECTS, Dialect
from local.job_router.faults import Fault, FaultKind, FaultScript
from local.job_router.jobs import Job, JobNotFoundError, Note
from local.job_router.recording import RecordedRequest
from local.job_router.server import DEVELOPMENT_ACCESS_KEY, JobRouter

__all__ = [
    "DEVELOPMENT_ACCESS_KEY",
    "DIALECTS",
    "Dialect",
    "Fault",
    "FaultKind",
    "FaultScript",
    "Job",
    "JobNotFoundError",
    "JobRouter",
    "Note",
    "RecordedRequest",
]
