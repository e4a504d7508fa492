// The honest baseline of the op-log: what a careful C++ programmer gets from RocksDB for its jobs,
// with the same gets, puts, hashes and durability, and nothing else.

#include <rocksdb/write_batch.h>

#include "raw_handover.h"
#include "raw_oplog_entries.h"

namespace {

constexpr char kEntry = 1, kClock = 2;
constexpr size_t kKeyOfEntry = 1 + kPeerBytes + 8;
// Version, flags, timestamp, tag, chain, length of the key.
constexpr size_t kRowHeader = 1 + 1 + 8 + 1 + 32 + 1;

std::string EntryKey(const char* peer, uint64_t index) {
  std::string key(1, kEntry);
  key.append(peer, kPeerBytes);
  char number[8];
  PutBigEndian64(index, number);
  key.append(number, 8);
  return key;
}

class Log {
 public:
  Log(Database& db, const OpLogRun& run) : db_(db), values_(run.value_bytes, 7), cells_(run.cells) {}

  // Adds one entry to a batch, after the reads that it takes.
  void Add(const char* peer, LogEnd& end, uint64_t number, rocksdb::WriteBatch& batch) {
    const std::string key = EntryKey(peer, end.next);
    rocksdb::PinnableSlice found;
    const auto status = db_->Get(rocksdb::ReadOptions(), db_.family(), key, &found);
    if (status.ok()) throw std::runtime_error("an index is taken");
    if (!status.IsNotFound()) Check(status);
    const auto cell = CellNumber(number % cells_);
    const rocksdb::Slice cell_key(cell.data(), cell.size());
    const rocksdb::Slice value = values_.Value(number);
    const uint64_t timestamp = ++clock_;
    const Hash head = Link(end.head, peer, end.next, timestamp, cell.data(), value);

    char header[kRowHeader + kCellBytes] = {2, 0};
    PutBigEndian64(timestamp, header + 2);
    header[10] = 1;
    std::memcpy(header + 11, head.data(), head.size());
    header[43] = kCellBytes;
    std::memcpy(header + kRowHeader, cell.data(), cell.size());
    const rocksdb::Slice key_part(key);
    const rocksdb::Slice row[2] = {{header, sizeof header}, value};
    Check(batch.Put(db_.family(), rocksdb::SliceParts(&key_part, 1), rocksdb::SliceParts(row, 2)));

    char stamp[9] = {};
    PutBigEndian64(timestamp, stamp);
    found.Reset();
    const auto state = db_->Get(rocksdb::ReadOptions(), db_.default_family(), cell_key, &found);
    if (!state.ok() && !state.IsNotFound()) Check(state);
    if (state.IsNotFound() || std::memcmp(found.data(), stamp, sizeof stamp) < 0) {
      const rocksdb::Slice parts[2] = {{stamp, sizeof stamp}, value};
      Check(batch.Put(db_.default_family(), rocksdb::SliceParts(&cell_key, 1),
                      rocksdb::SliceParts(parts, 2)));
    }
    end.next += 1;
    end.head = head;
  }

  void Commit(rocksdb::WriteBatch& batch) {
    char stamp[8];
    PutBigEndian64(clock_, stamp);
    Check(batch.Put(db_.family(), rocksdb::Slice(&kClock, 1), rocksdb::Slice(stamp, 8)));
    Check(db_->Write(rocksdb::WriteOptions(), &batch));
  }

  void Fill(const char* peer, uint64_t count) {
    LogEnd end;
    for (uint64_t number = 0; number < count; number += kPage) {
      rocksdb::WriteBatch batch;
      const uint64_t stop = std::min(count, number + kPage);
      for (uint64_t i = number; i < stop; i++) Add(peer, end, i, batch);
      Commit(batch);
    }
  }

