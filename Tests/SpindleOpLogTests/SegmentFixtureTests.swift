import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import Testing

/// Folders of segments written by each version so far. They are never made again: this version must
/// read them, and the newest one is what it writes itself.
@Suite struct SegmentFixtureTests {
  private static let folder =
    Files.directory(of: Files.directory(of: #filePath)) + "/FormatTests/Fixtures/oplog-segments-v1"

  @Test(arguments: [SegmentMode.device, .server])
  func segmentsOfVersion1AreReadAndWritten(mode: SegmentMode) async throws {
    var settings = FileLogSettings(magic: testMagic)
    settings.mode = mode
    settings.rotationEntryCount = 12
    let root = Self.folder + (mode == .device ? "/device" : "/server")
    try await withPlace { place in
      try await place.withStore { store in
        let puller = FileLogPuller<Rich>(root: root, settings: settings, store: store)
        #expect(try await puller.cursors() == PeerCursors([peer(1): 20, peer(2): 20]))
        for peer in try await puller.listPeers() {
          let expected = richEntries(20, seed: peer.uuid.low, mode: mode)
          let first = try await puller.readSince(peer: peer, from: 0)
          let second = try await puller.readSince(peer: peer, from: 12)
          #expect((first + second).map(\.entry) == expected)
          let sink = try await FileLogSink<Rich>(
            root: place.path + "-logs", selfID: peer, settings: settings, store: store)
          try await sink.write(first + second)
          for name in ["00000000000000000000.seg", "00000000000000000012.seg", "acknowledged"] {
            #expect(
              try Files.read("\(place.path)-logs/\(peer)/\(name)")
                == Files.read("\(root)/\(peer)/\(name)"))
          }
        }
      }
    }
  }
}
