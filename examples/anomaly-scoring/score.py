"""Scores log records, and raises an alert for those that are unlike all others.

Settings: SCORING_ENDPOINT (the endpoint's name), SCORING_URL (where it is; without it the call goes to Amazon SageMaker
through boto3, which Lambda's Python runtimes have), ALERT_ABOVE (the score from which on a record is an alert).
"""

import json
import os
import urllib.request

from features import features

ENDPOINT = os.environ.get("SCORING_ENDPOINT", "access-log-forest")
URL = os.environ.get("SCORING_URL")
ALERT_ABOVE = float(os.environ.get("ALERT_ABOVE", "4"))


def invoke_local(body):
    request = urllib.request.Request(
        f"{URL}/endpoints/{ENDPOINT}/invocations", data=body, headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


def sagemaker():
    import boto3

    client = boto3.client("sagemaker-runtime")

    def invoke(body):
        answer = client.invoke_endpoint(EndpointName=ENDPOINT, ContentType="application/json", Body=body)
        return answer["Body"].read()

    return invoke


invoke = invoke_local if URL else sagemaker()


def handler(event, context):
    # One call to the model for the whole batch. What fails here fails the batch, and the connector tries again.
    records = [item["payload"] for item in event]
    instances = [{"features": features(record["value"])} for record in records]
    scores = json.loads(invoke(json.dumps({"instances": instances}).encode()))["scores"]
    alerts = 0
    for record, score in zip(records, scores, strict=True):
        if score["score"] > ALERT_ABOVE:
            alerts += 1
            value = record["value"]
            where = f'{record["topic"]}-{record["partition"]}@{record["offset"]}'
            print(f'ALERT score {score["score"]:.2f} {value["host"]} {value["path"]} ({where})')
    return {"scored": len(scores), "alerts": alerts}
