"""Has the real agent render Jobs: reads cases as JSON lines, writes Jobs or errors as JSON lines.

A case holds the agent's settings as its constructor and its environment take them, config settings,
and the flow run as the API returns it.
"""
import json
import logging
import os
import sys

from kubernetes.client import ApiClient
from prefect.agent.kubernetes import KubernetesAgent
from prefect.utilities.collections import as_nested_dict
from prefect.utilities.configuration import set_temporary_config
from prefect.utilities.graphql import GraphQLResult


def render(case):
    os.environ.pop("SERVICE_ACCOUNT_NAME", None)
    os.environ.update(case["environ"])
    with set_temporary_config(case["config"]):
        agent = KubernetesAgent(**case["agent"])
        job = agent.generate_job_spec(as_nested_dict(case["run"], GraphQLResult))
        return ApiClient().sanitize_for_serialization(job)  # as it is done when a Job is created


def main():
    logging.disable(logging.CRITICAL)
    for line in sys.stdin:
        try:
            answer = {"job": render(json.loads(line))}
            text = json.dumps(answer)
        except Exception as e:
            text = json.dumps({"error": str(e), "type": type(e).__name__})
        print(text, flush=True)


if __name__ == "__main__":
    main()
