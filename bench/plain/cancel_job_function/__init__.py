"""Cancel the job that a message names. Whatever raises, the host abandons the message and it is delivered again."""

import json
import logging
import os

import azure.functions as func
from azure.communication.jobrouter import JobRouterClient

client = JobRouterClient.from_connection_string(os.environ["JOB_ROUTER_CONNECTION_STRING"])


def main(message: func.ServiceBusMessage, context: func.Context) -> None:
    job_id = json.loads(message.get_body())["jobId"]
    client.cancel_job(job_id)
    logging.info("Job %s cancelled (%s)", job_id, context.invocation_id)
