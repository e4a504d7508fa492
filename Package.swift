// swift-tools-version: 6.2
import PackageDescription

/// Settings of every Swift target: Swift 6 mode with the stricter upcoming rules.
let swiftSettings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .enableExperimentalFeature("Lifetimes"),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
]

func library(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: swiftSettings)
}

func tests(
  _ name: String, _ dependencies: [Target.Dependency], excluding files: [String] = []
) -> Target {
  .testTarget(
    name: name, dependencies: dependencies, exclude: files, swiftSettings: swiftSettings)
}

let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let metrics = Target.Dependency.product(name: "Metrics", package: "swift-metrics")
let argumentParser = Target.Dependency.product(
  name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
  name: "spindle",
  products: [
    .library(name: "Spindle", targets: ["Spindle"]),
    .library(name: "SpindleCore", targets: ["SpindleCore"]),
    .library(name: "SpindleStore", targets: ["SpindleStore"]),
    .library(name: "SpindleSpool", targets: ["SpindleSpool"]),
    .library(name: "SpindleOpLog", targets: ["SpindleOpLog"]),
    .library(name: "SpindleFormats", targets: ["SpindleFormats"]),
    .library(name: "SpindleParquet", targets: ["SpindleParquet"]),
    .library(name: "SpindlePipeline", targets: ["SpindlePipeline"]),
    .library(name: "SpindleTestKit", targets: ["SpindleTestKit"]),
    .executable(name: "spindle", targets: ["SpindleCLI"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
  ],
  targets: [
    .systemLibrary(
      name: "CRocksDB", pkgConfig: "rocksdb", providers: [.apt(["librocksdb-dev"])]),
    .systemLibrary(name: "CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"])]),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
    .systemLibrary(name: "CSnappy", providers: [.apt(["libsnappy-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .target(name: "CSpindleChecksum"),
    .target(
      name: "CRocksDBShim", dependencies: ["CRocksDB"],
      linkerSettings: [.linkedLibrary("rocksdb")]),
    library("SpindleCore", ["CSpindleChecksum"]),
    library("SpindleIO", ["SpindleCore"]),
    library("SpindleRocks", ["CRocksDB", "CRocksDBShim", "SpindleCore"]),
    library("SpindleCodecs", ["CLZ4", "CSnappy", "CZlib", "CZstd", "SpindleCore"]),
    library("SpindleFormats", []),
    library("SpindleParquet", ["SpindleCodecs", "SpindleIO", "SpindleCore"]),
    library("SpindleStore", ["SpindleRocks", "SpindleIO", "SpindleCore", logging]),
    library(
      "SpindleOpLog",
      ["SpindleStore", "SpindleRocks", "SpindleIO", "SpindleCore", crypto, logging, metrics]),
    library(
      "SpindlePipeline",
      [
        "SpindleSpool", "SpindleOpLog", "SpindleFormats", "SpindleCodecs", "SpindleStore",
        "SpindleRocks", "SpindleIO", "SpindleCore", crypto,
      ]),
    library(
      "Spindle",
      [
        "SpindlePipeline", "SpindleSpool", "SpindleOpLog", "SpindleFormats", "SpindleStore",
        "SpindleCore",
      ]),
    library(
      "SpindleDiagnostics",
      [
        "SpindlePipeline", "SpindleSpool", "SpindleOpLog", "SpindleStore", "SpindleRocks",
        "SpindleCore",
      ]),
    .executableTarget(
      name: "SpindleCLI",
      dependencies: [
        "Spindle", "SpindleDiagnostics", "SpindlePipeline", "SpindleSpool", "SpindleOpLog",
        "SpindleParquet", "SpindleFormats", "SpindleStore", "SpindleRocks", "SpindleCore",
        argumentParser, logging,
      ],
      swiftSettings: swiftSettings),
    tests("RepositoryTests", ["SpindleIO"]),
    tests("SpindleCoreTests", ["SpindleCore"]),
    tests("SpindleIOTests", ["SpindleIO", "SpindleCore"]),
    tests(
      "SpindleCodecsTests", ["SpindleCodecs", "SpindleIO", "SpindleCore"],
      excluding: ["Fixtures"]),
    tests(
      "SpindleSpoolTests",
      [
        "CrashWorker", "SpindleTestKit", "SpindleSpool", "SpindleStore", "SpindleRocks",
        "SpindleCodecs", "SpindleIO", "SpindleCore", logging, metrics,
      ]),
    tests("SpindleFormatsTests", ["SpindleFormats"]),
    tests(
      "SpindleParquetTests",
      ["SpindleParquet", "SpindleCodecs", "SpindleIO", "SpindleCore"], excluding: ["Fixtures"]),
    library(
      "SpindleTestKit",
      [
        "SpindleOpLog", "SpindleStore", "SpindleRocks", "SpindleIO", "SpindleCore", logging,
        metrics,
      ]),
    .executableTarget(
      name: "CrashWorker",
      dependencies: [
        "SpindleTestKit", "SpindleSpool", "SpindleOpLog", "SpindleStore", "SpindleRocks",
        "SpindleCore",
      ],
      swiftSettings: swiftSettings),
    tests(
      "SpindleRocksTests",
      ["CRocksDB", "SpindleTestKit", "SpindleRocks", "SpindleIO", "SpindleCore"]),
    tests(
      "SpindleStoreTests",
      [
        "CrashWorker", "SpindleTestKit", "SpindleStore", "SpindleRocks", "SpindleIO",
        "SpindleCore", logging,
      ]),
    library(
      "SpindleSpool",
      [
        "SpindleStore", "SpindleRocks", "SpindleCodecs", "SpindleIO", "SpindleCore", logging,
        metrics,
      ]),
    tests(
      "SpindleOpLogTests",
      [
        "CrashWorker", "SpindleOpLog", "SpindleTestKit", "SpindleStore", "SpindleRocks",
        "SpindleIO", "SpindleCore", metrics,
      ]),
    tests(
      "SpindlePipelineTests",
      [
        "SpindlePipeline", "SpindleDiagnostics", "SpindleSpool", "SpindleOpLog", "SpindleFormats",
        "SpindleCodecs", "SpindleTestKit", "SpindleStore", "SpindleRocks", "SpindleIO",
        "SpindleCore",
      ]),
    .testTarget(
      name: "FormatTests",
      dependencies: [
        "SpindlePipeline", "SpindleDiagnostics", "SpindleSpool", "SpindleOpLog", "SpindleTestKit",
        "SpindleStore", "SpindleIO", "SpindleCore",
      ],
      exclude: ["Fixtures", "make-fixture.sh"], swiftSettings: swiftSettings),
    tests(
      "SpindleCLITests",
      [
        "Spindle", "SpindleCLI", "SpindleParquet", "SpindlePipeline", "SpindleSpool",
        "SpindleOpLog", "SpindleTestKit", "SpindleStore", "SpindleRocks", "SpindleIO",
        "SpindleCore",
      ]),
  ],
  cxxLanguageStandard: .cxx17
)
