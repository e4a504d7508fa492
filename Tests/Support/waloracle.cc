// The oracle behind the WAL scanner: builds stores whose WALs are worth damaging, and tells what
// RocksDB itself makes of a directory. Every open runs in a child process, because an
// assertion-enabled RocksDB may abort on damaged input.
//
//   waloracle build DIR SCRIPT          make a store and stop without closing it
//   waloracle open MODE DIR...          one JSON line per directory; MODE is one of
//                                         ro1 ro0   read-only, paranoid_checks true / false
//                                         rw1 rw0   read-write, the same, then close
//   waloracle churn DIR SEED            write and flush from several threads until killed
//   waloracle fill DIR MIB VALUEBYTES   one big WAL, for timing
//
// SCRIPT is a list of words:
//   wN    write N batches, each putting the batch number into every family
//   bN    write one batch whose values add up to N KiB
//   sN tN like wN, but only into family `a` or `b`
//   f:CF  flush one family (starts a new WAL)     F      flush every family
//   m     put a marker into `default` with disableWAL
//   e     make the next append fail part-way, as a full disk does, then give the room back
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/options.h>
#include <rocksdb/write_batch.h>
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

using namespace rocksdb;

namespace {

const std::vector<std::string> kFamilies = {"default", "a", "b"};

// RocksDB writes a LOG file into the directory unless a logger is given; a probe writes nothing.
class SilentLogger : public Logger {
 public:
  using Logger::Logv;
  void Logv(const char*, va_list) override {}
};

DBOptions options(bool paranoid) {
  DBOptions o;
  o.paranoid_checks = paranoid;
  o.wal_recovery_mode = WALRecoveryMode::kPointInTimeRecovery;
  o.info_log = std::make_shared<SilentLogger>();
  o.create_if_missing = true;
  o.create_missing_column_families = true;
  o.max_total_wal_size = 1ull << 40;
  return o;
}

// RocksDB reserves a little more than the write buffer for every log, so many small stores want a
// small one.
ColumnFamilyOptions familyOptions(uint64_t writeBuffer = 8 << 20) {
  ColumnFamilyOptions o;
  o.write_buffer_size = writeBuffer;
  return o;
}

std::string batchKey(long n) {
  char text[16];
  snprintf(text, sizeof text, "k%07ld", n);
  return text;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += (c == '\n') ? ' ' : c;
  }
  return out;
}

std::string newestWAL(const std::string& dir) {
  std::string best;
  DIR* d = opendir(dir.c_str());
  while (dirent* e = d ? readdir(d) : nullptr) {
    std::string name = e->d_name;
    if (name.size() > 4 && name.substr(name.size() - 4) == ".log" && name > best) best = name;
  }
  if (d) closedir(d);
  return dir + "/" + best;
}

