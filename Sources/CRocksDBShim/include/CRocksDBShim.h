#ifndef CROCKSDBSHIM_H
#define CROCKSDBSHIM_H

/// What RocksDB 7.8.3 can do and its C API cannot reach. Every function states the gap it fills.
///
/// Conventions, which are those of rocksdb/c.h:
/// - `char **errptr` must point at NULL before the call. On failure it receives malloc'ed text,
///   freed with `rocksdb_free`. Other `char **` results are malloc'ed as well.
/// - Functions may be called from any thread unless they say otherwise.
/// - No C++ exception leaves this library: running out of memory is reported as an error.

#include <rocksdb/c.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// MARK: - The write-ahead log guard

/// A file system that watches every write-ahead log (WAL) of ONE store.
///
/// Why: with `paranoid_checks = false`, RocksDB 7.8.3 goes on appending to a WAL whose last append
/// failed and acknowledges writes that vanish at the next open. The guard refuses every append to
/// a WAL after its first failure, at the place where it fails, so no writer can be let through.
typedef struct spindle_rocks_env_t spindle_rocks_env_t;

/// The first operation that failed on a WAL.
enum {
  SPINDLE_ROCKS_WAL_OK = 0,
  /// Append, flush, truncate or close: the file may end in a torn record.
  SPINDLE_ROCKS_WAL_APPEND_FAILED = 1,
  /// Sync, fsync or range sync: the kernel may have dropped the pages it could not write.
  SPINDLE_ROCKS_WAL_SYNC_FAILED = 2,
};

/// Creates the guard over the default file system. Use one per store: WAL numbers identify files.
/// Returns NULL when memory is exhausted.
spindle_rocks_env_t *spindle_rocks_env_create(void);

/// Destroys the guard. Every database opened with its handle must have been closed before.
void spindle_rocks_env_destroy(spindle_rocks_env_t *env);

/// The handle for `rocksdb_options_set_env`. Owned by `env`; never pass it to
/// `rocksdb_env_destroy`.
rocksdb_env_t *spindle_rocks_env_handle(spindle_rocks_env_t *env);

/// 1 when a WAL has failed and the failure has not been cleared, else 0. One atomic load.
int spindle_rocks_env_wal_failed(const spindle_rocks_env_t *env);

/// The first failure since the last clear. Returns its kind, as `*kind` does.
/// `no_space` is 1 for ENOSPC and EDQUOT. `text` is malloc'ed, or NULL when nothing failed.
/// Any result pointer may be NULL.
int spindle_rocks_env_wal_failure(const spindle_rocks_env_t *env, int *kind, uint64_t *log_number,
                                  int *no_space, char **text);

/// First step of the cure: cuts the torn record off the failed WAL, syncs what remains, and lets
/// RocksDB leave the file: from then on its flush, sync and close succeed and write nothing.
/// Appends are still refused, and one poisons the file again: a writer that slips in during the
/// cure is refused and not lost.
///
/// Returns 0 (also when nothing has failed), or -1 with `errptr` set when cutting or syncing
/// failed: the file stays as poisoned as it was, and the call may be repeated. After a failed sync
/// no second one is tried, because it may report success for pages the kernel has dropped; the
/// flush of every column family is what makes the data durable then.
int spindle_rocks_env_retire_failed_wal(spindle_rocks_env_t *env, char **errptr);

/// Last step of the cure, after every column family has been flushed. Returns 0, or -1 when the
/// failed WAL was not retired or is still the newest one: the failure stays latched then.
int spindle_rocks_env_clear_wal_failure(spindle_rocks_env_t *env);

/// Makes every write that has returned durable: syncs the WAL files, oldest first, and their
/// directory entries. Use it in place of `rocksdb_flush_wal(db, 1)` and of `sync` in the write
/// options, with `manual_wal_flush` off. Returns 0, or -1 with `errptr` set while the guard is
/// poisoned; a failing sync poisons it.
///
/// Why: after the sync of an older WAL has failed inside a flush, `rocksdb_flush_wal` aborts the
/// process (`sync_without_flush_called_`) where assertions are compiled in. This call never
/// touches RocksDB's writer objects, and takes none of its locks.
int spindle_rocks_env_sync_wals(spindle_rocks_env_t *env, char **errptr);

/// Sizes of the WAL files that this guard created and RocksDB has not deleted yet, oldest first.
/// `synced` is the size when the last successful sync of that file began: what a power loss keeps.
/// Fills at most `capacity` elements of each array and returns how many files there are.
size_t spindle_rocks_env_wal_sizes(const spindle_rocks_env_t *env, uint64_t *log_numbers,
                                   uint64_t *appended, uint64_t *synced, size_t capacity);

