# Calls functions with boto3 as its users do. Argument: the endpoint. Prints one JSON document of what came back.
import json, sys
import boto3
from botocore.config import Config

session = boto3.Session(aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1")
client = session.client("lambda", endpoint_url=sys.argv[1], config=Config(retries={"max_attempts": 0}))


def invoke(**arguments):
    answer = client.invoke(**arguments)
    payload = answer["Payload"].read().decode()
    names = ("StatusCode", "FunctionError", "ExecutedVersion")
    found = {name: answer[name] for name in names if name in answer}
    return {**found, "Payload": json.loads(payload) if payload else None, "LogResult": "LogResult" in answer}


def failed(call, **arguments):
    try:
        call(**arguments)
    except client.exceptions.ClientError as error:
        answer = error.response
        return [type(error).__name__, answer["ResponseMetadata"]["HTTPStatusCode"], answer.get("Reason"), answer["Error"]["Message"]]


print(json.dumps({
    "sync": invoke(FunctionName="echo", Payload=b'{"a":1}', LogType="Tail"),
    "alias": invoke(FunctionName="echo:prod", Payload=b"1"),
    "qualifier": invoke(FunctionName="echo", Qualifier="1", Payload=b"1"),
    "event": invoke(FunctionName="echo", InvocationType="Event", Payload=b"2"),
    "dry": invoke(FunctionName="echo", InvocationType="DryRun"),
    "error": invoke(FunctionName="echo", Payload=b'"fail"'),
    "missing": failed(client.invoke, FunctionName="none"),
    "off": failed(client.invoke, FunctionName="off"),
    "json": failed(client.invoke, FunctionName="echo", Payload=b"{"),
    "large": failed(client.invoke, FunctionName="echo", InvocationType="Event", Payload=b'"' + b"x" * 1048575 + b'"'),
    "list": [function["FunctionName"] for function in client.list_functions()["Functions"]],
    "timeout": client.get_function(FunctionName="echo")["Configuration"]["Timeout"],
    "alias of": client.get_alias(FunctionName="echo", Name="prod")["FunctionVersion"],
}))
