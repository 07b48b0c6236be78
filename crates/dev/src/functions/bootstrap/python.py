# Runs a Python handler against Lambda's Runtime API, in place of Lambda's own runtime client.
# Arguments: the handler's file and the name of the function in it. The working directory is the task root.
import sys

# Files of the task must not stand in for modules that this program needs.
if sys.path and sys.path[0] == "":
    del sys.path[0]

import http.client
import importlib
import json
import logging
import os
import time
import traceback

API = "/2018-06-01/runtime/"
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])


def call(method, path, body=None, kind=None):
    headers = {"Content-Type": "application/json"}
    if kind:
        headers["Lambda-Runtime-Function-Error-Type"] = kind
    connection.request(method, API + path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def document(kind, message, trace, request_id):
    error = {"errorMessage": message, "errorType": kind, "requestId": request_id, "stackTrace": trace}
    return json.dumps(error).encode()


def frames(error):
    # Neither this program nor the import machinery helps to find the fault.
    hidden = ('  File "<string>"', '  File "<frozen importlib')
    trace = traceback.extract_tb(error.__traceback__)
    return [frame for frame in traceback.format_list(trace) if not frame.startswith(hidden)]


def show(kind, message, trace):
    text = "[ERROR] %s: %s\n" % (kind, message)
    if trace:
        text += "Traceback (most recent call last):\n" + "".join(trace)
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def load(file, name):
    """The handler, or type, message and trace of why there is none."""
    root = os.getcwd()
    module = os.path.splitext(os.path.relpath(file, root))[0].replace(os.sep, ".")
    if module.endswith(".__init__"):
        module = module[: -len(".__init__")]
    sys.path.insert(0, root)
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        message = "Unable to import module '%s': %s" % (module, error)
        return None, ("Runtime.ImportModuleError", message, frames(error))
    except SyntaxError as error:
        message = "Syntax error in module '%s': %s" % (module, error)
        place = '  File "%s" Line %s\n    %s' % (error.filename, error.lineno, (error.text or "").strip())
        return None, ("Runtime.UserCodeSyntaxError", message, [place])
    except Exception as error:
        return None, (type(error).__name__, str(error), frames(error))
    handler = getattr(loaded, name, None)
    if handler is None:
        return None, ("Runtime.HandlerNotFound", "Handler '%s' missing on module '%s'" % (name, module), [])
    if not callable(handler):
        return None, ("Runtime.HandlerNotFound", "'%s' of module '%s' is not callable" % (name, module), [])
    return handler, None


class Attributes:
    def __init__(self, values):
        self.__dict__.update(values)

    def __repr__(self):
        return "%s(%r)" % (type(self).__name__, self.__dict__)


class ClientContext(Attributes):
    def __init__(self, values):
        client = values.get("client") or {}
        names = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")
        super().__init__(
            {
                "custom": values.get("custom"),
                "env": values.get("env"),
                "client": Attributes({name: client.get(name) for name in names}),
            }
        )


class LambdaContext(Attributes):
    def __init__(self, headers):
        environment = os.environ
        client = headers.get("Lambda-Runtime-Client-Context")
        super().__init__(
            {
                "aws_request_id": headers["Lambda-Runtime-Aws-Request-Id"],
                "invoked_function_arn": headers["Lambda-Runtime-Invoked-Function-Arn"],
                "function_name": environment["AWS_LAMBDA_FUNCTION_NAME"],
                "function_version": environment["AWS_LAMBDA_FUNCTION_VERSION"],
                "memory_limit_in_mb": environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"],
                "log_group_name": environment["AWS_LAMBDA_LOG_GROUP_NAME"],
                "log_stream_name": environment["AWS_LAMBDA_LOG_STREAM_NAME"],
                "client_context": ClientContext(json.loads(client)) if client else None,
                "identity": Attributes({"cognito_identity_id": None, "cognito_identity_pool_id": None}),
                "tenant_id": None,
                "_deadline_ms": int(headers["Lambda-Runtime-Deadline-Ms"]),
            }
        )

    def get_remaining_time_in_millis(self):
        return max(self._deadline_ms - int(time.time() * 1000), 0)


class LogHandler(logging.Handler):
    """Lines as Lambda writes them: level, time, request id, text."""

    request_id = ""

    def emit(self, record):
        record.aws_request_id = self.request_id
        sys.stdout.write(self.format(record) + "\n")


def set_up_log():
    log = LogHandler()
    form = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s"
    formatter = logging.Formatter(form, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    log.setFormatter(formatter)
    logging.getLogger().addHandler(log)
    return log


def plain(value):
    if type(value).__name__ == "Decimal":
        return float(value)
    raise TypeError("Object of type %s is not JSON serializable" % type(value).__name__)


def run(handler, headers, body):
    """The answer, or type, message and trace of the failure."""
    try:
        event = json.loads(body)
    except ValueError as error:
        return None, ("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % error, [])
    try:
        result = handler(event, LambdaContext(headers))
    except Exception as error:
        return None, (type(error).__name__, str(error), frames(error))
    try:
        return json.dumps(result, ensure_ascii=False, default=plain).encode(), None
    except (TypeError, ValueError) as error:
        return None, ("Runtime.MarshalError", "Unable to marshal response: %s" % error, [])


def main():
    log = set_up_log()
    handler, failure = load(*sys.argv[1:3])
    if failure:
        show(*failure)
        call("POST", "init/error", document(*failure, ""), failure[0])
        sys.exit(1)
    while True:
        status, headers, body = call("GET", "invocation/next")
        if status != 200:
            sys.exit("the Runtime API answered %d" % status)
        request_id = log.request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        os.environ["_X_AMZN_TRACE_ID"] = headers.get("Lambda-Runtime-Trace-Id", "")
        result, failure = run(handler, headers, body)
        if failure:
            show(*failure)
            error = document(*failure, request_id)
            call("POST", "invocation/%s/error" % request_id, error, failure[0])
        else:
            sys.stdout.flush()
            sys.stderr.flush()
            call("POST", "invocation/%s/response" % request_id, result)


main()
