"""The goals of the spool's comparison, and which runs they are measured by."""
from dataclasses import dataclass, field

SIZES = [256, 1024, 4096, 65536]

# Records a batch of the ceiling of many buffered callers: as many as Spindle writes together.
COALESCED = 16

# Bytes written for each byte stored, by MiB of the live set.
CHURN_GOALS = {16: 1.3, 125: 1.5, 1024: 2.2}

# Why a speed is below plain RocksDB's, by job. What can be told in figures stands beside it.
REASONS = {
    "store": "each call also passes the gates, notes its id against drain workers, watches the "
             "log's file for failures and is asynchronous; the smaller the message, the more of "
             "the call that is",
    "store, many": "what several callers write together costs little more than one write, but each "
                   "caller is suspended and resumed, and the memtable takes the records one by one",
    "synced": "the disk's sync decides; the rest is the way to the thread that syncs and back",
    "fsyncs": "callers that were just resumed come too late for the next sync and share the one "
              "after it",
    "load": "each call is also counted, and asynchronous; to ask memory alone costs nothing",
    "enumerate": "the messages pass a bounded channel from the walking thread to their readers, "
                 "which the plain iterator has not; to wake a reader on an idle processor takes "
                 "this machine up to 0.1 ms",
}


@dataclass
class Run:
    """One row of the table of speed."""
    job: str
    size: int
    callers: int = 1
    # The raw program's job where it has another name.
    raw: str = ""
    options: list = field(default_factory=list)
    flags: list = field(default_factory=list)
    goal: float = 0
    stretch: float = 0
    most_syncs: float = 0
    # Job and options of the raw program that show what can be reached at most, by one that has
    # the same promises to keep.
    ceiling: list = field(default_factory=list)
    note: str = ""

    @property
    def raw_job(self):
        return self.raw or self.job

    @property
    def job_name(self):
        name = self.job if self.raw_job == self.job else f"{self.job} / {self.raw_job}"
        return name + self.note

    @property
    def name(self):
        callers = "1 caller" if self.callers == 1 else f"{self.callers} callers"
        return f"{self.job}{self.note}, {self.size} bytes, {callers}"

    @property
    def goal_text(self):
        if not self.goal:
            return ""
        stretch = f" (stretch {self.stretch})" if self.stretch else ""
        of_one = ", of one caller" if self.job == "store" and self.callers > 1 else ""
        return f">= {self.goal}{of_one}{stretch}"

    @property
    def reason(self):
        if self.job == "store" and self.callers > 1:
            return REASONS["store, many"]
        return REASONS[self.job.removesuffix("-borrowed")]


def speed_runs(drops_caches):
    for size in SIZES:
        few = ["--ops", "8192"] if size > 4096 else []
        yield Run("store", size, options=few, goal=0.95 if size <= 4096 else 0)
    for size in SIZES[:3]:
        # The base is one caller of RocksDB, whatever the number of ours.
        yield Run("store", size, 64, goal=2 if size <= 1024 else 0,
                  ceiling=["store", "--per-batch", str(COALESCED)])
    for callers in [1, 16, 64]:
        for size in SIZES[:3]:
            goal, stretch = {(64, 1024): (2, 3.5), (64, 4096): (1.5, 2.5)}.get(
                (callers, size), (0.9 if callers == 1 else 0, 0))
            yield Run("synced", size, callers, options=["--seconds", "3"], goal=goal,
                      stretch=stretch, most_syncs=0.03 if callers == 64 else 0,
                      ceiling=["synced-handed"] if callers == 1 else [])
    for size in SIZES:
        yield Run("load-borrowed", size, goal=0.95, ceiling=["load-borrowed-cached"])
        yield Run("load", size, raw="load-copied", goal=0.85, ceiling=["load-copied-cached"])
    for size in SIZES:
        few = ["--ops", "50000" if size <= 4096 else "8192", "--seconds", "3"]
        yield Run("load-cold", size, options=few, note=", page cache warm",
                  ceiling=["load-cold-handed"])
        if drops_caches:
            yield Run("load-cold", size, options=few, flags=["--drop-caches"],
                      note=", page cache dropped", ceiling=["load-cold-handed"])
    for callers in [1, 8]:
        yield Run("enumerate", 500, callers, options=["--ops", "1000000"], goal=0.95,
                  ceiling=["enumerate-handed"])
    yield Run("remove", 1024)


class Goals:
    """What was promised, what was measured, and why that is too little where it is."""

    def __init__(self):
        self.rows = []
        self.failed_bounds = []

    def __str__(self):
        missed = sum(not row[3] for row in self.rows)
        text = [f"## Goals\n\n{len(self.rows) - missed} of {len(self.rows)} are met.\n",
                "| what | measured | goal | | where missed: why |", "|---|---|---|---|---|"]
        for what, measured, goal, is_met, why in self.rows:
            text.append(f"| {what} | {measured} | {goal} | {verdict(is_met)} | "
                        f"{'' if is_met else why} |")
        return "\n".join(text) + "\n"

    def add(self, what, measured, goal, is_met, why=""):
        self.rows.append((what, measured, goal, is_met, why))
        return verdict(is_met)

    def bound(self, what, measured, bound, is_met):
        if not is_met:
            self.failed_bounds.append(f"{what}: {measured}, expected {bound}")
        return self.add(what, measured, bound, is_met, "a bound: this fails the run")

    def at_most(self, what, measured, most, form, why=""):
        return self.add(what, form.format(measured), "<= " + form.format(most), measured <= most,
                        why)

    def speed(self, run, ratio, ceiling):
        why = run.reason
        if ceiling:
            does = {"store": f"with {COALESCED} records a batch",
                    "enumerate": "with what it reads handed to another thread",
                    "load": "asked of memory alone, as its C interface does,"}.get(
                        run.job.removesuffix("-borrowed"),
                        "with each call handed to another thread and awaited")
            why += f"; plain RocksDB {does} reaches {ceiling}"
        found = f"{ratio:.2f} x RocksDB"
        if run.stretch and ratio >= run.stretch:
            found += ", the stretch too"
        return self.add(run.name, found, run.goal_text, ratio >= run.goal, why)

    def churn(self, what, shares, most):
        mine, theirs = (sorted(share)[len(share) // 2] for share in shares)
        why = (f"plain RocksDB writes {theirs:.2f} with the same options: a memtable is half of the "
               "write buffers, so that memory stays within them while one is flushed; with 512 MiB "
               "of them or blob files less is written")
        return self.at_most(what + ": bytes written a byte", mine, most, "{:.3f}", why)


def verdict(is_met):
    return "met" if is_met else "**missed**"
