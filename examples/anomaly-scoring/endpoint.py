#!/usr/bin/env python3
"""The forest behind HTTP, in the shape of SageMaker's runtime API with the built-in Random Cut Forest algorithm:

    POST /endpoints/NAME/invocations
    {"instances": [{"features": [3.2, 7.5, 0, 2]}, …]}   or text/csv, one point a line
    → {"scores": [{"score": 1.02}, …]}

Listens on 127.0.0.1, prints its address as the first line, and ends when its standard input does.
"""

import json
import os
import pathlib
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from forest import Forest

FOREST = Forest.load(pathlib.Path(__file__).with_name("model.json"))
LONGEST = 6 * 1024 * 1024


def points(kind, body):
    if kind == "text/csv":
        return [[float(x) for x in line.split(",")] for line in body.decode().splitlines() if line]
    return [[float(x) for x in instance["features"]] for instance in json.loads(body)["instances"]]


class Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        if length > LONGEST:
            self.close_connection = True
            return self.answer(413, {"message": f"a body of {length} bytes is above {LONGEST}"})
        body = self.rfile.read(length)
        if not re.fullmatch(r"/endpoints/[A-Za-z0-9-]{1,63}/invocations", self.path):
            return self.answer(404, {"message": f"no such path: {self.path}"})
        try:
            scores = [{"score": FOREST.score(point)} for point in points(self.headers.get("content-type"), body)]
        except (ValueError, KeyError, TypeError) as error:
            return self.answer(400, {"message": f"not a list of points: {error}"})
        return self.answer(200, {"scores": scores})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    server = ThreadingHTTPServer(("127.0.0.1", port), Endpoint)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    if not os.isatty(0):
        threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
