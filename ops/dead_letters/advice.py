"""What a dead letter's reason means and what to do next, in the words of the policy that gave the reason."""

from __future__ import annotations

from dataclasses import dataclass

from shared.policy import RULES, Verdict

_SEND_AGAIN = "then send the letter again: dead-letters resubmit {number}"


@dataclass(frozen=True)
class Advice:
    """meaning: what the policy says of the reason. next_step: what to do, with the letter's number filled in."""

    meaning: str
    next_step: str


_KNOWN = {
    "InvalidCancellation": Advice(
        "The body is no valid cancellation; it is never tried.",
        "Mend the sender, and this letter with: dead-letters resubmit {number} --set-job-id ID (or --edit)",
    ),
    "JobNotCancellable": Advice(
        "Job Router refused, and the job, read back, is closed or completed.",
        "Nothing is left to cancel. Keep it: dead-letters export FILE, then remove it: dead-letters purge FILE",
    ),
    "RetriesExhausted": Advice(
        "Job Router did not answer for as long as REDELIVERY_GIVE_UP_AFTER_SECONDS allows.",
        f"See that Job Router is well (python -m ops check), {_SEND_AGAIN}",
    ),
    "JobNotFound": Advice(
        "Job Router knows no such job at this endpoint, neither to cancel nor to read.",
        "Compare the id and JOB_ROUTER_ENDPOINT. A wrong id: dead-letters resubmit {number} --set-job-id ID; "
        "a job that was deleted needs no cancelling; for cancels that overtake their jobs set "
        "JOB_NOT_FOUND_GRACE_SECONDS",
    ),
    "JobRouterConflict": Advice(
        "Job Router answered 404, 409 or 412 for as long as REDELIVERY_GIVE_UP_AFTER_SECONDS allows, and the job, read "
        "back, is not over.",
        f"Look at the job; ask the service's support with the id in the description, {_SEND_AGAIN}",
    ),
    "UnexpectedError": Advice(
        "The function met an error that nobody foresaw, again and again. The message may be good.",
        f"Report type and place in the description to the function's maintainers; once it is fixed, {_SEND_AGAIN}",
    ),
    "MaxDeliveryCountExceeded": Advice(
        "The broker's own: the message came back more often than the queue's max delivery count allows, "
        "because the function crashed, or could not postpone it.",
        f"Look at the function's log for the outcome Degraded, mend that, {_SEND_AGAIN}",
    ),
    "TTLExpiredException": Advice(
        "The broker's own: nobody took the message within its time to live.",
        "See that the function runs and that its time to live is long enough, " + _SEND_AGAIN,
    ),
}
# All but Job Router's own codes.
REASONS = sorted({*_KNOWN, *(rule.reason for rule in RULES if rule.reason)} - {"JobRouterUnavailable"})


def advice_for(reason: str, number: int) -> Advice:
    """What to say about a letter with this reason and this sequence number."""
    found = _KNOWN.get(reason) or _of_rules(reason) or _other(reason)
    return Advice(found.meaning, f"{found.next_step.format(number=number)}.")


def _of_rules(reason: str) -> Advice | None:
    rule = next((rule for rule in RULES if rule.reason == reason), None)
    if rule is None:
        return None
    tried = (
        "" if rule.verdict is Verdict.DEAD_LETTER else " Tried again until REDELIVERY_GIVE_UP_AFTER_SECONDS was over."
    )
    return Advice(f"Job Router's answer: {rule.when}.{tried}", f"{rule.advice.rstrip('.')}; {_SEND_AGAIN}")


def _other(reason: str) -> Advice:
    if reason.startswith("Http") and reason[4:].isdigit():
        meaning = f"Job Router answered {reason[4:]}, which no repetition changes."
    else:
        meaning = "Job Router's own code, or the reason of another program: Job Router refuses, and says why above."
    return Advice(meaning, f"Read the description, mend what it names, {_SEND_AGAIN}")
