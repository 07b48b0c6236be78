#!/usr/bin/env python3
"""Makes model.json from log records of a normal day, and records.jsonl: such records with three that are not normal.

Both files are in the repository; run this to see how they came about, or with your own logs:
    train.py access-log.jsonl > model.json
"""

import json
import random
import sys

from features import features
from forest import model_of

PATHS = ["/", "/orders", "/orders/{n}", "/orders/{n}/items", "/customers/{n}", "/search"]


def normal(rng, second):
    return {
        "at": f"2026-03-02T10:{second // 60:02}:{second % 60:02}Z",
        "host": f"web-{rng.randint(1, 4)}",
        "path": rng.choice(PATHS).replace("{n}", str(rng.randint(1, 9999))),
        "status": rng.choices([200, 201, 404, 500], weights=[90, 6, 3, 1])[0],
        "bytes": int(rng.lognormvariate(7.5, 0.6)),
        "duration_ms": round(rng.lognormvariate(3.2, 0.5), 1),
    }


STRANGE = {
    20: {"path": "/search", "status": 200, "bytes": 48_000_000, "duration_ms": 31_000.0},
    37: {"path": "/orders/../../../../etc/passwd/x/y/z", "status": 500, "bytes": 12, "duration_ms": 0.4},
    55: {"path": "/orders", "status": 503, "bytes": 0, "duration_ms": 60_000.0},
}


def main():
    if len(sys.argv) > 1:
        with open(sys.argv[1], encoding="utf-8") as file:
            json.dump(model_of([features(json.loads(line)) for line in file]), sys.stdout)
        return
    rng = random.Random(1)
    with open("model.json", "w", encoding="utf-8") as file:
        json.dump(model_of([features(normal(rng, second)) for second in range(400)]), file)
        file.write("\n")
    with open("records.jsonl", "w", encoding="utf-8") as file:
        for second in range(60):
            record = normal(rng, second) | STRANGE.get(second, {})
            file.write(json.dumps({"key": record["host"], "value": record}) + "\n")


if __name__ == "__main__":
    main()
