from prefect import Flow, task


@task
def fail():
    raise ValueError("this flow always fails")


with Flow("failing") as flow:
    fail()