typedef struct {
  uint64_t wal_bytes_written;
  uint64_t wal_syncs;
  /// Bytes of tables, blob files, manifests and everything else but the info log.
  uint64_t other_bytes_written;
} spindle_rocks_env_totals_t;

/// What the store has written through this guard since it was created.
void spindle_rocks_env_totals(const spindle_rocks_env_t *env, spindle_rocks_env_totals_t *totals);

// MARK: - Fault injection, for tests

/// Operations that can be made to fail. `TABLE` covers table files and blob files.
enum {
  SPINDLE_ROCKS_FAULT_WAL_APPEND = 0,
  SPINDLE_ROCKS_FAULT_WAL_SYNC = 1,
  SPINDLE_ROCKS_FAULT_WAL_CREATE = 2,
  SPINDLE_ROCKS_FAULT_TABLE_APPEND = 3,
  SPINDLE_ROCKS_FAULT_TABLE_SYNC = 4,
  SPINDLE_ROCKS_FAULT_TABLE_CREATE = 5,
  SPINDLE_ROCKS_FAULT_MANIFEST_APPEND = 6,
  SPINDLE_ROCKS_FAULT_MANIFEST_SYNC = 7,
};

enum {
  SPINDLE_ROCKS_FAULT_EIO = 0,
  SPINDLE_ROCKS_FAULT_ENOSPC = 1,
};

/// Makes `operation` fail: the first `skip_count` calls succeed, then `fail_count` fail (-1: until
/// cleared). A failing append writes `partial_bytes` of its data first, which leaves a torn record.
/// Arming an operation replaces what was armed for it. Costs one relaxed load per call when off.
/// Returns 0, or -1 for an unknown operation or error.
int spindle_rocks_env_inject(spindle_rocks_env_t *env, int operation, uint64_t skip_count,
                             int64_t fail_count, int error, uint64_t partial_bytes);

/// Disarms every fault. Files that already failed stay failed.
void spindle_rocks_env_clear_faults(spindle_rocks_env_t *env);

/// How often `operation` was made to fail since the guard was created.
uint64_t spindle_rocks_env_fault_count(const spindle_rocks_env_t *env, int operation);

/// Makes every append to a table or blob file wait, so that flushes and compactions stand still,
/// until it is called with 0. Closing the database waits as well.
void spindle_rocks_env_hold_tables(spindle_rocks_env_t *env, int held);

/// Delays every WAL sync, to widen the window between a write and its sync. 0 turns it off.
void spindle_rocks_env_set_sync_delay_us(spindle_rocks_env_t *env, uint32_t microseconds);

// MARK: - Events

/// Counts what RocksDB does in the background. Why: the C API of 7.8.3 has no event listener, and
/// a background error is otherwise visible only as a count.
///
/// It also makes I/O errors hard errors where `spindle_rocks_resume` can then end them:
/// - of a flush. With `paranoid_checks = false` RocksDB gives a failed flush no severity and never
///   tries it again by itself: whoever waits for it waits for ever, and writers stop when the
///   memtables are full. With `true`, EIO is fatal. A hard error wakes the waiters, refuses writes.
/// - of the WAL, in a write or when a memtable is switched, which may be fatal. This relies on the
///   guard, and on `manual_wal_flush` being off.
typedef struct spindle_rocks_listener_t spindle_rocks_listener_t;

/// What RocksDB was doing when a background error arose; the order of its BackgroundErrorReason.
enum {
  SPINDLE_ROCKS_REASON_NONE = -1,
  SPINDLE_ROCKS_REASON_FLUSH = 0,
  SPINDLE_ROCKS_REASON_COMPACTION = 1,
  SPINDLE_ROCKS_REASON_WRITE_CALLBACK = 2,
  SPINDLE_ROCKS_REASON_MEMTABLE = 3,
  SPINDLE_ROCKS_REASON_MANIFEST_WRITE = 4,
  SPINDLE_ROCKS_REASON_FLUSH_NO_WAL = 5,
  SPINDLE_ROCKS_REASON_MANIFEST_WRITE_NO_WAL = 6,
};

