#!/usr/bin/env python3
"""The one question that a consumer asks a Schema Registry, answered for order.avsc: GET /schemas/ids/1.

Listens on 127.0.0.1, prints its address as the first line, and ends when its standard input does. With a registry of your
own, set `value.converter.schema.registry.url` and leave this out.
"""

import json
import os
import pathlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SCHEMA = pathlib.Path(__file__).with_name("order.avsc").read_text(encoding="utf-8")


class Registry(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.partition("?")[0] == "/schemas/ids/1":
            return self.answer(200, {"schema": SCHEMA})
        return self.answer(404, {"error_code": 40403, "message": f"Schema {self.path.rpartition('/')[2]} not found"})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/vnd.schemaregistry.v1+json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    server = ThreadingHTTPServer(("127.0.0.1", port), Registry)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    if not os.isatty(0):
        threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
