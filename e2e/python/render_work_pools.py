"""Has the real Prefect 3 worker render Jobs: reads cases as JSON lines, writes Jobs or errors as JSON lines.

A case holds flow_run, flow, deployment, work_pool, block_documents, variables and the worker's environ.
"""
import asyncio
import json
import logging
import os
import sys

from prefect.client.schemas.objects import BlockDocument, Flow, FlowRun, Variable, WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect_kubernetes.worker import KubernetesWorker, KubernetesWorkerJobConfiguration


class Client:
    """What rendering asks of the API, answered from a case."""

    def __init__(self, case):
        self.case = case

    async def read_flow(self, flow_id):
        return Flow.model_validate(self.case["flow"])

    def block(self, key):
        for document in self.case.get("block_documents") or []:
            if key in (document["id"], f"{document['block_type_slug']}/{document['name']}"):
                return BlockDocument.model_construct(id=document["id"], name=document["name"], data=document["data"])
        raise ObjectNotFound(Exception(f"no block {key}"))

    async def read_block_document(self, block_document_id, include_secrets=True):
        return self.block(str(block_document_id))

    async def read_block_document_by_name(self, name, block_type_slug, include_secrets=True):
        return self.block(f"{block_type_slug}/{name}")

    async def read_variable_by_name(self, name):
        variables = self.case.get("variables") or {}
        return Variable.model_construct(name=name, value=variables[name]) if name in variables else None


async def render(case):
    before = dict(os.environ)
    os.environ.update(case.get("environ") or {})
    try:
        deployment = case.get("deployment")
        configuration = await KubernetesWorkerJobConfiguration.resolve_for_flow_run(
            FlowRun.model_validate(case["flow_run"]),
            client=Client(case),
            work_pool=WorkPool.model_validate(case["work_pool"]),
            worker_name="prefect-keda",
            deployment=deployment and DeploymentResponse.model_validate(deployment),
        )
        return {"job": configuration.job_manifest, "namespace": configuration.namespace}
    finally:
        os.environ.clear()
        os.environ.update(before)


async def main():
    logging.disable(logging.CRITICAL)
    if "--default-template" in sys.argv:
        print(json.dumps(KubernetesWorker.get_default_base_job_template()))
        return
    for line in sys.stdin:
        try:
            answer = await render(json.loads(line))
        except Exception as e:
            answer = {"error": str(e), "type": type(e).__name__}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