/// The order of RocksDB's Status::Severity.
enum {
  SPINDLE_ROCKS_SEVERITY_NONE = 0,
  SPINDLE_ROCKS_SEVERITY_SOFT = 1,
  SPINDLE_ROCKS_SEVERITY_HARD = 2,
  SPINDLE_ROCKS_SEVERITY_FATAL = 3,
  SPINDLE_ROCKS_SEVERITY_UNRECOVERABLE = 4,
};

typedef struct {
  uint64_t background_errors;
  /// Column families that slow writers down, or stop them, right now.
  uint64_t delayed_column_families;
  uint64_t stopped_column_families;
  uint64_t stalls_to_normal;
  uint64_t stalls_to_delayed;
  uint64_t stalls_to_stopped;
  uint64_t flushes_begun;
  uint64_t flushes_completed;
  /// Keys and values of the memtables flushed.
  uint64_t flush_bytes_in;
  /// Blocks of the table files and bytes of the blob files that flushes wrote.
  uint64_t flush_bytes_out;
  uint64_t compactions_begun;
  uint64_t compactions_completed;
  uint64_t compaction_bytes_in;
  uint64_t compaction_bytes_out;
  /// RocksDB's own recoveries; those of `spindle_rocks_resume` are counted at their end only.
  uint64_t recoveries_begun;
  uint64_t recoveries_succeeded;
  uint64_t recoveries_failed;
  uint64_t events_dropped;
} spindle_rocks_counters_t;

/// Creates a listener that keeps the newest `event_capacity` events (0: none, at most 65536).
/// Returns NULL when memory is exhausted.
spindle_rocks_listener_t *spindle_rocks_listener_create(size_t event_capacity);

/// Gives up this reference. Options and databases that use the listener keep it alive.
void spindle_rocks_listener_destroy(spindle_rocks_listener_t *listener);

/// Registers the listener with options that are not yet in use. Returns 0, or -1 without memory.
int spindle_rocks_options_add_listener(rocksdb_options_t *options,
                                       spindle_rocks_listener_t *listener);

/// Whether RocksDB may recover from background errors by itself. The default is 0: its recovery
/// waits for more free space than the store may need, polls for errors that no space can cure,
/// and answers `spindle_rocks_resume` with `Resource busy` as long as it waits.
void spindle_rocks_listener_set_auto_recovery(spindle_rocks_listener_t *listener, int enabled);

/// Copies the counters. Takes no lock; each counter is exact, together they are no snapshot.
void spindle_rocks_listener_counters(const spindle_rocks_listener_t *listener,
                                     spindle_rocks_counters_t *counters);

/// 1 while a background error of hard or higher severity stands that no recovery has ended, else
/// 0. RocksDB refuses writes meanwhile. One atomic load.
int spindle_rocks_listener_in_background_error(const spindle_rocks_listener_t *listener);

/// The last background error, standing or recovered: its reason (-1: there was none), severity
/// and malloc'ed text. Result pointers may be NULL.
int spindle_rocks_listener_last_error(const spindle_rocks_listener_t *listener, int *severity,
                                      char **text);

/// How many compactions of the column family have failed, and the malloc'ed text of the last
/// failure (NULL: there was none). `text` may be NULL. Those that were stopped, paused or left
/// without their family did not fail.
///
/// Why: with `paranoid_checks = false` RocksDB gives a failed compaction no severity and tries it
/// again for ever, and what it reports as a background error does not name the column family.
uint64_t spindle_rocks_listener_compaction_failures(const spindle_rocks_listener_t *listener,
                                                    const char *column_family, char **text);

enum {
  SPINDLE_ROCKS_EVENT_FLUSH_BEGIN = 0,
  SPINDLE_ROCKS_EVENT_FLUSH_END = 1,
  SPINDLE_ROCKS_EVENT_COMPACTION_BEGIN = 2,
  SPINDLE_ROCKS_EVENT_COMPACTION_END = 3,
  SPINDLE_ROCKS_EVENT_STALL = 4,
  SPINDLE_ROCKS_EVENT_BACKGROUND_ERROR = 5,
  SPINDLE_ROCKS_EVENT_RECOVERY_BEGIN = 6,
  SPINDLE_ROCKS_EVENT_RECOVERY_END = 7,
};

typedef struct {
  /// 1 for the first event of the listener; gaps are events that were dropped.
  uint64_t sequence;
  /// Microseconds since the Unix epoch.
  uint64_t time_us;
  uint64_t bytes_in;
  uint64_t bytes_out;
  uint64_t duration_us;
  int32_t kind;
  /// -1 where the event belongs to no job.
  int32_t job_id;
  /// Both are terminated by a zero byte and cut where too long. The family may be empty.
  char column_family[80];
  char text[240];
} spindle_rocks_event_t;

