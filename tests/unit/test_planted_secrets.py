"""A planted secret in every setting, in every wrong place: found in no line, dead letter or exception."""

from __future__ import annotations

import logging
import traceback
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import pytest

from ops.doctor import examine
from ops.target import Target
from shared.job_router import AccessKeyAuth, JobRouterClient
from shared.processing import RedeliveryError, hold, postpone
from shared.settings import ServiceBusSettings, Settings, SettingsError
from tests.unit.edges import LONG_AGO, Edges, message

if TYPE_CHECKING:
    from pytest_mock import MockerFixture

# Base64 of 32 bytes, of 64, and what Azure gives out now: 84 letters and digits.
KEY = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="
LONG_KEY = "7Vh2Qx9ZrT4bLm8KpW1sYc6NdF3gJ5aHuE0iOoRtXvBnMqPwSkDlGfCjZeAyU2I+Tx/4Kb8Rw1Lq7Vn3Zs6Hd9=="
PLAIN_KEY = "1Ab2Cd3Ef4Gh5Ij6Kl7Mn8Op9Qr0St1Uv2Wx3Yz4Ab5Cd6Ef7Gh8Ij9Kl0Mn1Op2Qr3St4JQQJ99BBACAZCS"
PASSWORD = "hunter2-Correct8Horse"
SIGNATURE = "tB9zKqW%2FpXc7vRy3uLm%3D"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2lnbmF0dXJlLW9mLWEtdG9rZW4"
PLANTED = (KEY, LONG_KEY, PLAIN_KEY, PASSWORD, SIGNATURE, TOKEN)

SERVICE_BUS = f"Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey={KEY}"
JOB_ROUTER = f"endpoint=https://x.communication.azure.com/;accesskey={KEY}"
SAS = f"SharedAccessSignature sr=sb%3A%2F%2Fx&sig={SIGNATURE}&se=1767225600&skn=n"
TEXTS = {
    "job router connection string": JOB_ROUTER,
    "job router connection string, key first": f"accesskey={LONG_KEY};endpoint=https://x.communication.azure.com/",
    "service bus connection string": SERVICE_BUS,
    "service bus connection string with a SAS": f"Endpoint=sb://x.servicebus.windows.net/;SharedAccessSignature={SAS}",
    "half a connection string": f";SharedAccessKey={KEY}",
    "storage connection string": f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={LONG_KEY}",
    "sas token": SAS,
    "url with a signature": f"https://a.blob.core.windows.net/c?sv=2024-11-04&sig={SIGNATURE}",
    "url with user info": f"https://user:{PASSWORD}@x.communication.azure.com",
    "url with a password alone": f"https://:{PASSWORD}@x.communication.azure.com",
    "amqp url with user info": f"amqps://user:{PASSWORD}@x.servicebus.windows.net",
    "sb url with user info": f"sb://user:{PASSWORD}@x.servicebus.windows.net",
    "url with a query": f"https://x.communication.azure.com/?code={PASSWORD}",
    "url with a fragment": f"https://x.communication.azure.com/#{PASSWORD}",
    "url with a path": f"https://x.communication.azure.com/{PASSWORD}",
    "url with a port that is none": f"https://x.communication.azure.com:{PASSWORD}",
    "url whose bracket nobody closes": f"https://[{PASSWORD}",
    "url whose host is none of IPv6": f"https://[{PASSWORD}]",
    "url whose host is not normal": f"https://{PASSWORD}\u2100.example",
    "http url with a key for a host": f"http://{KEY}",
    "key": KEY,
    "long key": LONG_KEY,
    "key of letters and digits": PLAIN_KEY,
    "access token": TOKEN,
    "bearer token": f"Bearer {TOKEN}",
    "key vault reference": f"@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/{PASSWORD})",
    "app configuration reference": f"@Microsoft.AppConfiguration(Endpoint=https://x.azconfig.io; Key={PASSWORD})",
}
GOOD = {
    "JOB_ROUTER_ENDPOINT": "https://x.communication.azure.com",
    "ServiceBusConnection__fullyQualifiedNamespace": "x.servicebus.windows.net",
    "CANCELLATION_QUEUE_NAME": "job-cancellations",
}


class Asked(dict[str, str]):
    """An environment that remembers what it was asked for."""

    names: set[str]

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)


def settings_that_the_code_reads() -> list[str]:
    asked = Asked(GOOD)
    asked.names = set()
    Settings.from_environment(asked)
    return sorted(asked.names)


