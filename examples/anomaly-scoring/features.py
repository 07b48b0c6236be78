"""What a log record is to the model: four numbers. Training and scoring share it."""

import math


def features(record):
    """Duration and size on a logarithmic scale, whether the server failed, and how deep the path is."""
    return [
        math.log1p(float(record["duration_ms"])),
        math.log1p(float(record["bytes"])),
        1.0 if int(record["status"]) >= 500 else 0.0,
        float(record["path"].count("/")),
    ]