/// Moves at most `capacity` events, oldest first, into `events` and returns how many.
size_t spindle_rocks_listener_drain(spindle_rocks_listener_t *listener,
                                    spindle_rocks_event_t *events, size_t capacity);

// MARK: - The database

/// Puts a value that lies in two parts, as `rocksdb_put_cf` does one that lies in one piece.
///
/// Why: the C API takes values of several parts only by way of a batch, whose handle is another
/// allocation, or of a finished batch, which is copied once more. For a small value that is a tenth
/// of the write.
void spindle_rocks_put(rocksdb_t *db, const rocksdb_writeoptions_t *options,
                       rocksdb_column_family_handle_t *column_family, const char *key,
                       size_t key_count, const char *header, size_t header_count,
                       const char *payload, size_t payload_count, char **errptr);

/// DB::Resume: leaves read-only mode after a background error. Blocks while it flushes memtables.
void spindle_rocks_resume(rocksdb_t *db, char **errptr);

/// DB::Flush for several column families, one after the other, even where writers stall meanwhile.
/// Why: the C API flushes one family, cannot set allow_write_stall, and without that a flush waits
/// until compaction has caught up. Stops at the first failure.
void spindle_rocks_flush_column_families(rocksdb_t *db,
                                         rocksdb_column_family_handle_t *const *column_families,
                                         size_t count, int wait, char **errptr);

/// DB::GetCurrentWalFile: tells whether a flush has changed the WAL. Returns 0, or -1 on error.
int spindle_rocks_current_wal(rocksdb_t *db, uint64_t *log_number, uint64_t *size_bytes,
                              char **errptr);

typedef struct {
  uint64_t log_number;
  uint64_t size_bytes;
  /// The first sequence number in the file.
  uint64_t start_sequence;
  int archived;
} spindle_rocks_wal_file_t;

/// DB::GetSortedWalFiles: every non-empty WAL that RocksDB knows, oldest first. A current WAL that
/// is still empty is not among them. Fills at most `capacity` elements and returns how many files
/// there are, or -1 on error.
int64_t spindle_rocks_wal_files(rocksdb_t *db, spindle_rocks_wal_file_t *files, size_t capacity,
                                char **errptr);

/// Ends one compaction from another thread. Why: the C API can end all manual compactions of a
/// database or none.
typedef struct spindle_rocks_cancellation_t spindle_rocks_cancellation_t;

/// Returns NULL when memory is exhausted.
spindle_rocks_cancellation_t *spindle_rocks_cancellation_create(void);
void spindle_rocks_cancellation_destroy(spindle_rocks_cancellation_t *cancellation);
void spindle_rocks_cancellation_cancel(spindle_rocks_cancellation_t *cancellation);

/// DB::CompactRange. Why: `rocksdb_compact_range_cf_opt` drops the status, and with
/// `paranoid_checks = false` nothing else names the call that met damage. A bound is the family's
/// own when its pointer is NULL; `cancellation` may be NULL and must live until the call returns,
/// which then fails with `Result incomplete: Manual compaction paused`.
void spindle_rocks_compact_range(rocksdb_t *db, rocksdb_column_family_handle_t *column_family,
                                 const char *lower, size_t lower_length, const char *upper,
                                 size_t upper_length, int exclusive, int rewrite_bottommost,
                                 spindle_rocks_cancellation_t *cancellation, char **errptr);

/// DB::VerifyChecksum: reads every block of every live table file and checks it.
void spindle_rocks_verify_checksum(rocksdb_t *db, char **errptr);

/// Waits until no flush and no compaction has been pending or running in any column family for
/// `idle_grace_ms`. Why: the C API of 7.8.3 has no wait_for_compact.
///
/// Returns 0 when idle, 1 when `timeout_ms` passed first, -1 with `errptr` set when a property
/// could not be read or when more background errors than `background_errors_before` have been
/// counted: by `listener`, or where that is NULL by the property `rocksdb.background-errors`.
int spindle_rocks_wait_for_compact(rocksdb_t *db, const spindle_rocks_listener_t *listener,
                                   uint64_t background_errors_before, uint32_t idle_grace_ms,
                                   uint32_t timeout_ms, char **errptr);

// MARK: - Metadata

/// The files of one column family at one moment. Why: the C API gives names and key ranges only.
typedef struct spindle_rocks_files_t spindle_rocks_files_t;

