"""Cancel the job that a message names; a message that can never succeed goes to a queue of failures.

A way to sign in for every setting, and everything imported at the top, as one writes it.
"""

import json
import logging
import os

import azure.functions as func
from azure.communication.jobrouter import JobRouterClient
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import ResourceNotFoundError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy
from azure.identity import DefaultAzureCredential
from azure.servicebus import ServiceBusClient, ServiceBusMessage

if "JOB_ROUTER_CONNECTION_STRING" in os.environ:
    client = JobRouterClient.from_connection_string(os.environ["JOB_ROUTER_CONNECTION_STRING"])
else:
    # As in bench/plain_entra: the client takes no token credential.
    token = BearerTokenCredentialPolicy(DefaultAzureCredential(), "https://communication.azure.com//.default")
    client = JobRouterClient(
        os.environ["JOB_ROUTER_ENDPOINT"], AzureKeyCredential("bm90IHVzZWQ="), custom_hook_policy=token
    )
service_bus = ServiceBusClient.from_connection_string(os.environ["ServiceBusConnection"])  # noqa: SIM112  # the host's spelling


def main(message: func.ServiceBusMessage, context: func.Context) -> None:
    try:
        job_id = json.loads(message.get_body())["jobId"]
        client.cancel_job(job_id)
    except (ValueError, KeyError, ResourceNotFoundError) as error:
        with service_bus.get_queue_sender(f"{os.environ['CANCELLATION_QUEUE_NAME']}-failed") as sender:
            sender.send_messages(ServiceBusMessage(message.get_body(), subject=type(error).__name__))
        return
    logging.info("Job %s cancelled (%s)", job_id, context.invocation_id)
