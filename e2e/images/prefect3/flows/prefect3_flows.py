"""Flows of the end-to-end tests and the demo; a deployment's entrypoint is prefect3_flows.py:NAME."""

import time

from prefect import flow


@flow(log_prints=True)
def hello(name: str = "nobody"):
    print(f"hello from a flow run to {name}")


@flow(log_prints=True)
def slow(seconds: int = 10):
    print(f"this flow takes {seconds} s")
    for _ in range(seconds):
        time.sleep(1)


@flow
def greedy():
    held = []
    while True:
        held.append(bytearray(16 << 20))