typedef struct {
  uint64_t file_number;
  uint64_t size_bytes;
  uint64_t entries;
  uint64_t deletions;
  uint64_t smallest_sequence;
  uint64_t largest_sequence;
  /// 0 when the file refers to no blob file.
  uint64_t oldest_blob_file_number;
  /// Seconds since the Unix epoch; 0 when unknown.
  uint64_t creation_time_s;
  int32_t level;
  int32_t being_compacted;
} spindle_rocks_table_file_t;

typedef struct {
  uint64_t file_number;
  uint64_t size_bytes;
  uint64_t blobs;
  uint64_t blob_bytes;
  uint64_t garbage_blobs;
  uint64_t garbage_bytes;
} spindle_rocks_blob_file_t;

/// DB::GetColumnFamilyMetaData. Returns NULL with `errptr` set on failure.
spindle_rocks_files_t *spindle_rocks_files_create(rocksdb_t *db,
                                                  rocksdb_column_family_handle_t *column_family,
                                                  char **errptr);
void spindle_rocks_files_destroy(spindle_rocks_files_t *files);

/// Total size of the table files, then the number of files of each kind.
uint64_t spindle_rocks_files_table_bytes(const spindle_rocks_files_t *files);
size_t spindle_rocks_files_table_count(const spindle_rocks_files_t *files);
size_t spindle_rocks_files_blob_count(const spindle_rocks_files_t *files);

/// Return 0, or -1 when `index` is out of range.
int spindle_rocks_files_table(const spindle_rocks_files_t *files, size_t index,
                              spindle_rocks_table_file_t *table);
int spindle_rocks_files_blob(const spindle_rocks_files_t *files, size_t index,
                             spindle_rocks_blob_file_t *blob);

/// Smallest or largest user key of a table file. The bytes live as long as `files`; NULL when
/// `index` is out of range.
const char *spindle_rocks_files_smallest_key(const spindle_rocks_files_t *files, size_t index,
                                             size_t *length);
const char *spindle_rocks_files_largest_key(const spindle_rocks_files_t *files, size_t index,
                                            size_t *length);

typedef struct {
  uint64_t tables;
  uint64_t data_bytes;
  uint64_t index_bytes;
  uint64_t filter_bytes;
  uint64_t raw_key_bytes;
  uint64_t raw_value_bytes;
  uint64_t data_blocks;
  uint64_t entries;
  uint64_t deletions;
  uint64_t merge_operands;
  uint64_t range_deletions;
} spindle_rocks_table_properties_t;

/// Sums DB::GetPropertiesOfAllTables over a column family. Reads the properties block of every
/// table that is not open yet. Returns 0, or -1 on error.
int spindle_rocks_table_properties(rocksdb_t *db, rocksdb_column_family_handle_t *column_family,
                                   spindle_rocks_table_properties_t *sum, char **errptr);

// MARK: - The logs a manifest knows

/// What the manifest says about the write-ahead logs of a database that nobody has open. Why: the
/// C API cannot open without replaying the logs, and a replay of damaged logs may end the process.
typedef struct spindle_rocks_log_numbers_t spindle_rocks_log_numbers_t;

typedef struct {
  uint32_t id;
  /// The family's tables hold what older logs than this one held for it.
  uint64_t log_number;
  /// The greatest sequence number any of its tables states; compaction may state less than the
  /// tables once held. 0 without tables.
  uint64_t largest_sequence;
  /// The greatest number of a table in level 0, as flushes make them; or 0.
  uint64_t newest_flushed_table;
  /// The greatest number of a table above level 0, whose stated sequence may be too small; or 0.
  uint64_t newest_compacted_table;
  uint64_t tables;
} spindle_rocks_log_family_t;

/// Reads the numbers by a read-only open that stops before the first log record, and the value that
/// the tables of `default` hold for `key`. Writes nothing. Returns NULL with `errptr` set when the
/// manifest or a table cannot be read.
spindle_rocks_log_numbers_t *spindle_rocks_log_numbers_create(const char *path, const char *key,
                                                              size_t key_length, char **errptr);
void spindle_rocks_log_numbers_destroy(spindle_rocks_log_numbers_t *numbers);

/// Logs with smaller numbers hold nothing that is not in tables.
uint64_t spindle_rocks_log_numbers_oldest_needed(const spindle_rocks_log_numbers_t *numbers);

/// The greatest sequence number that the manifest states, or the one before the first log record.
uint64_t spindle_rocks_log_numbers_latest_sequence(const spindle_rocks_log_numbers_t *numbers);

