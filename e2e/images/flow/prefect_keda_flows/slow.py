import time

from prefect import Flow, Parameter, task


@task
def wait(seconds):
    time.sleep(seconds)


with Flow("slow") as flow:
    wait(Parameter("seconds", default=10))