 private:
  Database& db_;
  const ValuePool values_;
  const uint64_t cells_;
  uint64_t clock_ = 0;
};

DatabaseSettings Options() { return DatabaseSettings(); }

void RunApply(const OpLogRun& run) {
  Database db(run.dir, Options());
  Log log(db, run);
  std::vector<LogEnd> ends(kPeersOfApply);
  uint64_t turn = 0;
  Print(MeasureBatches(run, 1, [&](uint64_t first, uint64_t count) {
    const uint64_t number = turn++ % kPeersOfApply;
    const auto peer = PeerNumber(number);
    rocksdb::WriteBatch batch;
    for (uint64_t i = 0; i < count; i++) log.Add(peer.data(), ends[number], first + i, batch);
    log.Commit(batch);
  }));
}

// Callers take turns; a synced one syncs the log outside its turn, so that callers share syncs.
void RunExec(const OpLogRun& run) {
  Database db(run.dir, Options());
  Log log(db, run);
  const auto peer = PeerNumber(0);
  LogEnd end;
  std::mutex turn, syncing;
  uint64_t written = 0, synced = 0;
  Print(MeasureBatches(run, run.threads, [&](uint64_t first, uint64_t) {
    uint64_t mine;
    {
      const std::lock_guard<std::mutex> lock(turn);
      rocksdb::WriteBatch batch;
      log.Add(peer.data(), end, first, batch);
      log.Commit(batch);
      mine = ++written;
    }
    if (run.job != "synced") return;
    const std::lock_guard<std::mutex> lock(syncing);
    if (synced >= mine) return;
    uint64_t covered;
    {
      const std::lock_guard<std::mutex> inner(turn);
      covered = written;
    }
    Check(db->FlushWAL(true));
    synced = covered;
  }));
}

// An entry as it is handed out.
struct Entry {
  uint64_t index, timestamp;
  std::string key, value;
};

Entry Decode(uint64_t index, const rocksdb::Slice& row) {
  if (row.size() < kRowHeader || row[0] != 2) throw std::runtime_error("a row is damaged");
  const size_t key_bytes = static_cast<unsigned char>(row[kRowHeader - 1]);
  const char* start = row.data() + kRowHeader;
  if (row.size() < kRowHeader + key_bytes) throw std::runtime_error("a row is damaged");
  return {index, BigEndian64(row.data() + 2), std::string(start, key_bytes),
          std::string(start + key_bytes, row.data() + row.size())};
}

// Visits a page of rows of the peer from an index on.
template <typename Visit>
void WalkPage(Database& db, const std::array<char, kPeerBytes>& peer, uint64_t first,
              const Visit& visit) {
  rocksdb::ReadOptions options;
  options.readahead_size = 64 << 10;
  options.fill_cache = false;
  const std::string upper = EntryKey(peer.data(), UINT64_MAX);
  const rocksdb::Slice bound(upper);
  options.iterate_upper_bound = &bound;
  const std::unique_ptr<rocksdb::Iterator> row(db->NewIterator(options, db.family()));
  uint64_t next = first;
  for (row->Seek(EntryKey(peer.data(), first)); row->Valid() && next < first + kPage;
       row->Next()) {
    const rocksdb::Slice key = row->key();
    if (key.size() != kKeyOfEntry || BigEndian64(key.data() + 1 + kPeerBytes) != next) {
      throw std::runtime_error("a row is missing");
    }
    visit(next++, row->value());
  }
  Check(row->status());
}

// `read` walks on the caller's thread. `read-handed` does what a caller needs whose thread must not
// wait for the disk: another thread walks and copies the rows, and is awaited.
void RunRead(const OpLogRun& run) {
  Database db(run.dir, Options());
  const auto peer = PeerNumber(0);
  Log(db, run).Fill(peer.data(), run.Ops());
  Check(db->Flush(rocksdb::FlushOptions(), db.family()));
  uint64_t next = 0, bytes = 0;
  OpLogRun paged = run;
  paged.batch = kPage;
  std::unique_ptr<Handover> other;
  if (run.job == "read-handed") other = std::make_unique<Handover>();
  Print(MeasureBatches(paged, 1, [&](uint64_t, uint64_t) {
    std::vector<Entry> page;
    page.reserve(kPage);
    if (other) {
      std::string rows;
      std::vector<size_t> ends;
      other->Run([&] {
        WalkPage(db, peer, next, [&](uint64_t, const rocksdb::Slice& row) {
          if (ends.empty()) {
            rows.reserve(kPage * (row.size() + 16));
            ends.reserve(kPage);
          }
          rows.append(row.data(), row.size());
          ends.push_back(rows.size());
        });
      });
      size_t start = 0;
      for (const size_t end : ends) {
        page.push_back(Decode(next++, rocksdb::Slice(rows.data() + start, end - start)));
        start = end;
      }
    } else {
      WalkPage(db, peer, next, [&](uint64_t index, const rocksdb::Slice& row) {
        page.push_back(Decode(index, row));
      });
      next += page.size();
    }
    for (const Entry& entry : page) bytes += entry.key.size() + entry.timestamp % 2;
  }));
  if (next < std::min<uint64_t>(run.Ops(), 1) || bytes == 0) {
    throw std::runtime_error("nothing was read");
  }
}

void RunCursors(const OpLogRun& run) {
  Database db(run.dir, Options());
  Log log(db, run);
  for (uint64_t peer = 0; peer < kPeersOfCursors; peer++) {
    log.Fill(PeerNumber(peer).data(), kEntriesAPeer);
  }
  Check(db->Flush(rocksdb::FlushOptions(), db.family()));
  const auto start = Clock::now();
  rocksdb::ReadOptions options;
  const std::string upper(1, kClock);
  const rocksdb::Slice bound(upper);
  options.iterate_upper_bound = &bound;
  const std::unique_ptr<rocksdb::Iterator> row(db->NewIterator(options, db.family()));
  uint64_t peers = 0;
  for (row->SeekToLast(); row->Valid(); peers++) {
    if (BigEndian64(row->key().data() + 1 + kPeerBytes) + 1 != kEntriesAPeer) {
      throw std::runtime_error("a cursor is wrong");
    }
    row->SeekForPrev(std::string(row->key().data(), 1 + kPeerBytes));
  }
  Check(row->status());
  if (peers != kPeersOfCursors) throw std::runtime_error("peers are missing");
  Print({run, peers, SecondsSince(start), {}});
}

}  // namespace

int main(int count, char** arguments) {
  return OpLogMain(count, arguments, {RunApply, RunExec, RunRead, RunCursors, RunRead});
}
