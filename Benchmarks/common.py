"""What the comparisons share: running both sides, medians, and the head of a page of results."""
import glob
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


def values(rows, key):
    """A key of each row, or what a function makes of it."""
    value = key if callable(key) else lambda row: row[key]
    return [value(row) for row in rows]


def median(rows, key):
    return statistics.median(values(rows, key))


def spread(found, form="{:.2f}"):
    """The median of numbers, with the least and the greatest where there are several."""
    text = form.format(statistics.median(found))
    least, most = form.format(min(found)), form.format(max(found))
    return text if least == most else f"{text} ({least}-{most})"


def first_field(path, name):
    """What a file of /proc says behind a name and a colon."""
    with open(path) as info:
        for line in info:
            if line.split(":", 1)[0].strip() == name:
                return line.split(":", 1)[1].strip()
    return "unknown"


def file_system(directory):
    """The file system of a directory and the kind of device it is on."""
    device = os.stat(directory).st_dev
    found = ("unknown file system", "")
    with open("/proc/self/mountinfo") as mounts:
        for line in mounts:
            mount, kind = line.split(" - ", 1)
            if mount.split()[2] == f"{os.major(device)}:{os.minor(device)}":
                found = (kind.split()[0], os.path.basename(kind.split()[1]))
    node = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"
    # Of a partition the disk is the directory above.
    for disk in (node, os.path.join(node, "..")):
        rotates = glob.glob(os.path.join(disk, "queue/rotational"))
        if rotates:
            with open(rotates[0]) as flag:
                sort = "rotating disk" if flag.read().strip() == "1" else "solid state disk"
            if found[1].startswith("vd"):
                sort = "virtual disk"
            return f"{found[0]} on a {sort}"
    return found[0]


def machine(directory="."):
    """Cores, processor, memory, disk, kernel and the RocksDB that both sides are linked to."""
    memory = int(first_field("/proc/meminfo", "MemTotal").split()[0]) / 2**20
    rocksdb = subprocess.run(["pkg-config", "--modversion", "rocksdb"], capture_output=True,
                             text=True).stdout.strip() or "unknown"
    return (f"{os.cpu_count()} cores, {first_field('/proc/cpuinfo', 'model name')}, "
            f"{memory:.0f} GiB of memory, {file_system(directory)}, Linux {platform.release()}, "
            f"RocksDB {rocksdb}")


def commit():
    return subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"],
                          capture_output=True, text=True).stdout.strip()
