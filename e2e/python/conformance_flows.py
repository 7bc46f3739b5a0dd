"""Flows that ask more of the API than those of the flow image; registers them when run."""
import datetime
import json
import time

import prefect
from prefect import Client, Flow, task
from prefect.engine.signals import SUCCESS
from prefect.run_configs import UniversalRun
from prefect.storage import Module


@task
def double(x):
    return 2 * x


@task
def total(numbers):
    if sum(numbers) != 12:
        raise ValueError(numbers)


with Flow("mapped") as mapped:
    total(double.map([1, 2, 3]))

tries = []


@task(max_retries=2, retry_delay=datetime.timedelta(seconds=0))
def third_time_lucky():
    tries.append(1)
    if len(tries) < 3:
        raise ValueError("not yet")


with Flow("retrying") as retrying:
    third_time_lucky()


@task
def wait():
    for _ in range(600):
        time.sleep(0.1)


@task
def never():
    raise SUCCESS("ran although the flow run was cancelled")


with Flow("waiting") as waiting:
    never(upstream_tasks=[wait()])


@task
def use_secret():
    if prefect.context.secrets["TOKEN"] != "s3cret":
        raise ValueError("another secret than Cloud's")


with Flow("secret") as secret:
    use_secret()


def main():
    client = Client()
    client.create_project(project_name="conformance")
    ids = {}
    for flow in (mapped, retrying, waiting, secret):
        flow.storage = Module("conformance_flows", secrets=["TOKEN"] if flow is secret else [])
        flow.run_config = UniversalRun()
        ids[flow.name] = flow.register(project_name="conformance", add_default_labels=False, no_url=True)
    print(json.dumps(ids))


if __name__ == "__main__":
    main()