uint64_t random64(uint64_t& state) {
  state += 0x9e3779b97f4a7c15ull;
  uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

void check(const Status& s, const char* what) {
  if (!s.ok()) {
    fprintf(stderr, "%s: %s\n", what, s.ToString().c_str());
    _exit(3);
  }
}

int build(const std::string& dir, const std::string& script) {
  std::vector<ColumnFamilyDescriptor> descriptors;
  for (auto& name : kFamilies) descriptors.emplace_back(name, familyOptions());
  std::vector<ColumnFamilyHandle*> handles;
  DB* db = nullptr;
  check(DB::Open(options(false), dir, descriptors, &handles, &db), "open");
  std::map<std::string, ColumnFamilyHandle*> byName;
  for (size_t i = 0; i < handles.size(); i++) byName[kFamilies[i]] = handles[i];

  long next = 0;
  uint64_t seed = 42;
  auto write = [&](size_t totalBytes, const std::string& only) {
    WriteBatch batch;
    for (auto& name : kFamilies) {
      if (!only.empty() && name != only) continue;
      std::string value(totalBytes / kFamilies.size() + 1, ' ');
      for (auto& c : value) c = static_cast<char>(random64(seed));
      batch.Put(byName[name], batchKey(next), value);
    }
    Status s = db->Write(WriteOptions(), &batch);
    next++;
    return s;
  };
  std::istringstream words(script);
  std::string word;
  while (words >> word) {
    long n = word.size() > 1 ? atol(word.c_str() + 1) : 1;
    switch (word[0]) {
      case 'w': case 's': case 't':
        for (long i = 0; i < n; i++) {
          const char* only = word[0] == 's' ? "a" : word[0] == 't' ? "b" : "";
          check(write(60 + random64(seed) % 600, only), "write");
        }
        break;
      case 'b': check(write(n << 10, ""), "write"); break;
      case 'f': check(db->Flush(FlushOptions(), byName.at(word.substr(2))), "flush"); break;
      case 'F':
        for (auto* h : handles) check(db->Flush(FlushOptions(), h), "flush");
        break;
      case 'm': {
        WriteOptions unlogged;
        unlogged.disableWAL = true;
        check(db->Put(unlogged, handles[0], "marker", "1"), "marker");
        break;
      }
      case 'e': {
        struct stat st {};
        stat(newestWAL(dir).c_str(), &st);
        signal(SIGXFSZ, SIG_IGN);
        rlimit tight{static_cast<rlim_t>(st.st_size + 100), RLIM_INFINITY};
        setrlimit(RLIMIT_FSIZE, &tight);
        Status s = write(1000, "");
        next--;
        fprintf(stderr, "failed append: %s, sequence %llu\n", s.ToString().c_str(),
                (unsigned long long)db->GetLatestSequenceNumber());
        rlimit wide{RLIM_INFINITY, RLIM_INFINITY};
        setrlimit(RLIMIT_FSIZE, &wide);
        break;
      }
      default: fprintf(stderr, "unknown word %s\n", word.c_str()); _exit(64);
    }
  }
  fprintf(stderr, "built %s: %ld batches, sequence %llu\n", dir.c_str(), next,
          (unsigned long long)db->GetLatestSequenceNumber());
  _exit(0);  // the store is left as a killed process leaves it
}

// "0-41,44-99": the batch numbers one family holds.
std::string heldBatches(DB* db, ColumnFamilyHandle* family) {
  std::string out;
  long first = -1, last = -2;
  auto close = [&] {
    if (first < 0) return;
    out += (out.empty() ? "" : ",") + std::to_string(first);
    if (last > first) out += "-" + std::to_string(last);
  };
  std::unique_ptr<Iterator> it(db->NewIterator(ReadOptions(), family));
  for (it->Seek("k"); it->Valid() && it->key().starts_with("k"); it->Next()) {
    long n = atol(it->key().data() + 1);
    if (n != last + 1) {
      close();
      first = n;
    }
    last = n;
  }
  close();
  return it->status().ok() ? out : out + " " + it->status().ToString();
}

int openOne(const std::string& mode, const std::string& dir) {
  DBOptions o = options(mode[2] == '1');
  o.create_if_missing = false;
  o.create_missing_column_families = false;
  std::vector<std::string> names;
  auto start = std::chrono::steady_clock::now();
  Status s = DB::ListColumnFamilies(o, dir, &names);
  std::vector<ColumnFamilyDescriptor> descriptors;
  for (auto& name : names) descriptors.emplace_back(name, familyOptions());
  std::vector<ColumnFamilyHandle*> handles;
  DB* db = nullptr;
  if (s.ok()) {
    s = mode.substr(0, 2) == "ro" ? DB::OpenForReadOnly(o, dir, descriptors, &handles, &db)
                                  : DB::Open(o, dir, descriptors, &handles, &db);
  }
  double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::string families;
  uint64_t sequence = 0;
  if (s.ok()) {
    sequence = db->GetLatestSequenceNumber();
    for (size_t i = 0; i < handles.size(); i++) {
      families += (i ? "," : "");
      families += "\"" + names[i] + "\":\"" + heldBatches(db, handles[i]) + "\"";
      db->DestroyColumnFamilyHandle(handles[i]);
    }
    s = db->Close();
    delete db;
  }
  printf("{\"mode\":\"%s\",\"dir\":\"%s\",\"ok\":%s,\"status\":\"%s\",\"sequence\":%llu,"
         "\"seconds\":%.4f,\"held\":{%s}}\n",
         mode.c_str(), escaped(dir).c_str(), s.ok() ? "true" : "false",
         escaped(s.ToString()).c_str(), (unsigned long long)sequence, seconds, families.c_str());
  return 0;
}

int churn(const std::string& dir, uint64_t seed) {
  std::vector<ColumnFamilyDescriptor> descriptors;
  for (auto& name : kFamilies) {
    descriptors.emplace_back(name, familyOptions(256 << 10));
  }
  std::vector<ColumnFamilyHandle*> handles;
  DB* db = nullptr;
  check(DB::Open(options(false), dir, descriptors, &handles, &db), "open");
  std::vector<std::thread> writers;
  for (int w = 0; w < 3; w++) {
    writers.emplace_back([&, w] {
      uint64_t state = seed * 31 + w;
      for (long n = 0;; n++) {
        WriteBatch batch;
        size_t families = 1 + random64(state) % handles.size();
        size_t bytes = random64(state) % 50 == 0 ? 80000 : random64(state) % 900;
        for (size_t f = 0; f < families; f++)
          batch.Put(handles[f], batchKey(n), std::string(bytes, 'x'));
        check(db->Write(WriteOptions(), &batch), "write");
        if (w == 0 && random64(state) % 200 == 0)
          check(db->Flush(FlushOptions(), handles[random64(state) % handles.size()]), "flush");
      }
    });
  }
  for (auto& writer : writers) writer.join();
  return 0;
}

int fill(const std::string& dir, long mebibytes, long valueBytes) {
  std::vector<ColumnFamilyDescriptor> descriptors;
  for (auto& name : kFamilies) descriptors.emplace_back(name, familyOptions(1 << 30));
  std::vector<ColumnFamilyHandle*> handles;
  DB* db = nullptr;
  check(DB::Open(options(false), dir, descriptors, &handles, &db), "open");
  uint64_t seed = 7;
  std::string value(valueBytes, ' ');
  for (auto& c : value) c = static_cast<char>(random64(seed));
  long total = (mebibytes << 20) / (valueBytes + 40);
  for (long i = 0; i < total; i++)
    check(db->Put(WriteOptions(), handles[i % 3], batchKey(i), value), "put");
  _exit(0);
}

// Runs `body` in a child, and reports a child that died of a signal as one more JSON line.
int isolated(const std::string& mode, const std::string& dir, const std::function<int()>& body) {
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    int code = body();
    fflush(stdout);
    _exit(code);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  if (WIFSIGNALED(status)) {
    printf("{\"mode\":\"%s\",\"dir\":\"%s\",\"ok\":false,\"status\":\"signal %d\",\"sequence\":0,"
           "\"seconds\":0,\"held\":{}}\n",
           mode.c_str(), escaped(dir).c_str(), WTERMSIG(status));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::string verb = argc > 1 ? argv[1] : "";
  if (verb == "build" && argc == 4) return build(argv[2], argv[3]);
  if (verb == "fill" && argc == 5) return fill(argv[2], atol(argv[3]), atol(argv[4]));
  if (verb == "churn" && argc == 4) return churn(argv[2], strtoull(argv[3], nullptr, 10));
  if (verb == "open" && argc >= 4) {
    for (int i = 3; i < argc; i++)
      isolated(argv[2], argv[i], [&] { return openOne(argv[2], argv[i]); });
    return 0;
  }
  fprintf(stderr, "usage: waloracle build|open|churn|fill ...\n");
  return 64;
}
