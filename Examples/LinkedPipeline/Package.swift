// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "LinkedPipeline",
  dependencies: [.package(name: "spindle", path: "../..")],
  targets: [
    .executableTarget(
      name: "LinkedPipeline", dependencies: [.product(name: "Spindle", package: "spindle")]),
    .executableTarget(
      name: "LinkedSpool",
      dependencies: [
        .product(name: "SpindleCore", package: "spindle"),
        .product(name: "SpindleStore", package: "spindle"),
        .product(name: "SpindleSpool", package: "spindle"),
      ]),
    .executableTarget(
      name: "LinkedLog",
      dependencies: [
        .product(name: "SpindleCore", package: "spindle"),
        .product(name: "SpindleStore", package: "spindle"),
        .product(name: "SpindleOpLog", package: "spindle"),
      ]),
    .executableTarget(
      name: "LinkedReducer",
      dependencies: [
        .product(name: "SpindleCore", package: "spindle"),
        .product(name: "SpindleStore", package: "spindle"),
        .product(name: "SpindleOpLog", package: "spindle"),
      ]),
    .executableTarget(
      name: "LinkedParquet",
      dependencies: [
        .product(name: "SpindleCore", package: "spindle"),
        .product(name: "SpindleParquet", package: "spindle"),
      ]),
  ]
)
