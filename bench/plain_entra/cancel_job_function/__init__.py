"""Cancel the job that a message names. Whatever raises, the host abandons the message and it is delivered again."""

import json
import logging
import os

import azure.functions as func
from azure.communication.jobrouter import JobRouterClient
from azure.core.credentials import AzureKeyCredential
from azure.core.pipeline.policies import BearerTokenCredentialPolicy
from azure.identity import DefaultAzureCredential

# JobRouterClient 1.0.0 takes no token credential, only a key: azure-core's own policy, which comes after that of the
# key, replaces the signature by a token.
token = BearerTokenCredentialPolicy(DefaultAzureCredential(), "https://communication.azure.com//.default")
client = JobRouterClient(
    os.environ["JOB_ROUTER_ENDPOINT"], AzureKeyCredential("bm90IHVzZWQ="), custom_hook_policy=token
)


def main(message: func.ServiceBusMessage, context: func.Context) -> None:
    job_id = json.loads(message.get_body())["jobId"]
    client.cancel_job(job_id)
    logging.info("Job %s cancelled (%s)", job_id, context.invocation_id)
