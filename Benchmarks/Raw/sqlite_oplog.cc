// The same log in SQLite: one table of entries clustered on (peer, index), one of cells, one row for
// the clock. WAL mode, prepared statements; synchronous=NORMAL, and FULL for the synced job.

#include <sqlite3.h>

#include <memory>
#include <mutex>

#include "raw_oplog_entries.h"

namespace {

class Statement;

class SQLite {
 public:
  SQLite(const std::string& parent, bool is_synced) : directory_(parent) {
    const std::string path = directory_.path() + "/log.db";
    if (sqlite3_open(path.c_str(), &db_) != SQLITE_OK) Fail();
    Run("PRAGMA journal_mode=WAL");
    Run(is_synced ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
    // As much cache as RocksDB gets for blocks and memtables together.
    Run("PRAGMA cache_size=-327680");
    Run("CREATE TABLE oplog (peer_id BLOB NOT NULL, entry_idx INTEGER NOT NULL, "
        "server_user_id BLOB, ts INTEGER NOT NULL, tag INTEGER NOT NULL, index_key BLOB, "
        "index_value BLOB, chain BLOB, PRIMARY KEY (peer_id, entry_idx)) WITHOUT ROWID");
    Run("CREATE TABLE cells (cell BLOB PRIMARY KEY, ts INTEGER NOT NULL, value BLOB) "
        "WITHOUT ROWID");
    Run("CREATE TABLE hlc (id INTEGER PRIMARY KEY CHECK (id = 1), ts INTEGER NOT NULL)");
    Run("INSERT INTO hlc VALUES (1, 0)");
  }

  ~SQLite() { sqlite3_close(db_); }
  SQLite(const SQLite&) = delete;
  SQLite& operator=(const SQLite&) = delete;

  void Run(const char* sql) {
    if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) Fail();
  }

  [[noreturn]] void Fail() const { throw std::runtime_error(sqlite3_errmsg(db_)); }

  sqlite3* handle() const { return db_; }

 private:
  // Destroyed after the connection is closed.
  const TemporaryDirectory directory_;
  sqlite3* db_ = nullptr;
};

class Statement {
 public:
  Statement(SQLite& db, const char* sql) : db_(db) {
    if (sqlite3_prepare_v3(db.handle(), sql, -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr) !=
        SQLITE_OK) {
      db.Fail();
    }
  }

  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  void Bind(int at, const rocksdb::Slice& bytes) {
    if (sqlite3_bind_blob(statement_, at, bytes.data(), static_cast<int>(bytes.size()),
                          SQLITE_STATIC) != SQLITE_OK) {
      db_.Fail();
    }
  }

  void Bind(int at, uint64_t number) {
    if (sqlite3_bind_int64(statement_, at, static_cast<sqlite3_int64>(number)) != SQLITE_OK) {
      db_.Fail();
    }
  }

  // Whether there is a row.
  bool Step() {
    const int status = sqlite3_step(statement_);
    if (status == SQLITE_ROW) return true;
    if (status != SQLITE_DONE) db_.Fail();
    return false;
  }

  void Finish() {
    Step();
    Reset();
  }

  void Reset() { sqlite3_reset(statement_); }
  uint64_t Number(int at) { return static_cast<uint64_t>(sqlite3_column_int64(statement_, at)); }

  std::string Bytes(int at) {
    const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, at));
    const auto count = static_cast<size_t>(sqlite3_column_bytes(statement_, at));
    return count == 0 ? std::string() : std::string(bytes, count);
  }

 private:
  SQLite& db_;
  sqlite3_stmt* statement_ = nullptr;
};

class Log {
 public:
  Log(SQLite& db, const OpLogRun& run)
      : values_(run.value_bytes, 7), cells_(run.cells),
        begin_(db, "BEGIN IMMEDIATE"), commit_(db, "COMMIT"),
        row_(db, "INSERT INTO oplog VALUES (?1, ?2, NULL, ?3, 1, ?4, ?5, ?6)"),
        cell_(db, "INSERT INTO cells VALUES (?1, ?2, ?3) ON CONFLICT (cell) DO UPDATE SET "
                  "ts = excluded.ts, value = excluded.value WHERE excluded.ts > ts"),
        stamp_(db, "UPDATE hlc SET ts = max(ts, ?1) WHERE id = 1") {}

  void Begin() { begin_.Finish(); }