/// The value of the key; NULL when the tables hold none. The bytes live as long as `numbers`.
const char *spindle_rocks_log_numbers_value(const spindle_rocks_log_numbers_t *numbers,
                                            size_t *length);

size_t spindle_rocks_log_numbers_family_count(const spindle_rocks_log_numbers_t *numbers);

/// Fills `family` and returns its name, which lives as long as `numbers`; NULL when `index` is out
/// of range.
const char *spindle_rocks_log_numbers_family(const spindle_rocks_log_numbers_t *numbers,
                                             size_t index, spindle_rocks_log_family_t *family);

// MARK: - Tables of a database that nobody has open

/// SstFileReader::VerifyChecksum: opens one table file and checks every block of it. Fills the
/// numbers of its entries and of the deletions among them where the file says them, damaged
/// otherwise or not; they stay as they are where it does not. Why: the database's own check ends at
/// the first damaged table and does not say which others are.
void spindle_rocks_check_table(const char *path, uint64_t *entries, uint64_t *deletions,
                               char **errptr);

/// Takes tables, by number, out of the manifest of a database that nobody has open, each in one
/// step; what the tables held is gone from the database, whether their files are there or not. Why:
/// the C API has no call that drops a table of any level unread, and RocksDB itself has one in the
/// command `unsafe_remove_sst_file` of its tool library only.
void spindle_rocks_drop_tables(const char *path, const uint64_t *numbers, size_t count,
                               char **errptr);

/// Exchanges the names of two directories of one file system in one step. Returns 0 or an errno.
/// Why: Swift's Glibc module lacks renameat2.
int spindle_rocks_exchange(const char *one, const char *other);

// MARK: - Memory

/// Gives every freed block of at least `bytes` back to the system at once, for the whole process.
/// Why: Swift's Glibc module has no malloc.h.
void spindle_rocks_return_large_blocks(int bytes);

// MARK: - What the library can do

/// Whether the linked library was built with a compression, a value of `rocksdb_*_compression`.
/// Why: the C API cannot tell, and an open with one that is missing fails.
int spindle_rocks_supports_compression(int compression);

// MARK: - Logging

/// The order of RocksDB's InfoLogLevel. Header lines repeat the options at every open.
enum {
  SPINDLE_ROCKS_LOG_DEBUG = 0,
  SPINDLE_ROCKS_LOG_INFO = 1,
  SPINDLE_ROCKS_LOG_WARN = 2,
  SPINDLE_ROCKS_LOG_ERROR = 3,
  SPINDLE_ROCKS_LOG_FATAL = 4,
  SPINDLE_ROCKS_LOG_HEADER = 5,
};

/// Receives one line without its line end, cut at 2047 bytes. Called from any thread, often while
/// RocksDB holds its mutex: it must be quick and must not call RocksDB.
typedef void (*spindle_rocks_log_callback_t)(void *context, int level, const char *text,
                                             size_t length);

/// An info log that hands lines of at least `level` to `callback`, for
/// `rocksdb_options_set_info_log`. `context` must live until the last database that uses the
/// logger is closed. Returns NULL when memory is exhausted.
///
/// Why: the C API of 7.8.3 can set a logger and cannot make one.
rocksdb_logger_t *spindle_rocks_logger_create(int level, spindle_rocks_log_callback_t callback,
                                              void *context);

/// An info log that writes the file `LOG` in `directory`, lines of at least `level` and every
/// header line, in UTC. The file is replaced after `roll_us`, before it exceeds `byte_limit`, and
/// at the first line after an open; the newest `kept_files` old ones stay as `LOG.old.<time in
/// microseconds>`. A line that cannot be written is lost; the next one that can be is preceded by
/// the number of lost ones. The directory may be made after the logger. Returns NULL when memory is
/// exhausted.
///
/// Why: RocksDB's own writer of this file aborts the process (`sync_without_flush_called_`) at the
/// first line after one that did not fit on a full disk, where assertions are compiled in as in
/// Debian. A store must never be opened without a logger.
rocksdb_logger_t *spindle_rocks_file_logger_create(const char *directory, int level,
                                                   uint64_t roll_us, uint64_t byte_limit,
                                                   size_t kept_files);

/// An info log that keeps nothing: a read-only open then leaves no LOG file in the store.
rocksdb_logger_t *spindle_rocks_null_logger_create(void);

/// Options that were given the logger keep it alive.
void spindle_rocks_logger_destroy(rocksdb_logger_t *logger);

#ifdef __cplusplus
}
#endif

#endif
