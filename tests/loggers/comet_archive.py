"""Reads the archive that Comet writes for an experiment that is offline."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any


def content(folder: Path) -> dict[str, Any]:
    """What the one archive in ``folder`` holds, without what Comet logs by itself."""
    (path,) = folder.glob("*.zip")
    found: dict[str, Any] = {"metrics": [], "params": {}, "graph": None, "others": {}, "uploads": [], "key": None}
    with zipfile.ZipFile(path) as archive:
        found["key"] = json.loads(archive.read("experiment.json"))["offline_id"]
        for line in archive.read("messages.json").decode().splitlines():
            message = json.loads(line)
            kind, payload = message["type"], message["payload"]
            if kind == "metric_msg":
                metric = payload["metric"]
                if not metric["metricName"].startswith(("sys.", "process ")):
                    row = (metric["metricName"], metric["metricValue"], metric["step"], metric["epoch"])
                    found["metrics"].append(row)
            elif kind == "parameter_msg":
                param = payload.get("param") or payload["params"]
                if param["source"] == "manual":
                    found["params"][param["paramName"]] = param["paramValue"]
            elif kind == "graph":
                found["graph"] = payload["graph"]
            elif kind == "log_other":
                found["others"][payload["key"]] = payload["value"]
            elif kind == "file_upload":
                found["uploads"].append((payload["upload_type"], payload["additional_params"].get("fileName")))
    return found
