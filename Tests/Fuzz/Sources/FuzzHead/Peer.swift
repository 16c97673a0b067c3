// The other side: the same bytes as NIOHTTP1's decoder (llhttp) reads them.

import FuzzSupport
import NIOCore
import NIOEmbedded
import NIOHTTP1

/// One connection as llhttp reads it.
///
/// The decoder is driven directly, with a context that is made once: a channel and a pipeline for
/// each input would cost more than both parsers.
final class Peer {
    /// What came out of the decoder.
    struct Reading {
        var heads: [HTTPRequestHead] = []
        var hasBody = false
        var hasTrailers = false
        var ends = 0
        var error: (any Error)?
    }

    private let decoder = HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes)
    private let stage: PeerStage
    private var buffer = ByteBuffer()
    private var hasFailed = false

    init(_ stage: PeerStage) {
        self.stage = stage
        decoder.decoderAdded(context: stage.context)
    }

    deinit { decoder.decoderRemoved(context: stage.context) }

    /// Reads on.
    func receive(_ bytes: ArraySlice<UInt8>) -> Reading {
        stage.collector.reading = Reading()
        guard !hasFailed, !bytes.isEmpty else { return Reading() }
        buffer.discardReadBytes()
        buffer.writeBytes(bytes)
        do {
            let before = buffer.readableBytes
            _ = try decoder.decode(context: stage.context, buffer: &buffer)
            precondition(buffer.readableBytes <= before)
        } catch {
            stage.collector.reading.error = error
        }
        if stage.collector.reading.error != nil { hasFailed = true }
        return stage.collector.reading
    }
}

/// A context for decoders, and what takes their output.
final class PeerStage {
    let context: ChannelHandlerContext
    fileprivate let collector: Collector
    private let channel: EmbeddedChannel

    init() {
        let collector = Collector()
        let entry = Entry()
        channel = EmbeddedChannel(handlers: [entry, collector])
        guard let context = entry.context else { report("no context", []) }
        self.context = context
        self.collector = collector
    }

    private final class Entry: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        var context: ChannelHandlerContext?
        func handlerAdded(context: ChannelHandlerContext) { self.context = context }
    }

    fileprivate final class Collector: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        var reading = Peer.Reading()

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch unwrapInboundIn(data) {
            case .head(let head): reading.heads.append(head)
            case .body: reading.hasBody = true
            case .end(let trailers):
                reading.ends += 1
                if trailers != nil { reading.hasTrailers = true }
            }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            reading.error = error
        }
    }
}
