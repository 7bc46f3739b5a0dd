"""Registers every flow with PREFECT__CLOUD__API and prints {"name": "flow id"} as the last line."""

import importlib
import json
import os

from prefect import Client
from prefect.run_configs import KubernetesRun
from prefect.storage import Module

PROJECT = "prefect-keda"


def main():
    client = Client()
    client.create_project(project_name=PROJECT)
    ids = {}
    for name in ("hello", "slow", "failing"):
        module = f"prefect_keda_flows.{name}"
        flow = importlib.import_module(module).flow
        flow.storage = Module(module)
        flow.run_config = KubernetesRun(image=os.environ["FLOW_IMAGE"], image_pull_policy="IfNotPresent")
        ids[name] = flow.register(project_name=PROJECT, add_default_labels=False, no_url=True)
    print(json.dumps(ids))


if __name__ == "__main__":
    main()
