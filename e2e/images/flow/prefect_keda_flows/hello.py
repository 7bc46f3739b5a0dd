from prefect import Flow, task


@task
def say_hello():
    print("hello from a flow run")


with Flow("hello") as flow:
    say_hello()