NAMES = settings_that_the_code_reads()
# A password on its own looks like nothing, and these may be any word.
MAY_BE_ANY_WORD = {"CANCELLATION_QUEUE_NAME", "ServiceBusConnection__fullyQualifiedNamespace"}
CASES = [pytest.param(name, text, id=f"{name}-{kind}") for name in NAMES for kind, text in TEXTS.items()] + [
    pytest.param(name, PASSWORD, id=f"{name}-password") for name in NAMES if name not in MAY_BE_ANY_WORD
]
planted = pytest.mark.parametrize("name, text", CASES)


def environment(name: str, text: str) -> dict[str, str]:
    """Good settings but for one; where two exclude each other, the planted one is alone."""
    environ = GOOD | {name: text}
    if name == "JOB_ROUTER_CONNECTION_STRING":
        del environ["JOB_ROUTER_ENDPOINT"]
    if name == "ServiceBusConnection":
        del environ["ServiceBusConnection__fullyQualifiedNamespace"]
    return environ


def read(environ: dict[str, str]) -> Settings | SettingsError:
    try:
        return Settings.from_environment(environ)
    except SettingsError as error:
        return error


def shown(value: Any) -> str:
    """Every text that something gives of itself, exceptions with all that they came from."""
    texts = [repr(value), str(value), f"{value:}"]
    if isinstance(value, BaseException):
        texts += traceback.format_exception(value)
        texts.append(repr(value.args))
        texts.append(repr(getattr(value, "service_bus", None)))
    elif is_dataclass(value) and not isinstance(value, ServiceBusSettings):
        texts += [repr(getattr(value, field.name)) for field in fields(value) if field.name != "access_key"]
    return "\n".join(texts)


def assert_no_secret(text: str, planted_text: str) -> None:
    found = [secret for secret in PLANTED if secret.casefold() in text.casefold()]
    assert found == []
    assert planted_text not in text


@planted
def test_no_error_and_no_repr_shows_it(name: str, text: str) -> None:
    assert_no_secret(shown(read(environment(name, text))), text)


@planted
def test_no_error_shows_it_when_everything_else_is_wrong_too(name: str, text: str) -> None:
    error = read({name: text})
    assert isinstance(error, SettingsError)
    assert_no_secret(shown(error), text)


@planted
def test_an_error_names_the_setting(name: str, text: str) -> None:
    error = read(environment(name, text))
    if isinstance(error, SettingsError):
        assert f"{name} " in str(error)


@planted
def test_no_line_no_dead_letter_and_no_copy_shows_it(name: str, text: str, edges: Edges) -> None:
    error = read(environment(name, text))
    if not isinstance(error, SettingsError):
        return
    postpone(message(), "inv-1", error, edges.queue)
    postpone(message(properties=LONG_AGO), "inv-1", error, edges.queue)
    assert len(edges.lines) == 2
    written = (edges.lines, edges.copy.call_args_list, edges.settle.call_args_list)
    assert_no_secret(f"{written}", text)


@planted
def test_no_exception_of_a_message_that_is_given_back_shows_it(name: str, text: str, edges: Edges) -> None:
    error = read(environment(name, text))
    if not isinstance(error, SettingsError):
        return
    edges.copy.side_effect = OSError()
    with pytest.raises(RedeliveryError) as of_postponing:
        postpone(message(), "inv-1", error, edges.queue)
    with pytest.raises(RedeliveryError) as of_holding:
        hold(message(), "inv-1", error, edges.wait)
    assert_no_secret(shown(of_postponing.value) + shown(of_holding.value) + f"{edges.lines}", text)


@planted
@pytest.mark.parametrize("with_job_router", [True, False])
def test_no_finding_of_the_operators_check_shows_it(
    name: str, text: str, with_job_router: bool, mocker: MockerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    environ = environment(name, text)
    # What comes after the settings wants a network: here it is enough that nothing bad is handed to it.
    mocker.patch("ops.doctor._service_bus", side_effect=lambda target, *_: iter([repr(target), target.host]))
    mocker.patch("ops.doctor._job_router", side_effect=lambda settings: settings.endpoint)
    findings = list(
        examine(lambda: Target.from_options(None, None, None, environ), environ, with_job_router=with_job_router)
    )
    assert_no_secret(f"{findings} {caplog.text}", text)


@pytest.mark.parametrize("text", [*TEXTS.values(), PASSWORD], ids=[*TEXTS, "password"])
def test_a_client_that_refuses_an_endpoint_does_not_show_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not|^has no") as caught:
        JobRouterClient(text, AccessKeyAuth(KEY))
    assert_no_secret(shown(caught.value), text)


@pytest.mark.parametrize("text", [*TEXTS.values(), PASSWORD], ids=[*TEXTS, "password"])
def test_an_endpoint_inside_a_connection_string_is_not_shown(text: str) -> None:
    error = read(environment("JOB_ROUTER_CONNECTION_STRING", f"accesskey={KEY};endpoint={text}"))
    assert_no_secret(shown(error), text)