  void Add(const char* peer, LogEnd& end, uint64_t number) {
    const auto cell = CellNumber(number % cells_);
    const rocksdb::Slice cell_key(cell.data(), cell.size());
    const rocksdb::Slice value = values_.Value(number);
    const uint64_t timestamp = ++clock_;
    const Hash head = Link(end.head, peer, end.next, timestamp, cell.data(), value);
    row_.Bind(1, rocksdb::Slice(peer, kPeerBytes));
    row_.Bind(2, end.next);
    row_.Bind(3, timestamp);
    row_.Bind(4, cell_key);
    row_.Bind(5, value);
    row_.Bind(6, rocksdb::Slice(head.data(), head.size()));
    row_.Finish();
    cell_.Bind(1, cell_key);
    cell_.Bind(2, timestamp);
    cell_.Bind(3, value);
    cell_.Finish();
    end.next += 1;
    end.head = head;
  }

  void Commit() {
    stamp_.Bind(1, clock_);
    stamp_.Finish();
    commit_.Finish();
  }

  void Fill(const char* peer, uint64_t count) {
    LogEnd end;
    Begin();
    for (uint64_t number = 0; number < count; number++) Add(peer, end, number);
    Commit();
  }

 private:
  const ValuePool values_;
  const uint64_t cells_;
  Statement begin_, commit_, row_, cell_, stamp_;
  uint64_t clock_ = 0;
};

void RunApply(const OpLogRun& run) {
  SQLite db(run.dir, false);
  Log log(db, run);
  std::vector<LogEnd> ends(kPeersOfApply);
  uint64_t turn = 0;
  Print(MeasureBatches(run, 1, [&](uint64_t first, uint64_t count) {
    const uint64_t number = turn++ % kPeersOfApply;
    const auto peer = PeerNumber(number);
    log.Begin();
    for (uint64_t i = 0; i < count; i++) log.Add(peer.data(), ends[number], first + i);
    log.Commit();
  }));
}

void RunExec(const OpLogRun& run) {
  SQLite db(run.dir, run.job == "synced");
  Log log(db, run);
  const auto peer = PeerNumber(0);
  LogEnd end;
  std::mutex turn;
  Print(MeasureBatches(run, run.threads, [&](uint64_t first, uint64_t) {
    const std::lock_guard<std::mutex> lock(turn);
    log.Begin();
    log.Add(peer.data(), end, first);
    log.Commit();
  }));
}

void RunRead(const OpLogRun& run) {
  SQLite db(run.dir, false);
  const auto peer = PeerNumber(0);
  Log(db, run).Fill(peer.data(), run.Ops());
  Statement page(db, "SELECT entry_idx, ts, tag, index_key, index_value FROM oplog "
                     "WHERE peer_id = ?1 AND entry_idx >= ?2 ORDER BY entry_idx LIMIT ?3");
  uint64_t next = 0, bytes = 0;
  OpLogRun paged = run;
  paged.batch = kPage;
  Print(MeasureBatches(paged, 1, [&](uint64_t, uint64_t) {
    page.Bind(1, rocksdb::Slice(peer.data(), peer.size()));
    page.Bind(2, next);
    page.Bind(3, kPage);
    while (page.Step()) {
      if (page.Number(0) != next) throw std::runtime_error("a row is missing");
      bytes += page.Bytes(3).size() + page.Bytes(4).size() + page.Number(1) % 2;
      next += 1;
    }
    page.Reset();
  }));
  if (bytes == 0) throw std::runtime_error("nothing was read");
}

// One seek a peer, as the other programs do it.
void RunCursors(const OpLogRun& run) {
  SQLite db(run.dir, false);
  Log log(db, run);
  for (uint64_t peer = 0; peer < kPeersOfCursors; peer++) {
    log.Fill(PeerNumber(peer).data(), kEntriesAPeer);
  }
  Statement last(db, "SELECT peer_id, entry_idx FROM oplog WHERE peer_id < ?1 "
                     "ORDER BY peer_id DESC, entry_idx DESC LIMIT 1");
  std::string bound(kPeerBytes + 1, '\xFF');
  uint64_t peers = 0;
  const auto start = Clock::now();
  while (true) {
    last.Bind(1, bound);
    if (!last.Step()) break;
    if (last.Number(1) + 1 != kEntriesAPeer) throw std::runtime_error("a cursor is wrong");
    const std::string peer = last.Bytes(0);
    last.Reset();
    bound = peer;
    peers += 1;
  }
  if (peers != kPeersOfCursors) throw std::runtime_error("peers are missing");
  Print({run, peers, SecondsSince(start), {}});
}

}  // namespace

int main(int count, char** arguments) {
  return OpLogMain(count, arguments, {RunApply, RunExec, RunRead, RunCursors});
}
