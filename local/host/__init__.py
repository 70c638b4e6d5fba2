"""A stand-in for the Azure Functions host: runs a v1 function app on a Service Bus queue trigger, for development."""

from local.host.configuration import ConfigurationError
from local.host.host import FunctionsHost, InvocationResult

__all__ = ["ConfigurationError", "FunctionsHost", "InvocationResult"]
