"""The peer: an operator as Kopf's documentation shows one, that starts the next Job when one completes.

    kopf run bare_operator.py --namespace NAMESPACE

It uses the synchronous client of the `kubernetes` package, as Kopf's examples do.
"""

import kopf
import kubernetes


@kopf.on.field("batch", "v1", "jobs", field="status.succeeded", new=1, labels={"chain": kopf.PRESENT})
def create_the_next(body, name, namespace, **_):
    chain, number = name.rsplit("-", 1)
    if int(number) >= int(body["metadata"]["labels"]["chain"]):
        return
    spec = {key: value for key, value in body["spec"].items() if key in ("backoffLimit", "template")}
    for label in ("controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name"):
        spec["template"]["metadata"]["labels"].pop(label, None)
    metadata = {"name": f"{chain}-{int(number) + 1}", "labels": dict(body["metadata"]["labels"])}
    kubernetes.client.BatchV1Api().create_namespaced_job(namespace, {"metadata": metadata, "spec": spec})
