"""What the comparisons share: running both sides, medians, and the head of a page of results."""
import json
import os
import platform
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SPINDLE = os.path.join(ROOT, ".build/release/spindle")


def raw_program(name):
    return os.path.join(ROOT, "Benchmarks/Raw/build", name)


def lines(command, allowed=(0,)):
    """Runs a program and gives the JSON objects that it prints, one a line."""
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode not in allowed:
        sys.exit(f"{' '.join(command)}: {result.stderr.strip()}")
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def median(rows, key):
    """The median of a key, or of what a function makes of each row."""
    value = key if callable(key) else lambda row: row[key]
    return statistics.median(value(row) for row in rows)


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{os.cpu_count()} cores, {model}, Linux {platform.release().split('-')[0]}"


def commit():
    return subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"],
                          capture_output=True, text=True).stdout.strip()
